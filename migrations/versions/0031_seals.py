"""What is hashed is written by the database itself, and the tree is made again from the books.

A leaf was CBOR that the sealer encoded row by row, with the keys of both accounts looked up for each. It is now a fixed layout
(``docs/reference/ledger.md``) with the numbers of the accounts, whose names are sealed beside. Keeping both would mean that
every verifier there will ever be carries the first one; no city in service has sealed anything with it. So what the
demonstration sealed goes, and the worker seals all of it again within a minute. Cosignatures go with what they cosigned, and so
does what this city has seen of others, whose trees begin anew with the same release, and how far the tree that goes was proven.
"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"

SEALED = ("ledger_seal", "ledger_record", "ledger_node", "ledger_checkpoint", "ledger_cosignature", "partner_checkpoint")


def upgrade() -> None:
    """Empty the tree, and tell accounts from refusals by columns of their own."""
    _seal_anew()
    op.execute("DROP INDEX card.ix_ledger_record_position")
    op.execute("ALTER TABLE card.ledger_record DROP COLUMN subject, ADD COLUMN account bigint, ADD COLUMN refusal uuid")
    op.create_primary_key(op.f("pk_ledger_record"), "ledger_record", ["position", "leaf"], schema="card")
    op.create_check_constraint("ck_ledger_record_one", "ledger_record", "num_nonnulls(account, refusal) = 1", schema="card")
    for name, columns, unique in (
        ("uq_ledger_record_account", ["account"], True),
        ("uq_ledger_record_refusal", ["refusal"], True),
        ("ix_ledger_record_refused", ["position", "leaf"], False),
    ):
        which = "account" if "account" in columns else "refusal"
        where = sa.text(f"{which} IS NOT NULL")
        op.create_index(name, "ledger_record", columns, unique=unique, schema="card", postgresql_where=where)
    op.add_column("ledger_seal", sa.Column("record_blocks", sa.LargeBinary(), nullable=False), schema="card")
    # Hashes do not get smaller, so nobody should try.
    op.execute("ALTER TABLE card.ledger_seal ALTER marks SET STORAGE EXTERNAL, ALTER blocks SET STORAGE EXTERNAL")


def downgrade() -> None:
    """Back to the earlier form, with nothing sealed."""
    _seal_anew()
    op.execute("ALTER TABLE card.ledger_seal ALTER marks SET STORAGE EXTENDED, ALTER blocks SET STORAGE EXTENDED")
    op.drop_column("ledger_seal", "record_blocks", schema="card")
    op.drop_constraint("pk_ledger_record", "ledger_record", schema="card")
    op.execute("ALTER TABLE card.ledger_record DROP COLUMN account, DROP COLUMN refusal, ADD COLUMN subject text NOT NULL")
    op.create_primary_key(op.f("pk_ledger_record"), "ledger_record", ["subject"], schema="card")
    op.create_index("ix_ledger_record_position", "ledger_record", ["position", "leaf"], unique=True, schema="card")


def _seal_anew() -> None:
    """Take every seal away. Not where a month has left the database: its files were held against the tree that would go."""
    archived = op.get_bind().exec_driver_sql("SELECT count(*) FROM card.ledger_archive").scalar_one()
    if archived:
        raise RuntimeError("archived months are proven by the tree that would be made again: begin with a fresh database")
    for table, change in (*((table, "TRUNCATE {}") for table in SEALED), ("ledger_check", "UPDATE {} SET upto_position = -1")):
        op.execute(f"ALTER TABLE card.{table} DISABLE TRIGGER USER")
        op.execute(change.format(f"card.{table}"))
        op.execute(f"ALTER TABLE card.{table} ENABLE TRIGGER USER")
