"""A tariff made ready for the engine: every look-up a dictionary, every amount an integer, every limit a time span.

Made once a version and kept with it (:attr:`Tariff.memory`); it says nothing that the tariff does not say. What depends on a
pair of stops or on a fare is worked out when it is first asked for and remembered.
"""

from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from card.fares.tariffs import LOCAL_CARD, Cap, Concession, NoTariff, Pass, Rider, Tariff, Tariffs, UnknownDistance, Window

_KEY: Final = "compiled"
MINUTE: Final = timedelta(minutes=1)


class Payable(dict[int, tuple[int, Concession | None]]):
    """What a fare comes to after the concession that costs the rider least, and that concession; none where the fare stays."""

    __slots__ = ("concessions",)

    def __init__(self, concessions: tuple[Concession, ...]) -> None:
        super().__init__()
        self.concessions = concessions

    def __missing__(self, fare: int) -> tuple[int, Concession | None]:
        best: tuple[int, Concession | None] = (fare, None)
        for concession in self.concessions:
            payable = int((fare * concession.percent / 100).quantize(Decimal(1), ROUND_HALF_UP))
            if payable < best[0]:
                best = (payable, concession)
        self[fare] = best
        return best


class RiderTerms:
    """What a rider's credential means under one tariff on one day: reductions, rider categories, caps and month tickets."""

    __slots__ = ("caps", "categories", "passes", "payable", "penal")

    def __init__(
        self,
        payable: Payable,
        penal: Payable,
        caps: "tuple[CapTerms, ...]",
        passes: "PassTerms | None",
        categories: frozenset[str],
    ) -> None:
        self.payable, self.penal, self.caps, self.passes, self.categories = payable, penal, caps, passes, categories


class CapTerms:
    """A cap's window: rolling with a ``length``, or with the index of the day's, week's or month's beginning.

    ``key`` is what it looks back on: caps with one key see the same sum.
    """

    __slots__ = ("amount", "bucket", "cap", "key", "length", "operators")

    def __init__(self, cap: Cap) -> None:
        self.cap, self.amount, self.operators = cap, cap.amount_minor, cap.operators
        self.bucket = {Window.ROLLING: 0, Window.DAY: 1, Window.WEEK: 2, Window.MONTH: 3}[cap.window]
        self.length = timedelta(0) if self.bucket else cap.minutes * MINUTE
        self.key = (self.bucket, self.length, self.operators)


class PassTerms:
    """The month tickets open to a rider, and the price below which none of them can matter."""

    __slots__ = ("cheapest", "passes")

    def __init__(self, passes: tuple[Pass, ...]) -> None:
        self.passes = passes
        self.cheapest = min(item.price_minor for item in passes)


class Compiled:
    """One version of a tariff, compiled."""

    __slots__ = (
        "by_distance",
        "city",
        "fares",
        "interchanges",
        "join_span",
        "joins",
        "legs",
        "max_fare",
        "operator",
        "overtime_after",
        "overtime_minor",
        "pairing",
        "same_station",
        "tariff",
        "terms",
        "transfers",
    )

    def __init__(self, tariff: Tariff) -> None:
        self.tariff, self.operator, self.city = tariff, tariff.operator, tariff.city
        self.by_distance = bool(tariff.bands or tariff.pair_fares)
        self.max_fare = tariff.max_fare_minor
        self.pairing = tariff.pairing_minutes * MINUTE
        self.fares: dict[tuple[str, str], int | None] = {}
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
        self.terms: dict[tuple[int, bool, frozenset[str]], RiderTerms] = {}

    def fare(self, from_stop: str, to_stop: str) -> int | None:
        """The adult single fare between two stops; none where the tariff cannot tell."""
        pair = (from_stop, to_stop)
        try:
            return self.fares[pair]
        except KeyError:
            pass
        found = self.tariff.pair_fare(from_stop, to_stop)
        if found is None and self.tariff.bands:
            try:
                found = self.tariff.distance_fare(from_stop, to_stop)[1]
            except UnknownDistance:
                found = None
        self.fares[pair] = found
        return found

    def fare_of_parts(self, parts: list[tuple[str, str]]) -> int | None:
        """The fare of a journey that left the station on the way: the pair's own fare, or that of all its kilometres."""
        found = self.tariff.pair_fare(parts[0][0], parts[-1][1])
        if found is not None or not self.tariff.bands:
            return found
        try:
            return self.tariff.fare_for(sum((self.tariff.distance_km(*part) for part in parts), Decimal(0)))
        except UnknownDistance:
            return None

    def rider_terms(self, rider: Rider, on: date) -> RiderTerms:
        """What ``rider``'s credential means on the card-day ``on``."""
        tariff, city = self.tariff, self.city
        local = rider.issuer == city
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
        found = self.terms.get(key)
        if found is None:
            mine = tuple(item for number, item in enumerate(tariff.concessions) if mask >> number & 1)
            passes = tuple(item for item in tariff.passes if local or not item.local_only)
            found = self.terms[key] = RiderTerms(
                payable=Payable(mine),
                penal=Payable(tuple(item for item in mine if item.covers_incomplete)),
                caps=tuple(CapTerms(cap) for cap in tariff.caps if local or not cap.local_only),
                passes=PassTerms(passes) if passes else None,
                categories=categories,
            )
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


def in_force(tariffs: Tariffs, operator: str, on: date, number: int) -> Compiled | None:
    """The version of ``operator`` in force on ``on``, the card-day with that ``number``; none where there is none."""
    try:
        found = compiled(tariffs.at(operator, on))
    except NoTariff:
        found = None
    tariffs.memory[operator, number] = found
    return found
