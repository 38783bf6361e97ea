"""From a feed's tables to the values the fare engine prices with: operators, stops, lines, tariffs.

Distances along lines are ``shape_dist_traveled`` in the tariff's unit; between lines the shortest way through shared stops (or
stops of one ``parent_station``) counts, as Chinese metros charge it. ``od_distances.txt`` overrides a pair.
"""

import hashlib
import heapq
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from app.kernel.money import half_up_minor
from card.fares.feeds import NOT_A_TARIFF, Feed, FeedRefused, Problem, Row, parse_clock, parse_date
from card.fares.gtfs import OURS
from card.fares.legs import DurationType, JoinRule, LegFares, LegRule, Product, Timeframe, TransferRule, TransferType
from card.fares.tariffs import (
    BadTariff,
    Band,
    Cap,
    Concession,
    Interchange,
    Names,
    Overtime,
    Pass,
    SameStation,
    Tariff,
    Window,
)

FARES_V2: Final = "fares-v2"
"""The id of the one version of a feed that has Fares v2 files and no ``tariffs.txt``."""
PAIRING_MINUTES: Final = 240
JOIN_MINUTES: Final = 30
SUBWAY_TYPES: Final = frozenset({"0", "1", "2", "12"})
UNIT_KM: Final = {"km": Decimal(1), "m": Decimal("0.001")}
FARE_FILES: Final = (
    "fare_products.txt",
    "fare_leg_rules.txt",
    "fare_leg_join_rules.txt",
    "fare_transfer_rules.txt",
    "fare_media.txt",
    "rider_categories.txt",
    "timeframes.txt",
    "areas.txt",
    "stop_areas.txt",
    "networks.txt",
    "route_networks.txt",
)
OTHER_MEDIA: Final = frozenset({"0", "1", "3"})
"""Fare media that a citizen card is not: cash, paper, a bank card. It is a transit card or a phone (2, 4), or unknown."""
DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """An agency of the feed."""

    id: str
    names: Names


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """A stop or station with its place (WGS 84)."""

    id: str
    names: Names
    latitude: Decimal | None
    longitude: Decimal | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LineStop:
    """A stop on a line, ``km`` from the line's beginning where the feed's unit is known."""

    stop_id: str
    km: Decimal | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A route; ``rail`` has gates, the rest is boarded with one tap."""

    id: str
    operator: str
    names: Names
    color: str
    rail: bool
    stops: tuple[LineStop, ...]


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a feed publishes, ready to store and to price with."""

    operators: tuple[Operator, ...]
    stops: tuple[Stop, ...]
    lines: tuple[Line, ...]
    tariffs: tuple[Tariff, ...]


def minor(text: str) -> int:
    """An amount of a feed in minor units."""
    return half_up_minor(Decimal(text))


