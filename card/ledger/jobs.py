"""What the worker repeats for the ledger: give expired holds back, make the coming months' partitions."""

from datetime import timedelta
from typing import Final

from sqlalchemy import text

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.settings import Settings
from card.ledger import actions

MONTHS_AHEAD: Final = 4


def expire_holds(database: Database, _: Settings) -> None:
    """Give back every hold whose time has passed, some hundreds to a transaction."""
    while True:
        with database.transaction() as session:
            if actions.expire_holds(session, now=clock.now()) == 0:
                return


def make_months(database: Database, _: Settings) -> None:
    """Make the partitions of this month and the next ones, long before a transfer needs them."""
    first_day = clock.now().date() - timedelta(days=1)
    with database.transaction() as session:
        session.execute(
            text("SELECT card.make_ledger_months(:first_day, :months)"), {"first_day": first_day, "months": MONTHS_AHEAD}
        )
