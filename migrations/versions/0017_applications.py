"""The tables of applications: cases, timeline, corrections, decisions, papers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Create."""
    op.create_table(
        "application",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("item_code", sa.Text(), nullable=False),
        sa.Column("item_version", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("answers", postgresql.JSONB(), nullable=False),
        sa.Column("fee_minor", sa.Integer(), nullable=False),
        sa.Column("payment_id", sa.UUID()),
        sa.Column("officer_id", sa.UUID()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True)),
        sa.Column("accepted_at", sa.DateTime(timezone=True)),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("promised_due_on", sa.Date()),
        sa.Column("statutory_due_on", sa.Date()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_application")),
        sa.UniqueConstraint("reference", name=op.f("uq_application_reference")),
        sa.ForeignKeyConstraint(
            ["item_code", "item_version"],
            ["services.service_item.code", "services.service_item.version"],
            name=op.f("fk_application_item_code"),
        ),
        sa.CheckConstraint("fee_minor >= 0", name=op.f("ck_application_fee_not_negative")),
        sa.CheckConstraint(
            "(state = 'draft') = (submitted_at IS NULL) OR state = 'withdrawn'",
            name=op.f("ck_application_submitted_unless_draft"),
        ),
        schema="services",
    )
    op.create_index("ix_application_person_id", "application", ["person_id", "id"], schema="services")
    op.create_index("ix_application_queue", "application", ["state", "promised_due_on", "id"], schema="services")
    op.create_index("ix_application_payment_id", "application", ["payment_id"], schema="services")
    op.execute("REVOKE DELETE ON services.application FROM city_app")
    op.create_table(
        "application_event",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("application_id", sa.UUID(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_application_event")),
        sa.ForeignKeyConstraint(
            ["application_id"], ["services.application.id"], name=op.f("fk_application_event_application_id")
        ),
        schema="services",
    )
    op.create_index("ix_application_event_application_id", "application_event", ["application_id", "id"], schema="services")
    op.execute("REVOKE UPDATE, DELETE ON services.application_event FROM city_app")
    op.create_table(
        "application_correction",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("application_id", sa.UUID(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked_by", sa.UUID(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("fields", postgresql.JSONB(), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_application_correction")),
        sa.ForeignKeyConstraint(
            ["application_id"], ["services.application.id"], name=op.f("fk_application_correction_application_id")
        ),
        schema="services",
    )
    op.create_index(
        "uq_application_correction_open",
        "application_correction",
        ["application_id"],
        unique=True,
        schema="services",
        postgresql_where=sa.text("answered_at IS NULL"),
    )
    op.execute("REVOKE DELETE ON services.application_correction FROM city_app")
    op.create_table(
        "application_decision",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("application_id", sa.UUID(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("effects", postgresql.JSONB(), nullable=False),
        sa.Column("prepared_by", sa.UUID(), nullable=False),
        sa.Column("prepared_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approved_by", sa.UUID()),
        sa.Column("approved_at", sa.DateTime(timezone=True)),
        sa.Column("returned_by", sa.UUID()),
        sa.Column("returned_at", sa.DateTime(timezone=True)),
        sa.Column("returned_because", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_application_decision")),
        sa.ForeignKeyConstraint(
            ["application_id"], ["services.application.id"], name=op.f("fk_application_decision_application_id")
        ),
        sa.CheckConstraint("outcome IN ('approved', 'refused')", name=op.f("ck_application_decision_outcome_known")),
        sa.CheckConstraint("approved_by IS NULL OR approved_by <> prepared_by", name=op.f("ck_application_decision_four_eyes")),
        sa.CheckConstraint(
            "approved_at IS NULL OR returned_at IS NULL", name=op.f("ck_application_decision_approved_or_returned")
        ),
        schema="services",
    )
    op.create_index(
        "uq_application_decision_standing",
        "application_decision",
        ["application_id"],
        unique=True,
        schema="services",
        postgresql_where=sa.text("returned_at IS NULL"),
    )
    op.execute("REVOKE DELETE ON services.application_decision FROM city_app")
    op.create_table(
        "application_paper",
        sa.Column("application_id", sa.UUID(), nullable=False),
        sa.Column("document_id", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("application_id", "document_id", name=op.f("pk_application_paper")),
        sa.ForeignKeyConstraint(
            ["application_id"], ["services.application.id"], name=op.f("fk_application_paper_application_id")
        ),
        sa.ForeignKeyConstraint(["document_id"], ["services.document.id"], name=op.f("fk_application_paper_document_id")),
        schema="services",
    )


def downgrade() -> None:
    """Remove."""
    for table in (
        "application_paper",
        "application_decision",
        "application_correction",
        "application_event",
        "application",
    ):
        op.drop_table(table, schema="services")
