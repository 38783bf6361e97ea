"""Earmarked purses; search by metadata; cosignatures of other cities; alarms that stand until they are answered."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"

ROLE = "city_app"
SEALER, REPORTS = "city_sealer", "city_reports"
APPEND_ONLY = ("ledger_cosignature", "ledger_check", "ledger_record", "partner_checkpoint")
SEALED = ("ledger_seal", "ledger_node", "ledger_checkpoint")


def upgrade() -> None:
    """Create."""
    op.create_table(
        "earmarked_purse",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.Uuid(), nullable=False),
        sa.Column("account_key", sa.Text(), nullable=False),
        sa.Column("name", postgresql.JSONB(), nullable=False),
        sa.Column("codes", postgresql.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("payees", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("fund_key", sa.Text(), nullable=False),
        sa.Column("granted_minor", sa.BigInteger(), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("returned_minor", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_earmarked_purse")),
        sa.UniqueConstraint("account_key", name=op.f("uq_earmarked_purse_account_key")),
        sa.CheckConstraint("granted_minor > 0", name=op.f("ck_earmarked_purse_granted")),
        sa.CheckConstraint("returned_minor >= 0", name=op.f("ck_earmarked_purse_returned")),
        schema="card",
    )
    op.create_index("ix_earmarked_purse_holder_id", "earmarked_purse", ["holder_id", "expires_at", "id"], schema="card")
    op.create_index(
        "ix_earmarked_purse_open",
        "earmarked_purse",
        ["expires_at", "id"],
        schema="card",
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON card.earmarked_purse FROM {ROLE}")
    op.execute(f"GRANT UPDATE (returned_minor, closed_at) ON card.earmarked_purse TO {ROLE}")
    op.execute(
        "CREATE INDEX ix_transfer_metadata ON card.transfer USING gin (metadata jsonb_path_ops) WHERE metadata IS NOT NULL"
    )
    op.add_column("ledger_checkpoint", sa.Column("suite", sa.SmallInteger(), nullable=False, server_default="1"), schema="card")
    op.alter_column("ledger_checkpoint", "suite", server_default=None, schema="card")
    op.create_table(
        "ledger_cosignature",
        sa.Column("size", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("city", sa.Text(), nullable=False),
        sa.Column("verifier_key", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("cosigned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("size", "city", name=op.f("pk_ledger_cosignature")),
        schema="card",
    )
    op.create_table(
        "partner_checkpoint",
        sa.Column("city", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("verifier_key", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("city", "size", name=op.f("pk_partner_checkpoint")),
        schema="card",
    )
    op.create_table(
        "ledger_alarm",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("expected", sa.Text(), nullable=False),
        sa.Column("found", sa.Text(), nullable=False),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True)),
        sa.Column("acknowledged_by", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_alarm")),
        sa.CheckConstraint("(acknowledged_at IS NULL) = (acknowledged_by IS NULL)", name=op.f("ck_ledger_alarm_by")),
        sa.CheckConstraint("(acknowledged_at IS NULL) = (reason IS NULL)", name=op.f("ck_ledger_alarm_reason")),
        schema="card",
    )
    op.create_index(
        "uq_ledger_alarm_standing",
        "ledger_alarm",
        ["kind", "subject"],
        unique=True,
        schema="card",
        postgresql_where=sa.text("acknowledged_at IS NULL"),
    )
    op.create_index("ix_ledger_alarm_raised_at", "ledger_alarm", ["raised_at", "id"], schema="card")
    op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON card.ledger_alarm FROM {ROLE}")
    op.execute(f"GRANT UPDATE (acknowledged_at, acknowledged_by, reason) ON card.ledger_alarm TO {ROLE}")
    op.create_table(
        "ledger_check",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accounts", sa.BigInteger(), nullable=False),
        sa.Column("transfers", sa.BigInteger(), nullable=False),
        sa.Column("batches", sa.BigInteger(), nullable=False),
        sa.Column("findings", sa.Integer(), nullable=False),
        sa.Column("took_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_check")),
        schema="card",
    )
    op.create_table(
        "ledger_record",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("leaf", sa.Integer(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_ledger_record")),
        schema="card",
    )
    op.create_index("ix_ledger_record_position", "ledger_record", ["position", "leaf"], unique=True, schema="card")
    op.create_index("ix_refused_transfer_refused_at", "refused_transfer", ["refused_at"], schema="card")
    _seal_anew()
    op.add_column("ledger_seal", sa.Column("blocks", sa.LargeBinary(), nullable=False), schema="card")
    op.add_column("ledger_seal", sa.Column("records", sa.LargeBinary(), nullable=False), schema="card")
    for role in (SEALER, REPORTS):
        op.execute(
            f"""
            DO $$ BEGIN
              IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} NOLOGIN; END IF;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$
            """
        )
        op.execute(f"GRANT SELECT ON card.ledger_record, card.ledger_cosignature TO {role}")
    op.execute(f"GRANT INSERT ON card.ledger_record TO {SEALER}")
    op.execute(f"REVOKE INSERT ON card.ledger_record FROM {ROLE}")
    op.execute(f"GRANT SELECT ON card.earmarked_purse, card.ledger_alarm, card.ledger_check TO {REPORTS}")
    _roles_of_people("'resident', 'officer', 'supervisor', 'operator', 'hospital', 'partner', 'administrator', 'auditor'")
    for table in APPEND_ONLY:
        op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON card.{table} FROM {ROLE}")
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON card.{table} "
            "FOR EACH ROW EXECUTE FUNCTION card.refuse_change()"
        )
        op.execute(f"CREATE TRIGGER never_emptied BEFORE TRUNCATE ON card.{table} EXECUTE FUNCTION card.refuse_change()")


def _roles_of_people(roles: str) -> None:
    op.drop_constraint("ck_person_role_role", "person_role", schema="services")
    op.create_check_constraint(op.f("ck_person_role_role"), "person_role", f"role IN ({roles})", schema="services")


def _seal_anew() -> None:
    """A leaf says more than before (its shard, and what is sealed with it), so the tree is made again from the books.

    No other city has seen a checkpoint of the earlier form.
    """
    for table in SEALED:
        op.execute(f"ALTER TABLE card.{table} DISABLE TRIGGER USER")
        op.execute(f"DELETE FROM card.{table}")
        op.execute(f"ALTER TABLE card.{table} ENABLE TRIGGER USER")


def downgrade() -> None:
    """Remove."""
    op.execute("DELETE FROM services.person_role WHERE role = 'auditor'")
    _roles_of_people("'resident', 'officer', 'supervisor', 'operator', 'hospital', 'partner', 'administrator'")
    _seal_anew()
    op.drop_column("ledger_seal", "records", schema="card")
    op.drop_column("ledger_seal", "blocks", schema="card")
    op.execute("DROP INDEX card.ix_refused_transfer_refused_at")
    for table in ("ledger_record", "ledger_check", "ledger_alarm", "partner_checkpoint", "ledger_cosignature"):
        op.drop_table(table, schema="card")
    op.drop_column("ledger_checkpoint", "suite", schema="card")
    op.execute("DROP INDEX card.ix_transfer_metadata")
    op.drop_table("earmarked_purse", schema="card")
