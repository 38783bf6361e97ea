"""The tables of ledger."""

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
