"""A tariff made ready for the engine: every look-up a dictionary, every amount an integer, every limit a time span.

Made once a version and kept with it (:attr:`Tariff.memory`); it says nothing that the tariff does not say. What depends on a
pair of stops or on a fare is worked out when it is first asked for and remembered.
"""

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final

from app.kernel.clock import SHANGHAI
from card.fares.journeys import Step, StepCode
from card.fares.legs import RiderLegs
from card.fares.tariffs import (
    LOCAL_CARD,
    Cap,
    Concession,
    Names,
    NoTariff,
    Pass,
    Rider,
    Tariff,
    Tariffs,
    UnknownDistance,
    Window,
)

_KEY: Final = "compiled"
MINUTE: Final = timedelta(minutes=1)
DAY_BEGINS: Final = timedelta(hours=3)
"""A card-day runs from 03:00 to 03:00 in Asia/Shanghai, when no metro runs: a journey over midnight stays whole."""

ORIGIN: Final = datetime(1970, 1, 1, 3, tzinfo=SHANGHAI).astimezone(UTC)  # card-day 0 begins; Shanghai's clocks never change
_FIRST_DAY: Final = date(1970, 1, 1)
_INSTANT: Final = timedelta.resolution


def named(names: Names) -> dict[str, str]:
    """A rule's name as a step has it."""
    return {"name_en": names.en, "name_zh": names.zh}


class Payable(dict[int, tuple[int, Step | None]]):
    """What a fare comes to after the concession that costs the rider least, and the reason; none where the fare stays."""

    __slots__ = ("concessions",)

    def __init__(self, concessions: tuple[Concession, ...]) -> None:
        super().__init__()
        self.concessions = concessions

    def __missing__(self, fare: int) -> tuple[int, Step | None]:
        due, best = fare, None
        for concession in self.concessions:
            payable = int((fare * concession.percent / 100).quantize(Decimal(1), ROUND_HALF_UP))
            if payable < due:
                due, best = payable, concession
        step = None
        if best is not None:
            params = {"percent": f"{best.percent.normalize():f}", "entitlement": best.code, **named(best.names)}
            step = Step(code=StepCode.CONCESSION, amount_minor=due - fare, params=params)
        self[fare] = due, step
        return due, step


class RiderTerms:
    """What a rider's credential means under one tariff on one day: reductions, legs' prices, caps and month tickets."""

    __slots__ = ("caps", "legs", "passes", "payable", "penal")

    def __init__(
        self,
        *,
        payable: Payable,
        penal: Payable,
        caps: "tuple[CapTerms, ...]",
        passes: "PassTerms | None",
        legs: RiderLegs | None,
    ) -> None:
        self.payable, self.penal, self.caps, self.passes, self.legs = payable, penal, caps, passes, legs


