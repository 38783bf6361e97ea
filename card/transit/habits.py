"""Missing taps put in place: those a rider claimed, and those that their own regular trips make all but certain.

Pure, and the two readings around it. A tap put in place counts only while the journey is incomplete without it: when the real
one arrives late, it gives way by itself.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from app.kernel.clock import local
from card.fares import Tap

PAIRING: Final = timedelta(hours=4)  # beyond it no entry and exit are one journey, in any tariff so far
LOOK_BACK: Final = timedelta(days=42)
TRIPS_MIN: Final = 4
TRIPS_SEEN: Final = 12
CONFIDENCE_MIN: Final = 0.75
SAME_TIME: Final = timedelta(minutes=90)
DAY: Final = timedelta(days=1)
SATURDAY: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Trip:
    """A whole journey of the rider's past, both taps recorded by gates."""

    from_stop: str
    to_stop: str
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """The tap that is there: at ``stop_id``, and which ``end`` is missing (``entry`` or ``exit``)."""

    end: str
    stop_id: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Habit:
    """Where the missing tap must have been: ``same`` of ``trips`` like this one led there."""

    stop_id: str
    at: datetime
    trips: int
    same: int

    @property
    def confidence(self) -> float:
        """Laplace's rule of succession: the chance that the next trip is like those before."""
        return (self.same + 1) / (self.trips + 2)


def _alike(trip: Trip, missing: Missing) -> bool:
    known, at = (trip.from_stop, trip.started_at) if missing.end == "exit" else (trip.to_stop, trip.ended_at)
    age = missing.at - at
    if known != missing.stop_id or not timedelta(0) < age <= LOOK_BACK:
        return False
    if (local(at).weekday() >= SATURDAY) is not (local(missing.at).weekday() >= SATURDAY):
        return False
    apart = age % DAY
    return min(apart, DAY - apart) <= SAME_TIME


def usual(missing: Missing, trips: Iterable[Trip]) -> Habit | None:
    """The missing tap as the rider's habit has it, or none where the habit is not sure enough.

    Trips count that share the known stop at the same end, the kind of day (working day or weekend) and the time of day (within
    ninety minutes), of the last six weeks, the newest twelve; at least four, and a confidence of at least three quarters.
    """
    alike = sorted((trip for trip in trips if _alike(trip, missing)), key=lambda trip: trip.started_at)[-TRIPS_SEEN:]
    if len(alike) < TRIPS_MIN:
        return None
    ends = Counter(trip.to_stop if missing.end == "exit" else trip.from_stop for trip in alike)
    stop, same = max(ends.items(), key=lambda item: (item[1], item[0]))
    lengths = [
        (trip.ended_at - trip.started_at).total_seconds()
        for trip in alike
        if (trip.to_stop if missing.end == "exit" else trip.from_stop) == stop
    ]
    length = timedelta(seconds=round(median(lengths)))
    at = missing.at + length if missing.end == "exit" else missing.at - length
    found = Habit(stop_id=stop, at=at, trips=len(alike), same=same)
    return found if found.confidence >= CONFIDENCE_MIN and stop != missing.stop_id else None


def unfilled(taps: Iterable[Tap]) -> int:
    """How many entries and exits have no partner."""
    alone, inside = 0, dict[str, Tap]()
    order = {"exit": 0, "ride": 1, "entry": 2}
    for tap in sorted(taps, key=lambda tap: (tap.at, order[tap.kind], tap.key)):
        if tap.kind == "ride":
            continue
        waiting = inside.pop(tap.operator, None)
        if tap.kind == "exit" and waiting is not None and tap.at - waiting.at <= PAIRING:
            continue
        alone += waiting is not None
        if tap.kind == "entry":
            inside[tap.operator] = tap
        else:
            alone += 1
    return alone + len(inside)


def completed(taps: Sequence[Tap], offered: Iterable[Tap]) -> list[Tap]:
    """``taps`` with those of ``offered`` that make a journey whole: what the rider said before what was guessed.

    A tap put in place travels as the rider of the gate's tap nearest to it.
    """
    kept = list(taps)
    alone = unfilled(kept)
    for tap in sorted(offered, key=lambda tap: (not tap.key.startswith("claim/"), tap.at, tap.key)):
        left = unfilled([*kept, tap])
        if left < alone:
            near = min(taps, key=lambda real: (abs(real.at - tap.at), real.key), default=None)
            kept.append(tap._replace(rider=near.rider if near is not None else None))
            alone = left
    return kept
