"""Which purse pays, and which gets its money back: worked cases."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from card.ledger import AccountId, Purse, TransferCode
from card.ledger.purses import Share, payment_plan, refund_plan

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
OWN = AccountId(1)
FARE, PURCHASE = TransferCode.FARE, TransferCode.PURCHASE


def purse(
    number: int, left: int, *, days: int = 30, codes: tuple[TransferCode, ...] = (), payees: tuple[str, ...] = ()
) -> Purse:
    return Purse(
        id=UUID(int=number),
        holder_id=UUID(int=0),
        account=AccountId(10 + number),
        name={"en": "P"},
        codes=frozenset(codes),
        payees=frozenset(payees),
        expires_at=NOW + timedelta(days=days),
        available_minor=left,
        granted_minor=1000,
        returned_minor=0,
        closed=False,
    )


@pytest.mark.parametrize(
    ("purses", "code", "payee", "amount", "expected"),
    [
        ([], FARE, "operator:m", 300, [(1, 300)]),
        ([purse(1, 500)], FARE, "operator:m", 300, [(11, 300)]),
        ([purse(1, 200)], FARE, "operator:m", 300, [(11, 200), (1, 100)]),
        ([purse(1, 200, days=9), purse(2, 150, days=3)], FARE, "operator:m", 300, [(12, 150), (11, 150)]),
        ([purse(2, 200), purse(1, 150)], FARE, "operator:m", 300, [(11, 150), (12, 150)]),  # same day: the older grant
        ([purse(1, 200, codes=(PURCHASE,))], FARE, "operator:m", 300, [(1, 300)]),
        ([purse(1, 200, payees=("merchant:canteen",))], PURCHASE, "merchant:kiosk", 300, [(1, 300)]),
        ([purse(1, 200, payees=("merchant:canteen",))], PURCHASE, "merchant:canteen", 150, [(11, 150)]),
        ([purse(1, 200, payees=("operator",))], FARE, "operator:m", 150, [(11, 150)]),
        ([purse(1, 200, payees=("operator",))], FARE, "due-to:320500", 150, [(1, 150)]),
        ([purse(1, 200, days=0)], FARE, "operator:m", 150, [(1, 150)]),  # its last instant is over
        ([purse(1, 0)], FARE, "operator:m", 150, [(1, 150)]),
    ],
)
def test_the_order_of_use(
    purses: list[Purse], code: TransferCode, payee: str, amount: int, expected: list[tuple[int, int]]
) -> None:
    plan = payment_plan(purses, own=OWN, code=code, payee=payee, amount_minor=amount, at=NOW)
    assert [(share.account, share.amount_minor) for share in plan] == expected


@pytest.mark.parametrize(
    ("paid", "amount", "expected"),
    [
        ([(11, 150), (12, 50), (1, 100)], 80, [(1, 80)]),
        ([(11, 150), (12, 50), (1, 100)], 130, [(1, 100), (12, 30)]),
        ([(11, 150), (12, 50), (1, 0)], 130, [(12, 50), (11, 80)]),
        ([(11, 150)], 200, [(11, 150)]),
    ],
)
def test_money_goes_back_to_the_last_payer_first(
    paid: list[tuple[int, int]], amount: int, expected: list[tuple[int, int]]
) -> None:
    shares = [Share(account=AccountId(account), amount_minor=part) for account, part in paid]
    assert [(share.account, share.amount_minor) for share in refund_plan(shares, amount_minor=amount)] == expected


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 40)), max_size=40), st.integers(1, 5000), st.integers(1, 5000))
def test_what_is_paid_is_the_amount_and_all_of_it_can_come_back(lefts: list[tuple[int, int]], amount: int, back: int) -> None:
    purses = [purse(n, left, days=days) for n, (left, days) in enumerate(lefts, start=1)]
    plan = payment_plan(purses, own=OWN, code=FARE, payee="operator:m", amount_minor=amount, at=NOW)
    limits = {one.account: one.available_minor for one in purses}
    assert sum(share.amount_minor for share in plan) == amount
    assert all(0 < share.amount_minor <= limits.get(share.account, amount) for share in plan)
    assert len({share.account for share in plan}) == len(plan)
    returned = refund_plan(plan, amount_minor=back)
    assert sum(share.amount_minor for share in returned) == min(amount, back)
