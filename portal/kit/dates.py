"""How dates, instants and numbers look on a screen: Asia/Shanghai, in the request's language."""

from datetime import date, datetime
from decimal import Decimal

from babel.dates import format_date, format_skeleton, format_time
from babel.numbers import format_decimal

from app.kernel import clock
from app.web.i18n import language, locale


def _day(value: date | datetime) -> date:
    return clock.civil_date(value) if isinstance(value, datetime) else value


def civil_date(value: date | datetime | None) -> str:
    """``22 November 2026`` or ``2026年11月22日``; an instant falls on its civil date in Shanghai; nothing is a dash."""
    if value is None:
        return "–"
    return format_date(_day(value), format="d MMMM y" if language() == "en" else "long", locale=locale())


def short_date(value: date | datetime | None) -> str:
    """``22 Nov`` or ``11月22日``, for rows under a heading that names the year."""
    return "–" if value is None else format_skeleton("MMMd", _day(value), locale=_ordered())


def month(value: date | datetime | None) -> str:
    """``November 2026`` or ``2026年11月``."""
    return "–" if value is None else format_skeleton("yMMMM", _day(value), locale=locale())


def moment(value: datetime | None) -> str:
    """``22 November 2026, 21:05`` or ``2026年11月22日 21:05``: an aware instant on Shanghai's clocks."""
    if value is None:
        return "–"
    gap = ", " if language() == "en" else " "
    return f"{civil_date(value)}{gap}{clock_time(value)}"


def clock_time(value: datetime | None) -> str:
    """``21:05`` on Shanghai's clocks."""
    return "–" if value is None else format_time(clock.local(value), format="HH:mm", locale=locale())


def second(value: datetime | None, *, today: date) -> str:
    """``21:05:09``, with the day before it where that is not ``today``: for rows that follow each other by the second."""
    if value is None:
        return "–"
    time = format_time(clock.local(value), format="HH:mm:ss", locale=locale())
    return time if _day(value) == today else f"{short_date(value)} {time}"


def number(value: float | Decimal | None) -> str:
    """A number with its thousands marked: ``12,345``."""
    return "–" if value is None else str(format_decimal(value, locale=locale()))


def _ordered() -> str:
    return "en_GB" if language() == "en" else language()  # the day before the month, as in the long form
