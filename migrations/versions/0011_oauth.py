"""The tables of OAuth: clients, used assertions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create."""
    op.create_table(
        "oauth_client",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("organisation", sa.Text()),
        sa.Column("scopes", postgresql.JSONB(), nullable=False),
        sa.Column("jwks", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_oauth_client")),
        sa.CheckConstraint("client_id ~ '^[a-z0-9][a-z0-9._-]{2,63}$'", name=op.f("ck_oauth_client_client_id")),
        schema="app",
    )
    op.create_table(
        "oauth_assertion",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("client_id", "jti", name=op.f("pk_oauth_assertion")),
        schema="app",
    )
    op.create_index("ix_oauth_assertion_expires_at", "oauth_assertion", ["expires_at"], schema="app")
    op.execute("REVOKE DELETE ON app.oauth_client FROM city_app")


def downgrade() -> None:
    """Remove."""
    op.drop_table("oauth_assertion", schema="app")
    op.drop_table("oauth_client", schema="app")
