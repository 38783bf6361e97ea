"""What a card's earlier days left for caps and month tickets, folded beside the card, so that no tap reads a month of rides.

Pure. A folded past holds the fares of the card-days before some day, as far back as a pricing of that day looks; the days from
it on are read as journeys. Who prices an earlier day folds anew, from journeys.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final

import orjson

from card.fares import PastFare

LOOK_BACK: Final = timedelta(days=8)  # the longest window that is not a calendar month: a week, and a day's slack
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


def first_day_back(day: date) -> date:
    """The earliest card-day that a pricing of ``day`` looks back on."""
    return min(day.replace(day=1), day - LOOK_BACK)


def last_day_on(day: date) -> date:
    """The latest card-day whose pricing looks back on ``day``: its month, and the week after."""
    month_end = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return max(month_end, day + timedelta(days=7))


def fold(fares: Iterable[PastFare]) -> str:
    """``fares`` as a text: JSON, by operator instant (microseconds since 1970) and amount by turns."""
    found: dict[str, list[int]] = {}
    for at, operator, capped_minor in fares:
        found.setdefault(operator, []).extend(((at - EPOCH) // MICROSECOND, capped_minor))
    return orjson.dumps(found).decode()


def unfold(text: str) -> list[PastFare]:
    """The fares that :func:`fold` wrote, operator by operator."""
    return [
        PastFare(EPOCH + instant * MICROSECOND, operator, capped_minor)
        for operator, flat in orjson.loads(text).items()
        for instant, capped_minor in zip(flat[::2], flat[1::2], strict=True)
    ]