class _Publisher:
    def __init__(self, feed: Feed, city: str) -> None:
        self.feed, self.city = feed, city
        info = feed.rows("feed_info.txt")
        self.chinese = not info or info[0]["feed_lang"].startswith("zh")
        self.translated: dict[tuple[str, str, str], str] = {}
        for row in feed.rows("translations.txt"):
            wanted = row["language"].startswith("en") if self.chinese else row["language"].startswith("zh")
            if wanted:
                key = row["record_id"] or "\x00" + row["field_value"]
                self.translated[row["table_name"], row["field_name"], key] = row["translation"]
        agencies = feed.rows("agency.txt")
        self.only_agency = agencies[0]["agency_id"] or city if agencies else city
        self.unit = {
            row["agency_id"]: UNIT_KM[row["distance_unit"]] for row in feed.rows("tariffs.txt") if row["distance_unit"]
        }
        self.lines = self._lines()
        self.platforms = [(row["stop_id"], row["parent_station"]) for row in feed.rows("stops.txt") if row["parent_station"]]

    def names(self, table: str, column: str, record: str, text: str) -> Names:
        other = self.translated.get((table, column, record)) or self.translated.get((table, column, "\x00" + text)) or text
        return Names(zh=text, en=other) if self.chinese else Names(zh=other, en=text)

    def publish(self) -> Published:
        feed = self.feed
        return Published(
            operators=tuple(
                Operator(
                    id=row["agency_id"] or self.only_agency,
                    names=self.names("agency", "agency_name", row["agency_id"], row["agency_name"]),
                )
                for row in feed.rows("agency.txt")
            ),
            stops=tuple(
                Stop(
                    id=row["stop_id"],
                    names=self.names("stops", "stop_name", row["stop_id"], row["stop_name"] or row["stop_id"]),
                    latitude=Decimal(row["stop_lat"]) if row["stop_lat"] else None,
                    longitude=Decimal(row["stop_lon"]) if row["stop_lon"] else None,
                )
                for row in feed.rows("stops.txt")
            ),
            lines=self.lines,
            tariffs=self._tariffs(),
        )

    def _lines(self) -> tuple[Line, ...]:
        times: dict[str, list[Row]] = defaultdict(list)
        for row in self.feed.rows("stop_times.txt"):
            times[row["trip_id"]].append(row)
        longest: dict[str, list[Row]] = {}
        for trip in self.feed.rows("trips.txt"):
            path = times.get(trip["trip_id"], [])
            if trip["direction_id"] in ("", "0") and len(path) > len(longest.get(trip["route_id"], [])):
                longest[trip["route_id"]] = path
        lines = []
        for row in self.feed.rows("routes.txt"):
            operator = row["agency_id"] or self.only_agency
            unit = self.unit.get(operator)
            path = sorted(longest.get(row["route_id"], []), key=lambda stop: int(stop["stop_sequence"]))
            name = row["route_long_name"] or row["route_short_name"] or row["route_id"]
            lines.append(
                Line(
                    id=row["route_id"],
                    operator=operator,
                    names=self.names("routes", "route_long_name", row["route_id"], name),
                    color=row["route_color"] or "505A5F",
                    rail=row["route_type"] in SUBWAY_TYPES,
                    stops=tuple(
                        LineStop(
                            stop_id=stop["stop_id"],
                            km=Decimal(stop["shape_dist_traveled"]) * unit if unit and stop["shape_dist_traveled"] else None,
                        )
                        for stop in path
                        if stop["stop_id"]
                    ),
                )
            )
        return tuple(lines)

    def _tariffs(self) -> tuple[Tariff, ...]:
        legs = self._legs()
        rows = self.feed.rows("tariffs.txt")
        if not rows:
            return self._plain(legs) if legs else ()
        grouped = {
            name: self._grouped(f"{name}.txt")
            for name in ("distance_bands", "od_distances", "od_fares", "concessions", "cap_rules")
        }
        grouped |= {
            name: self._grouped(f"{name}.txt")
            for name in ("pass_rules", "same_station_rules", "interchange_rules", "apportionment_rules")
        }
        made = []
        for row in rows:
            try:
                made.append(self._tariff(row, {name: group.get(row["tariff_id"], []) for name, group in grouped.items()}, legs))
            except BadTariff as error:
                first = next(iter(grouped["distance_bands"].get(row["tariff_id"], [])), row)
                raise FeedRefused(
                    [
                        Problem(
                            file="distance_bands.txt",
                            line=first.line,
                            field="up_to_km",
                            value=error.detail,
                            reason=NOT_A_TARIFF,
                        )
                    ]
                ) from error
        return tuple(made)

    def _grouped(self, file: str) -> dict[str, list[Row]]:
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in self.feed.rows(file):
            groups[row["tariff_id"]].append(row)
        return groups

    def _tariff(self, row: Row, parts: Mapping[str, list[Row]], legs: LegFares | None) -> Tariff:
        operator = row["agency_id"]
        distances = shortest_ways((line for line in self.lines if line.operator == operator and line.rail), self.platforms)
        for pair in parts["od_distances"]:
            distances[pair["from_stop_id"], pair["to_stop_id"]] = Decimal(pair["km"])
        bands = tuple(
            Band(
                up_to_km=Decimal(band["up_to_km"]) if band["up_to_km"] else None,
                step_km=Decimal(band["step_km"]) if band["step_km"] else None,
                step_minor=minor(band["step_amount"]),
            )
            for band in parts["distance_bands"]
        )
        return Tariff(
            id=row["tariff_id"],
            operator=operator,
            city=self.city,
            effective_from=parse_date(row["effective_from"]),
            effective_until=parse_date(row["effective_until"]) if row["effective_until"] else None,
            names=Names(en=row["name_en"], zh=row["name_zh"]),
            secondary_source=row["secondary_source"] == "1",
            source=row["source"],
            source_names=self.names("tariffs", "source", row["tariff_id"], row["source"]),
            max_fare_minor=minor(row["max_fare"]),
            pairing_minutes=int(row["pairing_minutes"]),
            bands=bands,
            distances=distances,
            pair_fares={(pair["from_stop_id"], pair["to_stop_id"]): minor(pair["amount"]) for pair in parts["od_fares"]},
            legs=legs,
            concessions=tuple(_concession(item) for item in parts["concessions"]),
            caps=tuple(_cap(item, operator) for item in parts["cap_rules"]),
            passes=tuple(
                Pass(
                    id=item["pass_id"],
                    price_minor=minor(item["amount"]),
                    rides=int(item["rides"]),
                    local_only=item["local_only"] == "1",
                    names=Names(en=item["name_en"], zh=item["name_zh"]),
                )
                for item in parts["pass_rules"]
            ),
            same_station=tuple(
                SameStation(
                    up_to_minutes=int(item["up_to_minutes"]) if item["up_to_minutes"] else None,
                    amount_minor=minor(item["amount"]) if item["amount"] else None,
                )
                for item in parts["same_station_rules"]
            ),
            overtime=Overtime(
                after_minutes=int(row["overtime_after_minutes"]), surcharge_minor=minor(row["overtime_surcharge"] or "0")
            )
            if row["overtime_after_minutes"]
            else None,
            interchanges=tuple(
                Interchange(from_stop=item["from_stop_id"], to_stop=item["to_stop_id"], minutes=int(item["minutes"]))
                for item in parts["interchange_rules"]
            ),
            join_minutes=int(row["join_minutes"] or JOIN_MINUTES),
            shares={item["agency_id"]: Decimal(item["percent"]) for item in parts["apportionment_rules"]},
        )

    def _plain(self, legs: LegFares) -> tuple[Tariff, ...]:
        info = self.feed.rows("feed_info.txt")
        starts = info[0]["feed_start_date"] if info else ""
        dearest = max((item.amount_minor for items in legs.products.values() for item in items), default=0)
        currency = next((row["currency"] for row in self.feed.rows("fare_products.txt")), "CNY")
        return tuple(
            Tariff(
                id=FARES_V2,
                operator=row["agency_id"] or self.only_agency,
                city=self.city,
                effective_from=parse_date(starts) if starts else date(1970, 1, 1),
                effective_until=None,
                names=Names(en="Fares v2", zh="Fares v2"),
                currency=currency,
                max_fare_minor=dearest,
                pairing_minutes=PAIRING_MINUTES,
                legs=legs,
            )
            for row in self.feed.rows("agency.txt")
        )

    def _legs(self) -> LegFares | None:
        feed = self.feed
        if not feed.rows("fare_leg_rules.txt"):
            return None
        defaults = {
            row["rider_category_id"] for row in feed.rows("rider_categories.txt") if row["is_default_fare_category"] == "1"
        }
        products: dict[str, list[Product]] = defaultdict(list)
        other_media = {row["fare_media_id"] for row in feed.rows("fare_media.txt") if row["fare_media_type"] in OTHER_MEDIA}
        for row in feed.rows("fare_products.txt"):
            if row["fare_media_id"] in other_media:
                continue
            category = row["rider_category_id"]
            products[row["fare_product_id"]].append(
                Product(
                    id=row["fare_product_id"],
                    amount_minor=minor(row["amount"]),
                    rider_category=None if not category or category in defaults else category,
                )
            )
        networks = {row["route_id"]: row["network_id"] for row in feed.rows("routes.txt") if row["network_id"]}
        networks |= {row["route_id"]: row["network_id"] for row in feed.rows("route_networks.txt")}
        header = feed.tables["fare_leg_rules.txt"].header
        timeframes: dict[str, list[Timeframe]] = defaultdict(list)
        for row in feed.rows("timeframes.txt"):
            timeframes[row["timeframe_group_id"]].append(
                Timeframe(
                    start=parse_clock(row["start_time"]) if row["start_time"] else None,
                    end=parse_clock(row["end_time"]) if row["end_time"] not in ("", "24:00:00") else None,
                    service=row["service_id"],
                )
            )
        return LegFares(
            rules=tuple(
                LegRule(
                    leg_group=row["leg_group_id"],
                    network=row["network_id"],
                    from_area=row["from_area_id"],
                    to_area=row["to_area_id"],
                    from_timeframe=row["from_timeframe_group_id"],
                    to_timeframe=row["to_timeframe_group_id"],
                    product=row["fare_product_id"],
                    priority=int(row["rule_priority"] or 0),
                )
                for row in feed.rows("fare_leg_rules.txt")
            ),
            products={name: tuple(items) for name, items in products.items()},
            networks=networks,
            areas=self._areas(),
            stations=dict(self.platforms),
            timeframes={name: tuple(items) for name, items in timeframes.items()},
            service_dates=self._service_dates({row["service_id"] for row in feed.rows("timeframes.txt")}),
            joins=tuple(
                JoinRule(
                    from_network=row["from_network_id"],
                    to_network=row["to_network_id"],
                    from_stop=row["from_stop_id"],
                    to_stop=row["to_stop_id"],
                )
                for row in feed.rows("fare_leg_join_rules.txt")
            ),
            transfers=tuple(_transfer(row) for row in feed.rows("fare_transfer_rules.txt")),
            uses_priority="rule_priority" in header,
        )

    def _areas(self) -> dict[str, frozenset[str]]:
        own: dict[str, set[str]] = defaultdict(set)
        for row in self.feed.rows("stop_areas.txt"):
            own[row["stop_id"]].add(row["area_id"])
        for row in self.feed.rows("stops.txt"):
            if row["parent_station"] in own and row["stop_id"] not in own:  # a platform lies where its station lies,
                own[row["stop_id"]] = own[row["parent_station"]]  # unless the feed gives it areas of its own
        return {stop: frozenset(areas) for stop, areas in own.items()}

    def _service_dates(self, services: set[str]) -> dict[str, frozenset[date]]:
        days: dict[str, set[date]] = {service: set() for service in services}
        for row in self.feed.rows("calendar.txt"):
            if row["service_id"] not in services:
                continue
            day, end = parse_date(row["start_date"]), parse_date(row["end_date"])
            while day <= end:
                if row[DAYS[day.weekday()]] == "1":
                    days[row["service_id"]].add(day)
                day += timedelta(days=1)
        for row in self.feed.rows("calendar_dates.txt"):
            if row["service_id"] in services:
                change = days[row["service_id"]].add if row["exception_type"] == "1" else days[row["service_id"]].discard
                change(parse_date(row["date"]))
        return {service: frozenset(found) for service, found in days.items()}


