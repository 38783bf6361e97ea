"""Every reader of live taps gets each tap once, in whatever order transactions commit and wherever the reader breaks off."""

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from app.kernel import clock
from app.kernel.db import Database
from card import transit
from card.transit import CannotResume, LivePlace, live
from tests.gates import Gate, Phone, gate, import_feed, minutes, phone

NOW = clock.now()
THEN = datetime(2026, 3, 2, 8, tzinfo=UTC)


@pytest.fixture
def street(app: Flask, database: Database) -> tuple[Gate, Gate, Gate, Phone]:
    """Two gates of the metro, a bus, a rider."""
    del app  # the city has to be there
    with database.transaction() as session:
        import_feed(session, "320100", now=NOW)
        rider = phone(session, now=NOW - timedelta(hours=2), money_minor=100_000)
        first, second = (gate(session, "nj-metro", stop=stop, now=NOW) for stop in ("nj-gulou", "nj-xianlin"))
        bus = gate(session, "nj-bus", line="nj-bus-you2", mode="ride", now=NOW)
    return first, second, bus, rider


def send(session: Session, at: Gate, rider: Phone, *, ago: float, count: int = 1, kind: str = "entry") -> None:
    taps = [at.tap(rider, kind, NOW - minutes(ago) + timedelta(seconds=2 * number)) for number in range(count)]
    at.send(session, taps, now=clock.now())


def hear(database: Database, place: LivePlace, *, operator: str = "nj-metro", limit: int = 200) -> tuple[list[str], LivePlace]:
    """What is new since ``place``, asked as often as there is more; the place passes through its text each time."""
    heard: list[str] = []
    while True:
        with database.transaction() as session:
            found = transit.live_news(
                session, operator, LivePlace.parse(str(place), now=clock.now()), now=clock.now(), limit=limit
            )
        heard += [tap.key for tap in found.taps]
        place = found.place
        if found.complete:
            return heard, place


def begin(database: Database) -> LivePlace:
    with database.transaction() as session:
        return transit.live_here(session, now=clock.now())


def test_a_batch_that_commits_later_than_a_younger_one_is_heard_all_the_same(
    database: Database, street: tuple[Gate, Gate, Gate, Phone]
) -> None:
    first, second, _, rider = street
    place = begin(database)
    with database.transaction() as slow:
        send(slow, first, rider, ago=20)  # has its number, and does not commit yet
        with database.transaction() as session:
            late = phone(session, now=NOW - timedelta(hours=1), money_minor=1000)
            send(session, second, late, ago=10)
        heard, between = hear(database, place)
        assert [key.split("/")[0] for key in heard] == [second.terminal_id]
    heard, after = hear(database, between)
    assert [key.split("/")[0] for key in heard] == [first.terminal_id]
    assert hear(database, after)[0] == []
    assert len(hear(database, place)[0]) == 2, "who comes again from the old place hears both"


@pytest.mark.parametrize("limit", [1, 2, 3, 200])
def test_a_reader_that_takes_a_few_at_a_time_hears_all_of_them_once(
    database: Database, street: tuple[Gate, Gate, Gate, Phone], limit: int
) -> None:
    first, second, bus, rider = street
    place = begin(database)
    with database.transaction() as session:
        send(session, first, rider, ago=40, count=3)
    with database.transaction() as session:
        send(session, second, rider, ago=30, count=2)
        send(session, bus, rider, ago=20, count=2, kind="ride")
    heard, place = hear(database, place, limit=limit)
    assert len(heard) == len(set(heard)) == 5
    assert [key.split("/")[0] for key in heard] == [first.terminal_id] * 3 + [second.terminal_id] * 2
    with database.transaction() as session:
        send(session, first, rider, ago=10)
    again, _ = hear(database, place, limit=limit)
    assert [key.split("/")[0] for key in again] == [first.terminal_id]


def test_each_operator_hears_its_own(database: Database, street: tuple[Gate, Gate, Gate, Phone]) -> None:
    first, _, bus, rider = street
    place = begin(database)
    with database.transaction() as session:
        send(session, first, rider, ago=20)
        send(session, bus, rider, ago=10, kind="ride")
    assert [key.split("/")[0] for key in hear(database, place)[0]] == [first.terminal_id]
    assert [key.split("/")[0] for key in hear(database, place, operator="nj-bus")[0]] == [bus.terminal_id]


def test_a_batch_that_is_sent_again_is_no_news(database: Database, street: tuple[Gate, Gate, Gate, Phone]) -> None:
    first, _, _, rider = street
    with database.transaction() as session:
        taps = [first.tap(rider, "entry", NOW - minutes(5))]
        first.send(session, taps, now=clock.now())
    place = begin(database)
    with database.transaction() as session:
        first.send(session, taps, now=clock.now())
    assert hear(database, place)[0] == []


T = int(THEN.timestamp())
AN_HOUR_AGO = T - 3601


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        f"{T}",
        f"{T}/",
        f"{T}/12",
        f"{T}/12:x",
        f"{T}/12:/13:",
        f"{T}/{2**63}:",
        f"{T}/12:{2**63}",
        f"{T}/12:{'1,' * 2100}",
        f"{AN_HOUR_AGO}/12:",
        "9999999999/12:",
    ],
)
def test_a_place_that_is_none_of_ours_or_too_old_is_refused(text: str) -> None:
    with pytest.raises(CannotResume):
        LivePlace.parse(text, now=THEN)


@pytest.mark.parametrize("text", ["12:", "12:7,9", "12:7,9/15:9/200"])
def test_a_place_is_read_as_it_was_written(text: str) -> None:
    whole = f"{T}/{text}"
    assert str(LivePlace.parse(whole, now=THEN)) == whole


def test_alarms_that_nobody_looked_at_are_counted(database: Database, street: tuple[Gate, Gate, Gate, Phone]) -> None:
    first, _, _, rider = street
    first.skew_ms = -600_000
    with database.transaction() as session:
        send(session, first, rider, ago=20, count=2)
        assert (live.unseen_alarms(session, "nj-metro"), live.unseen_alarms(session, "nj-bus")) == (2, 0)
        (alike,) = transit.happened_alarms(session, "nj-metro")
        assert (alike.count, alike.first_seq, alike.last_seq) == (2, 1, 2)
        transit.look_at_alarm(session, alarm_id=alike.id, operator_id="nj-metro", note="set", by="person:x", now=NOW)
        assert live.unseen_alarms(session, "nj-metro") == 0
        send(session, first, rider, ago=10)
        assert live.unseen_alarms(session, "nj-metro") == 1, "one that comes after the note is looked at anew"
        assert [(one.note, one.count) for one in transit.happened_alarms(session, "nj-metro")] == [("", 1), ("set", 2)]
