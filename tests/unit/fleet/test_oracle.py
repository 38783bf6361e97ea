"""The fleet's plan and oracle by themselves."""

import pytest

from app.demo.fleet import Size, oracle, planned
from app.demo.fleet.oracle import Seen

METRES = {"a": 0, "b": 4_000, "c": 4_100, "d": 30_300}
MINUTE = 60_000
MORNING = 20_000 * oracle.DAY


@pytest.mark.parametrize(
    ("metres", "fen"),
    [
        *((4_000, 200), (4_001, 300), (9_000, 300), (9_001, 400), (14_000, 400), (14_001, 500), (28_000, 600)),
        *((61_000, 900), (61_001, 1_000), (76_000, 1_000), (76_001, 1_100)),
    ],
)
def test_the_metro_costs_what_is_published(metres: int, fen: int) -> None:
    assert oracle.metro_fare(metres) == fen


def seen(kind: str, stop: str, minute: float, card: str = "x") -> Seen:
    at = MORNING + int(minute * MINUTE)
    return Seen(card=card, kind=kind, stop=stop, at_ms=at, token=f"{card}{at}{kind}")


@pytest.mark.parametrize(
    ("taps", "rider", "fen"),
    [
        ([("entry", "a", 0), ("exit", "d", 50)], "plain", 700),
        ([("exit", "d", 50), ("entry", "a", 0)], "senior-60", 350),
        ([("entry", "a", 0)], "senior-60", 1_000),
        ([("exit", "d", 0)], "senior-70", 0),
        ([("entry", "a", 0), ("entry", "b", 9), ("exit", "c", 20)], "plain", 1_200),
        ([("entry", "a", 0), ("exit", "d", 241)], "foreign", 2_000),
        ([("entry", "a", 0), ("exit", "a", 4)], "plain", 0),
        ([("entry", "a", 0), ("exit", "a", 20)], "senior-60", 200),
        ([("ride", "", 0), ("ride", "", 30)], "senior-60", 200),
    ],
)
def test_the_oracle_prices_a_day(taps: list[tuple[str, str, float]], rider: str, fen: int) -> None:
    assert sum(oracle.owed([seen(*tap) for tap in taps], {"x": rider}, METRES).values()) == fen


def test_a_seed_repeats_a_plan_and_another_makes_another() -> None:
    size = Size(gates=20, riders=30, waves=3, crews=2)
    stops = tuple(METRES)
    assert planned(7, size, stops=stops) == planned(7, size, stops=stops)
    assert planned(7, size, stops=stops) != planned(8, size, stops=stops)
