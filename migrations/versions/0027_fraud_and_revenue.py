"""Transit: rulings on taps, fraud cases, risk budgets, write-offs, habits, apportionment, alarms looked at."""

from alembic import op

revision = "0027"
down_revision = "0026"

ROLE = "city_app"
APPEND_ONLY = ("tap_ruling", "apportionment", "tap_alarm_seen")
TABLES = ("tap_alarm_seen", "apportionment", "debt_write_off", "risk_budget", "fraud_case", "tap_ruling")
STATEMENTS = (
    "ALTER TABLE card.debt ADD COLUMN posting_id UUID",
    """
    ALTER TABLE card.claimed_tap
      ALTER COLUMN contest_id DROP NOT NULL,
      ADD COLUMN source TEXT NOT NULL DEFAULT 'claim',
      ADD COLUMN journey_key TEXT NOT NULL DEFAULT '',
      ADD COLUMN evidence JSONB NOT NULL DEFAULT '{}',
      ADD COLUMN made_at TIMESTAMP WITH TIME ZONE,
      ADD CONSTRAINT ck_claimed_tap_source CHECK (source IN ('claim', 'habit')),
      ADD CONSTRAINT ck_claimed_tap_contest CHECK (source <> 'claim' OR contest_id IS NOT NULL)
    """,
    "CREATE UNIQUE INDEX uq_claimed_tap_habit ON card.claimed_tap (card_number, journey_key) WHERE source = 'habit'",
    """
    CREATE TABLE card.tap_ruling (
      terminal_id UUID NOT NULL,
      boot_id TEXT NOT NULL,
      seq BIGINT NOT NULL,
      operator_id TEXT NOT NULL,
      bearer TEXT NOT NULL,
      reason TEXT NOT NULL,
      held_seq BIGINT NOT NULL,
      deadline TIMESTAMP WITH TIME ZONE NOT NULL,
      ruled_at TIMESTAMP WITH TIME ZONE NOT NULL,
      CONSTRAINT pk_tap_ruling PRIMARY KEY (terminal_id, boot_id, seq),
      CONSTRAINT ck_tap_ruling_bearer CHECK (bearer IN ('issuer', 'operator')),
      CONSTRAINT fk_tap_ruling_terminal_id_boot_id_seq FOREIGN KEY (terminal_id, boot_id, seq)
        REFERENCES card.tap (terminal_id, boot_id, seq)
    )
    """,
    "CREATE INDEX ix_tap_ruling_operator_id ON card.tap_ruling (operator_id, ruled_at)",
    """
    CREATE TABLE card.fraud_case (
      id UUID NOT NULL,
      kind TEXT NOT NULL,
      card_number TEXT NOT NULL,
      issuer TEXT NOT NULL,
      token TEXT NOT NULL,
      card_day DATE NOT NULL,
      operators JSONB NOT NULL,
      evidence JSONB NOT NULL,
      genuine TEXT NOT NULL,
      bearer TEXT NOT NULL,
      reason TEXT NOT NULL,
      loss_minor BIGINT NOT NULL,
      covered_minor BIGINT NOT NULL,
      state TEXT NOT NULL,
      answer TEXT NOT NULL,
      opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
      refreshed_at TIMESTAMP WITH TIME ZONE NOT NULL,
      prepared_by TEXT,
      prepared_at TIMESTAMP WITH TIME ZONE,
      decided_by TEXT,
      decided_at TIMESTAMP WITH TIME ZONE,
      CONSTRAINT pk_fraud_case PRIMARY KEY (id),
      CONSTRAINT uq_fraud_case_card_number_token UNIQUE (card_number, token),
      CONSTRAINT ck_fraud_case_state CHECK (state IN ('open', 'prepared', 'confirmed', 'dismissed')),
      CONSTRAINT ck_fraud_case_four_eyes CHECK (decided_by IS NULL OR covered_minor = 0 OR decided_by <> prepared_by),
      CONSTRAINT ck_fraud_case_covered CHECK (covered_minor >= 0 AND covered_minor <= loss_minor)
    )
    """,
    "CREATE INDEX ix_fraud_case_state ON card.fraud_case (state, id)",
    """
    CREATE TABLE card.risk_budget (
      bearer TEXT NOT NULL,
      limit_minor BIGINT NOT NULL,
      set_by TEXT NOT NULL,
      set_at TIMESTAMP WITH TIME ZONE NOT NULL,
      CONSTRAINT pk_risk_budget PRIMARY KEY (bearer),
      CONSTRAINT ck_risk_budget_limit_minor CHECK (limit_minor >= 0)
    )
    """,
    """
    CREATE TABLE card.debt_write_off (
      id UUID NOT NULL,
      debt_id UUID NOT NULL,
      amount_minor BIGINT NOT NULL,
      bearer TEXT NOT NULL,
      reason TEXT NOT NULL,
      state TEXT NOT NULL,
      prepared_by TEXT NOT NULL,
      prepared_at TIMESTAMP WITH TIME ZONE NOT NULL,
      decided_by TEXT,
      decided_at TIMESTAMP WITH TIME ZONE,
      CONSTRAINT pk_debt_write_off PRIMARY KEY (id),
      CONSTRAINT fk_debt_write_off_debt_id FOREIGN KEY (debt_id) REFERENCES card.debt (id),
      CONSTRAINT ck_debt_write_off_state CHECK (state IN ('waiting', 'approved', 'refused')),
      CONSTRAINT ck_debt_write_off_four_eyes CHECK (state <> 'approved' OR decided_by <> prepared_by),
      CONSTRAINT ck_debt_write_off_amount_minor CHECK (amount_minor > 0)
    )
    """,
    "CREATE UNIQUE INDEX uq_debt_write_off_waiting ON card.debt_write_off (debt_id) WHERE state = 'waiting'",
    """
    CREATE TABLE card.apportionment (
      id UUID NOT NULL,
      card_day DATE NOT NULL,
      from_operator TEXT NOT NULL,
      to_operator TEXT NOT NULL,
      revision INTEGER NOT NULL,
      amount_minor BIGINT NOT NULL,
      total_minor BIGINT NOT NULL,
      journeys INTEGER NOT NULL,
      posted_at TIMESTAMP WITH TIME ZONE NOT NULL,
      CONSTRAINT pk_apportionment PRIMARY KEY (id),
      CONSTRAINT uq_apportionment_revision UNIQUE (card_day, from_operator, to_operator, revision),
      CONSTRAINT ck_apportionment_two_operators CHECK (from_operator <> to_operator)
    )
    """,
    "CREATE INDEX ix_apportionment_to_operator ON card.apportionment (to_operator, card_day)",
    """
    CREATE TABLE card.tap_alarm_seen (
      alarm_id UUID NOT NULL,
      seen_by TEXT NOT NULL,
      seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
      note TEXT NOT NULL,
      CONSTRAINT pk_tap_alarm_seen PRIMARY KEY (alarm_id),
      CONSTRAINT fk_tap_alarm_seen_alarm_id FOREIGN KEY (alarm_id) REFERENCES card.tap_alarm (id)
    )
    """,
)


def upgrade() -> None:
    """Create."""
    for statement in STATEMENTS:
        op.execute(statement)
    for table in APPEND_ONLY:
        op.execute(f"REVOKE UPDATE, DELETE ON card.{table} FROM {ROLE}")
    op.execute(f"REVOKE UPDATE, DELETE ON card.claimed_tap FROM {ROLE}")
    op.execute(f"REVOKE DELETE ON card.fraud_case, card.debt_write_off, card.debt FROM {ROLE}")


def downgrade() -> None:
    """Remove."""
    for table in TABLES:
        op.execute(f"DROP TABLE card.{table}")
    op.execute("DELETE FROM card.claimed_tap WHERE source = 'habit'")
    op.execute(
        """
        ALTER TABLE card.claimed_tap
          DROP COLUMN source, DROP COLUMN journey_key, DROP COLUMN evidence, DROP COLUMN made_at,
          ALTER COLUMN contest_id SET NOT NULL
        """
    )
    op.execute(f"GRANT UPDATE, DELETE ON card.claimed_tap TO {ROLE}")
    op.execute("ALTER TABLE card.debt DROP COLUMN posting_id")
    op.execute(f"GRANT DELETE ON card.debt TO {ROLE}")
