"""The tables of fares_transit."""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
