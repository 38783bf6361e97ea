"""The tables of partners: the directory, the nonces, the log of signed messages."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

STATES = "'requested', 'admitted', 'refused', 'suspended', 'withdrawn'"


def upgrade() -> None:
    """Create."""
    op.create_table(
        "partner",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Text(), nullable=False),
        sa.Column("name_en", sa.Text(), nullable=False),
        sa.Column("name_zh", sa.Text(), nullable=False),
        sa.Column("jwks", postgresql.JSONB(), nullable=False),
        sa.Column("issuer_jwks", postgresql.JSONB(), nullable=False),
        sa.Column("bundle_jwks", postgresql.JSONB(), nullable=False),
        sa.Column("policy", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("configuration", sa.Text(), nullable=False),
        sa.Column("statement", sa.Text()),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("decided_by", sa.Text()),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(f"state IN ({STATES})", name=op.f("ck_partner_state")),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_partner")),
        schema="card",
    )
    op.create_index("uq_partner_entity_id", "partner", ["entity_id"], unique=True, schema="card")
    op.create_table(
        "partner_nonce",
        sa.Column("city", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("city", "nonce", name=op.f("pk_partner_nonce")),
        schema="card",
    )
    op.create_index("ix_partner_nonce_expires_at", "partner_nonce", ["expires_at"], schema="card")
    op.create_table(
        "partner_message",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("city", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("request_headers", postgresql.JSONB(), nullable=False),
        sa.Column("request_body", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("answer_headers", postgresql.JSONB(), nullable=False),
        sa.Column("answer_body", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("direction IN ('sent', 'received')", name=op.f("ck_partner_message_direction")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_partner_message")),
        schema="card",
    )
    op.create_index("ix_partner_message_city_id", "partner_message", ["city", "id"], schema="card")
    op.execute("REVOKE UPDATE, DELETE ON card.partner_message FROM city_app")


def downgrade() -> None:
    """Remove."""
    op.drop_table("partner_message", schema="card")
    op.drop_table("partner_nonce", schema="card")
    op.drop_table("partner", schema="card")
