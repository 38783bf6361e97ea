"""Nothing yet."""

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
