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
    apportion,
    charge,
    publish,
    read_feed,
    read_files,
    shares_of,
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


@pytest.mark.parametrize("city", ["320500", "320100"])
def test_our_tariffs_say_in_both_languages_where_their_figures_come_from(city: str) -> None:
    for tariff in ours(city).tariffs:
        assert tariff.source_names.zh == tariff.source
        assert tariff.source_names.en.isascii(), tariff.id


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


@pytest.mark.parametrize(
    ("file", "content", "line", "field", "reason"),
    [
        ("timeframes.txt", "timeframe_group_id,start_time,end_time,service_id\npeak,07:00:00,,daily", 2, "start_time", "half"),
        (
            "timeframes.txt",
            "timeframe_group_id,start_time,end_time,service_id\npeak,7:00:00,09:00:00,daily\npeak,08:59:59,10:00:00,daily",
            3,
            "start_time",
            "overlaps another",
        ),
        (
            "timeframes.txt",
            "timeframe_group_id,start_time,end_time,service_id\np,09:00:00,07:00:00,daily",
            2,
            "end_time",
            "ends",
        ),
        (
            "fare_transfer_rules.txt",
            "from_leg_group_id,to_leg_group_id,transfer_count,fare_transfer_type\nbus,bus,,0",
            2,
            "transfer_count",
            "is required for a transfer within",
        ),
        (
            "fare_transfer_rules.txt",
            "from_leg_group_id,to_leg_group_id,transfer_count,fare_transfer_type\nbus,,1,0",
            2,
            "transfer_count",
            "is only for a transfer within",
        ),
        (
            "fare_transfer_rules.txt",
            "from_leg_group_id,to_leg_group_id,transfer_count,duration_limit,fare_transfer_type\nbus,bus,1,3600,0",
            2,
            "duration_limit",
            "half",
        ),
        (
            "fare_leg_join_rules.txt",
            "from_network_id,to_network_id,from_stop_id,to_stop_id\nsz-bus,sz-bus,sz-mudu,",
            2,
            "from_stop_id",
            "half",
        ),
        ("apportionment_rules.txt", "tariff_id,agency_id,percent\nsz-metro-2026,sz-metro,60", 2, "percent", "add up to 100"),
        (
            "cap_rules.txt",
            "tariff_id,cap_id,window,window_minutes,amount,local_only,name_zh,name_en\nsz-metro-2026,x,rolling,10081,9,0,x,x",
            2,
            "window_minutes",
            "seven days",
        ),
        (
            "od_fares.txt",
            "tariff_id,from_stop_id,to_stop_id,amount\nsz-metro-2026,sz-mudu,sz-leqiao,-1",
            2,
            "amount",
            "zero or",
        ),
        ("fare_media.txt", "fare_media_id,fare_media_name,fare_media_type\ncash,Cash,9", 2, "fare_media_type", "is not one of"),
        ("rider_categories.txt", "rider_category_id\nadult", 1, "rider_category_name", "the column is required"),
    ],
)
def test_fields_that_belong_together_are_checked_together(file: str, content: str, line: int, field: str, reason: str) -> None:
    with pytest.raises(FeedRefused) as refused:
        read_files({**files(), file: content.encode()})
    first = refused.value.problems[0]
    assert (first.file, first.line, first.field) == (file, line, field)
    assert reason in first.reason


def test_networks_are_named_in_one_place_only() -> None:
    changed = files()
    changed["routes.txt"] = changed["routes.txt"].replace(b"route_text_color\n", b"route_text_color,network_id\n")
    changed["routes.txt"] = b"".join(
        line if line.startswith(b"route_id") else line.rstrip(b"\n") + b",sz-bus\n"
        for line in changed["routes.txt"].splitlines(keepends=True)
    )
    with pytest.raises(FeedRefused) as refused:
        read_files(changed)
    assert (refused.value.problems[0].file, refused.value.problems[0].field) == ("routes.txt", "network_id")


