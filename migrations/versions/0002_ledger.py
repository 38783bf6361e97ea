"""The tables of the ledger: accounts, transfers by month, balances, deltas, holds, remembered refusals.

The application may insert and read; it may change only a guarded account's balance and the state of a hold. What is
append-only is so twice: by grants for the application's role, and by triggers for everybody.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

ROLE = "city_app"
MONTHS = "ledger_months"  # the partitions live in a schema of their own, where the application has no right at all
APPEND_ONLY = ("account", "ledger_batch", "transfer", "account_delta", "refused_transfer")


def upgrade() -> None:
    """Create."""
    _tables()
    _months()
    _rights()


def _tables() -> None:
    op.execute("CREATE SEQUENCE card.ledger_batch_no")
    op.create_table(
        "account",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("guarded", sa.Boolean(), nullable=False),
        sa.Column("floor_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("ledger", sa.SmallInteger(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("floor_minor <= 0", name=op.f("ck_account_floor")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("key", name=op.f("uq_account_key")),
        schema="card",
    )
    op.create_index("ix_account_kind", "account", ["kind", "id"], schema="card")
    op.create_table(
        "account_balance",
        sa.Column("account_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("posted_minor", sa.BigInteger(), nullable=False),
        sa.Column("held_minor", sa.BigInteger(), nullable=False),
        sa.Column("floor_minor", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("posted_minor - held_minor >= floor_minor", name=op.f("ck_account_balance_floor")),
        sa.CheckConstraint("held_minor >= 0", name=op.f("ck_account_balance_held")),
        sa.ForeignKeyConstraint(["account_id"], ["card.account.id"], name=op.f("fk_account_balance_account_id")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_account_balance")),
        schema="card",
        postgresql_with={"fillfactor": "70", "autovacuum_vacuum_scale_factor": "0.02"},
    )
    op.create_table(
        "ledger_batch",
        sa.Column("batch_no", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("transfers", sa.Integer(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("batch_no", name=op.f("pk_ledger_batch")),
        schema="card",
    )
    op.create_index("ix_ledger_batch_posted_at", "ledger_batch", ["posted_at", "batch_no"], schema="card")
    op.create_table(
        "transfer",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("batch_no", sa.BigInteger(), nullable=False),
        sa.Column("debit", sa.BigInteger(), nullable=False),
        sa.Column("credit", sa.BigInteger(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("event_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("debit_after_minor", sa.BigInteger()),
        sa.Column("credit_after_minor", sa.BigInteger()),
        sa.Column("leaf", sa.Integer(), nullable=False),
        sa.Column("code", sa.SmallInteger(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("metadata", postgresql.JSONB()),
        sa.Column("reverses", sa.UUID()),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_transfer_amount")),
        sa.CheckConstraint("debit <> credit", name=op.f("ck_transfer_sides")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfer")),
        schema="card",
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index("ix_transfer_debit", "transfer", ["debit", "batch_no", "leaf"], schema="card")
    op.create_index("ix_transfer_credit", "transfer", ["credit", "batch_no", "leaf"], schema="card")
    op.create_index(
        "ix_transfer_reference", "transfer", ["reference"], schema="card", postgresql_where=sa.text("reference <> ''")
    )
    op.create_index(
        "ix_transfer_reverses", "transfer", ["reverses"], schema="card", postgresql_where=sa.text("reverses IS NOT NULL")
    )
    op.create_index("ix_transfer_batch_no", "transfer", ["batch_no"], schema="card", postgresql_using="brin")
    op.create_table(
        "account_delta",
        sa.Column("account_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("batch_no", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("debit_minor", sa.BigInteger(), nullable=False),
        sa.Column("credit_minor", sa.BigInteger(), nullable=False),
        sa.Column("transfers", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "batch_no", name=op.f("pk_account_delta")),
        schema="card",
    )
    op.create_table(
        "refused_transfer",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("debit", sa.BigInteger(), nullable=False),
        sa.Column("credit", sa.BigInteger(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.SmallInteger(), nullable=False),
        sa.Column("event_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("metadata", postgresql.JSONB()),
        sa.Column("reverses", sa.UUID()),
        sa.Column("refusal", sa.Text(), nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refused_transfer")),
        schema="card",
    )
    op.create_table(
        "hold",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("debit", sa.BigInteger(), nullable=False),
        sa.Column("credit", sa.BigInteger(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.SmallInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("posted_minor", sa.BigInteger()),
        sa.Column("transfer_id", sa.UUID()),
        sa.Column("resolved_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_hold_amount")),
        sa.CheckConstraint("state IN ('pending', 'posted', 'voided', 'expired')", name=op.f("ck_hold_state")),
        sa.CheckConstraint(
            "(state = 'posted') = (transfer_id IS NOT NULL AND posted_minor IS NOT NULL)", name=op.f("ck_hold_posted")
        ),
        sa.CheckConstraint("(state = 'pending') = (resolved_at IS NULL)", name=op.f("ck_hold_resolved")),
        sa.CheckConstraint("posted_minor <= amount_minor", name=op.f("ck_hold_part")),
        sa.ForeignKeyConstraint(["debit"], ["card.account.id"], name=op.f("fk_hold_debit")),
        sa.ForeignKeyConstraint(["credit"], ["card.account.id"], name=op.f("fk_hold_credit")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hold")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_hold_transfer_id")),
        schema="card",
    )
    pending = sa.text("state = 'pending'")
    op.create_index("ix_hold_pending", "hold", ["expires_at", "id"], schema="card", postgresql_where=pending)
    op.create_index("ix_hold_debit", "hold", ["debit"], schema="card", postgresql_where=pending)


def _months() -> None:
    op.execute(f"CREATE SCHEMA {MONTHS}")
    op.execute(f"CREATE TABLE {MONTHS}.transfer_other PARTITION OF card.transfer DEFAULT")
    # Ids are UUIDv7: their first 48 bits are milliseconds, so a month is a range of ids.
    op.execute(
        """
        CREATE FUNCTION card.ledger_id_floor(instant timestamptz) RETURNS uuid
        LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
          SELECT (lpad(to_hex((extract(epoch FROM instant) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
        $$
        """
    )
    # The application does not own the tables, so it makes months by this function, and can do nothing else with it.
    op.execute(
        f"""
        CREATE FUNCTION card.make_ledger_months(first_day date, months int) RETURNS int
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
        DECLARE
          beginning timestamptz; ending timestamptz; name text; made int := 0; stray boolean;
        BEGIN
          PERFORM pg_advisory_xact_lock(320000002);
          FOR step IN 0 .. least(months, 36) - 1 LOOP
            beginning := (date_trunc('month', first_day::timestamp) + make_interval(months => step)) AT TIME ZONE 'UTC';
            ending := (date_trunc('month', first_day::timestamp) + make_interval(months => step + 1)) AT TIME ZONE 'UTC';
            name := 'transfer_' || to_char(beginning AT TIME ZONE 'UTC', 'YYYY_MM');
            CONTINUE WHEN to_regclass('{MONTHS}.' || name) IS NOT NULL;
            -- A row that a wrong clock put into the default partition keeps its place: that month then stays there.
            EXECUTE 'SELECT EXISTS (SELECT 1 FROM {MONTHS}.transfer_other WHERE id >= $1 AND id < $2)'
              INTO stray USING card.ledger_id_floor(beginning), card.ledger_id_floor(ending);
            CONTINUE WHEN stray;
            EXECUTE format('CREATE TABLE {MONTHS}.%I PARTITION OF card.transfer FOR VALUES FROM (%L) TO (%L)',
              name, card.ledger_id_floor(beginning), card.ledger_id_floor(ending));
            made := made + 1;
          END LOOP;
          RETURN made;
        END $$
        """
    )
    op.execute("REVOKE ALL ON FUNCTION card.make_ledger_months(date, int) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION card.make_ledger_months(date, int) TO {ROLE}")
    op.execute("SELECT card.make_ledger_months((now() AT TIME ZONE 'UTC')::date - 31, 5)")


def _rights() -> None:
    op.execute(
        """
        CREATE FUNCTION card.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          RAISE EXCEPTION 'card.% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
        END $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON card.{table} FROM {ROLE}")
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON card.{table} "
            "FOR EACH ROW EXECUTE FUNCTION card.refuse_change()"
        )
        op.execute(f"CREATE TRIGGER never_emptied BEFORE TRUNCATE ON card.{table} EXECUTE FUNCTION card.refuse_change()")
    op.execute(f"REVOKE UPDATE, DELETE ON card.account_balance FROM {ROLE}")
    op.execute(f"GRANT UPDATE (posted_minor, held_minor) ON card.account_balance TO {ROLE}")
    op.execute(f"REVOKE UPDATE, DELETE ON card.hold FROM {ROLE}")
    op.execute(f"GRANT UPDATE (state, posted_minor, transfer_id, resolved_at) ON card.hold TO {ROLE}")
    op.execute(
        """
        CREATE FUNCTION card.hold_resolves_once() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          RAISE EXCEPTION 'hold % is already %', OLD.id, OLD.state USING ERRCODE = 'insufficient_privilege';
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER resolves_once BEFORE UPDATE ON card.hold FOR EACH ROW WHEN (OLD.state <> 'pending') "
        "EXECUTE FUNCTION card.hold_resolves_once()"
    )


def downgrade() -> None:
    """Remove."""
    op.drop_table("hold", schema="card")
    op.drop_table("refused_transfer", schema="card")
    op.drop_table("account_delta", schema="card")
    op.drop_table("transfer", schema="card")
    op.drop_table("ledger_batch", schema="card")
    op.drop_table("account_balance", schema="card")
    op.drop_table("account", schema="card")
    op.execute("DROP SEQUENCE card.ledger_batch_no")
    op.execute("DROP FUNCTION card.hold_resolves_once()")
    op.execute("DROP FUNCTION card.refuse_change()")
    op.execute("DROP FUNCTION card.make_ledger_months(date, int)")
    op.execute("DROP FUNCTION card.ledger_id_floor(timestamptz)")
    op.execute(f"DROP SCHEMA {MONTHS}")
