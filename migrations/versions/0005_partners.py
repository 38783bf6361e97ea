"""The tables of partners."""

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
