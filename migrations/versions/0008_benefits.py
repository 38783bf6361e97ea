"""The tables of social security: insured lives, contributions, awards, payment runs."""

from alembic import op

revision = "0008"
down_revision = "0007"

ROLE = "city_app"


def upgrade() -> None:
    """Create."""
    op.execute(
        """
        CREATE TABLE card.benefits_relation (
          holder_id uuid NOT NULL,
          category text NOT NULL,
          wage_index numeric(8, 4) NOT NULL,
          paid_months integer NOT NULL,
          deemed_months integer NOT NULL,
          balance_minor bigint NOT NULL,
          since date NOT NULL,
          CONSTRAINT pk_benefits_relation PRIMARY KEY (holder_id),
          CONSTRAINT ck_benefits_relation_not_negative CHECK
            (deemed_months >= 0 AND paid_months >= 0 AND balance_minor >= 0)
        );

        CREATE TABLE card.benefits_contribution (
          holder_id uuid NOT NULL,
          month date NOT NULL,
          employer text NOT NULL,
          base_minor bigint NOT NULL,
          employer_minor bigint NOT NULL,
          employee_minor bigint NOT NULL,
          state text NOT NULL,
          at timestamptz NOT NULL,
          CONSTRAINT pk_benefits_contribution PRIMARY KEY (holder_id, month)
        );

        CREATE TABLE card.benefits_award (
          id uuid NOT NULL,
          reference text NOT NULL,
          holder_id uuid NOT NULL,
          kind text NOT NULL,
          code text NOT NULL,
          monthly_minor bigint NOT NULL,
          from_month date NOT NULL,
          paid_through date,
          state text NOT NULL,
          channel text NOT NULL,
          qualified_until date,
          ended_on date,
          end_reason text,
          computation jsonb NOT NULL,
          prepared_by text NOT NULL,
          approved_by text,
          made_at timestamptz NOT NULL,
          CONSTRAINT pk_benefits_award PRIMARY KEY (id),
          CONSTRAINT uq_benefits_award_reference UNIQUE (reference),
          CONSTRAINT uq_benefits_award_holder_code_from UNIQUE (holder_id, code, from_month),
          CONSTRAINT ck_benefits_award_monthly CHECK (monthly_minor > 0),
          CONSTRAINT ck_benefits_award_four_eyes CHECK (approved_by IS NULL OR approved_by <> prepared_by)
        );
        CREATE INDEX ix_benefits_award_state ON card.benefits_award (state, id);

        CREATE TABLE card.benefits_payment_run (
          id uuid NOT NULL,
          month date NOT NULL,
          kind text NOT NULL,
          state text NOT NULL,
          prepared_by text NOT NULL,
          prepared_at timestamptz NOT NULL,
          approved_by text,
          decided_at timestamptz,
          rejected_because text,
          sent_at timestamptz,
          file_digest text,
          reconciled_at timestamptz,
          CONSTRAINT pk_benefits_payment_run PRIMARY KEY (id),
          CONSTRAINT ck_benefits_payment_run_four_eyes CHECK (approved_by IS NULL OR approved_by <> prepared_by)
        );
        CREATE UNIQUE INDEX uq_benefits_payment_run_month ON card.benefits_payment_run (month)
          WHERE kind = 'regular' AND state NOT IN ('rejected', 'failed');
        CREATE UNIQUE INDEX uq_benefits_payment_run_unsent ON card.benefits_payment_run (kind)
          WHERE state IN ('generating', 'pending-approval', 'approved');

        CREATE TABLE card.benefits_payment_item (
          id uuid NOT NULL,
          run_id uuid NOT NULL,
          award_id uuid NOT NULL,
          number integer NOT NULL,
          state text NOT NULL,
          amount_minor bigint NOT NULL,
          months jsonb NOT NULL,
          steps jsonb NOT NULL,
          channel text NOT NULL,
          transfer_id uuid,
          return_reason text,
          replaces_id uuid,
          settled_at timestamptz,
          CONSTRAINT pk_benefits_payment_item PRIMARY KEY (id),
          CONSTRAINT fk_benefits_payment_item_run_id FOREIGN KEY (run_id) REFERENCES card.benefits_payment_run (id),
          CONSTRAINT fk_benefits_payment_item_award_id FOREIGN KEY (award_id) REFERENCES card.benefits_award (id),
          CONSTRAINT fk_benefits_payment_item_replaces_id FOREIGN KEY (replaces_id)
            REFERENCES card.benefits_payment_item (id),
          CONSTRAINT uq_benefits_payment_item_number UNIQUE (run_id, number),
          CONSTRAINT uq_benefits_payment_item_award UNIQUE (run_id, award_id),
          CONSTRAINT uq_benefits_payment_item_replaces_id UNIQUE (replaces_id),
          CONSTRAINT ck_benefits_payment_item_amount CHECK (amount_minor >= 0)
        );
        CREATE INDEX ix_benefits_payment_item_award ON card.benefits_payment_item (award_id, id);
        """
    )
    op.execute(f"REVOKE DELETE ON card.benefits_payment_run, card.benefits_payment_item, card.benefits_award FROM {ROLE}")


def downgrade() -> None:
    """Remove."""
    for table in ("payment_item", "payment_run", "award", "contribution", "relation"):
        op.drop_table(f"benefits_{table}", schema="card")
