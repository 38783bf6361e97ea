"""The tables of messages: the inbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create."""
    op.create_table(
        "message",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("params", postgresql.JSONB(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True)),
        sa.Column("mailed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
        sa.ForeignKeyConstraint(["person_id"], ["services.person.id"], name=op.f("fk_message_person_id")),
        schema="services",
    )
    op.create_index("ix_message_person_id", "message", ["person_id", "id"], schema="services")
    op.create_index(
        "ix_message_unread", "message", ["person_id"], schema="services", postgresql_where=sa.text("read_at IS NULL")
    )
    op.execute("REVOKE DELETE ON services.message FROM city_app")


def downgrade() -> None:
    """Remove."""
    op.drop_table("message", schema="services")
