"""A terminal renews its certificate, for a key of its choice."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Where the key stands that the terminal had before its last renewal."""
    op.add_column("terminal", sa.Column("previous_key", sa.LargeBinary()), schema="card")
    op.add_column("terminal", sa.Column("renewed_at", sa.DateTime(timezone=True)), schema="card")


def downgrade() -> None:
    """Remove."""
    op.drop_column("terminal", "renewed_at", schema="card")
    op.drop_column("terminal", "previous_key", schema="card")