def test_every_adopted_fares_v2_file_and_files_nobody_knows_come_back_byte_for_byte(tmp_path: Path) -> None:
    extra = {
        "fare_media.txt": b"\xef\xbb\xbffare_media_id,fare_media_name,fare_media_type,colour\r\ncard,,2,red\r\ncash,,0,\r\n",
        "rider_categories.txt": b"rider_category_id,rider_category_name,is_default_fare_category,eligibility_url\na,A,1,\n",
        "timeframes.txt": b"timeframe_group_id,start_time,end_time,service_id\npeak,07:00:00,09:00:00,daily\n",
        "areas.txt": b"area_id,area_name\ncentre,Centre\n",
        "stop_areas.txt": b"area_id,stop_id\ncentre,sz-mudu\n",
        "fare_leg_join_rules.txt": b"from_network_id,to_network_id\nsz-bus,sz-bus\n",
        "fare_transfer_rules.txt": b"from_leg_group_id,to_leg_group_id,transfer_count,fare_transfer_type\nbus,bus,-1,0\n",
        "od_fares.txt": b"tariff_id,from_stop_id,to_stop_id,amount,note\nsz-metro-2026,sz-mudu,sz-leqiao,5.50,x\n",
        "apportionment_rules.txt": b"tariff_id,agency_id,percent\nsz-metro-2026,sz-metro,70\nsz-metro-2026,sz-bus,30\n",
        "levels.txt": b"level_id,level_index\nl1,0\n",
        "LICENCE.md": b"ours\n",
    }
    feed = read_files({**files(), **extra})
    copy = tmp_path / "copy.zip"
    copy.write_bytes(feed.as_zip())
    assert read_feed(copy).files == {**files(), **extra}
    assert (feed.unknown_columns["fare_media.txt"], feed.unknown_columns["od_fares.txt"]) == (("colour",), ("note",))
    metro = publish(feed, city="320500").tariffs[0]
    assert metro.pair_fare("sz-leqiao", "sz-mudu") == 550
    assert dict(shares_of(metro)) == {"sz-metro": 70, "sz-bus": 30}


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
    changed["fare_products.txt"] += b"free-change,,0.00,CNY\none-off,,-1.00,CNY\ndear,,5.00,CNY\n"
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
        ("bus,bus,-1,,,2,dear", [0, 20, 40], [200, 300, 500]),  # AB, then S + BC
        (",,1,,,0,free-change", [0, 20], [200, 0]),  # an empty group is any that no transfer rule names
        (",,1,,,0,free-change\nbus,bus,1,600,1,0,free-change", [0, 20], [200, 200]),  # ... and this one is named
        ("bus,bus,2,,,0,dear\nbus,bus,1,,,0,free-change", [0, 20, 40], [200, 0, 500]),  # the smallest count that still fits
        ("bus,bus,-1,1500,0,0,free-change", [0, 20, 40], [200, 0, 200]),  # counted from the first leg of the chain
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


def sz(rows: dict[str, str]) -> Tariffs:
    """Suzhou with other rows: each file whole."""
    changed = {**files(), **{name: text.encode() for name, text in rows.items()}}
    return Tariffs.of(*publish(read_files(changed), city="320500").tariffs)


def bus(minute: int, *, hour: int = 8, stop: str = "sz-bus-nanmen") -> Tap:
    at = datetime(2026, 3, 3, hour - 8, tzinfo=UTC) + timedelta(minutes=minute)
    return Tap(key=f"{hour}:{minute}", at=at, kind="ride", operator="sz-bus", stop_id=stop, line="sz-bus-you1")


LEGS = "leg_group_id,network_id,from_area_id,to_area_id,from_timeframe_group_id,fare_product_id"
PRODUCTS = "fare_product_id,fare_product_name,rider_category_id,fare_media_id,amount,currency\n"


@pytest.mark.parametrize(
    ("legs", "minor"),
    [
        (f"{LEGS}\nb,sz-bus,,,,two", 200),
        (f"{LEGS}\nb,sz-bus,,,peak,three\nb,sz-bus,,,night,two", 300),  # 08:00 lies in the morning's frame
        (f"{LEGS}\nb,,,,,two\nb,sz-tram,,,,three", 200),  # empty: any network that no rule names
        (f"{LEGS}\nb,,,,,two\nb,sz-bus,centre,,,three", None),  # sz-bus is named, and its rule wants another area
        (f"{LEGS},rule_priority\nb,,,,,two,\nb,sz-bus,,,,three,1", 300),  # with priorities empty matches all, the highest wins
        (f"{LEGS},rule_priority\nb,,,,,two,\nb,sz-bus,centre,,,three,1", 200),
        (f"{LEGS}\nb,sz-bus,,,,paper", None),  # sold on paper only: not with a card
        (f"{LEGS}\nb,sz-bus,,,,both", 180),  # the card's price, not the cash price
    ],
)
def test_which_leg_rule_prices_a_ride(legs: str, minor: int | None) -> None:
    found = sz(
        {
            "fare_leg_rules.txt": legs,
            "fare_products.txt": PRODUCTS
            + "two,,,,2.00,CNY\nthree,,,,3.00,CNY\npaper,,,ticket,1.00,CNY\nboth,,,ticket,1.50,CNY\nboth,,,card,1.80,CNY\n",
            "fare_media.txt": "fare_media_id,fare_media_name,fare_media_type\nticket,Ticket,1\ncard,Card,2\n",
            "timeframes.txt": "timeframe_group_id,start_time,end_time,service_id\n"
            "peak,07:00:00,08:00:01,daily\nnight,00:00:00,08:00:00,daily\n",
            "areas.txt": "area_id\ncentre\n",
            "networks.txt": "network_id,network_name\nsz-bus,Bus\nsz-tram,Tram\n",
        }
    )
    journey = charge([bus(0)], found, Rider(issuer="320500")).journeys[0]
    assert (journey.state is State.UNPRICED, journey.charged_minor) == (minor is None, minor or 0)


