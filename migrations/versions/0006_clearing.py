"""The tables of clearing."""

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
