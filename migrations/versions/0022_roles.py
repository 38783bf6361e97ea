"""Roles beside the application's: the sealer, who alone appends proofs, and the reports, who only read the books."""

from alembic import op

revision = "0022"
down_revision = "0021"

APPLICATION, SEALER, REPORTS = "city_app", "city_sealer", "city_reports"
PROOFS = ("ledger_seal", "ledger_node", "ledger_checkpoint")
BOOKS = (
    "account",
    "account_balance",
    "account_delta",
    "earmarked_purse",
    "hold",
    "ledger_alarm",
    "ledger_batch",
    "ledger_check",
    "ledger_cosignature",
    "refused_transfer",
    "transfer",
    *PROOFS,
)


def upgrade() -> None:
    """Create."""
    for role in (SEALER, REPORTS):
        op.execute(
            f"""
            DO $$ BEGIN
              IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} NOLOGIN; END IF;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$
            """
        )
        op.execute(f"GRANT {role} TO CURRENT_USER")
        op.execute(f"GRANT USAGE ON SCHEMA card TO {role}")
        for table in BOOKS:
            op.execute(f"GRANT SELECT ON card.{table} TO {role}")
    for table in PROOFS:
        op.execute(f"REVOKE INSERT ON card.{table} FROM {APPLICATION}")
        op.execute(f"GRANT INSERT ON card.{table} TO {SEALER}")


def downgrade() -> None:
    """Take the rights back. The roles stay: other databases of the server may use them."""
    for table in PROOFS:
        op.execute(f"GRANT INSERT ON card.{table} TO {APPLICATION}")
        op.execute(f"REVOKE INSERT ON card.{table} FROM {SEALER}")
    for role in (SEALER, REPORTS):
        for table in BOOKS:
            op.execute(f"REVOKE SELECT ON card.{table} FROM {role}")
        op.execute(f"REVOKE USAGE ON SCHEMA card FROM {role}")
