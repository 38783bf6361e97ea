"""Working days: the calendar that says *announced* or *predicted*, and the clocks that count on it.

A period given in days is counted in working days, the day it starts from not included (Administrative Licensing Law of the
PRC, article 82). While a case waits for the resident's correction its clocks stand still (article 32: the correction is asked
for once, with everything in it).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

SATURDAY: Final = 5


class Certainty(StrEnum):
    """Whether the State Council has announced the day, or it follows from the rules alone."""

    ANNOUNCED = "announced"
    PREDICTED = "predicted"


@dataclass(frozen=True, kw_only=True)
class Day:
    """One civil day: whether offices work on it. A make-up Saturday works; a Monday in Golden Week does not."""

    day: date
    works: bool
    certainty: Certainty
    name_en: str = ""
    name_zh: str = ""


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Clocks stand still after ``since`` (the day a correction was asked for) up to and including ``until`` (answered)."""

    since: date
    until: date | None

    def covers(self, day: date) -> bool:
        """Whether ``day`` does not count."""
        return self.since < day and (self.until is None or day <= self.until)


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """The last day of a period; ``predicted`` when a day on the way to it has not been announced yet."""

    on: date
    certainty: Certainty


class Calendar:
    """Working days of the city. A day that no source covers is predicted: Monday to Friday work."""

    def __init__(self, days: Iterable[Day]) -> None:
        self._days: Mapping[date, Day] = {day.day: day for day in days}

    def day(self, on: date) -> Day:
        """What is known of the day ``on``."""
        found = self._days.get(on)
        return found or Day(day=on, works=on.weekday() < SATURDAY, certainty=Certainty.PREDICTED)

    def elapsed(self, since: date, until: date, pauses: Sequence[Pause] = ()) -> int:
        """Working days after ``since`` up to and including ``until``, those in a pause left out."""
        days = (since + timedelta(days=step) for step in range(1, (until - since).days + 1))
        return sum(1 for day in days if self.day(day).works and not any(pause.covers(day) for pause in pauses))

    def deadline(self, since: date, working_days: int, pauses: Sequence[Pause] = ()) -> Deadline | None:
        """The last of ``working_days`` counted after ``since``; none while a pause is open, for then the clock stands."""
        if any(pause.until is None for pause in pauses):
            return None
        left, on, certainty = working_days, since, Certainty.ANNOUNCED
        while left > 0:
            on += timedelta(days=1)
            day = self.day(on)
            if day.certainty is Certainty.PREDICTED:
                certainty = Certainty.PREDICTED
            if day.works and not any(pause.covers(on) for pause in pauses):
                left -= 1
        return Deadline(on=on, certainty=certainty)
