"""The tables of applications."""

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
