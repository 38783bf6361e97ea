"""A missing tap from the rider's own habit: only where it is all but certain, and only until the real one is there."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from card.fares import Tap
from card.transit.habits import Missing, Trip, completed, unfilled, usual

MONDAY = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)  # 08:00 in Shanghai
DAY = timedelta(days=1)


def trips(*ends: str, weekend: bool = False) -> list[Trip]:
    """One trip from A on each working day (or weekend) before the Monday, the newest first, to ``ends``."""
    found: list[Trip] = []
    day = MONDAY
    while len(found) < len(ends):
        day -= DAY
        if (day.weekday() >= 5) is weekend:
            at = day + timedelta(minutes=len(found))
            found.append(Trip(from_stop="A", to_stop=ends[len(found)], started_at=at, ended_at=at + timedelta(minutes=30)))
    return found


MISSING_EXIT = Missing(end="exit", stop_id="A", at=MONDAY)


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        (trips("B", "B", "B"), None),  # three are no habit
        (trips("B", "B", "B", "B"), "B"),
        (trips("B", "B", "B", "C"), None),  # four of six by the rule of succession: 0.67
        (trips("B", "B", "B", "B", "B", "C"), "B"),  # six of eight: 0.75
        (trips("B", "B", "B", "B", weekend=True), None),  # a Monday is no Sunday
        (trips("A", "A", "A", "A"), None),  # in and out at one stop is no way
        ([], None),
    ],
)
def test_a_habit_needs_four_alike_and_three_quarters_certainty(past: list[Trip], expected: str | None) -> None:
    found = usual(MISSING_EXIT, past)
    assert (found.stop_id if found else None) == expected
    assert found is None or found.confidence >= 0.75


@pytest.mark.parametrize(
    ("minutes", "weeks", "known"), [(90, 1, True), (-90, 1, True), (92, 1, False), (-92, 1, False), (0, 5, True), (0, 7, False)]
)
def test_only_trips_of_the_same_time_and_the_last_six_weeks_count(minutes: int, weeks: int, known: bool) -> None:
    begun = MONDAY - timedelta(weeks=weeks) + timedelta(minutes=minutes)
    past = [Trip(from_stop="A", to_stop="B", started_at=begun, ended_at=begun + timedelta(minutes=20))] * 4
    assert (usual(MISSING_EXIT, past) is not None) is known


def test_the_guess_takes_the_usual_time_of_the_ride() -> None:
    found = usual(MISSING_EXIT, trips("B", "B", "B", "B"))
    assert found is not None
    assert (found.at - MONDAY, found.trips, found.same) == (timedelta(minutes=30), 4, 4)
    back = usual(Missing(end="entry", stop_id="B", at=MONDAY + timedelta(minutes=30)), trips("B", "B", "B", "B"))
    assert back is not None
    assert (back.stop_id, back.at) == ("A", MONDAY)


def tap(key: str, kind: str, minutes: float) -> Tap:
    return Tap(key=key, at=MONDAY + timedelta(minutes=minutes), kind=kind, operator="metro", stop_id=key)


ENTRY, EXIT = tap("t/b/1", "entry", 0), tap("t/b/2", "exit", 45)
GUESS, CLAIM = tap("habit/1", "exit", 30), tap("claim/1", "exit", 30)


@pytest.mark.parametrize(
    ("real", "offered", "kept"),
    [
        ([ENTRY], [GUESS], ["t/b/1", "habit/1"]),
        ([ENTRY, EXIT], [GUESS], ["t/b/1", "t/b/2"]),  # the real exit came late: the guess gives way
        ([ENTRY], [GUESS, CLAIM], ["t/b/1", "claim/1"]),  # what the rider says goes before what was guessed
        ([EXIT], [tap("habit/2", "entry", 10)], ["t/b/2", "habit/2"]),
        ([ENTRY, EXIT], [tap("habit/2", "entry", 10)], ["t/b/1", "t/b/2"]),
        ([], [GUESS], []),
    ],
)
def test_a_tap_put_in_place_counts_only_while_it_is_needed(real: list[Tap], offered: list[Tap], kept: list[str]) -> None:
    for seed in range(4):
        shuffled = list(offered)
        Random(seed).shuffle(shuffled)
        assert [one.key for one in completed(real, shuffled)] == kept
    assert unfilled(completed(real, offered)) <= unfilled(real)
