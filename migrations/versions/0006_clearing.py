"""The tables of clearing: records, files, breaks, disputes, positions, cycles."""
# ruff: noqa: E501

from alembic import op

revision = "0006"
down_revision = "0005"

TABLES = (
    "dispute_move",
    "dispute",
    "break",
    "file",
    "record",
    "proposal",
    "position",
    "member",
    "instruction",
    "cycle",
)


def upgrade() -> None:
    """Create."""
    op.execute(
        """
    CREATE TABLE card.clearing_break (
      id UUID NOT NULL,
      acquirer TEXT NOT NULL,
      issuer TEXT NOT NULL,
      "window" DATE NOT NULL,
      kind TEXT NOT NULL,
      record_id UUID NOT NULL,
      file_id UUID,
      claim JSONB,
      debit JSONB,
      claimed_minor BIGINT,
      debited_minor BIGINT,
      proposal TEXT NOT NULL,
      suggestion UUID,
      state TEXT NOT NULL,
      resolution TEXT,
      agreed_minor BIGINT,
      found_at TIMESTAMP WITH TIME ZONE NOT NULL,
      resolved_at TIMESTAMP WITH TIME ZONE,
      CONSTRAINT pk_clearing_break PRIMARY KEY (id),
      CONSTRAINT ck_clearing_break_kind CHECK (kind IN ('acquirer-only', 'issuer-only', 'amount', 'duplicate', 'wrong-pair', 'window', 'manifest')),
      CONSTRAINT ck_clearing_break_state CHECK (state IN ('open', 'disputed', 'resolved'))
    );
    CREATE INDEX ix_clearing_break_record_id ON card.clearing_break (record_id);
    CREATE INDEX ix_clearing_break_state ON card.clearing_break (state, id);
    CREATE TABLE card.clearing_cycle (
      number INTEGER NOT NULL,
      state TEXT NOT NULL,
      figures JSONB NOT NULL,
      prepared_by TEXT NOT NULL,
      prepared_at TIMESTAMP WITH TIME ZONE NOT NULL,
      approved_by TEXT,
      approved_at TIMESTAMP WITH TIME ZONE,
      settled_by TEXT,
      settled_at TIMESTAMP WITH TIME ZONE,
      CONSTRAINT pk_clearing_cycle PRIMARY KEY (number),
      CONSTRAINT ck_clearing_cycle_state CHECK (state IN ('netted', 'funding-call', 'instructed', 'settled', 'archived', 'suspended')),
      CONSTRAINT ck_clearing_cycle_four_eyes CHECK (approved_by IS NULL OR approved_by <> prepared_by)
    );
    CREATE TABLE card.clearing_dispute (
      id UUID NOT NULL,
      break_id UUID,
      record_id UUID NOT NULL,
      acquirer TEXT NOT NULL,
      issuer TEXT NOT NULL,
      claimant TEXT NOT NULL,
      respondent TEXT NOT NULL,
      original_minor BIGINT NOT NULL,
      debited_minor BIGINT NOT NULL,
      before_minor BIGINT NOT NULL,
      asked_minor BIGINT NOT NULL,
      effective_minor BIGINT NOT NULL,
      card_number TEXT NOT NULL,
      state TEXT NOT NULL,
      moves INTEGER NOT NULL,
      due_at TIMESTAMP WITH TIME ZONE,
      opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
      moved_at TIMESTAMP WITH TIME ZONE NOT NULL,
      CONSTRAINT pk_clearing_dispute PRIMARY KEY (id),
      CONSTRAINT ck_clearing_dispute_state CHECK (state IN ('inquiry', 'answered', 'chargeback', 'representment', 'second-chargeback', 'arbitration', 'closed', 'withdrawn')),
      CONSTRAINT ck_clearing_dispute_two_parties CHECK (claimant <> respondent)
    );
    CREATE INDEX ix_clearing_dispute_record_id ON card.clearing_dispute (record_id);
    CREATE INDEX ix_clearing_dispute_state ON card.clearing_dispute (state, id);
    CREATE TABLE card.clearing_file (
      id UUID NOT NULL,
      direction TEXT NOT NULL,
      acquirer TEXT NOT NULL,
      issuer TEXT NOT NULL,
      "window" DATE NOT NULL,
      number INTEGER NOT NULL,
      count INTEGER NOT NULL,
      sum_minor BIGINT NOT NULL,
      root TEXT NOT NULL,
      digest TEXT NOT NULL,
      previous TEXT,
      cut_off TIMESTAMP WITH TIME ZONE NOT NULL,
      manifest TEXT NOT NULL,
      records BYTEA NOT NULL,
      state TEXT NOT NULL,
      matched_count INTEGER,
      matched_minor BIGINT,
      break_count INTEGER,
      made_at TIMESTAMP WITH TIME ZONE NOT NULL,
      made_by TEXT NOT NULL,
      matched_at TIMESTAMP WITH TIME ZONE,
      CONSTRAINT pk_clearing_file PRIMARY KEY (id),
      CONSTRAINT ck_clearing_file_direction CHECK (direction IN ('sent', 'received')),
      CONSTRAINT ck_clearing_file_state CHECK (state IN ('prepared', 'delivered', 'refused', 'received', 'matched')),
      CONSTRAINT ck_clearing_file_number CHECK (number > 0)
    );
    CREATE UNIQUE INDEX uq_clearing_file_number ON card.clearing_file (acquirer, issuer, "window", number);
    CREATE TABLE card.clearing_instruction (
      cycle INTEGER NOT NULL,
      city TEXT NOT NULL,
      net_minor BIGINT NOT NULL,
      fee_minor BIGINT NOT NULL,
      document TEXT NOT NULL,
      state TEXT NOT NULL,
      sent_at TIMESTAMP WITH TIME ZONE NOT NULL,
      booked_at TIMESTAMP WITH TIME ZONE,
      settled_at TIMESTAMP WITH TIME ZONE,
      CONSTRAINT pk_clearing_instruction PRIMARY KEY (cycle, city),
      CONSTRAINT ck_clearing_instruction_state CHECK (state IN ('sent', 'booked', 'settled'))
    );
    CREATE TABLE card.clearing_member (
      city TEXT NOT NULL,
      cap_minor BIGINT NOT NULL,
      funded_minor BIGINT NOT NULL,
      CONSTRAINT pk_clearing_member PRIMARY KEY (city),
      CONSTRAINT ck_clearing_member_cap_minor CHECK (cap_minor >= 0),
      CONSTRAINT ck_clearing_member_funded_minor CHECK (funded_minor >= 0)
    );
    CREATE TABLE card.clearing_position (
      reporter TEXT NOT NULL,
      issuer TEXT NOT NULL,
      acquirer TEXT NOT NULL,
      reference TEXT NOT NULL,
      "window" DATE NOT NULL,
      count INTEGER NOT NULL,
      amount_minor BIGINT NOT NULL,
      at TIMESTAMP WITH TIME ZONE NOT NULL,
      cycle INTEGER,
      CONSTRAINT pk_clearing_position PRIMARY KEY (reporter, issuer, acquirer, reference),
      CONSTRAINT ck_clearing_position_reporter CHECK (reporter IN (issuer, acquirer))
    );
    CREATE INDEX ix_clearing_position_cycle ON card.clearing_position (cycle);
    CREATE TABLE card.clearing_proposal (
      id UUID NOT NULL,
      kind TEXT NOT NULL,
      subject TEXT NOT NULL,
      payload JSONB NOT NULL,
      state TEXT NOT NULL,
      prepared_by TEXT NOT NULL,
      prepared_at TIMESTAMP WITH TIME ZONE NOT NULL,
      decided_by TEXT,
      decided_at TIMESTAMP WITH TIME ZONE,
      CONSTRAINT pk_clearing_proposal PRIMARY KEY (id),
      CONSTRAINT ck_clearing_proposal_state CHECK (state IN ('waiting', 'approved', 'refused')),
      CONSTRAINT ck_clearing_proposal_four_eyes CHECK (decided_by IS NULL OR decided_by <> prepared_by OR state = 'refused')
    );
    CREATE INDEX ix_clearing_proposal_state ON card.clearing_proposal (state, id);
    CREATE UNIQUE INDEX uq_clearing_proposal_waiting ON card.clearing_proposal (subject) WHERE state = 'waiting';
    CREATE TABLE card.clearing_record (
      side TEXT NOT NULL,
      id UUID NOT NULL,
      issuer TEXT NOT NULL,
      acquirer TEXT NOT NULL,
      amount_minor BIGINT NOT NULL,
      kind TEXT NOT NULL,
      card_number TEXT NOT NULL,
      reference TEXT NOT NULL,
      terminal_id TEXT NOT NULL,
      counter BIGINT,
      event_at TIMESTAMP WITH TIME ZONE NOT NULL,
      accepted_at TIMESTAMP WITH TIME ZONE NOT NULL,
      "window" DATE NOT NULL,
      state TEXT NOT NULL,
      file_id UUID,
      noted_at TIMESTAMP WITH TIME ZONE NOT NULL,
      CONSTRAINT pk_clearing_record PRIMARY KEY (side, id),
      CONSTRAINT ck_clearing_record_side CHECK (side IN ('claim', 'debit')),
      CONSTRAINT ck_clearing_record_state CHECK (state IN ('waiting', 'filed', 'matched', 'broken', 'resolved')),
      CONSTRAINT ck_clearing_record_two_cities CHECK (issuer <> acquirer)
    );
    CREATE INDEX ix_clearing_record_file_id ON card.clearing_record (file_id);
    CREATE INDEX ix_clearing_record_pair ON card.clearing_record (side, acquirer, issuer, state, "window");
    CREATE TABLE card.clearing_dispute_move (
      dispute_id UUID NOT NULL,
      number INTEGER NOT NULL,
      move TEXT NOT NULL,
      city TEXT NOT NULL,
      state TEXT NOT NULL,
      given_minor BIGINT,
      effective_minor BIGINT NOT NULL,
      note TEXT NOT NULL,
      prepared_by TEXT NOT NULL,
      approved_by TEXT,
      at TIMESTAMP WITH TIME ZONE NOT NULL,
      document TEXT NOT NULL,
      CONSTRAINT pk_clearing_dispute_move PRIMARY KEY (dispute_id, number),
      CONSTRAINT fk_clearing_dispute_move_dispute_id FOREIGN KEY(dispute_id) REFERENCES card.clearing_dispute (id)
    );
    """
    )
    op.execute("REVOKE UPDATE, DELETE ON card.clearing_dispute_move FROM city_app")
    op.execute(
        "REVOKE DELETE ON card.clearing_record, card.clearing_file, card.clearing_break, card.clearing_position FROM city_app"
    )


def downgrade() -> None:
    """Remove."""
    for table in TABLES:
        op.execute(f"DROP TABLE card.clearing_{table}")
