"""What a card may become."""

from datetime import date
from itertools import product

import pytest

from app.kernel.errors import IllegalMove
from card.cards.rules import MOVES, Status, expiry, move


def test_every_state_says_where_it_leads_and_a_replaced_card_leads_nowhere() -> None:
    assert MOVES.keys() == set(Status)
    assert MOVES[Status.REPLACED] == frozenset()
    for current, to in product(Status, Status):
        if to in MOVES[current]:
            assert move(current, to) is to
        else:
            with pytest.raises(IllegalMove):
                move(current, to)


@pytest.mark.parametrize(
    ("issued", "last"),
    [
        (date(2026, 11, 22), date(2036, 11, 21)),
        (date(2028, 2, 29), date(2038, 2, 28)),
        (date(2027, 1, 1), date(2036, 12, 31)),
    ],
)
def test_a_card_lives_ten_years(issued: date, last: date) -> None:
    assert expiry(issued) == last
