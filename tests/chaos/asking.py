"""How a careful caller posts: it never gives up, never takes silence for an answer, and asks by id what became of it."""

import time
from collections.abc import Sequence

from sqlalchemy.exc import InterfaceError, InternalError, OperationalError

from app.kernel.db import Database
from card import ledger
from card.ledger import Outcome, Transfer

PAUSE_SECONDS = 0.02
AWAY = (OperationalError, InterfaceError, InternalError)  # the database is gone, going, full or coming back


def settle(
    poster: ledger.Poster, database: Database, group: Sequence[Transfer], *, timeout_seconds: float = 2.0
) -> list[Outcome]:
    """The outcomes of ``group``, however often the database goes away meanwhile."""
    while True:
        try:
            return poster.post(group, timeout_seconds=timeout_seconds)
        except ledger.LedgerBusy:
            time.sleep(PAUSE_SECONDS)
        except (ledger.OutcomeUnknown, *AWAY):
            found = _ask(database, group)
            if found is not None:
                return found


def _ask(database: Database, group: Sequence[Transfer]) -> list[Outcome] | None:
    """What became of ``group``; none if nothing did, and sending it again is right."""
    while True:
        try:
            with database.transaction() as session:
                return [ledger.outcome_of(session, transfer.id) for transfer in group]
        except ledger.UnknownTransfer:
            return None
        except AWAY:
            time.sleep(PAUSE_SECONDS)
