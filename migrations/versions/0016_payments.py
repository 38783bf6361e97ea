"""The tables of payments: attempts, refunds, Stripe's events, daily matching."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"

STATES = "'started', 'requires-action', 'processing', 'settled', 'failed', 'cancelled', 'refunded'"


def upgrade() -> None:
    """Create."""
    op.create_table(
        "payment",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("intent_id", sa.Text()),
        sa.Column("failure_code", sa.Text(), nullable=False),
        sa.Column("return_path", sa.Text(), nullable=False),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment")),
        sa.ForeignKeyConstraint(["person_id"], ["services.person.id"], name=op.f("fk_payment_person_id")),
        sa.UniqueConstraint("intent_id", name=op.f("uq_payment_intent_id")),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_payment_amount_positive")),
        sa.CheckConstraint("refunded_minor BETWEEN 0 AND amount_minor", name=op.f("ck_payment_refunded_within")),
        sa.CheckConstraint(f"state IN ({STATES})", name=op.f("ck_payment_state")),
        sa.CheckConstraint("purpose IN ('top-up', 'service-fee')", name=op.f("ck_payment_purpose")),
        sa.CheckConstraint("(settled_at IS NOT NULL) = (state IN ('settled', 'refunded'))", name=op.f("ck_payment_settled_at")),
        schema="services",
    )
    op.create_index("ix_payment_subject", "payment", ["purpose", "subject"], schema="services")
    op.create_index("ix_payment_person_id", "payment", ["person_id", "id"], schema="services")
    op.create_index("ix_payment_settled_at", "payment", ["settled_at", "id"], schema="services")
    op.create_table(
        "refund",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("payment_id", sa.UUID(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("stripe_id", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True)),
        sa.Column("refused_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refund")),
        sa.ForeignKeyConstraint(["payment_id"], ["services.payment.id"], name=op.f("fk_refund_payment_id")),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_refund_amount_positive")),
        schema="services",
    )
    op.create_index("ix_refund_payment_id", "refund", ["payment_id"], schema="services")
    op.create_table(
        "stripe_event",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True)),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stripe_event")),
        schema="services",
    )
    waiting = sa.text("applied_at IS NULL")
    op.create_index("ix_stripe_event_open", "stripe_event", ["received_at"], schema="services", postgresql_where=waiting)
    op.create_table(
        "payment_matching",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("here_minor", sa.BigInteger(), nullable=False),
        sa.Column("there_minor", sa.BigInteger(), nullable=False),
        sa.Column("breaks", postgresql.JSONB(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_payment_matching")),
        schema="services",
    )
    for table in ("payment", "refund", "stripe_event", "payment_matching"):
        op.execute(f"REVOKE DELETE ON services.{table} FROM city_app")


def downgrade() -> None:
    """Remove."""
    for table in ("payment_matching", "stripe_event", "refund", "payment"):
        op.drop_table(table, schema="services")
