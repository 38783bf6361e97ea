"""Clocks count working days of the Chinese calendar and stand still while the resident corrects."""

from datetime import date

import pytest

from services.catalogue import Calendar, Certainty, Pause
from services.catalogue.gateway import days

CALENDAR = Calendar(days(2026))


@pytest.mark.parametrize(
    ("day", "works"),
    [
        (date(2026, 2, 14), True),  # a Saturday that makes up for Spring Festival
        (date(2026, 2, 16), False),  # Monday of Spring Festival
        (date(2026, 10, 7), False),
        (date(2026, 10, 10), True),  # a make-up Saturday after National Day
        (date(2026, 11, 23), True),
        (date(2026, 11, 22), False),
    ],
)
def test_a_make_up_saturday_works_and_a_holiday_monday_does_not(day: date, works: bool) -> None:
    assert CALENDAR.day(day).works is works
    assert CALENDAR.day(day).certainty is Certainty.ANNOUNCED


@pytest.mark.parametrize(
    ("since", "working_days", "on", "certainty"),
    [
        (date(2026, 11, 23), 5, date(2026, 11, 30), Certainty.ANNOUNCED),
        (date(2026, 9, 30), 1, date(2026, 10, 8), Certainty.ANNOUNCED),  # over National Day
        (date(2026, 9, 30), 3, date(2026, 10, 10), Certainty.ANNOUNCED),  # the make-up Saturday counts
        (date(2026, 2, 13), 2, date(2026, 2, 24), Certainty.ANNOUNCED),  # the make-up Saturday, then after Spring Festival
        (date(2026, 12, 28), 3, date(2026, 12, 31), Certainty.ANNOUNCED),
        (date(2026, 12, 28), 4, date(2027, 1, 4), Certainty.PREDICTED),  # 2027 has not been announced
    ],
)
def test_a_period_ends_on_a_working_day(since: date, working_days: int, on: date, certainty: Certainty) -> None:
    deadline = CALENDAR.deadline(since, working_days)
    assert deadline is not None
    assert (deadline.on, deadline.certainty) == (on, certainty)
    assert CALENDAR.elapsed(since, on) == working_days


@pytest.mark.parametrize(
    ("pause", "on"),
    [
        (Pause(since=date(2026, 11, 24), until=date(2026, 11, 26)), date(2026, 12, 2)),  # Wednesday and Thursday do not count
        (Pause(since=date(2026, 11, 27), until=date(2026, 11, 29)), date(2026, 11, 30)),  # a weekend was never counted
        (Pause(since=date(2026, 11, 24), until=date(2026, 11, 24)), date(2026, 11, 30)),  # answered on the same day
    ],
)
def test_days_of_correction_do_not_count(pause: Pause, on: date) -> None:
    deadline = CALENDAR.deadline(date(2026, 11, 23), 5, [pause])
    assert deadline is not None
    assert deadline.on == on
    assert CALENDAR.elapsed(date(2026, 11, 23), on, [pause]) == 5


def test_there_is_no_deadline_while_the_case_waits_for_the_resident() -> None:
    waiting = Pause(since=date(2026, 11, 24), until=None)
    assert CALENDAR.deadline(date(2026, 11, 23), 5, [waiting]) is None
    assert CALENDAR.elapsed(date(2026, 11, 23), date(2026, 12, 31), [waiting]) == 1


def test_a_day_that_no_source_covers_is_predicted_by_its_weekday() -> None:
    assert CALENDAR.day(date(2035, 6, 1)).works
    assert not CALENDAR.day(date(2035, 6, 2)).works
    assert CALENDAR.day(date(2035, 6, 1)).certainty is Certainty.PREDICTED
