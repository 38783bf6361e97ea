"""The tables of messages."""

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
