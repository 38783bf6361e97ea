"""The tables of registries."""

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
