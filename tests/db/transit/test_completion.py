"""A missing exit is completed from habit: marked, cheaper than the maximum, undone by the real tap, contested in one step."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from app.factory import create_app
from app.kernel.db import Database
from card import ledger, transit
from card.fares import State
from card.transit.models import ClaimedTap
from tests.conftest import make_settings
from tests.gates import Gate, Phone, account, books_are_right, gate, import_feed, minutes, phone, purse

MONDAY = datetime(2026, 3, 9, 0, 0, tzinfo=UTC)  # 08:00 in Nanjing
DAY = timedelta(days=1)
BACK = (3, 4, 5, 6, 7)  # Friday, Thursday, Wednesday, Tuesday, Monday of the week before
PAID_IN = 20_000


class Town:
    """Nanjing with a rider who rides from Gulou to Xianlin Centre every working day at one hour, and today has no exit."""

    def __init__(self, database: Database, *, usually: datetime = MONDAY, today: datetime = MONDAY) -> None:
        self.database = database
        with database.transaction() as session:
            import_feed(session, "320100", now=MONDAY - 10 * DAY)
            self.rider: Phone = phone(session, now=MONDAY - 10 * DAY, money_minor=PAID_IN)
            self.a, self.b, self.c = (
                gate(session, "nj-metro", stop=stop, now=MONDAY) for stop in ("nj-gulou", "nj-xianlin", "nj-nanjingnanzhan")
            )
        for days in BACK:
            self.send(self.a, "entry", usually - days * DAY)
            self.send(self.b, "exit", usually - days * DAY + minutes(40))
        self.send(self.a, "entry", today)

    def send(self, where: Gate, kind: str, at: datetime, *, now: datetime | None = None) -> None:
        with self.database.transaction() as session:
            where.send(session, [where.tap(self.rider, kind, at)], now=now or at)

    def today(self) -> transit.JourneyView:
        with self.database.transaction() as session:
            return next(
                one for one in transit.journeys_of_holder(session, self.rider.holder_id) if one.card_day == MONDAY.date()
            )

    def complete(self, *, now: datetime = MONDAY + DAY) -> object:
        journey = self.today()
        with self.database.transaction() as session:
            return transit.complete_from_habit(session, journey_id=journey.id, now=now)

    @property
    def spent(self) -> int:
        with self.database.transaction() as session:
            return PAID_IN - purse(session, self.rider.holder_id) - 500 * len(BACK)


@pytest.fixture(autouse=True)
def nanjing(database: Database, database_url: str, tmp_path: Path) -> None:
    create_app(make_settings(database_url, tmp_path), database=database)


@pytest.fixture
def town(database: Database) -> Town:
    return Town(database)


def test_a_missing_exit_is_completed_from_habit_marked_and_corrected(town: Town) -> None:
    assert (town.today().state, town.spent) == (State.MISSING_EXIT, 1000)
    assert town.complete() is not None
    journey = town.today()
    assert (journey.state, journey.to_stop, journey.charged_minor, town.spent) == (State.COMPLETE, "nj-xianlin", 500, 500)
    with town.database.transaction() as session:
        (placed,) = transit.put_in_place(session, journey)
        assert (placed.source, placed.kind, placed.trips, placed.same) == ("habit", "exit", 5, 5)
        history = transit.postings_of_day(session, card_number=town.rider.number, day=journey.card_day, operator_id="nj-metro")
        assert [one.amount_minor for one in history] == [1000, -500]
        assert history[-1].cause == (placed.key,)
        assert account(session, ledger.chart.operator("nj-metro"), now=MONDAY) == 500 * 6
    assert town.complete() is None, "once"
    assert books_are_right(town.database)


def test_the_real_exit_takes_the_guess_away_whenever_it_comes(town: Town) -> None:
    town.complete()
    town.send(town.c, "exit", MONDAY + minutes(25), now=MONDAY + 3 * DAY)
    journey = town.today()
    assert (journey.state, journey.to_stop) == (State.COMPLETE, "nj-nanjingnanzhan")
    assert not transit.from_habit(journey)
    assert town.spent == journey.charged_minor == 400
    assert books_are_right(town.database)


def test_the_rider_knows_better_than_the_habit(town: Town) -> None:
    town.complete()
    journey = town.today()
    with town.database.transaction() as session:
        asked = transit.contest(
            session,
            journey_id=journey.id,
            holder_id=town.rider.holder_id,
            claimed_stop="nj-nanjingnanzhan",
            words="",
            now=MONDAY + 2 * DAY,
        )
        transit.decide_contest(
            session, contest_id=asked.id, operator_id="nj-metro", upheld=True, answer="", by="person:o", now=MONDAY + 2 * DAY
        )
    after = town.today()
    assert (after.to_stop, after.charged_minor, transit.from_habit(after)) == ("nj-nanjingnanzhan", 400, False)
    with town.database.transaction() as session:
        assert [one.source for one in transit.put_in_place(session, after)] == ["claim"]
        assert [one.state for one in transit.contests_of_journey(session, after)] == [transit.ContestState.UPHELD]
    assert town.spent == 400


@pytest.mark.parametrize("asked", [True, False])
def test_nothing_is_guessed_while_the_rider_has_asked(town: Town, asked: bool) -> None:
    journey = town.today()
    if asked:
        with town.database.transaction() as session:
            transit.contest(
                session, journey_id=journey.id, holder_id=town.rider.holder_id, claimed_stop="", words="?", now=MONDAY
            )
    assert (town.complete() is None) is asked


def test_too_few_trips_are_no_habit(town: Town) -> None:
    saturday = MONDAY - 2 * DAY
    town.send(town.a, "entry", saturday)
    with town.database.transaction() as session:
        found = next(
            one for one in transit.journeys_of_holder(session, town.rider.holder_id) if one.card_day == date(2026, 3, 7)
        )
        assert transit.complete_from_habit(session, journey_id=found.id, now=MONDAY) is None
        assert transit.complete_from_habit(session, journey_id=UUID(int=1), now=MONDAY) is None
        assert session.scalars(select(ClaimedTap)).all() == []


@pytest.mark.parametrize("claimed", [True, False])
def test_a_ride_shortly_before_the_card_day_ends_is_completed_within_it(database: Database, claimed: bool) -> None:
    ends = MONDAY + minutes(19 * 60)  # three at night
    town = Town(database, usually=ends - minutes(60), today=ends - minutes(10))
    journey = town.today()
    if claimed:
        with database.transaction() as session:
            asked = transit.contest(
                session, journey_id=journey.id, holder_id=town.rider.holder_id, claimed_stop="nj-xianlin", words="", now=ends
            )
            transit.decide_contest(
                session, contest_id=asked.id, operator_id="nj-metro", upheld=True, answer="", by="person:o", now=ends
            )
    else:
        assert town.complete() is not None
    journey = town.today()
    assert (journey.state, journey.to_stop, journey.charged_minor, town.spent) == (State.COMPLETE, "nj-xianlin", 500, 500)
    assert books_are_right(database)


def test_an_entry_is_completed_too_and_stays_contestable(town: Town) -> None:
    tuesday = MONDAY + DAY
    town.send(town.b, "exit", tuesday + minutes(40))
    with town.database.transaction() as session:
        found = next(one for one in transit.journeys_of_holder(session, town.rider.holder_id) if one.card_day == tuesday.date())
        assert found.state is State.MISSING_ENTRY
        transit.complete_from_habit(session, journey_id=found.id, now=tuesday + DAY)
        (after,) = [one for one in transit.journeys_of_holder(session, town.rider.holder_id) if one.card_day == tuesday.date()]
        assert (after.state, after.from_stop, after.charged_minor) == (State.COMPLETE, "nj-gulou", 500)
        assert transit.from_habit(after)
