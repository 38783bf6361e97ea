"""A clock that jumps is told, holds up no day's balance, ends nothing before its time, and delays no job."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app import cli, wiring
from app.kernel import clock, ids
from app.kernel.db import CLOCK_AHEAD, Database, Right
from app.kernel.settings import Settings
from card import ledger
from card.ledger import Hold, Transfer, TransferCode, chart, clocks, jobs
from card.ledger.clocks import Reading

YEAR = timedelta(days=365)


@pytest.fixture
def city(settings: Settings, database: Database) -> Iterator[Database]:
    """The database as a process of the city opens it."""
    opened = Database.of(settings, Right.APPLICATION)
    yield opened
    opened.close()


def top_up(session: Session, amount_minor: int, *, at: datetime) -> ledger.AccountId:
    purse = ledger.open_account(session, chart.purse("p"), now=at)
    paid = Transfer(
        id=ids.new_id(),
        debit=ledger.open_account(session, chart.bank(), now=at),
        credit=purse,
        amount_minor=amount_minor,
        code=TransferCode.TOP_UP,
        event_at=at,
    )
    ledger.post_all(session, [paid], now=at)
    return purse


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(seconds=50), timedelta(minutes=2), YEAR, -YEAR])
def test_a_city_dates_no_batch_much_later_than_its_databases_clock(city: Database, ahead: timedelta) -> None:
    with city.transaction() as session:
        here = session.scalar(text("SELECT clock_timestamp()"))
        assert here is not None
        top_up(session, 100, at=here + ahead)
        dated = session.scalar(text("SELECT posted_at FROM card.ledger_batch"))
    if ahead <= CLOCK_AHEAD:
        assert dated == here + ahead
    else:
        assert here + CLOCK_AHEAD <= dated <= here + CLOCK_AHEAD + timedelta(seconds=30)


def test_a_jump_of_a_year_holds_up_no_days_balance(city: Database) -> None:
    for amount, ahead in ((100, timedelta(0)), (10, YEAR), (1, timedelta(0))):
        with city.transaction() as session:
            purse = top_up(session, amount, at=clock.now() + ahead)
    with city.transaction() as session:
        bank = ledger.account_id(session, chart.bank())
        soon = clock.now() + 2 * CLOCK_AHEAD
        assert [ledger.balance_at(session, account, soon) for account in (purse, bank)] == [111, -111]
        assert ledger.check_books(session).findings == []


def alarms(database: Database) -> list[str]:
    with database.transaction() as session:
        return [alarm.subject for alarm in ledger.alarms(session) if alarm.kind == "clock" and not alarm.acknowledged_at]


def test_batches_dated_ahead_raise_one_alarm_and_another_only_for_later_ones(
    city: Database, database: Database, settings: Settings
) -> None:
    with city.transaction() as session:
        top_up(session, 1, at=clock.now())
    jobs.watch_clocks(city, settings)
    assert alarms(city) == []
    for _ in range(3):
        with city.transaction() as session:
            top_up(session, 1, at=clock.now() + YEAR)
        jobs.watch_clocks(city, settings)
    (first,) = alarms(city)
    with city.transaction() as session:
        (alarm,) = ledger.alarms(session)
        ledger.acknowledge(
            session, alarm_id=alarm.id, reason="the web server's clock is set", by=f"person:{uuid4()}", now=clock.now()
        )
    jobs.watch_clocks(city, settings)
    (second,) = alarms(city)
    assert int(second.partition(":")[2]) > int(first.partition(":")[2])
    with city.transaction() as session:
        (alarm, _) = ledger.alarms(session)
        ledger.acknowledge(
            session, alarm_id=alarm.id, reason="they were before it was set", by=f"person:{uuid4()}", now=clock.now()
        )
    jobs.watch_clocks(city, settings)
    assert alarms(city) == []


@pytest.mark.parametrize(
    ("seconds", "ticks", "told"),
    [(10, 10, False), (39, 10, False), (41, 10, True), (-21, 10, True), (-19, 10, False), (86_400, 86_400, False)],
)
def test_a_clock_that_goes_otherwise_than_the_machine_counts_is_told(
    city: Database, seconds: int, ticks: int, told: bool
) -> None:
    own = Reading(clock.now(), 1_000_000.0)
    before = Reading(own.at - timedelta(seconds=seconds), own.tick - ticks)
    clocks.watch(city, own, before)
    assert alarms(city) == (["clock:jump"] if told else [])


def test_a_worker_whose_clock_is_a_year_ahead_is_told_and_ends_nothing_before_its_time(
    city: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now()
    with city.transaction() as session:
        purse = top_up(session, 100, at=now)
        ends = now + timedelta(days=3)
        facts = {"debit": purse, "credit": ledger.account_id(session, chart.bank()), "amount_minor": 40}
        ledger.hold(session, Hold(id=uuid4(), code=TransferCode.FARE, expires_at=ends, **facts), now=now)
    by_name = {job.name: job for job in wiring.JOBS}
    for ahead, held in ((YEAR, 40), (timedelta(0), 40)):
        monkeypatch.setattr(clock, "now", lambda ahead=ahead: datetime.now(UTC) + ahead)
        for name in ("ledger.holds", "ledger.clocks"):
            cli._run(by_name[name], city, settings)
        with city.transaction() as session:
            assert ledger.balance(session, purse).held_minor == held
    assert "clock:worker" in alarms(city)
