"""The tables of registries: who saw whose data."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create."""
    op.create_table(
        "data_access",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("person_id", sa.UUID(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_by", sa.Text(), nullable=False),
        sa.Column("office", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_access")),
        sa.ForeignKeyConstraint(["person_id"], ["services.person.id"], name=op.f("fk_data_access_person_id")),
        schema="services",
    )
    op.create_index("ix_data_access_person_id", "data_access", ["person_id", "id"], schema="services")
    op.execute("REVOKE UPDATE, DELETE ON services.data_access FROM city_app")


def downgrade() -> None:
    """Remove."""
    op.drop_table("data_access", schema="services")
