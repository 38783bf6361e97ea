"""Transit: feeds, operators, terminals, taps, journeys, fare postings, debts, presentments."""

from alembic import op

revision = "0004"
down_revision = "0003"

ROLE = "city_app"
APPEND_ONLY = ("feed_file", "tap_upload", "tap", "tap_alarm", "fare_posting", "presentment_in")
TABLES = (
    "tap",
    "terminal_nonce",
    "terminal_boot",
    "tap_upload",
    "tap_alarm",
    "presentment_out",
    "terminal",
    "tariff",
    "line",
    "feed_file",
    "fare_posting",
    "enrolment",
    "claimed_tap",
    "stop",
    "presentment_in",
    "partner_deny_list",
    "operator",
    "journey_contest",
    "journey",
    "feed_import",
    "debt",
)
STATEMENTS = (
    """
    CREATE TABLE card.debt (
      id UUID NOT NULL,
      holder_id UUID NOT NULL,
      card_number TEXT NOT NULL,
      creditor TEXT NOT NULL,
      liability TEXT NOT NULL,
      amount_minor BIGINT NOT NULL,
      left_minor BIGINT NOT NULL,
      opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
      closed_at TIMESTAMP WITH TIME ZONE,
      CONSTRAINT pk_debt PRIMARY KEY (id),
      CONSTRAINT ck_debt_left_minor CHECK (left_minor BETWEEN 0 AND amount_minor)
    )
    """,
    """
    CREATE INDEX ix_debt_holder_id ON card.debt (holder_id, id) WHERE left_minor > 0
    """,
    """
    CREATE TABLE card.feed_import (
      id UUID NOT NULL,
      feed_id TEXT NOT NULL,
      digest TEXT NOT NULL,
      imported_at TIMESTAMP WITH TIME ZONE NOT NULL,
      imported_by TEXT NOT NULL,
      CONSTRAINT pk_feed_import PRIMARY KEY (id),
      CONSTRAINT uq_feed_import_feed_id_digest UNIQUE (feed_id, digest)
    )
    """,
    """
    CREATE TABLE card.journey (
      id UUID NOT NULL,
      key TEXT NOT NULL,
      card_number TEXT NOT NULL,
      holder_id UUID,
      issuer TEXT NOT NULL,
      card_day DATE NOT NULL,
      operator_id TEXT NOT NULL,
      line_id TEXT NOT NULL,
      state TEXT NOT NULL,
      from_stop TEXT,
      to_stop TEXT,
      started_at TIMESTAMP WITH TIME ZONE NOT NULL,
      ended_at TIMESTAMP WITH TIME ZONE,
      km NUMERIC(9, 3),
      tariff_id TEXT,
      capped_minor BIGINT NOT NULL,
      charged_minor BIGINT NOT NULL,
      steps JSONB NOT NULL,
      taps JSONB NOT NULL,
      priced_at TIMESTAMP WITH TIME ZONE NOT NULL,
      CONSTRAINT pk_journey PRIMARY KEY (id),
      CONSTRAINT uq_journey_card_number_key UNIQUE (card_number, key)
    )
    """,
    """
    CREATE INDEX ix_journey_card_number ON card.journey (card_number, started_at)
    """,
    """
    CREATE INDEX ix_journey_holder_id ON card.journey (holder_id, started_at)
    """,
    """
    CREATE INDEX ix_journey_operator_id ON card.journey (operator_id, card_day)
    """,
    """
    CREATE TABLE card.partner_deny_list (
      city TEXT NOT NULL,
      seq BIGINT NOT NULL,
      digest BYTEA NOT NULL,
      denied BYTEA NOT NULL,
      fetched_at TIMESTAMP WITH TIME ZONE NOT NULL,
      CONSTRAINT pk_partner_deny_list PRIMARY KEY (city)
    )
    """,
    """
    CREATE TABLE card.journey_contest (
      id UUID NOT NULL,
      card_number TEXT NOT NULL,
      journey_key TEXT NOT NULL,
      holder_id UUID NOT NULL,
      operator_id TEXT NOT NULL,
      kind TEXT NOT NULL,
      claimed_stop TEXT NOT NULL,
      words TEXT NOT NULL,
      state TEXT NOT NULL,
      opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
      decided_at TIMESTAMP WITH TIME ZONE,
      decided_by TEXT,
      answer TEXT NOT NULL,
      CONSTRAINT pk_journey_contest PRIMARY KEY (id),
      CONSTRAINT ck_journey_contest_state CHECK (state IN ('open', 'upheld', 'rejected'))
    )
    """,
    """
    CREATE INDEX ix_journey_contest_operator_id ON card.journey_contest (operator_id, id)
    """,
    """
    CREATE TABLE card.operator (
      id TEXT NOT NULL,
      feed_id TEXT NOT NULL,
      name_en TEXT NOT NULL,
      name_zh TEXT NOT NULL,
      open_when_stale BOOLEAN NOT NULL,
      CONSTRAINT pk_operator PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE card.presentment_in (
      id UUID NOT NULL,
      acquirer TEXT NOT NULL,
      digest TEXT NOT NULL,
      claim JSONB NOT NULL,
      answer JSONB NOT NULL,
      received_at TIMESTAMP WITH TIME ZONE NOT NULL,
      CONSTRAINT pk_presentment_in PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE card.stop (
      id TEXT NOT NULL,
      feed_id TEXT NOT NULL,
      name_en TEXT NOT NULL,
      name_zh TEXT NOT NULL,
      latitude NUMERIC(9, 6),
      longitude NUMERIC(9, 6),
      CONSTRAINT pk_stop PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE card.claimed_tap (
      id UUID NOT NULL,
      contest_id UUID NOT NULL,
      card_number TEXT NOT NULL,
      card_day DATE NOT NULL,
      kind TEXT NOT NULL,
      at TIMESTAMP WITH TIME ZONE NOT NULL,
      operator_id TEXT NOT NULL,
      stop_id TEXT NOT NULL,
      line_id TEXT NOT NULL,
      CONSTRAINT pk_claimed_tap PRIMARY KEY (id),
      CONSTRAINT fk_claimed_tap_contest_id FOREIGN KEY(contest_id) REFERENCES card.journey_contest (id)
    )
    """,
    """
    CREATE INDEX ix_claimed_tap_card_number ON card.claimed_tap (card_number, card_day)
    """,
    """
    CREATE TABLE card.enrolment (
      id UUID NOT NULL,
      token_hash BYTEA NOT NULL,
      operator_id TEXT NOT NULL,
      stop_id TEXT NOT NULL,
      line_id TEXT NOT NULL,
      mode TEXT NOT NULL,
      created_by TEXT NOT NULL,
      created_at TIMESTAMP WITH TIME ZONE NOT NULL,
      expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
      used_at TIMESTAMP WITH TIME ZONE,
      terminal_id UUID,
      CONSTRAINT pk_enrolment PRIMARY KEY (id),
      CONSTRAINT uq_enrolment_token_hash UNIQUE (token_hash),
      CONSTRAINT ck_enrolment_mode CHECK (mode IN ('entry', 'exit', 'both', 'ride')),
      CONSTRAINT fk_enrolment_operator_id FOREIGN KEY(operator_id) REFERENCES card.operator (id)
    )
    """,
    """
    CREATE TABLE card.fare_posting (
      id UUID NOT NULL,
      card_number TEXT NOT NULL,
      issuer TEXT NOT NULL,
      card_day DATE NOT NULL,
      operator_id TEXT NOT NULL,
      revision INTEGER NOT NULL,
      amount_minor BIGINT NOT NULL,
      total_minor BIGINT NOT NULL,
      means TEXT NOT NULL,
      liability TEXT NOT NULL,
      cause JSONB NOT NULL,
      posted_at TIMESTAMP WITH TIME ZONE NOT NULL,
      CONSTRAINT pk_fare_posting PRIMARY KEY (id),
      CONSTRAINT uq_fare_posting_revision UNIQUE (card_number, card_day, operator_id, revision),
      CONSTRAINT ck_fare_posting_amount_minor CHECK (amount_minor <> 0),
      CONSTRAINT ck_fare_posting_means CHECK (means IN ('purse', 'debt', 'foreign')),
      CONSTRAINT fk_fare_posting_operator_id FOREIGN KEY(operator_id) REFERENCES card.operator (id)
    )
    """,
    """
    CREATE INDEX ix_fare_posting_operator_id ON card.fare_posting (operator_id, posted_at)
    """,
    """
    CREATE TABLE card.feed_file (
      feed_import_id UUID NOT NULL,
      name TEXT NOT NULL,
      content BYTEA NOT NULL,
      CONSTRAINT pk_feed_file PRIMARY KEY (feed_import_id, name),
      CONSTRAINT fk_feed_file_feed_import_id FOREIGN KEY(feed_import_id) REFERENCES card.feed_import (id)
    )
    """,
    """
    CREATE TABLE card.line (
      id TEXT NOT NULL,
      feed_id TEXT NOT NULL,
      operator_id TEXT NOT NULL,
      name_en TEXT NOT NULL,
      name_zh TEXT NOT NULL,
      color TEXT NOT NULL,
      rail BOOLEAN NOT NULL,
      path JSONB NOT NULL,
      CONSTRAINT pk_line PRIMARY KEY (id),
      CONSTRAINT fk_line_operator_id FOREIGN KEY(operator_id) REFERENCES card.operator (id)
    )
    """,
    """
    CREATE TABLE card.tariff (
      operator_id TEXT NOT NULL,
      id TEXT NOT NULL,
      feed_import_id UUID NOT NULL,
      digest TEXT NOT NULL,
      effective_from DATE NOT NULL,
      effective_until DATE,
      name_en TEXT NOT NULL,
      name_zh TEXT NOT NULL,
      secondary_source BOOLEAN NOT NULL,
      source TEXT NOT NULL,
      CONSTRAINT pk_tariff PRIMARY KEY (operator_id, id),
      CONSTRAINT fk_tariff_operator_id FOREIGN KEY(operator_id) REFERENCES card.operator (id),
      CONSTRAINT fk_tariff_feed_import_id FOREIGN KEY(feed_import_id) REFERENCES card.feed_import (id)
    )
    """,
    """
    CREATE TABLE card.terminal (
      id UUID NOT NULL,
      operator_id TEXT NOT NULL,
      stop_id TEXT NOT NULL,
      line_id TEXT NOT NULL,
      mode TEXT NOT NULL,
      public_key BYTEA NOT NULL,
      software TEXT NOT NULL,
      certificate BYTEA NOT NULL,
      enrolled_at TIMESTAMP WITH TIME ZONE NOT NULL,
      certificate_until TIMESTAMP WITH TIME ZONE NOT NULL,
      revoked_at TIMESTAMP WITH TIME ZONE,
      last_seen_at TIMESTAMP WITH TIME ZONE,
      synced_at TIMESTAMP WITH TIME ZONE,
      list_seq BIGINT NOT NULL,
      skew_ms BIGINT NOT NULL,
      last_tap_at TIMESTAMP WITH TIME ZONE,
      CONSTRAINT pk_terminal PRIMARY KEY (id),
      CONSTRAINT ck_terminal_mode CHECK (mode IN ('entry', 'exit', 'both', 'ride')),
      CONSTRAINT fk_terminal_operator_id FOREIGN KEY(operator_id) REFERENCES card.operator (id)
    )
    """,
    """
    CREATE INDEX ix_terminal_operator_id ON card.terminal (operator_id, id)
    """,
    """
    CREATE TABLE card.presentment_out (
      id UUID NOT NULL,
      fare_posting_id UUID NOT NULL,
      issuer TEXT NOT NULL,
      claim JSONB NOT NULL,
      answer JSONB,
      written_at TIMESTAMP WITH TIME ZONE NOT NULL,
      answered_at TIMESTAMP WITH TIME ZONE,
      CONSTRAINT pk_presentment_out PRIMARY KEY (id),
      CONSTRAINT fk_presentment_out_fare_posting_id FOREIGN KEY(fare_posting_id) REFERENCES card.fare_posting (id)
    )
    """,
    """
    CREATE TABLE card.tap_alarm (
      id UUID NOT NULL,
      at TIMESTAMP WITH TIME ZONE NOT NULL,
      operator_id TEXT NOT NULL,
      terminal_id UUID NOT NULL,
      boot_id TEXT NOT NULL,
      seq BIGINT NOT NULL,
      kind TEXT NOT NULL,
      details JSONB NOT NULL,
      CONSTRAINT pk_tap_alarm PRIMARY KEY (id),
      CONSTRAINT fk_tap_alarm_terminal_id FOREIGN KEY(terminal_id) REFERENCES card.terminal (id)
    )
    """,
    """
    CREATE INDEX ix_tap_alarm_operator_id ON card.tap_alarm (operator_id, id)
    """,
    """
    CREATE TABLE card.tap_upload (
      id UUID NOT NULL,
      terminal_id UUID NOT NULL,
      received_at TIMESTAMP WITH TIME ZONE NOT NULL,
      digest BYTEA NOT NULL,
      proof TEXT NOT NULL,
      taps INTEGER NOT NULL,
      CONSTRAINT pk_tap_upload PRIMARY KEY (id),
      CONSTRAINT fk_tap_upload_terminal_id FOREIGN KEY(terminal_id) REFERENCES card.terminal (id)
    )
    """,
    """
    CREATE TABLE card.terminal_boot (
      terminal_id UUID NOT NULL,
      boot_id TEXT NOT NULL,
      contiguous BIGINT NOT NULL,
      CONSTRAINT pk_terminal_boot PRIMARY KEY (terminal_id, boot_id),
      CONSTRAINT fk_terminal_boot_terminal_id FOREIGN KEY(terminal_id) REFERENCES card.terminal (id)
    )
    """,
    """
    CREATE TABLE card.terminal_nonce (
      terminal_id UUID NOT NULL,
      nonce BYTEA NOT NULL,
      expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
      CONSTRAINT pk_terminal_nonce PRIMARY KEY (terminal_id, nonce),
      CONSTRAINT fk_terminal_nonce_terminal_id FOREIGN KEY(terminal_id) REFERENCES card.terminal (id)
    )
    """,
    """
    CREATE INDEX ix_terminal_nonce_expires_at ON card.terminal_nonce (expires_at)
    """,
    """
    CREATE TABLE card.tap (
      terminal_id UUID NOT NULL,
      boot_id TEXT NOT NULL,
      seq BIGINT NOT NULL,
      upload_id UUID NOT NULL,
      digest BYTEA NOT NULL,
      prev BYTEA NOT NULL,
      kind TEXT NOT NULL,
      device_at TIMESTAMP WITH TIME ZONE NOT NULL,
      skew_ms BIGINT NOT NULL,
      at TIMESTAMP WITH TIME ZONE NOT NULL,
      received_at TIMESTAMP WITH TIME ZONE NOT NULL,
      card_day DATE NOT NULL,
      card_number TEXT NOT NULL,
      issuer TEXT NOT NULL,
      counter BIGINT NOT NULL,
      device_kid BYTEA NOT NULL,
      status_index BIGINT NOT NULL,
      entitlements JSONB NOT NULL,
      decision TEXT NOT NULL,
      reason TEXT NOT NULL,
      verdict TEXT NOT NULL,
      list_seq BIGINT NOT NULL,
      tariff_version TEXT NOT NULL,
      qr BYTEA NOT NULL,
      operator_id TEXT NOT NULL,
      stop_id TEXT NOT NULL,
      line_id TEXT NOT NULL,
      liability TEXT NOT NULL,
      quarantined BOOLEAN NOT NULL,
      CONSTRAINT pk_tap PRIMARY KEY (terminal_id, boot_id, seq),
      CONSTRAINT ck_tap_decision CHECK (decision IN ('accepted', 'refused')),
      CONSTRAINT fk_tap_terminal_id FOREIGN KEY(terminal_id) REFERENCES card.terminal (id),
      CONSTRAINT fk_tap_upload_id FOREIGN KEY(upload_id) REFERENCES card.tap_upload (id)
    )
    """,
    """
    CREATE INDEX ix_tap_card_number ON card.tap (card_number, card_day)
    """,
    """
    CREATE INDEX ix_tap_operator_id ON card.tap (operator_id, received_at)
    """,
)


def upgrade() -> None:
    """Create."""
    for statement in STATEMENTS:
        op.execute(statement)
    for table in APPEND_ONLY:
        op.execute(f"REVOKE UPDATE, DELETE ON card.{table} FROM {ROLE}")


def downgrade() -> None:
    """Remove."""
    for table in TABLES:
        op.execute(f"DROP TABLE card.{table}")
