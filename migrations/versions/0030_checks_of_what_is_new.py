"""Where a check of the books began and where the next one may begin, so that what is new is proven without reading it all."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"

COLUMNS = {"after_batch": "0", "upto_batch": "0", "upto_position": "-1"}


def upgrade() -> None:
    """Create; the checks so far read everything and say of nothing that it cannot come any more."""
    for name, before in COLUMNS.items():
        op.add_column("ledger_check", sa.Column(name, sa.BigInteger(), nullable=False, server_default=before), schema="card")
        op.alter_column("ledger_check", name, server_default=None, schema="card")


def downgrade() -> None:
    """Remove."""
    for name in COLUMNS:
        op.drop_column("ledger_check", name, schema="card")
