"""The tables of health: hospitals, catalogue, coverage, filings, accumulators, claims, settlements."""

from alembic import op

revision = "0007"
down_revision = "0006"

ROLE = "city_app"


def upgrade() -> None:
    """Create."""
    op.execute(
        """
        CREATE TABLE card.health_hospital (
          id text NOT NULL,
          name jsonb NOT NULL,
          level text NOT NULL,
          opened_at timestamptz NOT NULL,
          CONSTRAINT pk_health_hospital PRIMARY KEY (id)
        );

        CREATE TABLE card.health_catalogue_item (
          code text NOT NULL,
          valid_from date NOT NULL,
          valid_to date,
          name jsonb NOT NULL,
          unit jsonb NOT NULL,
          item_class text NOT NULL,
          first_self_pay numeric(5, 4) NOT NULL,
          price_minor bigint NOT NULL,
          limit_minor bigint,
          source text NOT NULL,
          CONSTRAINT pk_health_catalogue_item PRIMARY KEY (code, valid_from),
          CONSTRAINT ck_health_catalogue_item_first_self_pay CHECK (first_self_pay BETWEEN 0 AND 1),
          CONSTRAINT ck_health_catalogue_item_price CHECK (price_minor >= 0)
        );

        CREATE TABLE card.health_coverage (
          id uuid NOT NULL,
          holder_id uuid NOT NULL,
          scheme text NOT NULL,
          status text NOT NULL,
          entitled jsonb NOT NULL,
          valid_from date NOT NULL,
          valid_to date,
          CONSTRAINT pk_health_coverage PRIMARY KEY (id)
        );
        CREATE INDEX ix_health_coverage_holder ON card.health_coverage (holder_id, valid_from);

        CREATE TABLE card.health_filing (
          id uuid NOT NULL,
          holder_id uuid NOT NULL,
          kind text NOT NULL,
          region text NOT NULL,
          reason text NOT NULL,
          valid_from date NOT NULL,
          valid_to date,
          state text NOT NULL,
          filed_by text NOT NULL,
          filed_at timestamptz NOT NULL,
          decided_by text,
          decided_at timestamptz,
          CONSTRAINT pk_health_filing PRIMARY KEY (id),
          CONSTRAINT ck_health_filing_period CHECK (valid_to IS NULL OR valid_to >= valid_from)
        );
        CREATE UNIQUE INDEX uq_health_filing_open ON card.health_filing (holder_id, region, valid_from)
          WHERE state IN ('draft', 'filed', 'active');
        CREATE INDEX ix_health_filing_state ON card.health_filing (state, id);

        CREATE TABLE card.health_accumulator (
          holder_id uuid NOT NULL,
          year integer NOT NULL,
          admissions integer NOT NULL,
          pool_used_minor bigint NOT NULL,
          self_pay_minor bigint NOT NULL,
          catastrophic_minor bigint NOT NULL,
          CONSTRAINT pk_health_accumulator PRIMARY KEY (holder_id, year),
          CONSTRAINT ck_health_accumulator_not_negative CHECK
            (admissions >= 0 AND pool_used_minor >= 0 AND self_pay_minor >= 0 AND catastrophic_minor >= 0)
        );

        CREATE TABLE card.health_claim (
          id uuid NOT NULL,
          hospital_id text NOT NULL,
          card_number text NOT NULL,
          insured_region text NOT NULL,
          treating_region text NOT NULL,
          admitted_on date NOT NULL,
          state text NOT NULL,
          split jsonb,
          registered_by text NOT NULL,
          registered_at timestamptz NOT NULL,
          pre_settled_at timestamptz,
          accepted_at timestamptz,
          settled_by text,
          settled_at timestamptz,
          reversal_id uuid,
          reversal_reason text,
          reversal_asked_at timestamptz,
          reversed_at timestamptz,
          CONSTRAINT pk_health_claim PRIMARY KEY (id),
          CONSTRAINT fk_health_claim_hospital_id FOREIGN KEY (hospital_id) REFERENCES card.health_hospital (id)
        );
        CREATE INDEX ix_health_claim_hospital ON card.health_claim (hospital_id, id);
        CREATE INDEX ix_health_claim_asked ON card.health_claim (accepted_at)
          WHERE accepted_at IS NOT NULL AND settled_at IS NULL;

        CREATE TABLE card.health_claim_line (
          claim_id uuid NOT NULL,
          number integer NOT NULL,
          code text NOT NULL,
          name jsonb NOT NULL,
          item_class text NOT NULL,
          quantity numeric(12, 3) NOT NULL,
          unit_price_minor bigint NOT NULL,
          amount numeric(20, 6) NOT NULL,
          own numeric(20, 6) NOT NULL,
          over numeric(20, 6) NOT NULL,
          pre numeric(20, 6) NOT NULL,
          scope numeric(20, 6) NOT NULL,
          steps jsonb NOT NULL,
          CONSTRAINT pk_health_claim_line PRIMARY KEY (claim_id, number),
          CONSTRAINT fk_health_claim_line_claim_id FOREIGN KEY (claim_id) REFERENCES card.health_claim (id),
          CONSTRAINT ck_health_claim_line_adds_up CHECK (own + over + pre + scope = amount)
        );

        CREATE TABLE card.health_settlement (
          id uuid NOT NULL,
          holder_id uuid NOT NULL,
          card_number text NOT NULL,
          treating_region text NOT NULL,
          hospital_id text NOT NULL,
          hospital_name jsonb NOT NULL,
          admitted_on date NOT NULL,
          digest text NOT NULL,
          state text NOT NULL,
          facts jsonb NOT NULL,
          inputs jsonb NOT NULL,
          split jsonb NOT NULL,
          total_minor bigint NOT NULL,
          owed_minor bigint NOT NULL,
          accepted_at timestamptz NOT NULL,
          settled_at timestamptz NOT NULL,
          reversal_id uuid,
          reversal_reason text,
          reversed_at timestamptz,
          CONSTRAINT pk_health_settlement PRIMARY KEY (id),
          CONSTRAINT uq_health_settlement_reversal_id UNIQUE (reversal_id),
          CONSTRAINT ck_health_settlement_reversed CHECK ((state = 'reversed') = (reversed_at IS NOT NULL))
        );
        CREATE INDEX ix_health_settlement_holder ON card.health_settlement (holder_id, settled_at);

        CREATE TABLE card.health_fund_line (
          settlement_id uuid NOT NULL,
          payer text NOT NULL,
          position integer NOT NULL,
          amount_minor bigint NOT NULL,
          transfer_id uuid,
          CONSTRAINT pk_health_fund_line PRIMARY KEY (settlement_id, payer),
          CONSTRAINT fk_health_fund_line_settlement_id FOREIGN KEY (settlement_id) REFERENCES card.health_settlement (id),
          CONSTRAINT ck_health_fund_line_amount CHECK (amount_minor > 0)
        );
        """
    )
    # Who paid what is a record: it is reversed by further transfers, never edited.
    op.execute(f"REVOKE UPDATE, DELETE ON card.health_fund_line FROM {ROLE}")
    op.execute(f"REVOKE DELETE ON card.health_settlement, card.health_claim FROM {ROLE}")


def downgrade() -> None:
    """Remove."""
    for table in (
        "fund_line",
        "settlement",
        "claim_line",
        "claim",
        "accumulator",
        "filing",
        "coverage",
        "catalogue_item",
        "hospital",
    ):
        op.drop_table(f"health_{table}", schema="card")
