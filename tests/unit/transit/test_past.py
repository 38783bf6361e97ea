"""What earlier days left, folded and unfolded again."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from card.fares import PastFare, begins, card_day
from card.transit import past

INSTANTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  given its zone
FARES = st.lists(st.builds(PastFare, INSTANTS, st.sampled_from(["metro", "苏州公交", 'a"b']), st.integers(-(10**6), 10**6)))


@given(FARES)
def test_what_is_folded_comes_back(fares: list[PastFare]) -> None:
    assert sorted(past.unfold(past.fold(fares))) == sorted(fares)


@pytest.mark.parametrize(
    ("day", "first", "last"),
    [
        (date(2026, 3, 1), date(2026, 2, 21), date(2026, 3, 31)),
        (date(2026, 3, 20), date(2026, 3, 1), date(2026, 3, 31)),
        (date(2026, 3, 31), date(2026, 3, 1), date(2026, 4, 7)),
        (date(2026, 12, 30), date(2026, 12, 1), date(2027, 1, 6)),
    ],
)
def test_a_day_looks_back_on_its_month_and_a_week(day: date, first: date, last: date) -> None:
    assert (past.first_day_back(day), past.last_day_on(day)) == (first, last)


@given(st.dates(date(2020, 1, 1), date(2040, 1, 1)), st.integers(0, 400))
def test_a_later_day_never_looks_further_back(day: date, later: int) -> None:
    assert past.first_day_back(day) <= past.first_day_back(day + timedelta(days=later))


@given(st.dates(date(2020, 1, 1), date(2040, 1, 1)))
def test_a_card_day_begins_where_the_one_before_ends(day: date) -> None:
    begin = begins(day)
    assert (card_day(begin), card_day(begin - timedelta.resolution)) == (day, day - timedelta(days=1))
