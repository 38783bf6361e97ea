"""A chip is one more thing that a card is bound to."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Create."""
    op.add_column(
        "card_device", sa.Column("chip", sa.Boolean(), nullable=False, server_default=sa.text("false")), schema="card"
    )
    op.create_check_constraint(
        op.f("ck_card_device_chip_keeps_its_key"), "card_device", "NOT chip OR private_sealed IS NULL", schema="card"
    )


def downgrade() -> None:
    """Remove."""
    op.drop_constraint(op.f("ck_card_device_chip_keeps_its_key"), "card_device", schema="card")
    op.drop_column("card_device", "chip", schema="card")
