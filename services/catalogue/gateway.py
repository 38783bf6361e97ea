"""What comes from outside the database: the definition files, and two packages that know Chinese holidays."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import chinese_calendar
import holidays
import yaml

from services.catalogue.clocks import SATURDAY, Certainty, Day
from services.catalogue.definition import Item

ITEMS: Final = Path(__file__).parent / "items"
YEARS_PREDICTED: Final = 2
CHINESE_NAMES: Final[dict[str, str]] = {holiday.value: vars(holiday)["chinese"] for holiday in chinese_calendar.Holiday}


def definitions(folder: Path = ITEMS) -> list[Item]:
    """Every definition file, parsed and checked; pydantic names the file's field that is wrong."""
    return [Item.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.yaml"))]


def announced_through() -> date:
    """The last day of the last year whose holidays and make-up days the State Council has announced."""
    return date(max(chinese_calendar.holidays).year, 12, 31)


def days(first_year: int) -> Iterator[Day]:
    """The calendar from ``first_year``: announced days, then two years predicted from the statutory holidays alone."""
    last = announced_through()
    day = date(first_year, 1, 1)
    while day <= last:
        off, holiday = chinese_calendar.get_holiday_detail(day)
        yield Day(
            day=day,
            works=not off,
            certainty=Certainty.ANNOUNCED,
            name_en=holiday or "",
            name_zh=CHINESE_NAMES[holiday] if holiday else "",
        )
        day += timedelta(days=1)
    years = range(last.year + 1, last.year + 1 + YEARS_PREDICTED)
    english = holidays.country_holidays("CN", years=years, language="en_US")
    chinese = holidays.country_holidays("CN", years=years, language="zh_CN")
    while day.year in years:
        yield Day(
            day=day,
            works=day.weekday() < SATURDAY and day not in english,
            certainty=Certainty.PREDICTED,
            name_en=english.get(day, ""),
            name_zh=chinese.get(day, ""),
        )
        day += timedelta(days=1)
