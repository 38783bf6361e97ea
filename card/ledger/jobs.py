"""What the worker repeats for the ledger: give expired holds back, make the coming months' partitions, seal batches."""

from datetime import timedelta
from typing import Final

from sqlalchemy import text

from app.kernel import clock, signing
from app.kernel.db import Database
from app.kernel.settings import Settings
from app.kernel.signing import Purpose
from card.ledger import actions, proofs, purses

MONTHS_AHEAD: Final = 4


def expire_holds(database: Database, _: Settings) -> None:
    """Give back every hold whose time has passed, some hundreds to a transaction."""
    while True:
        with database.transaction() as session:
            if actions.expire_holds(session, now=clock.now()) == 0:
                return


def expire_purses(database: Database, _: Settings) -> None:
    """Return what is left in earmarked purses whose time has passed."""
    while True:
        with database.transaction() as session:
            if purses.expire_purses(session, now=clock.now()) == 0:
                return


def make_months(database: Database, _: Settings) -> None:
    """Make the partitions of this month and the next ones, long before a transfer needs them."""
    first_day = clock.now().date() - timedelta(days=1)
    with database.transaction() as session:
        session.execute(
            text("SELECT card.make_ledger_months(:first_day, :months)"), {"first_day": first_day, "months": MONTHS_AHEAD}
        )


def seal(database: Database, settings: Settings) -> None:
    """Append what was booked to the tree and sign it, until nothing new is left."""
    _seal(database, settings, window=proofs.WINDOW)


def seal_stragglers(database: Database, settings: Settings) -> None:
    """The same for batches whose transaction took so long that many later ones were sealed before them."""
    _seal(database, settings, window=None)


def _seal(database: Database, settings: Settings, *, window: int | None) -> None:
    key = signing.load_or_create(settings.keys_dir, Purpose.CHECKPOINT)
    while True:
        with database.transaction() as session:
            if proofs.seal(session, key=key, city_code=settings.city_code, now=clock.now(), window=window) < proofs.STEP:
                return
