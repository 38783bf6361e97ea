"""GTFS Fares v2: which product a leg costs, and what a transfer between two legs changes.

Source: GTFS reference, ``fare_leg_rules.txt``, ``fare_transfer_rules.txt``, ``timeframes.txt``, ``rider_categories.txt``.
Where ``rule_priority`` is used, an empty field matches anything and the highest priority wins; where it is not, an empty area
or network means "any that no rule names". Of several products that match, the rider pays the cheapest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from enum import IntEnum
from functools import cached_property

from app.kernel.clock import local


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """A fare product's price for one rider category (none: anybody)."""

    id: str
    amount_minor: int
    rider_category: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LegRule:
    """One row of ``fare_leg_rules.txt``."""

    leg_group: str
    network: str
    from_area: str
    to_area: str
    from_timeframe: str
    to_timeframe: str
    product: str
    priority: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeframe:
    """A stretch of the day, begin included and end not, on the days of ``service``."""

    start: time | None
    end: time | None
    service: str


class TransferType(IntEnum):
    """How a transfer's product relates to the legs' own (``fare_transfer_type``)."""

    FIRST_AND_TRANSFER = 0
    BOTH_AND_TRANSFER = 1
    TRANSFER_ONLY = 2


class DurationType(IntEnum):
    """Between which instants ``duration_limit`` is counted (``duration_limit_type``)."""

    DEPARTURE_TO_ARRIVAL = 0
    DEPARTURE_TO_DEPARTURE = 1
    ARRIVAL_TO_DEPARTURE = 2
    ARRIVAL_TO_ARRIVAL = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferRule:
    """One row of ``fare_transfer_rules.txt``; ``count`` is none for no limit, ``seconds`` none for no limit."""

    from_group: str
    to_group: str
    count: int | None
    seconds: int | None
    seconds_type: DurationType | None
    type: TransferType
    product: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Leg:
    """One vehicle's or network's part of a journey, as the taps show it; ``to_stop`` is unknown on a bus with one tap."""

    line: str
    from_stop: str
    to_stop: str | None
    departed_at: datetime
    arrived_at: datetime


@dataclass(frozen=True, kw_only=True)
class LegFares:
    """The Fares v2 tables of a feed, ready to price legs."""

    rules: tuple[LegRule, ...]
    products: Mapping[str, tuple[Product, ...]]
    networks: Mapping[str, str] = field(default_factory=dict)  # line -> network
    areas: Mapping[str, frozenset[str]] = field(default_factory=dict)  # stop -> areas
    timeframes: Mapping[str, tuple[Timeframe, ...]] = field(default_factory=dict)
    service_dates: Mapping[str, frozenset[date]] = field(default_factory=dict)
    transfers: tuple[TransferRule, ...] = ()
    uses_priority: bool = False

    @cached_property
    def _named(self) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        return (
            frozenset(rule.network for rule in self.rules),
            frozenset(rule.from_area for rule in self.rules),
            frozenset(rule.to_area for rule in self.rules),
        )

    def amount_of(self, product: str, categories: frozenset[str]) -> int | None:
        """The cheapest price of ``product`` that a rider of ``categories`` may buy; none when it is not for them."""
        prices = [
            item.amount_minor
            for item in self.products.get(product, ())
            if item.rider_category is None or item.rider_category in categories
        ]
        return min(prices, default=None)

    def price(self, leg: Leg, categories: frozenset[str]) -> tuple[LegRule, int] | None:
        """The rule that prices ``leg`` and its amount in minor units; none when no rule matches."""
        best: tuple[int, int, LegRule] | None = None
        for rule in self.rules:
            if not self._matches(rule, leg):
                continue
            amount = self.amount_of(rule.product, categories)
            if amount is None:
                continue
            if best is None or (-rule.priority, amount) < best[:2]:
                best = (-rule.priority, amount, rule)
        return (best[2], best[1]) if best else None

    def _matches(self, rule: LegRule, leg: Leg) -> bool:
        network = self.networks.get(leg.line, "")
        starts = self.areas.get(leg.from_stop, frozenset())
        ends = self.areas.get(leg.to_stop, frozenset()) if leg.to_stop is not None else frozenset()
        networks, from_areas, to_areas = self._named
        return (
            self._field(rule.network, frozenset({network}) if network else frozenset(), networks)
            and self._field(rule.from_area, starts, from_areas)
            and self._field(rule.to_area, ends, to_areas)
            and self._within(rule.from_timeframe, leg.departed_at)
            and self._within(rule.to_timeframe, leg.arrived_at)
        )

    def _field(self, asked: str, have: frozenset[str], named: frozenset[str]) -> bool:
        if asked:
            return asked in have
        return self.uses_priority or not (have & named)

    def _within(self, group: str, instant: datetime) -> bool:
        if not group:
            return True
        here = local(instant)
        clock_time = here.time().replace(tzinfo=None)
        return any(
            (frame.start is None or frame.start <= clock_time)
            and (frame.end is None or clock_time < frame.end)
            and here.date() in self.service_dates.get(frame.service, frozenset())
            for frame in self.timeframes.get(group, ())
        )

    def transfer(self, *, before: LegRule, after: LegRule, first: Leg, last: Leg, used: int) -> TransferRule | None:
        """The rule for changing from ``before`` to ``after``.

        ``first`` is the leg the transfer began with, ``last`` the leg just boarded, ``used`` how many transfers of the same
        rule went before. A rule with a count or a duration stops at it: nobody travels free for ever.
        """
        for rule in self.transfers:
            if rule.from_group not in ("", before.leg_group) or rule.to_group not in ("", after.leg_group):
                continue
            if rule.count is not None and used >= rule.count:
                continue
            if rule.seconds is not None and _elapsed(rule.seconds_type, first, last) > rule.seconds:
                continue
            return rule
        return None


def _elapsed(kind: DurationType | None, first: Leg, last: Leg) -> float:
    begin = (
        first.arrived_at if kind in (DurationType.ARRIVAL_TO_DEPARTURE, DurationType.ARRIVAL_TO_ARRIVAL) else first.departed_at
    )
    end = last.arrived_at if kind in (DurationType.DEPARTURE_TO_ARRIVAL, DurationType.ARRIVAL_TO_ARRIVAL) else last.departed_at
    return (end - begin).total_seconds()
