"""What the fleet's taps must cost, written from Nanjing's published tables and nothing of the city's own code.

Metro: 2 yuan to 4 km, then 1 yuan for each started 5 km to 14, 7 to 28, 9 to 37, 11 to 48, 13 to 61, 15 above; the bus 2 yuan.
From 60 half of a whole journey, from 70 nothing, if the card is the city's own. A journey of which one end is missing costs 10
yuan; in and out at one station within 5 minutes nothing, within 30 minutes 2 yuan.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

BANDS = ((4_000, 4_000), (14_000, 5_000), (28_000, 7_000), (37_000, 9_000), (48_000, 11_000), (61_000, 13_000))
LAST_STEP = 15_000
MISSING = 1_000
BUS_FARE = 200
FOUR_HOURS = 4 * 3_600_000
DAY = 86_400_000
DAY_BEGINS = 19 * 3_600_000  # 03:00 in China is 19:00 UTC


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A tap that a gate let through: corrected time in unix ms; an empty stop is a bus."""

    card: str
    kind: str
    stop: str
    at_ms: int
    token: str


def metro_fare(metres: int) -> int:
    """The single fare in fen."""
    fare, begin = 0, 0
    for end, step in BANDS:
        if metres <= begin:
            return fare
        if begin == 0:
            fare = 200
        else:
            fare += 100 * -(-(min(metres, end) - begin) // step)
        begin = end
    return fare + 100 * max(0, -(-(metres - begin) // LAST_STEP))


def owed(taps: Iterable[Seen], riders: Mapping[str, str], metres: Mapping[str, int]) -> dict[tuple[str, int, str], int]:
    """Fen by card, card-day (its number since 1970) and operator. ``metres`` is each stop's place along the line."""
    days: dict[tuple[str, int], list[Seen]] = defaultdict(list)
    shown = set()
    for tap in sorted(taps, key=lambda tap: tap.at_ms):
        if tap.token not in shown:
            shown.add(tap.token)
            days[tap.card, (tap.at_ms - DAY_BEGINS) // DAY].append(tap)
    found: dict[tuple[str, int, str], int] = defaultdict(int)
    for (card, day), seen in days.items():
        share = {"senior-60": 50, "senior-70": 0}.get(riders[card], 100)
        entry: Seen | None = None
        for tap in seen:
            if not tap.stop:
                found[card, day, "bus"] += BUS_FARE * share // 100
                continue
            if tap.kind == "entry":
                found[card, day, "metro"] += _alone(entry, share)
                entry = tap
            elif entry is not None and tap.at_ms - entry.at_ms <= FOUR_HOURS:
                found[card, day, "metro"] += _whole(entry, tap, share, metres)
                entry = None
            else:
                found[card, day, "metro"] += _alone(entry, share) + _alone(tap, share)
                entry = None
        found[card, day, "metro"] += _alone(entry, share)
    return {key: fen for key, fen in found.items() if fen}


def _alone(tap: Seen | None, share: int) -> int:
    return 0 if tap is None or share == 0 else MISSING


def _whole(entry: Seen, leaving: Seen, share: int, metres: Mapping[str, int]) -> int:
    if entry.stop == leaving.stop:
        inside = leaving.at_ms - entry.at_ms
        fare = 0 if inside <= 300_000 else 200 if inside <= 1_800_000 else MISSING  # noqa: PLR2004
        return 0 if share == 0 else fare
    return metro_fare(abs(metres[entry.stop] - metres[leaving.stop])) * share // 100
