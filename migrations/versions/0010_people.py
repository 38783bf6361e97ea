"""The tables of people."""

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
