"""What the worker repeats for the ledger: give expired holds back, make the coming months, seal batches and fold them."""

import time
from datetime import date, timedelta
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.settings import Settings
from card.ledger import actions, alarming, auditing, checks, clocks, marks, proofs, purses, recent, rules

MONTHS_AHEAD: Final = 4
ALARM_DAYS: Final = 35  # so many days ahead at least the months must reach, or an alarm is logged
NUMBERED: Final = 1.0  # seconds in which a batch that has its number has written something
SETTLING: Final = 10.0  # seconds to wait for transactions under way before folding is left to the next time
log = structlog.get_logger()


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
    """Make the partitions of this month and the next ones, long before a transfer needs them; alarm if there are none."""
    today = clock.now().date()
    with database.transaction() as session:
        session.execute(
            text("SELECT card.make_ledger_months(:first_day, :months)"),
            {"first_day": today - timedelta(days=1), "months": MONTHS_AHEAD},
        )
        reaches = months_reach(session)
    if reaches is None or reaches < today + timedelta(days=ALARM_DAYS):
        log.error("ledger.months", alarm="the months of the ledger end soon", reach=str(reaches))


def months_reach(session: Session) -> date | None:
    """The day before which the ledger has a partition for every day from now on; none without partitions."""
    found: date | None = session.execute(
        text(
            """SELECT max(to_date(substring(c.relname FROM 10), 'YYYY_MM') + interval '1 month')::date
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'card.transfer'::regclass AND c.relname ~ '^transfer_[0-9]{4}_[0-9]{2}$'"""
        )
    ).scalar_one_or_none()
    return found


def fold(database: Database, _: Settings) -> None:
    """Fold what was booked into marks, if enough has come. ``database`` is the sealer's."""
    with database.transaction() as session:
        if not marks.is_due(session):
            return
    fold_settled(database)


def fold_settled(database: Database, *, all_of_it: bool = False) -> int:
    """Wait until no batch below the newest can still come, then fold; how many marks were made (0 if it took too long)."""
    with database.transaction() as session:
        upto = marks.newest(session)
    time.sleep(NUMBERED)
    with database.transaction() as session:
        horizon = marks.horizon(session)
    until = time.monotonic() + SETTLING
    while True:
        with database.transaction() as session:
            if marks.has_passed(session, horizon):
                return marks.fold(session, upto=upto, now=clock.now(), all_of_it=all_of_it)
        if time.monotonic() > until:
            return 0
        time.sleep(0.1)


def check(database: Database, settings: Settings) -> None:
    """Prove what is new in the books, or all of them once a night; whatever is wrong becomes an alarm."""
    now = clock.now()
    with database.transaction() as session:
        last, whole = alarming.last_checks(session, limit=1), alarming.last_whole_check(session)
        everything = (
            whole is None
            or last[0].upto_batch == 0  # no more than a mark's worth was ever booked
            or rules.whole_check_is_due(whole.at, now=now)
            or recent.archived_since(session, last[0].upto_batch)
        )
    if everything:
        check_all(database, settings)
        return
    key = proofs.checkpoint_verifier(settings)
    with database.transaction() as session:
        report = recent.check_recent(
            session, after_batch=last[0].upto_batch, after_position=last[0].upto_position, suite=key.suite
        )
    with database.transaction() as session:
        alarming.record_check(session, report, report.findings, now=now)


def check_all(database: Database, settings: Settings) -> None:
    """Prove the books and everything sealed; whatever is wrong becomes an alarm."""
    with database.transaction() as session:
        report = checks.check_books(session)
        findings = [*report.findings, *auditing.check_proofs(session, key=proofs.checkpoint_verifier(settings))]
    with database.transaction() as session:
        alarming.record_check(session, report, findings, now=clock.now())


_last_reading: list[clocks.Reading] = []  # of this process's clock


def watch_clocks(database: Database, _: Settings) -> None:
    """Raise an alarm where batches are dated ahead, or the worker's clock is far from the database's or jumped."""
    own = clocks.Reading(clock.now(), clocks.tick())
    before = _last_reading[0] if _last_reading else None
    _last_reading[:] = [own]
    clocks.watch(database, own, before)


def seal(database: Database, settings: Settings) -> None:
    """Append what was booked to the tree and sign it, until nothing new is left."""
    _seal(database, settings, window=proofs.WINDOW)


def seal_stragglers(database: Database, settings: Settings) -> None:
    """The same for batches whose transaction took so long that many later ones were sealed before them."""
    _seal(database, settings, window=None)


def _seal(database: Database, settings: Settings, *, window: int | None) -> None:
    key = proofs.checkpoint_key(settings)
    while True:
        with database.transaction() as session:
            if proofs.seal(session, key=key, city_code=settings.city_code, now=clock.now(), window=window) < proofs.STEP:
                return
