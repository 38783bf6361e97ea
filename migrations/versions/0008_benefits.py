"""The tables of benefits."""

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
