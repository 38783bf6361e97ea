"""The fast engine and the plain rules agree on every journey, every step and every fen, whatever the tariff."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from card.fares import (
    LOCAL_CARD,
    Band,
    Cap,
    Charge,
    Concession,
    Entitlement,
    Interchange,
    JoinRule,
    LegFares,
    LegRule,
    Meter,
    Names,
    Overtime,
    Pass,
    PastFare,
    Product,
    Rider,
    SameStation,
    Tap,
    Tariff,
    Tariffs,
    Timeframe,
    TransferRule,
    TransferType,
    Window,
    card_day,
    charge,
)
from card.fares.legs import DurationType
from tests.unit.fares import reference

MORNING = datetime.fromisoformat("2026-03-02T00:00:00+00:00")  # Monday, 08:00 in Suzhou
STOPS = "ABCDE"
LINES = ("m1", "b1", "b2", "")
NOBODY = Names(en="n", zh="名")
OPERATORS = ("metro", "bus", "nobody")

maybe = st.booleans()
minor = st.integers(0, 1200)
pairs = st.tuples(st.sampled_from(STOPS), st.sampled_from(STOPS))
bands = st.sampled_from(
    [
        (),
        (Band(up_to_km=None, step_km=None, step_minor=200),),
        (
            Band(up_to_km=Decimal(6), step_km=None, step_minor=200),
            Band(up_to_km=Decimal(16), step_km=Decimal(5), step_minor=100),
            Band(up_to_km=None, step_km=Decimal(9), step_minor=100),
        ),
    ]
)
concessions = st.builds(
    Concession,
    code=st.sampled_from([LOCAL_CARD, "senior-60", "student"]),
    percent=st.sampled_from([Decimal(0), Decimal("33.3"), Decimal(50), Decimal(95)]),
    same_city=maybe,
    covers_incomplete=maybe,
    names=st.just(NOBODY),
)
caps = st.builds(
    Cap,
    id=st.uuids().map(str),
    window=st.sampled_from(Window),
    minutes=st.sampled_from([60, 1440, 10080]),
    amount_minor=st.integers(0, 3000),
    operators=st.sampled_from([frozenset({"metro"}), frozenset({"bus"}), frozenset({"metro", "bus"})]),
    local_only=maybe,
    names=st.just(NOBODY),
)
passes = st.builds(
    Pass,
    id=st.uuids().map(str),
    price_minor=st.integers(1, 4000),
    rides=st.integers(1, 8),
    local_only=maybe,
    names=st.just(NOBODY),
)
groups = st.sampled_from(["", "m", "b"])
leg_rules = st.builds(
    LegRule,
    leg_group=groups,
    network=st.sampled_from(["", "", "M", "B"]),
    from_area=st.sampled_from(["", "", "north", "south"]),
    to_area=st.sampled_from(["", "", "north", "south"]),
    from_timeframe=st.sampled_from(["", "", "", "peak"]),
    to_timeframe=st.sampled_from(["", "", "", "peak"]),
    product=st.sampled_from(["single", "dear", "senior-only"]),
    priority=st.integers(0, 2),
)
transfers = st.builds(
    TransferRule,
    from_group=groups,
    to_group=groups,
    count=st.sampled_from([None, 1, 2]),
    seconds=st.just(None),
    seconds_type=st.just(None),
    type=st.sampled_from(TransferType),
    product=st.sampled_from(["", "single", "off", "senior-only"]),
) | st.builds(
    TransferRule,
    from_group=groups,
    to_group=groups,
    count=st.sampled_from([None, 1, 2]),
    seconds=st.sampled_from([600, 3600, 7200]),
    seconds_type=st.sampled_from(DurationType),
    type=st.sampled_from(TransferType),
    product=st.sampled_from(["", "single", "off", "senior-only"]),
)
joins = st.builds(
    JoinRule,
    from_network=st.sampled_from(["", "M", "B"]),
    to_network=st.sampled_from(["M", "B"]),
    from_stop=st.just(""),
    to_stop=st.just(""),
) | st.builds(
    JoinRule,
    from_network=st.just("M"),
    to_network=st.just("B"),
    from_stop=st.sampled_from(STOPS),
    to_stop=st.sampled_from(STOPS),
)
leg_fares = st.builds(
    LegFares,
    rules=st.lists(leg_rules, max_size=4).map(tuple),
    products=st.just(
        {
            "single": (Product(id="single", amount_minor=200), Product(id="single", amount_minor=90, rider_category="student")),
            "dear": (Product(id="dear", amount_minor=500),),
            "senior-only": (Product(id="senior-only", amount_minor=50, rider_category="senior-60"),),
            "off": (Product(id="off", amount_minor=-120),),
        }
    ),
    networks=st.just({"m1": "M", "b1": "B", "b2": "B"}),
    areas=st.just({"A": frozenset({"north"}), "B": frozenset({"north", "south"}), "C": frozenset({"south"})}),
    stations=st.just({"D": "C"}),
    timeframes=st.just({"peak": (Timeframe(start=time(8), end=time(9), service="daily"),)}),
    service_dates=st.just({"daily": frozenset({date(2026, 3, 2)})}),
    joins=st.lists(joins, max_size=2).map(tuple),
    transfers=st.lists(transfers, max_size=4).map(tuple),
    uses_priority=maybe,
)
SAME_STATION = (SameStation(up_to_minutes=5, amount_minor=0), SameStation(up_to_minutes=30, amount_minor=200))


@st.composite
def versions(draw: st.DrawFn) -> Tariffs:
    made = []
    legs = draw(st.none() | leg_fares)
    for operator in ("metro", "bus"):
        for number, begin in enumerate(draw(st.sampled_from([(1,), (1, 3), (3,)]))):
            made.append(
                Tariff(
                    id=f"{operator}-{number}",
                    operator=operator,
                    city="320500",
                    effective_from=date(2026, 3, begin),
                    effective_until=draw(st.sampled_from([None, date(2026, 3, 4)])),
                    names=NOBODY,
                    max_fare_minor=draw(minor),
                    pairing_minutes=draw(st.sampled_from([60, 240])),
                    bands=draw(bands),
                    distances={("A", "B"): Decimal("23.4"), ("B", "C"): Decimal("12.2"), ("A", "C"): Decimal(6)},
                    pair_fares=draw(st.dictionaries(pairs, minor, max_size=2)),
                    legs=legs,
                    concessions=tuple(draw(st.lists(concessions, max_size=3))),
                    caps=tuple(draw(st.lists(caps, max_size=3))),
                    passes=tuple(draw(st.lists(passes, max_size=2))),
                    same_station=draw(
                        st.sampled_from(
                            [
                                (),
                                (SameStation(up_to_minutes=5, amount_minor=0), SameStation(up_to_minutes=30, amount_minor=200)),
                            ]
                        )
                    ),
                    overtime=draw(st.sampled_from([None, Overtime(after_minutes=45, surcharge_minor=200)])),
                    interchanges=tuple(
                        Interchange(from_stop=one, to_stop=other, minutes=20)
                        for one, other in draw(st.lists(pairs, max_size=2))
                    ),
                )
            )
    return Tariffs.of(*made)


riders = st.builds(
    Rider,
    issuer=st.sampled_from(["320500", "320100"]),
    entitlements=st.lists(
        st.builds(
            Entitlement,
            code=st.sampled_from(["senior-60", "student"]),
            scope_city=st.sampled_from(["320500", "320000", "320100"]),
            expires_on=st.sampled_from([None, date(2026, 3, 1), date(2026, 3, 2)]),
        ),
        max_size=2,
    ).map(tuple),
)


@st.composite
def days(draw: st.DrawFn) -> list[Tap]:
    """Mostly journeys as people make them, and taps from anywhere."""
    made, minute = [], 0
    for number in range(draw(st.integers(0, 9))):
        minute += draw(st.sampled_from([0, 3, 15, 70]))
        operator = draw(st.sampled_from(OPERATORS[:2] * 4 + OPERATORS[2:]))
        line, rider = draw(st.sampled_from(LINES)), draw(st.none() | riders)
        kinds = draw(
            st.sampled_from([("entry", "exit"), ("entry", "exit"), ("entry", "exit"), ("ride",), ("entry",), ("exit",)])
        )
        for kind in kinds:
            made.append(
                Tap(
                    key=f"{number}-{kind}",
                    at=MORNING + timedelta(minutes=minute),
                    kind=kind,
                    operator=operator,
                    stop_id=draw(st.sampled_from(STOPS)),
                    line=line,
                    token=draw(st.sampled_from(["", "", "", "k:1"])),
                    rider=rider,
                )
            )
            minute += draw(st.sampled_from([0, 5, 40, 300])) if kind == "entry" else 0
    return made


@st.composite
def changes(draw: st.DrawFn) -> tuple[list[Tap], Tariffs]:
    """Legs in quick succession under Fares v2 rules: nearly every one may join or transfer from the one before."""
    legs = LegFares(
        rules=tuple(
            LegRule(
                leg_group=group,
                network=network,
                from_area="",
                to_area="",
                from_timeframe="",
                to_timeframe="",
                product=product,
                priority=0,
            )
            for group, network, product in (("m", "M", "dear"), ("b", "B", "single"), ("", "", "dear"))
        ),
        products={
            "single": (Product(id="single", amount_minor=200),),
            "dear": (Product(id="dear", amount_minor=500),),
            "off": (Product(id="off", amount_minor=-120),),
            "on": (Product(id="on", amount_minor=630),),
        },
        networks={"m1": "M", "b1": "B", "b2": "B"},
        stations={"D": "C"},
        joins=tuple(draw(st.lists(joins, max_size=1))),
        transfers=tuple(
            TransferRule(
                from_group=draw(st.sampled_from(["m", "b", "b", ""])),
                to_group=draw(st.sampled_from(["m", "b", "b", ""])),
                count=draw(st.sampled_from([None, 1, 2, 3])),
                seconds=seconds,
                seconds_type=draw(st.sampled_from(DurationType)) if seconds else None,
                type=draw(st.sampled_from(TransferType)),
                product=draw(st.sampled_from(["", "off", "on"])),
            )
            for seconds in draw(st.lists(st.sampled_from([None, 1200, 2700]), min_size=1, max_size=4))
        ),
        uses_priority=draw(maybe),
    )
    facts = {"city": "320500", "effective_from": date(2026, 1, 1), "effective_until": None, "names": NOBODY}
    rules = {"max_fare_minor": 900, "pairing_minutes": 240, "legs": legs}
    near = {("A", "C"): Decimal(3), ("A", "D"): Decimal(4), ("C", "D"): Decimal(1)}
    metro = Tariff(id="m", operator="metro", bands=draw(bands), distances=near, **facts, **rules)
    taps, minute = [], 0
    for number in range(draw(st.integers(2, 7))):
        minute += draw(st.sampled_from([1, 9, 20, 31]))
        line = draw(st.sampled_from(["m1", "b1", "b1", "b2"]))
        one_tap = line != "m1" and draw(maybe)
        for kind in ("ride",) if one_tap else ("entry", "exit"):
            taps.append(
                Tap(
                    key=f"{number}-{kind}",
                    at=MORNING + timedelta(minutes=minute),
                    kind=kind,
                    operator="metro" if line == "m1" else "bus",
                    stop_id=draw(st.sampled_from("ACD")),
                    line=line,
                )
            )
            minute += draw(st.sampled_from([4, 11])) if kind == "entry" else 0
    return taps, Tariffs.of(metro, Tariff(id="b", operator="bus", **facts, **rules))


pasts = st.lists(
    st.builds(
        PastFare,
        at=st.integers(1, 9 * 1440).map(lambda minutes: MORNING - timedelta(hours=5) - timedelta(minutes=minutes)),
        operator=st.sampled_from(OPERATORS[:2]),
        capped_minor=minor,
    ),
    max_size=12,
).map(lambda fares: sorted(fares, key=lambda fare: fare.at))


def same(found: Charge, expected: tuple) -> None:
    assert (list(found.journeys), found.replays) == (expected[0], expected[1])
    assert found.total_minor == sum(journey.charged_minor for journey in expected[0])
    for operator in OPERATORS:
        assert found.owed_to(operator) == sum(one.charged_minor for one in expected[0] if one.operator == operator)
    assert list(found.past) == [journey.past for journey in expected[0] if journey.past]
    assert len(found) == len(expected[0])
    for journey in expected[0]:
        assert sum(step.amount_minor for step in journey.steps) == journey.charged_minor >= 0


@settings(max_examples=120, deadline=None)
@given(days(), versions(), riders, pasts)
def test_fast_and_plain_find_the_same_journeys_steps_and_amounts(taps, tariffs, rider, past) -> None:
    same(charge(taps, tariffs, rider, past), reference.price(taps, tariffs, rider, past))


@settings(max_examples=150, deadline=None)
@given(changes(), riders)
def test_joins_and_transfers_in_quick_succession_come_to_the_same(made, rider) -> None:
    same(charge(*made, rider), reference.price(*made, rider))


@settings(max_examples=40, deadline=None)
@given(days(), versions(), riders, pasts, st.randoms(use_true_random=False))
def test_arrival_order_repetition_and_delay_change_nothing_under_any_tariff(taps, tariffs, rider, past, random: Random) -> None:
    expected = charge(taps, tariffs, rider, past)
    arriving = taps + [tap for tap in taps if random.random() < 0.5]
    random.shuffle(arriving)
    posted = 0
    for count in range(1, len(arriving) + 1):
        posted += charge(arriving[:count], tariffs, rider, past).total_minor - posted
    assert posted == expected.total_minor
    assert charge(arriving, tariffs, rider, past) == expected


@settings(max_examples=30, deadline=None)
@given(st.lists(days(), min_size=2, max_size=4), versions(), riders)
def test_a_meter_prices_day_after_day_as_each_day_with_its_past(month, tariffs, rider) -> None:
    meter = Meter(tariffs, rider)
    past: list[PastFare] = []
    for number, taps in enumerate(month):
        day = [
            Tap(
                key=tap.key,
                at=tap.at + timedelta(days=number),
                kind=tap.kind,
                operator=tap.operator,
                stop_id=tap.stop_id,
                line=tap.line,
                token=tap.token,
                rider=tap.rider,
            )
            for tap in taps
            if card_day(tap.at) == date(2026, 3, 2)
        ]
        expected = reference.price(day, tariffs, rider, past)
        same(meter.day(day), expected)
        past += [journey.past for journey in expected[0] if journey.past]


@pytest.mark.parametrize("seed", range(3))
def test_a_day_of_sixty_taps_is_the_same_too(seed: int) -> None:
    random = Random(seed)
    taps = []
    for number in range(30):
        begin, end = random.sample("ABC", 2)
        for kind, stop, minute in (("entry", begin, 0), ("exit", end, 18)):
            at = MORNING + timedelta(minutes=25 * number + minute)
            taps.append(Tap(key=f"{number}{kind}", at=at, kind=kind, operator="metro", stop_id=stop, line="m1"))
    tariffs = Tariffs.of(
        Tariff(
            id="t",
            operator="metro",
            city="320500",
            effective_from=date(2026, 1, 1),
            effective_until=None,
            names=NOBODY,
            max_fare_minor=1000,
            pairing_minutes=240,
            bands=(Band(up_to_km=None, step_km=None, step_minor=200),),
            distances={("A", "B"): Decimal(1), ("B", "C"): Decimal(1), ("A", "C"): Decimal(2)},
            caps=(
                Cap(
                    id="d",
                    window=Window.DAY,
                    minutes=0,
                    amount_minor=4000,
                    operators=frozenset({"metro"}),
                    local_only=False,
                    names=NOBODY,
                ),
            ),
            passes=(Pass(id="p", price_minor=2500, rides=15, local_only=False, names=NOBODY),),
        )
    )
    rider = Rider(issuer="320500")
    same(charge(taps, tariffs, rider), reference.price(taps, tariffs, rider))
