"""The ledger over time: marks from which any balance is a short way, and what is left of months that were archived.

Marks are appended by the sealer's role, archived months by the owner; the application only reads them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

APPLICATION, SEALER, REPORTS = "city_app", "city_sealer", "city_reports"
MARKS = ("ledger_mark", "account_mark", "turnover_mark")
ARCHIVE = ("ledger_archive", "archived_batch", "archived_run")


def _minor(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _shard() -> sa.Column[int]:
    return sa.Column("shard", sa.SmallInteger(), nullable=False, server_default="0")


def upgrade() -> None:
    """Create."""
    op.create_table(
        "ledger_mark",
        sa.Column("batch_no", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("folded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("batch_no", name=op.f("pk_ledger_mark")),
        schema="card",
    )
    op.create_table(
        "account_mark",
        sa.Column("account_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("batch_no", sa.BigInteger(), nullable=False, autoincrement=False),
        _minor("debit_minor"),
        _minor("credit_minor"),
        sa.Column("transfers", sa.BigInteger(), nullable=False),
        _shard(),
        sa.PrimaryKeyConstraint("account_id", "batch_no", "shard", name=op.f("pk_account_mark")),
        schema="card",
    )
    op.create_table(
        "turnover_mark",
        sa.Column("batch_no", sa.BigInteger(), nullable=False, autoincrement=False),
        _minor("debit_minor"),
        _minor("credit_minor"),
        sa.Column("transfers", sa.BigInteger(), nullable=False),
        _shard(),
        sa.Column("ledger", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("code", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("batch_no", "shard", "ledger", "code", "currency", "kind", name=op.f("pk_turnover_mark")),
        schema="card",
    )
    op.create_table(
        "ledger_archive",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("id_from", sa.UUID(), nullable=False),
        sa.Column("id_to", sa.UUID(), nullable=False),
        sa.Column("place_first", sa.BigInteger(), nullable=False),
        sa.Column("place_last", sa.BigInteger(), nullable=False),
        sa.Column("transfers", sa.BigInteger(), nullable=False),
        _minor("total_minor"),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("month", name=op.f("pk_ledger_archive")),
        schema="card",
    )
    op.create_table(
        "archived_batch",
        sa.Column("batch_no", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("transfers", sa.Integer(), nullable=False),
        _minor("total_minor"),
        _shard(),
        sa.PrimaryKeyConstraint("batch_no", "month", "shard", name=op.f("pk_archived_batch")),
        schema="card",
    )
    op.create_table(
        "archived_run",
        sa.Column("account_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("last_place", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("first_place", sa.BigInteger(), nullable=False),
        _minor("debit_minor"),
        _minor("credit_minor"),
        _minor("after_minor", nullable=True),
        sa.Column("transfers", sa.BigInteger(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        _shard(),
        sa.PrimaryKeyConstraint("account_id", "last_place", "shard", name=op.f("pk_archived_run")),
        schema="card",
    )
    # Deltas are written in the order of their batches: a few bytes for each block are enough to find those of a batch.
    op.create_index(
        "ix_account_delta_batch_no",
        "account_delta",
        ["batch_no"],
        schema="card",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "16", "autosummarize": "on"},
    )
    _rights()


def _rights() -> None:
    for role in (SEALER, REPORTS):
        op.execute(
            f"""
            DO $$ BEGIN
              IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} NOLOGIN; END IF;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$
            """
        )
    for table in MARKS + ARCHIVE:
        op.execute(f"REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON card.{table} FROM {APPLICATION}")
        op.execute(f"GRANT SELECT ON card.{table} TO {SEALER}, {REPORTS}")
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON card.{table} "
            "FOR EACH ROW EXECUTE FUNCTION card.refuse_change()"
        )
        op.execute(f"CREATE TRIGGER never_emptied BEFORE TRUNCATE ON card.{table} EXECUTE FUNCTION card.refuse_change()")
    for table in MARKS:
        op.execute(f"GRANT INSERT ON card.{table} TO {SEALER}")


def downgrade() -> None:
    """Remove."""
    op.drop_index("ix_account_delta_batch_no", "account_delta", schema="card")
    for table in reversed(MARKS + ARCHIVE):
        op.drop_table(table, schema="card")
