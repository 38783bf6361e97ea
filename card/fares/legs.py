"""GTFS Fares v2: which product a leg costs, which legs count as one, and what a transfer between two legs changes.

Source: GTFS reference (April 2026), ``fare_leg_rules.txt``, ``fare_leg_join_rules.txt``, ``fare_transfer_rules.txt``,
``timeframes.txt``, ``rider_categories.txt``. Where the feed has the column ``rule_priority``, an empty field matches anything
and the highest priority wins; where it has not, an empty area or network means "any that no rule names". An empty leg group of
a transfer rule means "any group that no transfer rule names". Of several products that match, the rider pays the cheapest.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import IntEnum
from functools import cached_property
from typing import Final, NamedTuple

from app.kernel.clock import local

NOWHERE: Final[frozenset[str]] = frozenset()
NEVER: Final = datetime.min.replace(tzinfo=UTC)


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
class JoinRule:
    """One row of ``fare_leg_join_rules.txt``: two legs in a row that count as one; empty stops: change within a station."""

    from_network: str
    to_network: str
    from_stop: str
    to_stop: str


@dataclass(frozen=True, kw_only=True)
class LegFares:
    """The Fares v2 tables of a feed, ready to price legs. ``networks`` is by line, ``areas`` and ``stations`` by stop."""

    rules: tuple[LegRule, ...]
    products: Mapping[str, tuple[Product, ...]]
    networks: Mapping[str, str] = field(default_factory=dict)
    areas: Mapping[str, frozenset[str]] = field(default_factory=dict)
    stations: Mapping[str, str] = field(default_factory=dict)
    timeframes: Mapping[str, tuple[Timeframe, ...]] = field(default_factory=dict)
    service_dates: Mapping[str, frozenset[date]] = field(default_factory=dict)
    joins: tuple[JoinRule, ...] = ()
    transfers: tuple[TransferRule, ...] = ()
    uses_priority: bool = False

    def __getstate__(self) -> dict[str, object]:
        """Without what was remembered on the way."""
        return {name: value for name, value in self.__dict__.items() if name in self.__dataclass_fields__}

    @cached_property
    def _named(self) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        return (
            frozenset(rule.network for rule in self.rules),
            frozenset(rule.from_area for rule in self.rules),
            frozenset(rule.to_area for rule in self.rules),
        )

    @cached_property
    def _groups(self) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """Every leg group, those that transfers lead from, those that they lead to."""
        return (
            frozenset(rule.leg_group for rule in self.rules if rule.leg_group),
            frozenset(rule.from_group for rule in self.transfers if rule.from_group),
            frozenset(rule.to_group for rule in self.transfers if rule.to_group),
        )

    def network_of(self, lines: Iterable[str]) -> str:
        """The network that all ``lines`` of a leg belong to; empty where they belong to several or to none."""
        found = {self.networks.get(line, "") for line in lines}
        return found.pop() if len(found) == 1 else ""

    def amount_of(self, product: str, categories: frozenset[str]) -> int | None:
        """The cheapest price of ``product`` that a rider of ``categories`` may buy; none when it is not for them."""
        prices = [
            item.amount_minor
            for item in self.products.get(product, ())
            if item.rider_category is None or item.rider_category in categories
        ]
        return min(prices, default=None)

    def matching(self, network: str, starts: frozenset[str], ends: frozenset[str]) -> Iterator[LegRule]:
        """The rules for a leg on ``network`` from a stop in the areas ``starts`` to one in the areas ``ends``."""
        own = frozenset({network}) if network else NOWHERE
        networks, from_areas, to_areas = self._named
        for rule in self.rules:
            if (
                self._field(rule.network, own, networks)
                and self._field(rule.from_area, starts, from_areas)
                and self._field(rule.to_area, ends, to_areas)
            ):
                yield rule

    def _field(self, asked: str, have: frozenset[str], named: frozenset[str]) -> bool:
        if asked:
            return asked in have
        return self.uses_priority or not (have & named)

    def within(self, group: str, instant: datetime) -> bool:
        """Whether ``instant`` falls into the timeframe ``group``; empty: always."""
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

    def joined(self, *, from_line: str, from_stop: str, to_line: str, to_stop: str) -> bool:
        """Whether a leg on ``to_line`` from ``to_stop`` continues the one on ``from_line`` that ended at ``from_stop``."""
        before, after = self.networks.get(from_line, ""), self.networks.get(to_line, "")
        left = {from_stop, self.stations.get(from_stop, from_stop)}
        entered = {to_stop, self.stations.get(to_stop, to_stop)}
        return any(
            rule.from_network in ("", before)
            and rule.to_network in ("", after)
            and (
                (rule.from_stop in left and rule.to_stop in entered) if rule.from_stop or rule.to_stop else bool(left & entered)
            )
            for rule in self.joins
        )

    def leading(self, before: str, after: str) -> Iterator[TransferRule]:
        """The rules for changing from a leg of group ``before`` to one of group ``after``."""
        groups, from_named, to_named = self._groups
        for rule in self.transfers:
            if (
                before in groups
                and after in groups
                and (rule.from_group == before or (not rule.from_group and before not in from_named))
                and (rule.to_group == after or (not rule.to_group and after not in to_named))
            ):
                yield rule


class Change(NamedTuple):
    """A transfer rule as it stands for one rider: the leg costs ``price``, and its own fare or less the last leg's.

    It may be used ``limit`` times in a row, and no more than ``span`` may lie between departure or arrival of the first leg and
    of this one.
    """

    pair: tuple[str, str]
    limit: float
    span: timedelta | None
    from_arrival: bool
    to_arrival: bool
    price: int
    with_own: bool
    less_last: bool


class RiderLegs:
    """The legs' rules for riders of some categories: found once for a pair of places or groups, and remembered."""

    __slots__ = ("_areas", "_legs", "_priced", "_timed", "categories", "changes")

    def __init__(self, legs: LegFares, categories: frozenset[str]) -> None:
        self._legs, self._areas, self.categories = legs, legs.areas, categories
        self._timed = any(rule.from_timeframe or rule.to_timeframe for rule in legs.rules)
        self._priced: dict[tuple[str, frozenset[str], frozenset[str]], tuple[tuple[LegRule, int], ...]] = {}
        self.changes = Changes(legs, categories)

    def price(
        self, network: str, from_stop: str, to_stop: str | None, departed_at: datetime, arrived_at: datetime
    ) -> tuple[LegRule, int] | None:
        """The rule that prices a leg and its amount in minor units; none when no rule matches.

        ``to_stop`` is unknown on a bus with one tap. Of several rules the highest priority wins, then the cheapest.
        """
        areas = self._areas
        place = (network, areas.get(from_stop, NOWHERE), NOWHERE if to_stop is None else areas.get(to_stop, NOWHERE))
        found = self._priced.get(place)
        if found is None:
            found = self._priced[place] = self._by_preference(*place)
        if not self._timed:
            return found[0] if found else None
        within = self._legs.within
        for priced in found:
            if within(priced[0].from_timeframe, departed_at) and within(priced[0].to_timeframe, arrived_at):
                return priced
        return None

    def _by_preference(self, network: str, starts: frozenset[str], ends: frozenset[str]) -> tuple[tuple[LegRule, int], ...]:
        priced = [
            (rule, amount)
            for rule in self._legs.matching(network, starts, ends)
            if (amount := self._legs.amount_of(rule.product, self.categories)) is not None
        ]
        return tuple(sorted(priced, key=lambda one: (-one[0].priority, one[1])))


