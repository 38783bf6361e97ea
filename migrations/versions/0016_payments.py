"""The tables of payments."""

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
