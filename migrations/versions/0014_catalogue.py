"""The tables of catalogue."""

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
