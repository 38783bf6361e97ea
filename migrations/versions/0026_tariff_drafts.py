"""Nothing yet."""

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
