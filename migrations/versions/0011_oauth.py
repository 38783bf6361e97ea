"""The tables of oauth."""

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
