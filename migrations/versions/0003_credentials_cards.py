"""The tables of cards: cards, the phones they are bound to, entitlements, the deny list."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ROLE = "city_app"
KINDS = "'phone', 'physical'"
STATUSES = "'issued', 'active', 'blocked', 'replaced', 'expired'"
REASONS = "'lost', 'stolen', 'damaged', 'misuse', 'holder-asked', 'deceased'"


def upgrade() -> None:
    """Create."""
    op.execute("CREATE SEQUENCE card.status_index")
    op.create_table(
        "card",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("holder_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_index", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("activated_at", sa.DateTime(timezone=True)),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("blocked_at", sa.DateTime(timezone=True)),
        sa.Column("block_reason", sa.Text()),
        sa.Column("replaced_by", sa.UUID()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_card")),
        sa.UniqueConstraint("number", name=op.f("uq_card_number")),
        sa.UniqueConstraint("status_index", name=op.f("uq_card_status_index")),
        sa.ForeignKeyConstraint(
            ["replaced_by"], ["card.card.id"], name=op.f("fk_card_replaced_by"), deferrable=True, initially="DEFERRED"
        ),
        sa.CheckConstraint(f"kind IN ({KINDS})", name=op.f("ck_card_kind")),
        sa.CheckConstraint(f"status IN ({STATUSES})", name=op.f("ck_card_status")),
        sa.CheckConstraint(f"block_reason IN ({REASONS})", name=op.f("ck_card_block_reason")),
        sa.CheckConstraint("number ~ '^31[0-9]{17}$'", name=op.f("ck_card_number")),
        sa.CheckConstraint(
            "(status <> 'blocked') OR (blocked_at IS NOT NULL AND block_reason IS NOT NULL)", name=op.f("ck_card_blocked_whole")
        ),
        sa.CheckConstraint("(status = 'replaced') = (replaced_by IS NOT NULL)", name=op.f("ck_card_replaced_whole")),
        schema="card",
    )
    op.create_index(
        "uq_card_one_live",
        "card",
        ["holder_id", "kind"],
        unique=True,
        schema="card",
        postgresql_where=sa.text("status IN ('issued', 'active', 'blocked')"),
    )
    op.create_index("ix_card_holder_id", "card", ["holder_id", "id"], schema="card")
    op.create_table(
        "card_device",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("card_id", sa.UUID(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("private_sealed", sa.LargeBinary()),
        sa.Column("status_index", sa.BigInteger(), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("bound_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("static", sa.LargeBinary()),
        sa.Column("static_expires_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_card_device")),
        sa.ForeignKeyConstraint(["card_id"], ["card.card.id"], name=op.f("fk_card_device_card_id")),
        sa.UniqueConstraint("public_key", name=op.f("uq_card_device_public_key")),
        sa.UniqueConstraint("status_index", name=op.f("uq_card_device_status_index")),
        sa.CheckConstraint("counter >= 0", name=op.f("ck_card_device_counter")),
        schema="card",
    )
    op.create_index("ix_card_device_card_id", "card_device", ["card_id", "id"], schema="card")
    op.create_table(
        "entitlement",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("holder_id", sa.UUID(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("scope_city", sa.Text(), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entitlement")),
        sa.UniqueConstraint("holder_id", "code", "scope_city", name=op.f("uq_entitlement_holder_id_code_scope_city")),
        sa.CheckConstraint("scope_city ~ '^[0-9]{6}$'", name=op.f("ck_entitlement_scope_city")),
        schema="card",
    )
    op.create_table(
        "deny_delta",
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("prev_digest", sa.LargeBinary(), nullable=False),
        sa.Column("adds", sa.LargeBinary(), nullable=False),
        sa.Column("removes", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_deny_delta")),
        sa.CheckConstraint("seq > 0", name=op.f("ck_deny_delta_seq")),
        schema="card",
    )
    op.create_table(
        "deny_base",
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("denied", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_deny_base")),
        schema="card",
    )
    op.create_table(
        "deny_change",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("status_index", sa.BigInteger(), nullable=False),
        sa.Column("denied", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delta_seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deny_change")),
        sa.ForeignKeyConstraint(["delta_seq"], ["card.deny_delta.seq"], name=op.f("fk_deny_change_delta_seq")),
        schema="card",
    )
    op.create_index(
        "ix_deny_change_waiting", "deny_change", ["id"], schema="card", postgresql_where=sa.text("delta_seq IS NULL")
    )
    op.execute(f"REVOKE UPDATE, DELETE ON card.deny_delta, card.deny_base FROM {ROLE}")
    op.execute(f"REVOKE DELETE ON card.card, card.card_device, card.entitlement FROM {ROLE}")


def downgrade() -> None:
    """Remove."""
    for table in ("deny_change", "deny_base", "deny_delta", "entitlement", "card_device", "card"):
        op.drop_table(table, schema="card")
    op.execute("DROP SEQUENCE card.status_index")
