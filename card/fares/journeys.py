"""A journey with its price, and the reasons that add up to it: plain values that never change.

They are made by the thousand for every batch of taps, so they are named tuples; make them with keywords.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """What is known of a journey."""

    COMPLETE = "complete"
    MISSING_EXIT = "missing-exit"
    MISSING_ENTRY = "missing-entry"
    UNPRICED = "unpriced"  # no tariff or no distance: charged nothing, shown to the operator


class StepCode(StrEnum):
    """Why an amount was added or taken off."""

    DISTANCE_FARE = "distance-fare"
    LEG_FARE = "leg-fare"
    SAME_STATION = "same-station"
    INCOMPLETE = "incomplete"
    CONCESSION = "concession"
    OVERTIME = "overtime"
    TRANSFER = "transfer"
    CAP = "cap"
    PASS = "pass"  # noqa: S105  a month ticket
    UNPRICED = "unpriced"


class Step(NamedTuple):
    """One reason and the minor units it adds (or takes off); ``params`` name what the sentence about it needs."""

    code: StepCode
    amount_minor: int
    params: Mapping[str, str]


class PastFare(NamedTuple):
    """What an earlier journey of the same card left for the caps: its amount after caps and before month tickets."""

    at: datetime
    operator: str
    capped_minor: int


class PricedJourney(NamedTuple):
    """One journey with its price. ``capped_minor`` is after caps; ``charged_minor`` also after month tickets."""

    key: str
    taps: tuple[str, ...]
    operator: str
    line: str
    state: State
    from_stop: str | None
    to_stop: str | None
    started_at: datetime
    ended_at: datetime | None
    km: Decimal | None
    tariff: str | None
    capped_minor: int
    charged_minor: int
    steps: tuple[Step, ...]

    @property
    def past(self) -> PastFare | None:
        """What later days must know of it; an incomplete journey counts towards no cap."""
        if self.state is not State.COMPLETE:
            return None
        return PastFare(at=self.started_at, operator=self.operator, capped_minor=self.capped_minor)
