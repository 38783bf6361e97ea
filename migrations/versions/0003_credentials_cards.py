"""The tables of credentials_cards."""

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
