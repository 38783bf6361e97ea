"""What a tariff says: plain values, effective-dated, as an operator publishes them.

Distances are ``Decimal`` kilometres, amounts are minor units (fen), times of day are Asia/Shanghai. Bands are closed on
the right: exactly 6 km still costs what 6 km costs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from functools import cached_property
from typing import Final, NamedTuple

from app.kernel.errors import Invalid, NotFound, msg
from card.fares.legs import LegFares

LOCAL_CARD: Final = "local-card"
"""The pseudo-entitlement of every card issued by the city it is used in."""


class UnknownDistance(NotFound):
    """The tariff prices by distance and the feed has no way between the two stops."""

    code = "unknown-distance"
    sentence = msg("The tariff has no distance between these two stops.")


class NoTariff(NotFound):
    """The operator has no tariff in force at that instant."""

    code = "no-tariff"
    sentence = msg("No tariff of %(operator)s was in force at that time.")


class BadTariff(Invalid):
    """A tariff that cannot price every journey."""

    code = "bad-tariff"
    sentence = msg("This tariff cannot price every journey.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """A name in both languages."""

    en: str
    zh: str

    def __str__(self) -> str:
        return self.en


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Up to and including ``up_to_km`` (none: without end), each started ``step_km`` costs ``step_minor``.

    The first band has no ``step_km``: its whole length costs ``step_minor`` once.
    """

    up_to_km: Decimal | None
    step_km: Decimal | None
    step_minor: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Concession:
    """Who pays less: ``percent`` of the fare is payable by a rider who holds ``code``.

    With ``same_city`` the entitlement must have been granted by the operator's own city. ``covers_incomplete`` lets it apply to
    the maximum fare of an incomplete journey as well.
    """

    code: str
    percent: Decimal
    same_city: bool
    covers_incomplete: bool
    names: Names


class Window(StrEnum):
    """What a cap looks back on."""

    ROLLING = "rolling"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cap:
    """Within ``window`` a card pays ``operators`` together no more than ``amount_minor``.

    ``minutes`` is the length of a rolling window: the charges of the ``minutes`` before a journey count against it.
    """

    id: str
    window: Window
    minutes: int
    amount_minor: int
    operators: frozenset[str]
    local_only: bool
    names: Names


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """A month ticket that nobody has to buy: once ``rides`` singles cost more, the rider pays ``price_minor`` instead."""

    id: str
    price_minor: int
    rides: int
    local_only: bool
    names: Names


@dataclass(frozen=True, kw_only=True, slots=True)
class SameStation:
    """In and out at one station within ``up_to_minutes`` (none: any time) costs ``amount_minor``; none: the maximum fare."""

    up_to_minutes: int | None
    amount_minor: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Overtime:
    """More than ``after_minutes`` inside costs ``surcharge_minor`` on top."""

    after_minutes: int
    surcharge_minor: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Interchange:
    """Out at ``from_stop`` and in at ``to_stop`` within ``minutes`` continues the journey."""

    from_stop: str
    to_stop: str
    minutes: int


