"""The ledger's proofs: which batch is which leaf, the hashes of the tree over them, and the signed checkpoints."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

ROLE = "city_app"
APPEND_ONLY = ("ledger_seal", "ledger_node", "ledger_checkpoint")


def upgrade() -> None:
    """Create."""
    op.create_table(
        "ledger_seal",
        sa.Column("position", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("batch_no", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("marks", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_ledger_seal")),
        sa.UniqueConstraint("batch_no", name=op.f("uq_ledger_seal_batch_no")),
        schema="card",
    )
    op.create_table(
        "ledger_node",
        sa.Column("level", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("index", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "index", name=op.f("pk_ledger_node")),
        schema="card",
    )
    op.create_table(
        "ledger_checkpoint",
        sa.Column("size", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_ledger_checkpoint")),
        schema="card",
    )
    for table in APPEND_ONLY:
        op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON card.{table} FROM {ROLE}")
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON card.{table} "
            "FOR EACH ROW EXECUTE FUNCTION card.refuse_change()"
        )
        op.execute(f"CREATE TRIGGER never_emptied BEFORE TRUNCATE ON card.{table} EXECUTE FUNCTION card.refuse_change()")


def downgrade() -> None:
    """Remove."""
    for table in reversed(APPEND_ONLY):
        op.drop_table(table, schema="card")
