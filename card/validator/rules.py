"""Whether the gate opens. Pure: every fact comes in, a reason or none goes out.

The order is fixed: signature and window (``card.credentials`` has both), status, passback, entitlement, risk by staleness.
Nothing here waits for a network. How long the terminal has been alone decides how much it may risk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from card.credentials import Entitlement, Presentation, Reason, TapKind, Use

HOUR: Final = timedelta(hours=1)
PASSES: Final = ("day-pass", "month-pass")


RENEW_BEFORE: Final = timedelta(days=30)


class Standing(StrEnum):
    """How a terminal stands with its city."""

    ENROLLED = "enrolled"
    RENEWAL_DUE = "renewal-due"  # renew: ``RENEW_BEFORE`` the certificate's end
    EXPIRED = "expired"  # enrol again with a new token; the journal stays


def standing(expires_at: datetime, now: datetime) -> Standing:
    """How a certificate that ends at ``expires_at`` stands."""
    if now >= expires_at:
        return Standing.EXPIRED
    return Standing.RENEWAL_DUE if now >= expires_at - RENEW_BEFORE else Standing.ENROLLED


class Staleness(StrEnum):
    """How long ago the terminal last heard from its city."""

    FRESH = "fresh"
    LIMITED = "limited"
    KNOWN_ONLY = "known-only"
    BEYOND = "beyond"


@dataclass(frozen=True, kw_only=True, slots=True)
class Risk:
    """The operator's rules, from the bundle's ``risk``; what it does not say is as here.

    Up to ``fresh`` every valid card passes; up to ``limited`` at most ``first_seen_limit`` cards that this terminal has never
    accepted; up to ``known`` only passes and cards accepted before; after that all or none, as ``beyond_open`` says.
    """

    fresh: timedelta = timedelta(hours=1)
    limited: timedelta = timedelta(hours=24)
    known: timedelta = timedelta(hours=72)
    first_seen_limit: int = 50
    beyond_open: bool = False
    passback: timedelta = timedelta(seconds=60)
    skew_max: timedelta = timedelta(seconds=120)
    requires: tuple[str, ...] = ()

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Risk":
        """From ``{fresh_hours, first_seen_hours, expired_hours, first_seen_limit, beyond (open|closed), passback_s, skew_max_s,
        requires}``: up to ``first_seen_hours`` new cards pass, up to a limit; after ``expired_hours`` all or none.
        """
        plain = cls()

        def time(name: str, otherwise: timedelta, *, of: timedelta = timedelta(seconds=1)) -> timedelta:
            found = document.get(name)
            return of * found if isinstance(found, int | float) and found >= 0 else otherwise

        limit = document.get("first_seen_limit")
        return cls(
            fresh=time("fresh_hours", plain.fresh, of=HOUR),
            limited=time("first_seen_hours", plain.limited, of=HOUR),
            known=time("expired_hours", plain.known, of=HOUR),
            first_seen_limit=limit if isinstance(limit, int) and limit >= 0 else plain.first_seen_limit,
            beyond_open=document.get("beyond") == "open",
            passback=time("passback_s", plain.passback),
            skew_max=time("skew_max_s", plain.skew_max),
            requires=tuple(str(code) for code in document.get("requires") or ()),
        )

    def staleness(self, age: timedelta, *, ended: bool = False) -> Staleness:
        """The tier of a bundle ``age`` old; a limit belongs to the tier below it. ``ended``: it is past its ``not_after``."""
        if ended:
            return Staleness.BEYOND
        if age <= self.fresh:
            return Staleness.FRESH
        if age <= self.limited:
            return Staleness.LIMITED
        return Staleness.KNOWN_ONLY if age <= self.known else Staleness.BEYOND


STEP: Final = timedelta(seconds=2)  # two clocks of one device drift apart by less between two syncs


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockMark:
    """The city's time at the last sync, beside the device's uptime then: a clock that nobody can set.

    ``run`` names this run of the device's system; after a restart the uptime says nothing of the one before.
    """

    run: str
    uptime_ms: int
    true_ms: int


def skew_of(*, device_ms: int, skew_ms: int, mark: ClockMark | None, run: str, uptime_ms: int) -> int:
    """What to add to the device's clock now, milliseconds: the skew of the last sync, unless the clock was set since.

    Where the uptime shows that it was (by more than ``STEP``), what the uptime says, so that a tap's time stays right.
    """
    if mark is None or mark.run != run:
        return skew_ms
    found = mark.true_ms + (uptime_ms - mark.uptime_ms) - device_ms
    return skew_ms if abs(found - skew_ms) <= STEP / timedelta(milliseconds=1) else found


def clock_is_wrong(*, device_ms: int, skew_ms: int, floor_ms: int, most: timedelta) -> bool:
    """More than ``most`` from the city's clock, or as much before ``floor_ms``: the device's clock at its last sync or tap."""
    most_ms = most / timedelta(milliseconds=1)
    return abs(skew_ms) > most_ms or device_ms < floor_ms - most_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What this terminal remembers of a card and of the key that showed it."""

    counter: int | None = None  # the highest accepted counter of the key
    accepted_at: datetime | None = None
    accepted_kind: TapKind | None = None
    first_seen_since_sync: int = 0  # new cards accepted with an old list since the last sync, up to the limit

    @property
    def known(self) -> bool:
        """Whether this terminal accepted the card before."""
        return self.accepted_at is not None


