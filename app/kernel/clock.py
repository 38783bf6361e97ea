"""Time is UTC inside; a civil date is a date in Asia/Shanghai."""

from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

SHANGHAI: Final = ZoneInfo("Asia/Shanghai")


def now() -> datetime:
    """The present instant, in UTC."""
    return datetime.now(UTC)


def civil_date(instant: datetime) -> date:
    """The civil date on which ``instant`` falls in Asia/Shanghai."""
    assert instant.tzinfo is not None, "an instant carries its zone"
    return instant.astimezone(SHANGHAI).date()


def local(instant: datetime) -> datetime:
    """``instant`` on the clocks of Asia/Shanghai."""
    assert instant.tzinfo is not None, "an instant carries its zone"
    return instant.astimezone(SHANGHAI)