class Changes(dict[tuple[str, str], tuple[Change, ...]]):
    """How riders of some categories may change from a leg of one group to one of another, the smallest count first."""

    __slots__ = ("_categories", "_legs")

    def __init__(self, legs: LegFares, categories: frozenset[str]) -> None:
        super().__init__()
        self._legs, self._categories = legs, categories

    def __missing__(self, groups: tuple[str, str]) -> tuple[Change, ...]:
        legs = self._legs
        priced = [
            (rule, legs.amount_of(rule.product, self._categories) if rule.product else 0) for rule in legs.leading(*groups)
        ]
        found = [_change(rule, price) for rule, price in priced if price is not None]
        self[groups] = tuple(sorted(found, key=lambda change: change.limit))
        return self[groups]


def _change(rule: TransferRule, price: int) -> Change:
    kind = rule.seconds_type
    return Change(
        pair=(rule.from_group, rule.to_group),
        limit=math.inf if rule.count is None else rule.count,
        span=None if rule.seconds is None else timedelta(seconds=rule.seconds),
        from_arrival=kind in (DurationType.ARRIVAL_TO_DEPARTURE, DurationType.ARRIVAL_TO_ARRIVAL),
        to_arrival=kind in (DurationType.DEPARTURE_TO_ARRIVAL, DurationType.ARRIVAL_TO_ARRIVAL),
        price=price,
        with_own=rule.type is TransferType.BOTH_AND_TRANSFER,
        less_last=rule.type is TransferType.TRANSFER_ONLY,
    )


class Chain:
    """What a rider brings to the next leg: the last leg travelled, and the transfers in a row that led to it.

    ``pair`` names the groups of the transfer rule that was applied last (none: the leg was paid by itself), ``used`` how often
    in a row; ``begun`` and ``last`` are departure and arrival of the first leg of that row and of the last one.
    """

    __slots__ = ("begun", "due_minor", "group", "last", "pair", "used")

    def __init__(self) -> None:
        self.group = ""
        self.pair: tuple[str, str] | None = None
        self.used = 0
        self.begun = self.last = (NEVER, NEVER)
        self.due_minor = 0

    def ride(
        self, changes: Changes, group: str, amount: int, departed_at: datetime, arrived_at: datetime
    ) -> tuple[int, tuple[str, str, int] | None]:
        """Continue with a leg of ``group`` that costs ``amount`` by itself: what it comes to, and the transfer that led to it.

        The transfer is told by the two groups and what it adds to ``amount``.
        """
        before, travelled = self.group, (departed_at, arrived_at)
        rules = changes[before, group]
        best = self._best(rules, amount, travelled) if rules else None
        if best is None:
            due, changed = amount, None
            self.pair, self.used = None, 0
        else:
            pair, due = best
            changed = (before, group, due - amount)
            if pair == self.pair:
                self.used += 1
            else:
                self.pair, self.used, self.begun = pair, 1, self.last
        self.group, self.last, self.due_minor = group, travelled, due
        return due, changed

    def _best(
        self, rules: tuple[Change, ...], amount: int, travelled: tuple[datetime, datetime]
    ) -> tuple[tuple[str, str], int] | None:
        """Of the rules that may be used once more the one with the smallest count, then the cheapest: its groups, and what the
        leg costs by it. A transfer never gives back what an earlier leg cost.
        """
        best: Change | None = None
        due = 0
        for rule in rules:
            if best is not None and rule.limit > best.limit:
                break
            again = self.pair == rule.pair
            if (self.used if again else 0) >= rule.limit:
                continue
            if rule.span is not None:
                since = (self.begun if again else self.last)[rule.from_arrival]
                if travelled[rule.to_arrival] - since > rule.span:
                    continue
            price = rule.price
            if rule.with_own:
                price += amount
            elif rule.less_last and self.pair is None:
                price -= self.due_minor
            price = max(0, price)
            if best is None or price < due:
                best, due = rule, price
        return None if best is None else (best.pair, due)
