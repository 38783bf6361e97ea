"""What a card owes: the worked cases, both sides of every line, and no dependence on arrival."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from card import fares
from card.fares import (
    LOCAL_CARD,
    Band,
    Cap,
    Concession,
    Entitlement,
    Interchange,
    Names,
    Overtime,
    Pass,
    PastFare,
    Rider,
    SameStation,
    State,
    StepCode,
    Tap,
    Tariff,
    Tariffs,
    Window,
    band_fare,
    charge,
)

NOBODY = Names(en="", zh="")
SUZHOU_BANDS = (
    Band(up_to_km=Decimal(6), step_km=None, step_minor=200),
    Band(up_to_km=Decimal(16), step_km=Decimal(5), step_minor=100),
    Band(up_to_km=Decimal(30), step_km=Decimal(7), step_minor=100),
    Band(up_to_km=None, step_km=Decimal(9), step_minor=100),
)
NANJING_BANDS = (
    Band(up_to_km=Decimal(4), step_km=None, step_minor=200),
    Band(up_to_km=Decimal(14), step_km=Decimal(5), step_minor=100),
    Band(up_to_km=Decimal(28), step_km=Decimal(7), step_minor=100),
    Band(up_to_km=Decimal(37), step_km=Decimal(9), step_minor=100),
    Band(up_to_km=Decimal(48), step_km=Decimal(11), step_minor=100),
    Band(up_to_km=Decimal(61), step_km=Decimal(13), step_minor=100),
    Band(up_to_km=None, step_km=Decimal(15), step_minor=100),
)
CONCESSIONS = (
    Concession(code=LOCAL_CARD, percent=Decimal(95), same_city=True, covers_incomplete=False, names=NOBODY),
    Concession(code="senior-60", percent=Decimal(50), same_city=True, covers_incomplete=False, names=NOBODY),
    Concession(code="senior-70", percent=Decimal(0), same_city=True, covers_incomplete=True, names=NOBODY),
)
CAP = Cap(
    id="24h",
    window=Window.ROLLING,
    minutes=1440,
    amount_minor=1500,
    operators=frozenset({"sz-metro"}),
    local_only=False,
    names=NOBODY,
)
PASSES = tuple(
    Pass(id=f"month-{rides}", price_minor=price, rides=rides, local_only=True, names=NOBODY)
    for price, rides in ((6000, 20), (8500, 30), (13000, 50))
)
DISTANCES = {
    ("A", "B"): Decimal("23.4"),
    ("B", "C"): Decimal("12.2"),
    ("A", "C"): Decimal("35.6"),
    ("A", "D"): Decimal("18.0"),
    ("C", "D"): Decimal(3),
}
SUZHOU = Rider(issuer="320500")
NANJING = Rider(issuer="320100")
MORNING = datetime.fromisoformat("2026-03-02T00:00:00+00:00")  # 08:00 in Suzhou


def suzhou(**changes: object) -> Tariff:
    facts: dict = {
        "id": "sz-2026",
        "operator": "sz-metro",
        "city": "320500",
        "effective_from": date(2026, 1, 1),
        "effective_until": None,
        "names": NOBODY,
        "max_fare_minor": 1000,
        "pairing_minutes": 240,
        "bands": SUZHOU_BANDS,
        "distances": DISTANCES,
        "concessions": CONCESSIONS,
        "overtime": Overtime(after_minutes=120, surcharge_minor=200),
        "same_station": (
            SameStation(up_to_minutes=5, amount_minor=0),
            SameStation(up_to_minutes=30, amount_minor=200),
            SameStation(up_to_minutes=None, amount_minor=None),
        ),
    }
    return Tariff(**{**facts, **changes})


def tap(kind: str, stop: str, minute: float, *, operator: str = "sz-metro", token: str = "", key: str = "") -> Tap:
    at = MORNING + timedelta(minutes=minute)
    return Tap(key=key or f"{kind}-{stop}-{minute}{token}", at=at, kind=kind, operator=operator, stop_id=stop, token=token)


def ride(begin: str, end: str, minute: float, length: float = 40) -> list[Tap]:
    return [tap("entry", begin, minute), tap("exit", end, minute + length)]


@pytest.mark.parametrize(
    ("km", "minor"),
    [
        ("0.1", 200),
        ("6", 200),
        ("6.01", 300),
        ("11", 300),
        ("11.01", 400),
        ("12.2", 400),
        ("16", 400),
        ("16.01", 500),
        ("23", 500),
        ("23.4", 600),
        ("30", 600),
        ("30.01", 700),
        ("39", 700),
        ("39.01", 800),
    ],
)
def test_a_suzhou_band_is_closed_on_the_right(km: str, minor: int) -> None:
    assert band_fare(SUZHOU_BANDS, Decimal(km)) == minor


@pytest.mark.parametrize(
    ("km", "minor"),
    [
        ("4", 200),
        ("4.01", 300),
        ("9", 300),
        ("9.01", 400),
        ("13.2", 400),
        ("14.01", 500),
        ("23.4", 600),
        ("61", 900),
        ("61.01", 1000),
    ],
)
def test_a_nanjing_band_is_closed_on_the_right(km: str, minor: int) -> None:
    assert band_fare(NANJING_BANDS, Decimal(km)) == minor


@pytest.mark.parametrize(
    "bands",
    [
        (Band(up_to_km=Decimal(6), step_km=None, step_minor=200),),
        (Band(up_to_km=None, step_km=Decimal(6), step_minor=200),),
        (
            Band(up_to_km=Decimal(6), step_km=None, step_minor=200),
            Band(up_to_km=Decimal(5), step_km=Decimal(5), step_minor=100),
            Band(up_to_km=None, step_km=Decimal(5), step_minor=100),
        ),
        (Band(up_to_km=Decimal(6), step_km=None, step_minor=200), Band(up_to_km=None, step_km=Decimal(0), step_minor=1)),
    ],
)
def test_bands_that_leave_a_journey_without_a_price_are_refused(bands: tuple[Band, ...]) -> None:
    with pytest.raises(fares.BadTariff):
        suzhou(bands=bands)


@pytest.mark.parametrize(
    ("rider", "minor"),
    [
        (NANJING, 600),
        (SUZHOU, 570),
        (Rider(issuer="320500", entitlements=(Entitlement(code="senior-60", scope_city="320500"),)), 300),
        (Rider(issuer="320500", entitlements=(Entitlement(code="senior-70", scope_city="320500"),)), 0),
        # Granted by Nanjing: it does not travel.
        (Rider(issuer="320100", entitlements=(Entitlement(code="senior-60", scope_city="320100"),)), 600),
        # Ended the day before the journey: the local card remains. On its last day it holds.
        (
            Rider(
                issuer="320500", entitlements=(Entitlement(code="senior-60", scope_city="320500", expires_on=date(2026, 3, 1)),)
            ),
            570,
        ),
        (
            Rider(
                issuer="320500", entitlements=(Entitlement(code="senior-60", scope_city="320500", expires_on=date(2026, 3, 2)),)
            ),
            300,
        ),
    ],
)
def test_who_travels_decides_what_23_4_km_cost_in_suzhou(rider: Rider, minor: int) -> None:
    assert charge(ride("A", "B", 0), Tariffs.of(suzhou()), rider).total_minor == minor


def test_late_and_out_of_order_taps_end_at_the_same_total() -> None:
    tariffs = Tariffs.of(suzhou(caps=(CAP,)))
    exit_b, entry_b = tap("exit", "B", 40), tap("entry", "B", 50)
    exit_c, entry_a = tap("exit", "C", 80), tap("entry", "A", 0)
    known: list[Tap] = []
    charged = 0
    differences = []
    for arriving in (exit_b, exit_b, entry_b, exit_c, entry_a):
        known.append(arriving)
        total = charge(known, tariffs, SUZHOU).total_minor
        differences.append(total - charged)
        charged = total
    assert differences == [1000, 0, 1000, -620, -430]
    assert charged == 950


def test_a_24_hour_cap_takes_what_is_over_it() -> None:
    tariffs = Tariffs.of(suzhou(caps=(CAP,), distances={**DISTANCES, ("X", "Y"): Decimal(17)}))
    taps = ride("A", "B", 0) + ride("B", "C", 60) + ride("B", "A", 120) + ride("X", "Y", 180)
    result = charge(taps, tariffs, SUZHOU)
    assert [journey.steps[0].amount_minor * 95 // 100 for journey in result.journeys] == [570, 380, 570, 475]
    assert [journey.charged_minor for journey in result.journeys] == [570, 380, 550, 0]
    assert result.journeys[2].steps[-1].code is StepCode.CAP


@pytest.mark.parametrize(("minutes_before", "charged"), [(1439, 0), (1440, 570)])
def test_a_rolling_cap_forgets_after_its_24_hours(minutes_before: int, charged: int) -> None:
    past = [PastFare(at=MORNING - timedelta(minutes=minutes_before), operator="sz-metro", capped_minor=1500)]
    assert charge(ride("A", "B", 0), Tariffs.of(suzhou(caps=(CAP,))), SUZHOU, past).total_minor == charged


def test_thirteen_rides_of_4_75_in_a_month_cost_the_month_ticket() -> None:
    tariffs = Tariffs.of(suzhou(passes=PASSES, distances={("X", "Y"): Decimal(17)}))
    past: list[PastFare] = []
    charged = []
    for day in range(22):
        taps = [
            Tap(key=f"{kind}{day}", at=MORNING + timedelta(days=day, minutes=m), kind=kind, operator="sz-metro", stop_id=stop)
            for kind, stop, m in (("entry", "X", 0), ("exit", "Y", 40))
        ]
        result = charge(taps, tariffs, SUZHOU, past)
        charged.append(result.total_minor)
        past += [journey.past for journey in result.journeys if journey.past]
    assert sum(charged[:12]) == 5700
    assert sum(charged[:13]) == 6000
    assert sum(charged[:20]) == 6000
    assert sum(charged[:22]) == 6950


@pytest.mark.parametrize(
    ("inside", "minor", "code"),
    [
        (5, 0, StepCode.SAME_STATION),
        (5.1, 200, StepCode.SAME_STATION),
        (30, 200, StepCode.SAME_STATION),
        (30.1, 1000, StepCode.SAME_STATION),
    ],
)
def test_in_and_out_at_one_station(inside: float, minor: int, code: StepCode) -> None:
    journey = charge(ride("A", "A", 0, inside), Tariffs.of(suzhou()), SUZHOU).journeys[0]
    assert (journey.charged_minor, journey.steps[0].code) == (minor, code)


@pytest.mark.parametrize(("inside", "minor"), [(120, 570), (120.1, 770)])
def test_more_than_two_hours_inside_is_overtime(inside: float, minor: int) -> None:
    assert charge(ride("A", "B", 0, inside), Tariffs.of(suzhou()), SUZHOU).total_minor == minor


def test_an_exit_hours_later_is_not_the_exit_of_that_entry() -> None:
    result = charge(ride("A", "B", 0, 241), Tariffs.of(suzhou()), SUZHOU)
    assert [journey.state for journey in result.journeys] == [State.MISSING_EXIT, State.MISSING_ENTRY]


def test_who_rides_free_owes_nothing_for_a_missing_tap_either() -> None:
    senior = Rider(issuer="320500", entitlements=(Entitlement(code="senior-70", scope_city="320500"),))
    assert charge([tap("entry", "A", 0)], Tariffs.of(suzhou()), senior).total_minor == 0


@pytest.mark.parametrize(("gap", "totals"), [(20, [700]), (21, [600, 400])])
def test_an_interchange_over_the_street_continues_the_journey(gap: int, totals: list[int]) -> None:
    tariff = suzhou(
        interchanges=(Interchange(from_stop="B", to_stop="C", minutes=20),),
        overtime=None,
        distances={**DISTANCES, ("C", "E"): Decimal(15)},
    )
    taps = ride("A", "B", 0) + ride("C", "E", 40 + gap)
    assert [journey.charged_minor for journey in charge(taps, Tariffs.of(tariff), NANJING).journeys] == totals


def test_the_version_in_force_when_the_journey_began_prices_it() -> None:
    old = suzhou(effective_until=date(2026, 3, 1))
    new = suzhou(id="sz-march", effective_from=date(2026, 3, 2), max_fare_minor=1200)
    tariffs = Tariffs.of(old, new)
    before = Tap(key="x", at=MORNING - timedelta(days=1), kind="entry", operator="sz-metro", stop_id="A")
    assert charge([before], tariffs, SUZHOU).total_minor == 1000
    assert charge([tap("entry", "A", 0)], tariffs, SUZHOU).total_minor == 1200


def test_a_replayed_credential_travels_once() -> None:
    taps = [tap("entry", "A", 0, token="k:1"), tap("entry", "D", 1, token="k:1"), tap("exit", "B", 40, token="k:2")]
    result = charge(taps, Tariffs.of(suzhou()), SUZHOU)
    assert result.total_minor == 570
    assert result.replays == ("entry-D-1k:1",)


@pytest.mark.parametrize("taps", [[tap("entry", "A", 0, operator="nobody")], [*ride("A", "Z", 0)]])
def test_what_cannot_be_priced_costs_nothing_and_says_so(taps: list[Tap]) -> None:
    journey = charge(taps, Tariffs.of(suzhou()), SUZHOU).journeys[0]
    assert (journey.state, journey.charged_minor, journey.steps[0].code) == (State.UNPRICED, 0, StepCode.UNPRICED)


TAPS = st.builds(
    tap,
    st.sampled_from(["entry", "exit"]),
    st.sampled_from("ABCD"),
    st.integers(0, 900),
    token=st.sampled_from(["", "", "", "k:1", "k:2"]),
)
RIDERS = st.sampled_from(
    [
        SUZHOU,
        NANJING,
        Rider(issuer="320500", entitlements=(Entitlement(code="senior-60", scope_city="320500"),)),
        Rider(issuer="320500", entitlements=(Entitlement(code="senior-70", scope_city="320500"),)),
    ]
)


@given(st.lists(TAPS, max_size=12), st.randoms(use_true_random=False), RIDERS)
def test_arrival_order_repetition_and_delay_change_nothing_and_every_fen_is_explained(taps, random, rider) -> None:
    tariffs = Tariffs.of(
        suzhou(caps=(CAP,), passes=PASSES, interchanges=(Interchange(from_stop="B", to_stop="C", minutes=20),))
    )
    expected = charge(taps, tariffs, rider)
    arriving = taps + [one for one in taps if random.random() < 0.5]
    random.shuffle(arriving)
    assert charge(arriving, tariffs, rider) == expected
    # Pricing again at every arrival and posting the difference ends at the same total.
    posted = 0
    for count in range(1, len(arriving) + 1):
        posted += charge(arriving[:count], tariffs, rider).total_minor - posted
    assert posted == expected.total_minor
    for journey in expected.journeys:
        assert sum(step.amount_minor for step in journey.steps) == journey.charged_minor >= 0
    capped = sum(journey.capped_minor for journey in expected.journeys if journey.state is State.COMPLETE)
    assert capped <= CAP.amount_minor
    used = [key for journey in expected.journeys for key in journey.taps] + list(expected.replays)
    assert sorted(used) == sorted({one.key for one in taps}), "every tap is in exactly one journey, or set aside by name"
