"""GTFS Fares v2: which product a leg costs, which legs count as one, and what a transfer between two legs changes.

Source: GTFS reference (April 2026), ``fare_leg_rules.txt``, ``fare_leg_join_rules.txt``, ``fare_transfer_rules.txt``,
``timeframes.txt``, ``rider_categories.txt``. Where the feed has the column ``rule_priority``, an empty field matches anything
and the highest priority wins; where it has not, an empty area or network means "any that no rule names". An empty leg group of
a transfer rule means "any group that no transfer rule names". Of several products that match, the rider pays the cheapest.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

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
class JoinRule:
    """One row of ``fare_leg_join_rules.txt``: two legs in a row that count as one; empty stops: change within a station."""

    from_network: str
    to_network: str
    from_stop: str
    to_stop: str


class Transferred(NamedTuple):
    """What a rider brings to the next leg: the leg just travelled, and the chain of transfers that led to it.

    ``pair`` names the transfer rule's groups that were applied last (none: the leg was paid as a leg of its own), ``used`` how
    often in a row; ``departed_at`` and ``arrived_at`` are the first leg's of that chain, ``last_departed_at`` and
    ``last_arrived_at`` the last leg's; ``due_minor`` is what the last leg came to.
    """

    group: str
    pair: tuple[str, str] | None
    used: int
    departed_at: datetime
    arrived_at: datetime
    last_departed_at: datetime
    last_arrived_at: datetime
    due_minor: int


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

    @cached_property
    def timed(self) -> bool:
        """Whether the hour or the day changes what a leg costs."""
        return any(rule.from_timeframe or rule.to_timeframe for rule in self.rules)

    @cached_property
    def _known(self) -> dict[tuple[str, str, str | None, frozenset[str]], tuple[LegRule, int] | None]:
        return {}

    @cached_property
    def _places(self) -> dict[tuple[str, str, str | None], tuple[LegRule, ...]]:
        return {}

    @cached_property
    def _changes(self) -> dict[tuple[str, str], tuple[TransferRule, ...]]:
        return {}

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

    def price(
        self,
        network: str,
        from_stop: str,
        to_stop: str | None,
        *,
        departed_at: datetime,
        arrived_at: datetime,
        categories: frozenset[str],
    ) -> tuple[LegRule, int] | None:
        """The rule that prices a leg and its amount in minor units; none when no rule matches.

        ``to_stop`` is unknown on a bus with one tap. Of several rules the highest priority wins, then the cheapest.
        """
        key = (network, from_stop, to_stop, categories)
        if not self.timed and key in self._known:
            return self._known[key]
        best: tuple[int, int, LegRule] | None = None
        for rule in self._in_place(network, from_stop, to_stop):
            if not (self._within(rule.from_timeframe, departed_at) and self._within(rule.to_timeframe, arrived_at)):
                continue
            amount = self.amount_of(rule.product, categories)
            if amount is not None and (best is None or (-rule.priority, amount) < best[:2]):
                best = (-rule.priority, amount, rule)
        found = (best[2], best[1]) if best else None
        if not self.timed:
            self._known[key] = found
        return found

    def _in_place(self, network: str, from_stop: str, to_stop: str | None) -> tuple[LegRule, ...]:
        key = (network, from_stop, to_stop)
        found = self._places.get(key)
        if found is None:
            starts = self.areas.get(from_stop, frozenset())
            ends = self.areas.get(to_stop, frozenset()) if to_stop is not None else frozenset()
            own = frozenset({network}) if network else frozenset()
            networks, from_areas, to_areas = self._named
            found = self._places[key] = tuple(
                rule
                for rule in self.rules
                if self._field(rule.network, own, networks)
                and self._field(rule.from_area, starts, from_areas)
                and self._field(rule.to_area, ends, to_areas)
            )
        return found

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

    def transfer(
        self,
        before: Transferred,
        after: str,
        *,
        departed_at: datetime,
        arrived_at: datetime,
        due_minor: int,
        categories: frozenset[str],
    ) -> tuple[TransferRule, int, int] | None:
        """What changing from ``before`` to a leg of group ``after`` makes of that leg's ``due_minor``.

        Answers the rule, how often it was used in a row with this time, and what the leg costs now; none: no rule, the leg is
        paid by itself. Of several rules that may be used once more the one with the smallest count applies, then the cheapest.
        A transfer never gives back what an earlier leg cost.
        """
        best: tuple[float, int, int, TransferRule] | None = None
        for rule in self._between(before.group, after):
            again = before.pair == (rule.from_group, rule.to_group)
            used = before.used + 1 if again else 1
            if rule.count is not None and used > rule.count:
                continue
            if rule.seconds is not None:
                begun = (before.departed_at, before.arrived_at) if again else (before.last_departed_at, before.last_arrived_at)
                if _elapsed(rule.seconds_type, begun, (departed_at, arrived_at)) > rule.seconds:
                    continue
            price = self.amount_of(rule.product, categories) if rule.product else 0
            if price is None:
                continue
            if rule.type is TransferType.BOTH_AND_TRANSFER:
                price += due_minor
            elif rule.type is TransferType.TRANSFER_ONLY and before.pair is None:
                price -= before.due_minor
            found = (float("inf") if rule.count is None else rule.count, max(0, price), used, rule)
            if best is None or found[:2] < best[:2]:
                best = found
        return None if best is None else (best[3], best[2], best[1])

    def _between(self, before: str, after: str) -> tuple[TransferRule, ...]:
        found = self._changes.get((before, after))
        if found is None:
            groups, from_named, to_named = self._groups
            found = self._changes[before, after] = tuple(
                rule
                for rule in self.transfers
                if before in groups
                and after in groups
                and (rule.from_group == before or (not rule.from_group and before not in from_named))
                and (rule.to_group == after or (not rule.to_group and after not in to_named))
            )
        return found


def _elapsed(kind: DurationType | None, first: tuple[datetime, datetime], last: tuple[datetime, datetime]) -> float:
    begin = first[kind in (DurationType.ARRIVAL_TO_DEPARTURE, DurationType.ARRIVAL_TO_ARRIVAL)]
    end = last[kind in (DurationType.DEPARTURE_TO_ARRIVAL, DurationType.ARRIVAL_TO_ARRIVAL)]
    return (end - begin).total_seconds()
