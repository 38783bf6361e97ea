"""A gate keeps its own clock unless the city's differs by more than the way there and back explains."""

import pytest

from card.validator.gateway import _skew_ms

NOON_MS = 1_800_000_000_000
NOON_DATE = "Fri, 15 Jan 2027 08:00:00 GMT"


@pytest.mark.parametrize(
    ("exact", "date", "began", "ended", "skew"),
    [
        (NOON_MS + 40, None, NOON_MS, NOON_MS + 100, 0),  # inside the journey of the message
        (NOON_MS, None, NOON_MS, NOON_MS + 3000, 0),  # a slow network is no skew
        (NOON_MS + 5000, None, NOON_MS, NOON_MS + 100, 4950),
        (NOON_MS - 90_000, None, NOON_MS, NOON_MS + 100, -90_050),
        (None, NOON_DATE, NOON_MS, NOON_MS + 100, 0),  # to the second only: half a second of doubt more
        (None, NOON_DATE, NOON_MS - 60_000, NOON_MS - 59_900, 60_450),
        (None, None, NOON_MS, NOON_MS + 100, None),
        ("soon", None, NOON_MS, NOON_MS + 100, None),
    ],
)
def test_a_difference_that_the_network_explains_is_none(
    exact: int | str | None, date: str | None, began: int, ended: int, skew: int | None
) -> None:
    assert _skew_ms(None if exact is None else str(exact), date, began, ended) == skew
