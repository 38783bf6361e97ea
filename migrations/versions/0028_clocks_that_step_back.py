"""How far the clock had come at each mark, so that an instant finds its place in the books although a clock stepped back."""

from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Create."""
    op.execute("ALTER TABLE card.ledger_mark ADD COLUMN reached_at TIMESTAMP WITH TIME ZONE")
    op.execute(
        """UPDATE card.ledger_mark m SET reached_at = (
             SELECT max(b.posted_at) FROM card.ledger_batch b WHERE b.batch_no <= m.batch_no)"""
    )
    op.execute("ALTER TABLE card.ledger_mark ALTER COLUMN reached_at SET NOT NULL")
    op.create_index(op.f("ix_ledger_mark_reached_at"), "ledger_mark", ["reached_at", "batch_no"], schema="card")


def downgrade() -> None:
    """Remove."""
    op.drop_index(op.f("ix_ledger_mark_reached_at"), table_name="ledger_mark", schema="card")
    op.execute("ALTER TABLE card.ledger_mark DROP COLUMN reached_at")