def _concession(row: Row) -> Concession:
    return Concession(
        code=row["entitlement"],
        percent=Decimal(row["payable_percent"]),
        same_city=row["same_city"] == "1",
        covers_incomplete=row["covers_incomplete"] == "1",
        names=Names(en=row["name_en"], zh=row["name_zh"]),
    )


def _cap(row: Row, operator: str) -> Cap:
    return Cap(
        id=row["cap_id"],
        window=Window(row["window"]),
        minutes=int(row["window_minutes"] or 0),
        amount_minor=minor(row["amount"]),
        operators=frozenset(row["agency_ids"].split() or [operator]),
        local_only=row["local_only"] == "1",
        names=Names(en=row["name_en"], zh=row["name_zh"]),
    )


def _transfer(row: Row) -> TransferRule:
    count = int(row["transfer_count"]) if row["transfer_count"] else None
    return TransferRule(
        from_group=row["from_leg_group_id"],
        to_group=row["to_leg_group_id"],
        count=None if count == -1 else count,
        seconds=int(row["duration_limit"]) if row["duration_limit"] else None,
        seconds_type=DurationType(int(row["duration_limit_type"])) if row["duration_limit_type"] else None,
        type=TransferType(int(row["fare_transfer_type"])),
        product=row["fare_product_id"],
    )