def kind_of(mode: str, memory: Memory, asked: TapKind | None) -> TapKind:
    """What a tap at this terminal is. Where a gate serves both ways, a card that came in goes out."""
    if asked is not None:
        return asked
    if mode in (TapKind.ENTRY, TapKind.EXIT, TapKind.RIDE):
        return TapKind(mode)
    return TapKind.EXIT if memory.accepted_kind is TapKind.ENTRY else TapKind.ENTRY


def counter_of(shown: Presentation) -> int:
    """The number that must rise: the phone's or chip's counter, or for a one-layer code the second it was signed in."""
    return shown.counter if shown.static.use in (Use.PHONE, Use.CHIP) else int(shown.static.issued_at.timestamp())


def usable(shown: Presentation, *, city: str, on: date) -> tuple[Entitlement, ...]:
    """The entitlements on the credential that hold here today."""
    return tuple(held for held in shown.static.entitlements if held.holds(city, on))


def judge(
    shown: Presentation,
    *,
    denied: bool,
    memory: Memory,
    kind: TapKind,
    now: datetime,
    staleness: Staleness,
    risk: Risk,
    entitlements: tuple[Entitlement, ...],
) -> Reason | None:
    """Why this authentic presentation is refused, or ``None`` where the gate opens."""
    if denied:
        return Reason.CARD_BLOCKED
    if memory.counter is not None and counter_of(shown) <= memory.counter:
        return Reason.REPLAYED
    if memory.accepted_at is not None and memory.accepted_kind is kind and now - memory.accepted_at < risk.passback:
        return Reason.PASSBACK
    codes = {held.code for held in entitlements}
    if risk.requires and not codes & set(risk.requires):
        return Reason.ENTITLEMENT_MISSING
    return _by_staleness(staleness, risk, memory, has_pass=any(code.startswith(PASSES) for code in codes))


def _by_staleness(staleness: Staleness, risk: Risk, memory: Memory, *, has_pass: bool) -> Reason | None:
    good = memory.known or has_pass
    match staleness:
        case Staleness.FRESH:
            return None
        case Staleness.LIMITED:
            return None if good or memory.first_seen_since_sync < risk.first_seen_limit else Reason.FIRST_SEEN_LIMIT
        case Staleness.KNOWN_ONLY:
            return None if good else Reason.FIRST_SEEN_LIMIT
        case Staleness.BEYOND:
            return None if risk.beyond_open else Reason.LIST_TOO_OLD
