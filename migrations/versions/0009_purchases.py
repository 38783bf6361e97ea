"""The tables of purchases: merchants and bills."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create."""
    op.execute(
        """
        CREATE TABLE card.purchases_merchant (
          id text NOT NULL,
          name jsonb NOT NULL,
          kind text NOT NULL,
          opened_at timestamptz NOT NULL,
          CONSTRAINT pk_purchases_merchant PRIMARY KEY (id)
        );

        CREATE TABLE card.purchases_bill (
          id uuid NOT NULL,
          merchant_id text NOT NULL,
          reference text NOT NULL,
          description jsonb NOT NULL,
          holder_id uuid,
          amount_minor bigint NOT NULL,
          due_on date,
          expires_at timestamptz,
          state text NOT NULL,
          made_at timestamptz NOT NULL,
          paid_at timestamptz,
          transfer_id uuid,
          refunded_minor bigint NOT NULL,
          CONSTRAINT pk_purchases_bill PRIMARY KEY (id),
          CONSTRAINT fk_purchases_bill_merchant_id FOREIGN KEY (merchant_id) REFERENCES card.purchases_merchant (id),
          CONSTRAINT uq_purchases_bill_reference UNIQUE (merchant_id, reference),
          CONSTRAINT ck_purchases_bill_amount CHECK (amount_minor > 0),
          CONSTRAINT ck_purchases_bill_refunded CHECK (refunded_minor BETWEEN 0 AND amount_minor)
        );
        CREATE INDEX ix_purchases_bill_holder ON card.purchases_bill (holder_id, id);
        """
    )


def downgrade() -> None:
    """Remove."""
    op.drop_table("purchases_bill", schema="card")
    op.drop_table("purchases_merchant", schema="card")
