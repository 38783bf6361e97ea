"""The tables of documents."""

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Create."""


def downgrade() -> None:
    """Remove."""