def test_a_category_of_riders_has_a_price_of_its_own() -> None:
    found = sz(
        {
            "fare_products.txt": PRODUCTS + "bus-single,,adult,,2.00,CNY\nbus-single,,student,,0.50,CNY\n",
            "rider_categories.txt": "rider_category_id,rider_category_name,is_default_fare_category\n"
            "adult,Adult,1\nstudent,Student,0\n",
        }
    )
    student = Rider(issuer="320500", entitlements=(Entitlement(code="student", scope_city="320500"),))
    elsewhere = Rider(issuer="320100", entitlements=(Entitlement(code="student", scope_city="320100"),))
    assert [charge([bus(0)], found, one).total_minor for one in (Rider(issuer="320500"), student, elsewhere)] == [200, 50, 200]


@pytest.mark.parametrize(
    ("stops", "minutes", "charged"),
    [
        (["sz-mudu", "sz-leqiao", "sz-leqiao", "sz-zhongnanjie"], 10, 1),  # a change within one station: one leg
        (["sz-mudu", "sz-leqiao", "sz-leqiao", "sz-zhongnanjie"], 31, 2),  # too long after
        (["sz-mudu", "sz-leqiao", "sz-mudu", "sz-zhongnanjie"], 10, 2),  # another station
        (["sz-mudu", "sz-leqiao", "sz-guangjinanlu", "sz-zhongnanjie"], 10, 1),  # the rule names this way over the street
    ],
)
def test_joined_legs_are_matched_as_one(stops: list[str], minutes: int, charged: int) -> None:
    found = sz(
        {
            "networks.txt": "network_id,network_name\nsz-bus,Bus\nmetro,Metro\n",
            "route_networks.txt": "network_id,route_id\nsz-bus,sz-bus-you1\nmetro,sz-1\nmetro,sz-2\n",
            "fare_leg_rules.txt": f"{LEGS}\nm,metro,,,,bus-single",
            "fare_leg_join_rules.txt": "from_network_id,to_network_id,from_stop_id,to_stop_id\n"
            "metro,metro,,\nmetro,metro,sz-leqiao,sz-guangjinanlu\n",
            "distance_bands.txt": "tariff_id,up_to_km,step_km,step_amount\n",
        }
    )
    at = datetime(2026, 3, 3, tzinfo=UTC)
    taps = [
        Tap(key=str(n), at=at + timedelta(minutes=minute), kind=kind, operator="sz-metro", stop_id=stop, line="sz-1")
        for n, (kind, stop, minute) in enumerate(
            zip(["entry", "exit"] * 2, stops, [0, 20, 20 + minutes, 45 + minutes], strict=True)
        )
    ]
    assert len(charge(taps, found, Rider(issuer="320100")).journeys) == charged
    assert charge(taps, found, Rider(issuer="320100")).total_minor == 200 * charged


def test_leaving_the_metro_makes_the_bus_cheaper_though_the_metro_is_priced_by_distance() -> None:
    found = sz(
        {
            "networks.txt": "network_id,network_name\nsz-bus,Bus\nmetro,Metro\n",
            "route_networks.txt": "network_id,route_id\nsz-bus,sz-bus-you1\nmetro,sz-1\nmetro,sz-2\n",
            "fare_leg_rules.txt": f"{LEGS}\nbus,sz-bus,,,,bus-single\nm,metro,,,,bus-single",
            "fare_products.txt": "fare_product_id,amount,currency\nbus-single,2.00,CNY\noff,-1.00,CNY\n",
            "fare_transfer_rules.txt": "from_leg_group_id,to_leg_group_id,duration_limit,duration_limit_type,"
            "fare_transfer_type,fare_product_id\nm,bus,5400,2,1,off\n",
        }
    )
    at = datetime(2026, 3, 3, tzinfo=UTC)
    metro = {"operator": "sz-metro", "line": "sz-1"}
    taps = [
        Tap(key="in", at=at - timedelta(minutes=40), kind="entry", stop_id="sz-mudu", **metro),
        Tap(key="out", at=at - timedelta(minutes=5), kind="exit", stop_id="sz-leqiao", **metro),
        bus(0),
    ]
    journeys = charge(taps, found, Rider(issuer="320100")).journeys
    assert [journey.charged_minor for journey in journeys] == [journeys[0].steps[0].amount_minor, 100]
    assert journeys[1].steps[-1].code is StepCode.TRANSFER


@pytest.mark.parametrize(
    ("amount", "shares", "parts"),
    [
        (1000, {"a": "70", "b": "30"}, {"a": 700, "b": 300}),
        (1, {"a": "50", "b": "50"}, {"a": 1, "b": 0}),
        (100, {"a": "33.33", "b": "33.33", "c": "33.34"}, {"a": 33, "b": 33, "c": 34}),
        (2, {"a": "33.33", "b": "33.33", "c": "33.34"}, {"a": 1, "b": 0, "c": 1}),
        (-100, {"a": "66.67", "b": "33.33"}, {"a": -67, "b": -33}),
        (0, {"a": "100"}, {"a": 0}),
    ],
)
def test_a_fare_is_divided_to_the_fen(amount: int, shares: dict[str, str], parts: dict[str, int]) -> None:
    found = apportion(amount, {operator: Decimal(percent) for operator, percent in shares.items()})
    assert found == parts
    assert sum(found.values()) == amount
