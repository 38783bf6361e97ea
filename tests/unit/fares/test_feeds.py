"""A feed is read whole or refused by file, line, field and reason."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from card.fares import (
    Entitlement,
    FeedRefused,
    Published,
    Rider,
    State,
    StepCode,
    Tap,
    Tariffs,
    charge,
    publish,
    read_feed,
    read_files,
)

OURS = Path(__file__).parents[3] / "app" / "demo" / "feeds"
REAL = "gtfs/transcollines-qc-ca-fares.zip"


def ours(city: str) -> Published:
    return publish(read_feed(OURS / city), city=city)


def files(city: str = "320500") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (OURS / city).iterdir()}


def test_a_real_fares_v2_feed_is_read_and_given_back_byte_for_byte(shared_data: Path, tmp_path: Path) -> None:
    feed = read_feed(shared_data / REAL)
    assert feed.unknown_columns["calendar_dates.txt"] == ("holiday_name",)
    assert "trip_direction_headsign" in feed.unknown_columns["trips.txt"]
    copy = tmp_path / "copy.zip"
    copy.write_bytes(feed.as_zip())
    assert read_feed(copy).files == feed.files


@pytest.mark.parametrize(
    ("from_area", "to_area", "minor"),
    [("GAT", "COL", 500), ("GAT", "PNT", 2000), ("COL", "PNT", 500), ("PNT", "PNT", 500), ("GAT", "GAT", None)],
)
def test_the_real_feeds_leg_rules_price_a_ride(shared_data: Path, from_area: str, to_area: str, minor: int | None) -> None:
    published = publish(read_feed(shared_data / REAL), city="000000")
    areas = published.tariffs[0].legs.areas
    stops = {area: sorted(stop for stop, found in areas.items() if area in found) for area in (from_area, to_area)}
    at = datetime(2026, 3, 3, 6, tzinfo=UTC)
    common = {"operator": "Transcollines", "line": "921"}
    taps = [
        Tap(key="1", at=at, kind="entry", stop_id=stops[from_area][0], **common),
        Tap(key="2", at=at + timedelta(minutes=30), kind="exit", stop_id=stops[to_area][-1], **common),
    ]
    journey = charge(taps, Tariffs.of(*published.tariffs), Rider(issuer="")).journeys[0]
    if minor is None:
        assert journey.state is State.UNPRICED
    else:
        assert (journey.charged_minor, journey.steps[0].code) == (minor, StepCode.LEG_FARE)


@pytest.mark.parametrize(
    ("city", "begin", "end", "km", "minor"),
    [
        ("320500", "sz-mudu", "sz-nanshijie", "23.4", 600),
        ("320500", "sz-nanshijie", "sz-leqiao", "12.2", 400),
        ("320500", "sz-mudu", "sz-suzhouhuochezhan", "12.7", 400),  # with a change at Guangji South Road
        ("320100", "nj-gulou", "nj-nanjingnanzhan", "13.2", 400),
        ("320100", "nj-nanjingzhan", "nj-baijiahu", "23.4", 600),
    ],
)
def test_our_feeds_carry_the_distances_of_the_worked_cases(city: str, begin: str, end: str, km: str, minor: int) -> None:
    assert ours(city).tariffs[0].distance_fare(begin, end) == (Decimal(km), minor)


def test_only_the_tariff_whose_sources_contradict_each_other_is_marked() -> None:
    assert [tariff.secondary_source for city in ("320500", "320100") for tariff in ours(city).tariffs] == [
        False,
        False,
        True,
        True,
    ]


def test_a_nanjing_senior_pays_half_at_home_and_the_full_fare_in_suzhou() -> None:
    tariffs = Tariffs.of(*ours("320100").tariffs, *ours("320500").tariffs)
    rider = Rider(issuer="320100", entitlements=(Entitlement(code="senior-60", scope_city="320100"),))
    at = datetime(2026, 3, 3, tzinfo=UTC)

    def ride(operator: str, begin: str, end: str) -> int:
        taps = [Tap(key=begin, at=at, kind="entry", operator=operator, stop_id=begin)]
        taps.append(Tap(key=end, at=at + timedelta(minutes=35), kind="exit", operator=operator, stop_id=end))
        return charge(taps, tariffs, rider).total_minor

    assert ride("nj-metro", "nj-gulou", "nj-nanjingnanzhan") == 200
    assert ride("sz-metro", "sz-mudu", "sz-nanshijie") == 600


def test_a_bus_is_one_tap_and_one_price() -> None:
    tap = Tap(
        key="1",
        at=datetime(2026, 3, 3, tzinfo=UTC),
        kind="ride",
        operator="sz-bus",
        stop_id="sz-bus-nanmen",
        line="sz-bus-you1",
    )
    journey = charge([tap], Tariffs.of(*ours("320500").tariffs), Rider(issuer="320500")).journeys[0]
    assert (journey.charged_minor, journey.state, journey.taps) == (200, State.COMPLETE, ("1",))


@pytest.mark.parametrize(
    ("file", "before", "after", "line", "field", "reason"),
    [
        ("stops.txt", "31.264500", "north", 2, "stop_lat", "is not a latitude"),
        ("stops.txt", "sz-jinfenglu,", "sz-mudu,", 3, "stop_id", "the same key is on an earlier line"),
        ("routes.txt", "078E4D", "green!", 2, "route_color", "is not a colour of six hexadecimal digits"),
        ("trips.txt", "sz-1,daily,sz-1-0", "sz-9,daily,sz-1-0", 2, "route_id", "refers to something that is not in the feed"),
        ("fare_products.txt", "2.00", "2.001", 2, "amount", "is not an amount with at most two decimals"),
        ("fare_leg_rules.txt", "sz-bus,", "sz-tram,", 2, "network_id", "refers to something that is not in the feed"),
        ("calendar.txt", "20260101", "2026-01-01", 2, "start_date", "is not a date of the form YYYYMMDD"),
        ("calendar.txt", "daily,1", "daily,yes", 2, "monday", "is not one of the values that the field allows"),
        ("agency.txt", "agency_timezone", "agency_zone", 1, "agency_timezone", "the column is required and is not there"),
        ("tariffs.txt", ",240,120", ",,120", 2, "pairing_minutes", "is required and empty"),
        ("concessions.txt", ",95,", ",195,", 2, "payable_percent", "is not a percentage between 0 and 100"),
        ("distance_bands.txt", "16,5,", "4,5,", 2, "up_to_km", "the tariff does not price every journey"),
        (
            "shapes.txt",
            "sz-1,31.264500,120.519000,1,0\n",
            "sz-1,31.264500\n",
            2,
            "",
            "the line has more or fewer fields than the header",
        ),
    ],
)
def test_a_wrong_feed_is_refused_at_its_line(file: str, before: str, after: str, line: int, field: str, reason: str) -> None:
    changed = files()
    assert before.encode() in changed[file], "the table of this test is out of date"
    changed[file] = changed[file].replace(before.encode(), after.encode(), 1)
    with pytest.raises(FeedRefused) as refused:
        publish(read_files(changed), city="320500")
    first = refused.value.problems[0]
    assert (first.file, first.line, first.field, first.reason) == (file, line, field, reason)


def test_a_feed_without_stops_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FeedRefused) as refused:
        read_files({name: content for name, content in files().items() if name != "stops.txt"})
    assert refused.value.problems[0].file == "stops.txt"
    broken = tmp_path / "feed.zip"
    broken.write_bytes(b"not a zip")
    with pytest.raises(FeedRefused):
        read_feed(broken)


def test_bytes_that_are_not_utf_8_name_their_line() -> None:
    changed = files()
    changed["stops.txt"] = changed["stops.txt"].decode().encode("gb18030")
    with pytest.raises(FeedRefused) as refused:
        read_files(changed)
    assert (refused.value.problems[0].file, refused.value.problems[0].line) == ("stops.txt", 2)


def transfers(rows: str) -> Tariffs:
    changed = files()
    changed["fare_products.txt"] += b"free-change,,0.00,CNY\none-off,,-1.00,CNY\n"
    changed["fare_transfer_rules.txt"] = (
        "from_leg_group_id,to_leg_group_id,transfer_count,duration_limit,duration_limit_type,fare_transfer_type,fare_product_id\n"
        + rows
    ).encode()
    return Tariffs.of(*publish(read_files(changed), city="320500").tariffs)


@pytest.mark.parametrize(
    ("rule", "minutes", "charged"),
    [
        ("bus,bus,1,3600,1,0,free-change", [0, 20, 40, 60], [200, 0, 200, 0]),  # the limit is one: never free for ever
        ("bus,bus,-1,3600,1,0,free-change", [0, 20, 40, 61], [200, 0, 0, 200]),  # an hour from the first boarding
        ("bus,bus,1,,,1,one-off", [0, 20], [200, 100]),
        ("bus,bus,1,,,2,bus-single", [0, 20], [200, 0]),
    ],
)
def test_a_change_of_bus_costs_what_the_transfer_rule_says(rule: str, minutes: list[int], charged: list[int]) -> None:
    at = datetime(2026, 3, 3, tzinfo=UTC)
    taps = [
        Tap(
            key=str(m),
            at=at + timedelta(minutes=m),
            kind="ride",
            operator="sz-bus",
            stop_id="sz-bus-nanmen",
            line="sz-bus-you1",
        )
        for m in minutes
    ]
    result = charge(taps, transfers(rule), Rider(issuer="320500"))
    assert [journey.charged_minor for journey in result.journeys] == charged
