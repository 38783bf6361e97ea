"""The tables of purchases."""

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
