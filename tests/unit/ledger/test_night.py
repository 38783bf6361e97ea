"""All of the books are proven once a night; in between what is new."""

from datetime import datetime

import pytest

from app.kernel.clock import SHANGHAI
from card.ledger import rules


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        ("2026-11-22 03:10", "2026-11-22 03:20", False),
        ("2026-11-22 03:10", "2026-11-23 02:59", False),
        ("2026-11-22 03:10", "2026-11-23 03:00", True),
        ("2026-11-22 02:59", "2026-11-22 03:00", True),
        ("2026-11-20 12:00", "2026-11-22 01:00", True),
        ("2027-11-22 03:10", "2026-11-22 12:00", True),  # a clock that was a year ahead wrote it
    ],
)
def test_the_whole_is_read_from_three_in_the_night_on(last: str, now: str, due: bool) -> None:
    def at(moment: str) -> datetime:
        return datetime.fromisoformat(moment).replace(tzinfo=SHANGHAI)

    assert rules.whole_check_is_due(at(last), now=at(now)) is due
