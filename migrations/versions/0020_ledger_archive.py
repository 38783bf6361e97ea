"""Nothing yet."""

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
