"""A card's earlier fares folded beside it, and room in the pages for rows that are rewritten.

Every batch of taps read the month's journeys of all its cards, for caps and month tickets: towards the end of a month that cost
more than everything else. The fares of the days before ``past_until`` are now kept in ``past``, written once a card-day. A card
without one is read as before and gets one.

A journey is mostly written twice, when it begins and when it ends. With room in its page the second writing touches no index.
"""

from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    """Add the columns; what is there is folded when it is next priced."""
    op.execute("ALTER TABLE card.fare_card ADD COLUMN past_until date, ADD COLUMN past text")
    op.execute("ALTER TABLE card.fare_card ALTER past SET STORAGE EXTERNAL")  # a busy card's is not worth being packed each day
    op.create_check_constraint(op.f("ck_fare_card_past"), "fare_card", "(past IS NULL) = (past_until IS NULL)", schema="card")
    op.execute("ALTER TABLE card.fare_card SET (fillfactor = 60)")
    op.execute("ALTER TABLE card.journey SET (fillfactor = 60)")


def downgrade() -> None:
    """Take both away."""
    op.execute("ALTER TABLE card.journey RESET (fillfactor)")
    op.execute("ALTER TABLE card.fare_card RESET (fillfactor)")
    op.drop_constraint(op.f("ck_fare_card_past"), "fare_card", schema="card")
    op.execute("ALTER TABLE card.fare_card DROP COLUMN past_until, DROP COLUMN past")