def shortest_ways(lines: Iterable[Line], platforms: Iterable[tuple[str, str]] = ()) -> dict[tuple[str, str], Decimal]:
    """The shortest way in kilometres between every two stops that ``lines`` connect (Dijkstra from each stop).

    ``platforms`` pairs a platform with its station: no distance lies between them.
    """
    roads = _roads(lines)
    for platform, station in platforms:
        roads[platform][station] = roads[station][platform] = Decimal(0)
    return {(origin, stop): km for origin in roads for stop, km in _ways_from(origin, roads).items() if stop != origin}


Roads = dict[str, dict[str, Decimal]]


def _roads(lines: Iterable[Line]) -> Roads:
    """The length of every stretch between neighbouring stops; of parallel ones the shorter."""
    roads: Roads = defaultdict(dict)
    for line in lines:
        for one, other in zip(line.stops, line.stops[1:], strict=False):
            if one.km is None or other.km is None:
                continue
            length = abs(other.km - one.km)
            for begin, end in ((one.stop_id, other.stop_id), (other.stop_id, one.stop_id)):
                roads[begin][end] = min(length, roads[begin].get(end, length))
    return roads


def _ways_from(origin: str, roads: Roads) -> dict[str, Decimal]:
    done: dict[str, Decimal] = {}
    queue = [(Decimal(0), origin)]
    while queue:
        reached, stop = heapq.heappop(queue)
        if stop in done:
            continue
        done[stop] = reached
        for beyond, length in roads[stop].items():
            if beyond not in done:
                heapq.heappush(queue, (reached + length, beyond))
    return done


def fingerprint(feed: Feed, tariff: Tariff) -> str:
    """A digest of all that ``tariff`` says: two imports of one version agree exactly when their fingerprints do."""
    said: list[object] = [sorted((*pair, str(km.normalize())) for pair, km in tariff.distances.items())]
    for file in OURS:
        rows = [
            dict(sorted((k, v) for k, v in row.values.items() if v)) for row in feed.rows(file) if row["tariff_id"] == tariff.id
        ]
        said.append(sorted(json.dumps(row, ensure_ascii=False) for row in rows))
    if tariff.legs is not None and not tariff.bands:
        said += [[file, feed.files.get(file, b"").hex()] for file in FARE_FILES]
    return hashlib.sha256(json.dumps(said, ensure_ascii=False).encode()).hexdigest()


def publish(feed: Feed, *, city: str) -> Published:
    """What ``feed`` publishes for the city with code ``city``.

    Raises:
        FeedRefused: a tariff of it cannot price every journey.
    """
    return _Publisher(feed, city).publish()