class CapTerms:
    """A cap's window: rolling with a ``length``, or with the index of the day's, week's or month's beginning in a ``Day``.

    ``key`` is what it looks back on: caps with one key see the same sum.
    """

    __slots__ = ("amount", "bucket", "key", "length", "operators", "params")

    def __init__(self, cap: Cap) -> None:
        self.amount, self.operators = cap.amount_minor, cap.operators
        self.bucket = {Window.ROLLING: 0, Window.DAY: 1, Window.WEEK: 2, Window.MONTH: 3}[cap.window]
        self.length = timedelta(0) if self.bucket else cap.minutes * MINUTE
        self.key = (self.bucket, self.length, self.operators)
        self.params = {"cap": cap.id, "cap_minor": str(cap.amount_minor), "window": cap.window.value, **named(cap.names)}
        if cap.window is Window.ROLLING:
            self.params["hours"] = str(cap.minutes // 60)


class Ticket:
    """A month ticket: once ``rides`` singles cost more, ``price`` is what they cost together."""

    __slots__ = ("params", "price", "rides")

    def __init__(self, item: Pass) -> None:
        self.price, self.rides = item.price_minor, item.rides
        self.params = {"pass": item.id, "price_minor": str(item.price_minor), "rides": str(item.rides), **named(item.names)}


class PassTerms:
    """The month tickets open to a rider, and the price below which none of them can matter."""

    __slots__ = ("cheapest", "tickets")

    def __init__(self, passes: tuple[Pass, ...]) -> None:
        self.tickets = tuple(map(Ticket, passes))
        self.cheapest = min(item.price_minor for item in passes)


class Singles(dict[tuple[str, str], int | None]):
    """The adult single fare between two stops; none where the tariff cannot tell."""

    __slots__ = ("_tariff",)

    def __init__(self, tariff: Tariff) -> None:
        super().__init__()
        self._tariff = tariff

    def __missing__(self, pair: tuple[str, str]) -> int | None:
        found = self._tariff.pair_fare(*pair)
        if found is None and self._tariff.bands:
            try:
                found = self._tariff.distance_fare(*pair)[1]
            except UnknownDistance:
                found = None
        self[pair] = found
        return found


class Compiled:
    """One version of a tariff, compiled."""

    __slots__ = (
        "_plain",
        "_terms",
        "by_distance",
        "by_legs",
        "city",
        "fares",
        "id",
        "interchanges",
        "join_span",
        "joins",
        "legs",
        "max_fare",
        "networks",
        "overtime_after",
        "overtime_minor",
        "pairing",
        "same_station",
        "tariff",
        "transfers",
    )

    def __init__(self, tariff: Tariff) -> None:
        self.tariff, self.id, self.city = tariff, tariff.id, tariff.city
        self.by_distance = bool(tariff.bands or tariff.pair_fares)
        self.networks = {} if tariff.legs is None else tariff.legs.networks
        self.max_fare = tariff.max_fare_minor
        self.pairing = tariff.pairing_minutes * MINUTE
        self.fares = Singles(tariff)
        self.overtime_after = tariff.overtime.after_minutes * MINUTE if tariff.overtime else None
        self.overtime_minor = tariff.overtime.surcharge_minor if tariff.overtime else 0
        self.same_station = tuple(
            (
                timedelta.max if rule.up_to_minutes is None else rule.up_to_minutes * MINUTE,
                tariff.max_fare_minor if rule.amount_minor is None else rule.amount_minor,
            )
            for rule in tariff.same_station
        )
        self.interchanges = {(item.from_stop, item.to_stop): item.minutes * MINUTE for item in tariff.interchanges}
        self.join_span = tariff.join_minutes * MINUTE
        self.legs = tariff.legs
        self.joins = bool(self.interchanges or (tariff.legs is not None and tariff.legs.joins))
        self.transfers = tariff.legs is not None and bool(tariff.legs.transfers)
        self.by_legs = self.transfers or not self.by_distance
        self._terms: dict[tuple[int, bool, frozenset[str]], RiderTerms] = {}
        self._plain: dict[bool, RiderTerms] = {}  # of riders without entitlements, whose terms do not depend on the day

    def fare_of_parts(self, parts: list[tuple[str, str]]) -> int | None:
        """The fare of a journey that left the station on the way: the pair's own fare, or that of all its kilometres."""
        found = self.tariff.pair_fare(parts[0][0], parts[-1][1])
        if found is not None or not self.tariff.bands:
            return found
        km = self.km_of_parts(parts)
        return None if km is None else self.tariff.fare_for(km)

    def km_of_parts(self, parts: list[tuple[str, str]]) -> Decimal | None:
        """The kilometres of a journey; none where the tariff names fares without distances."""
        try:
            return sum((self.tariff.distance_km(*part) for part in parts), Decimal(0))
        except UnknownDistance:
            return None

    def same_station_fare(self, inside: timedelta) -> int:
        """What in and out at one station costs after ``inside``."""
        for longest, amount in self.same_station:
            if inside <= longest:
                return amount
        return self.max_fare

    def rider_terms(self, rider: Rider, on: date) -> RiderTerms:
        """What ``rider``'s credential means on the card-day ``on``."""
        tariff, city = self.tariff, self.city
        local = rider.issuer == city
        if not rider.entitlements:
            plain = self._plain.get(local)
            if plain is not None:
                return plain
        mask = 0
        for number, concession in enumerate(tariff.concessions):
            if entitled(concession, city, rider, on):
                mask |= 1 << number
        categories = (
            frozenset(held.code for held in rider.entitlements if held.holds(on) and held.valid_in(city))
            if self.legs is not None
            else frozenset[str]()
        )
        key = (mask, local, categories)
        found = self._terms.get(key)
        if found is None:
            mine = tuple(item for number, item in enumerate(tariff.concessions) if mask >> number & 1)
            passes = tuple(item for item in tariff.passes if local or not item.local_only)
            found = self._terms[key] = RiderTerms(
                payable=Payable(mine),
                penal=Payable(tuple(item for item in mine if item.covers_incomplete)),
                caps=tuple(CapTerms(cap) for cap in tariff.caps if local or not cap.local_only),
                passes=PassTerms(passes) if passes else None,
                legs=None if self.legs is None else RiderLegs(self.legs, categories),
            )
        if not rider.entitlements:
            self._plain[local] = found
        return found


def entitled(concession: Concession, city: str, rider: Rider, on: date) -> bool:
    """Whether ``rider`` may claim ``concession`` from an operator of ``city`` on ``on``."""
    if concession.code == LOCAL_CARD:
        return rider.issuer == city
    return any(
        held.code == concession.code and held.holds(on) and (not concession.same_city or held.valid_in(city))
        for held in rider.entitlements
    )


def compiled(tariff: Tariff) -> Compiled:
    """The version, compiled; the same object every time."""
    found = tariff.memory.get(_KEY)
    if found is None:
        found = tariff.memory[_KEY] = Compiled(tariff)
    assert isinstance(found, Compiled)
    return found


class Day(dict[str, Compiled | None]):
    """A card-day: the version of each operator in force on it, looked for when first asked for; none where there is none.

    ``before`` are the last instants before the day, its week and its month, by :attr:`CapTerms.bucket`; it ends at ``ends``.
    """

    __slots__ = ("_tariffs", "before", "ends", "on")

    def __init__(self, tariffs: Tariffs, number: int) -> None:
        super().__init__()
        self._tariffs, self.on = tariffs, _FIRST_DAY + timedelta(days=number)
        begins = ORIGIN + timedelta(days=number)
        self.ends = begins + timedelta(days=1)
        last = begins - _INSTANT
        self.before = (last, last, last - timedelta(days=self.on.weekday()), last - timedelta(days=self.on.day - 1))

    def __missing__(self, operator: str) -> Compiled | None:
        try:
            found = compiled(self._tariffs.at(operator, self.on))
        except NoTariff:
            found = None
        self[operator] = found
        return found


def day_of(tariffs: Tariffs, at: datetime) -> Day:
    """The card-day of ``at`` under ``tariffs``; the same object every time."""
    number = (at - ORIGIN).days
    found = tariffs.memory.get(number)
    if found is None:
        found = tariffs.memory[number] = Day(tariffs, number)
    assert isinstance(found, Day)
    return found


@lru_cache(maxsize=16384)
def distance_step(tariff: Compiled, from_stop: str, to_stop: str) -> tuple[Decimal | None, Step]:
    """Why a way from ``from_stop`` to ``to_stop`` costs what it does, and its kilometres where the tariff knows them."""
    fare, km = tariff.fares[from_stop, to_stop], tariff.km_of_parts([(from_stop, to_stop)])
    assert fare is not None
    return km, Step(code=StepCode.DISTANCE_FARE, amount_minor=fare, params=distance_params(from_stop, to_stop, km))


def distance_params(from_stop: str, to_stop: str, km: Decimal | None) -> dict[str, str]:
    """What the sentence about a distance fare needs."""
    ends = {"from": from_stop, "to": to_stop}
    return ends if km is None else {"km": f"{km.normalize():f}", **ends}
