"""The tables of health."""

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
