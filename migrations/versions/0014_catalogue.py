"""The tables of catalogue: published service items and the calendar of working days."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Create."""
    op.create_table(
        "service_item",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("definition", postgresql.JSONB(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("code", "version", name=op.f("pk_service_item")),
        sa.CheckConstraint("version > 0", name=op.f("ck_service_item_version_counts_from_one")),
        schema="services",
    )
    op.execute("REVOKE UPDATE, DELETE ON services.service_item FROM city_app")
    op.create_table(
        "calendar_day",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("works", sa.Boolean(), nullable=False),
        sa.Column("certainty", sa.Text(), nullable=False),
        sa.Column("name_en", sa.Text(), nullable=False),
        sa.Column("name_zh", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_calendar_day")),
        sa.CheckConstraint("certainty IN ('announced', 'predicted')", name=op.f("ck_calendar_day_certainty_known")),
        schema="services",
    )


def downgrade() -> None:
    """Remove."""
    op.drop_table("calendar_day", schema="services")
    op.drop_table("service_item", schema="services")