@dataclass(frozen=True, kw_only=True)
class Tariff:
    """One version of one operator's tariff, in force from ``effective_from`` to ``effective_until`` (both included).

    ``source`` says where its figures come from, as the feed writes it; ``source_names`` says it in both languages.
    """

    id: str
    operator: str
    city: str
    effective_from: date
    effective_until: date | None
    names: Names
    currency: str = "CNY"
    secondary_source: bool = False
    source: str = ""
    source_names: Names = Names(en="", zh="")
    max_fare_minor: int
    pairing_minutes: int
    bands: tuple[Band, ...] = ()
    distances: Mapping[tuple[str, str], Decimal] = field(default_factory=dict, repr=False)
    pair_fares: Mapping[tuple[str, str], int] = field(default_factory=dict, repr=False)
    legs: LegFares | None = field(default=None, repr=False)
    concessions: tuple[Concession, ...] = ()
    caps: tuple[Cap, ...] = ()
    passes: tuple[Pass, ...] = ()
    same_station: tuple[SameStation, ...] = ()
    overtime: Overtime | None = None
    interchanges: tuple[Interchange, ...] = ()
    join_minutes: int = 30
    shares: Mapping[str, Decimal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_bands(self.bands)

    def in_force(self, on: date) -> bool:
        """Whether this version applies to a journey that begins on ``on``."""
        return self.effective_from <= on and (self.effective_until is None or on <= self.effective_until)

    def __getstate__(self) -> dict[str, object]:
        """Without what was remembered on the way: that is made anew where it is needed."""
        return {name: value for name, value in self.__dict__.items() if name in self.__dataclass_fields__}

    @cached_property
    def memory(self) -> dict[str, object]:
        """The engine's own: what it made of this version (:func:`card.fares.compiled.compiled`). A version never changes."""
        return {}

    def distance_km(self, from_stop: str, to_stop: str) -> Decimal:
        """The distance the tariff charges for, in kilometres; symmetric unless the feed says otherwise."""
        if from_stop == to_stop:
            return Decimal(0)
        found = self.distances.get((from_stop, to_stop)) or self.distances.get((to_stop, from_stop))
        if found is None:
            raise UnknownDistance(f"{from_stop} to {to_stop} under {self.id}")
        return found

    def distance_fare(self, from_stop: str, to_stop: str) -> tuple[Decimal, int]:
        """The distance in kilometres and the adult single fare in minor units between two stops."""
        km = self.distance_km(from_stop, to_stop)
        return km, self.fare_for(km)

    def pair_fare(self, from_stop: str, to_stop: str) -> int | None:
        """The single fare in minor units that the tariff names for this pair of stops, either way round; none: it has none."""
        found = self.pair_fares.get((from_stop, to_stop))
        return self.pair_fares.get((to_stop, from_stop)) if found is None else found

    def fare_for(self, km: Decimal) -> int:
        """The adult single fare in minor units for ``km``."""
        return band_fare(self.bands, km)


def check_bands(bands: tuple[Band, ...]) -> None:
    """Refuse bands that leave a gap, go backwards or end.

    Raises:
        BadTariff: naming the band.
    """
    reached = Decimal(0)
    for number, band in enumerate(bands):
        last = number == len(bands) - 1
        if last != (band.up_to_km is None):
            raise BadTariff("the last band, and only it, has no end")
        if (band.step_km is None) != (number == 0) or not (band.step_km is None or band.step_km > 0):
            raise BadTariff(f"band {number + 1}: the first band is flat, every other has a step")
        if band.up_to_km is not None:
            if band.up_to_km <= reached:
                raise BadTariff(f"band {number + 1} ends at {band.up_to_km} km, before it begins")
            reached = band.up_to_km


def band_fare(bands: tuple[Band, ...], km: Decimal) -> int:
    """The fare in minor units for ``km``: the first band once, then each started step of every band reached."""
    assert bands, "a distance tariff has bands"
    total, begin = 0, Decimal(0)
    for band in bands:
        if band.step_km is None:
            total += band.step_minor
        else:
            end = km if band.up_to_km is None else min(km, band.up_to_km)
            total += int(((end - begin) / band.step_km).to_integral_value(ROUND_CEILING)) * band.step_minor
        if band.up_to_km is None or km <= band.up_to_km:
            return total
        begin = band.up_to_km
    raise AssertionError("check_bands holds that the last band has no end")


@dataclass(frozen=True)
class Tariffs:
    """Every version known, by operator."""

    versions: Mapping[str, tuple[Tariff, ...]]

    def __getstate__(self) -> dict[str, object]:
        """Without what was remembered on the way."""
        return {"versions": self.versions}

    @cached_property
    def memory(self) -> dict[int, object]:
        """The engine's own: what it found for a card-day (:func:`card.fares.compiled.day_of`)."""
        return {}

    def at(self, operator: str, instant_date: date) -> Tariff:
        """The version of ``operator`` in force on ``instant_date``: of several, the one that began last.

        Raises:
            NoTariff: none is in force.
        """
        best: Tariff | None = None
        for version in self.versions.get(operator, ()):
            if version.in_force(instant_date) and (best is None or version.effective_from > best.effective_from):
                best = version
        if best is None:
            raise NoTariff(f"{operator} on {instant_date}", operator=operator)
        return best

    @classmethod
    def of(cls, *tariffs: Tariff) -> "Tariffs":
        """Group versions by operator."""
        grouped: dict[str, tuple[Tariff, ...]] = {}
        for tariff in tariffs:
            grouped[tariff.operator] = (*grouped.get(tariff.operator, ()), tariff)
        return cls(grouped)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entitlement:
    """What a rider's credential says they may claim, by which city it was granted, and until when (included)."""

    code: str
    scope_city: str
    expires_on: date | None = None

    def holds(self, on: date) -> bool:
        """Whether it has not expired on ``on``."""
        return self.expires_on is None or on <= self.expires_on

    def valid_in(self, city: str) -> bool:
        """Whether its scope covers ``city``: the city itself, or its province (a code ending in 0000)."""
        scope = self.scope_city
        return scope == city or (scope.endswith("0000") and scope[:2] == city[:2])


@dataclass(frozen=True, kw_only=True, slots=True)
class Rider:
    """Whose card it is, as far as a fare needs to know: the issuing city and the entitlements on the credential."""

    issuer: str
    entitlements: tuple[Entitlement, ...] = ()


class Tap(NamedTuple):
    """One presentation that was let through. ``at`` is the device's time corrected by its skew.

    ``key`` is ``terminal/boot/seq`` and unique; ``token`` names the credential shown (device key and counter): the same token
    twice is a replay and travels once. ``kind`` is ``entry``, ``exit`` or ``ride`` (a bus: one tap, one ride).
    """

    key: str
    at: datetime
    kind: str
    operator: str
    stop_id: str
    line: str = ""
    token: str = ""
    rider: Rider | None = None
