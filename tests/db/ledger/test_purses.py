"""Earmarked purses in the books: one linked payment, refunds in reverse, the end of their time."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from app.kernel import ids
from app.kernel.db import Database
from app.kernel.outbox import OutboxEvent
from card import ledger
from card.ledger import InsufficientFunds, ReversalExceedsOriginal, Transfer, TransferCode, TransferConflict, chart
from card.ledger.models import EarmarkedPurse

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
HOLDER = UUID(int=7)
METRO, CANTEEN = chart.operator("metro"), chart.merchant("canteen")
RIDES, MEALS = ids.derived_id(NOW, "rides"), ids.derived_id(NOW, "meals")
PAYMENT = ids.derived_id(NOW, "payment")


def grant(session: Session, purse_id: UUID, minor: int, *, days: int = 30, payees: tuple[str, ...] = ()) -> None:
    ledger.grant_purse(
        session,
        purse_id=purse_id,
        holder_id=HOLDER,
        name={"en": "Rides", "zh_Hans_CN": "乘车"},
        codes=[TransferCode.FARE, TransferCode.PURCHASE],
        payees=payees,
        fund=chart.allowance_fund(),
        amount_minor=minor,
        expires_at=NOW + timedelta(days=days),
        now=NOW,
    )


@pytest.fixture
def books(database: Database) -> Database:
    """1,000 of one's own, 300 for anything until day 30, 200 for the canteen until day 5."""
    with database.transaction() as session:
        bank = ledger.open_account(session, chart.bank(), now=NOW)
        own = ledger.open_account(session, chart.purse(HOLDER), now=NOW)
        opening = Transfer(id=uuid4(), debit=bank, credit=own, amount_minor=1000, code=TransferCode.OPENING, event_at=NOW)
        ledger.post_all(session, [opening], now=NOW)
        grant(session, RIDES, 300)
        grant(session, MEALS, 200, days=5, payees=("merchant:canteen",))
    return database


def pay(session: Session, minor: int, payee: ledger.AccountSpec = CANTEEN, payment_id: UUID = PAYMENT) -> list[Transfer]:
    return ledger.pay(
        session,
        payment_id=payment_id,
        holder_id=HOLDER,
        payee=payee,
        amount_minor=minor,
        code=TransferCode.PURCHASE,
        event_at=NOW,
        reference="bill:1",
        now=NOW,
    )


def standing(session: Session) -> tuple[int, ...]:
    """Own, rides, meals, the fund."""
    specs = (chart.purse(HOLDER), chart.earmarked(HOLDER, RIDES), chart.earmarked(HOLDER, MEALS), chart.allowance_fund())
    assert ledger.check_books(session).right
    return tuple(ledger.balance(session, ledger.account_id(session, spec)).posted_minor for spec in specs)


def test_one_payment_is_spread_in_the_order_of_use_and_a_repeat_pays_nothing_more(books: Database) -> None:
    with books.transaction() as session:
        parts = pay(session, 700)
        assert [part.amount_minor for part in parts] == [200, 300, 200]
        assert parts[0].id == PAYMENT
        assert standing(session) == (800, 0, 0, -500)
    with books.transaction() as session:
        grant(session, ids.derived_id(NOW, "later"), 500)  # new money between a payment and its repeat changes nothing
        assert pay(session, 700) == parts
        assert [part.id for part in ledger.parts_of(session, PAYMENT)] == [part.id for part in parts]
        with pytest.raises(TransferConflict):
            pay(session, 701)


def test_a_payment_that_all_purses_together_cannot_pay_moves_nothing(books: Database) -> None:
    with books.transaction() as session:
        with pytest.raises(InsufficientFunds):
            pay(session, 1501)
        assert standing(session) == (1000, 300, 200, -500)
        assert len(pay(session, 1500)) == 3
        assert standing(session) == (0, 0, 0, -500)


def test_refunds_go_back_in_reverse_linked_and_never_beyond_what_was_paid(books: Database) -> None:
    with books.transaction() as session:
        pay(session, 700)
        first, second = uuid4(), ids.derived_id(NOW, "second")
        back = ledger.refund(session, payment_id=PAYMENT, refund_id=first, amount_minor=150, now=NOW)
        assert standing(session) == (950, 0, 0, -500)
        assert ledger.refund(session, payment_id=PAYMENT, refund_id=first, amount_minor=150, now=NOW) == back
        with pytest.raises(TransferConflict):
            ledger.refund(session, payment_id=PAYMENT, refund_id=first, amount_minor=151, now=NOW)
        ledger.refund(session, payment_id=PAYMENT, refund_id=second, amount_minor=400, now=NOW)
        assert standing(session) == (1000, 300, 50, -500)
        assert ledger.refunded_minor(session, PAYMENT) == 550
        with pytest.raises(ReversalExceedsOriginal):
            ledger.refund(session, payment_id=PAYMENT, refund_id=uuid4(), amount_minor=151, now=NOW)
        ledger.refund(session, payment_id=PAYMENT, refund_id=ids.derived_id(NOW, "third"), now=NOW)
        assert standing(session) == (1000, 300, 200, -500)
        with pytest.raises(ReversalExceedsOriginal):
            ledger.refund(session, payment_id=PAYMENT, refund_id=uuid4(), now=NOW)
        for part in ledger.parts_of(session, PAYMENT):
            assert sum(one.amount_minor for one in ledger.reversals_of(session, part.id)) == part.amount_minor


def test_what_is_left_returns_to_the_fund_once_and_the_holder_is_told(books: Database) -> None:
    after = NOW + timedelta(days=6)
    with books.transaction() as session:
        pay(session, 150)
        assert ledger.expire_purses(session, now=NOW + timedelta(days=5, microseconds=-1)) == 0
        assert ledger.expire_purses(session, now=after) == 1
        assert ledger.expire_purses(session, now=after) == 0
        assert standing(session) == (1000, 300, 0, -450)
        told = session.scalars(select(OutboxEvent).where(OutboxEvent.name == "purse.expired")).all()
        assert [(one.payload["holder_id"], one.payload["returned_minor"]) for one in told] == [(str(HOLDER), 50)]
        assert [purse.id for purse in ledger.purses_of(session, HOLDER)] == [RIDES]
        assert [purse.closed for purse in ledger.purses_of(session, HOLDER, closed=True)] == [True, False]


def test_what_comes_back_after_the_end_goes_on_to_the_fund(books: Database) -> None:
    after = NOW + timedelta(days=6)
    with books.transaction() as session:
        pay(session, 150)
        ledger.expire_purses(session, now=after)
        ledger.refund(session, payment_id=PAYMENT, refund_id=uuid4(), now=after)
        assert standing(session) == (1000, 300, 150, -450)
        assert ledger.expire_purses(session, now=after) == 1
        assert standing(session) == (1000, 300, 0, -300)
        assert session.get_one(EarmarkedPurse, MEALS).returned_minor == 200


def test_what_a_hold_reserves_stays_until_the_hold_ends(books: Database) -> None:
    after = NOW + timedelta(days=6)
    with books.transaction() as session:
        meals = ledger.account_id(session, chart.earmarked(HOLDER, MEALS))
        canteen = ledger.open_account(session, CANTEEN, now=NOW)
        hold = ledger.Hold(
            id=uuid4(),
            debit=meals,
            credit=canteen,
            amount_minor=70,
            code=TransferCode.PURCHASE,
            expires_at=after + timedelta(1),
        )
        ledger.hold(session, hold, now=NOW)
        assert ledger.expire_purses(session, now=after) == 0
        assert standing(session) == (1000, 300, 70, -370)
        ledger.void_hold(session, hold_id=hold.id, now=after)
        assert ledger.expire_purses(session, now=after) == 1
        assert standing(session) == (1000, 300, 0, -300)


def test_a_day_priced_again_gives_back_to_whom_it_charged(books: Database) -> None:
    def again(name: str, minor: int) -> None:
        facts = {"holder_id": HOLDER, "payee": METRO, "event_at": NOW, "reference": "card-day:1", "now": NOW}
        if minor > 0:
            ledger.pay(session, payment_id=ids.derived_id(NOW, name), amount_minor=minor, code=TransferCode.FARE, **facts)
        else:
            for _ in range(2):  # a repeat is quiet
                ledger.give_back(
                    session,
                    refund_id=ids.derived_id(NOW, name),
                    amount_minor=-minor,
                    code=TransferCode.FARE_CORRECTION,
                    **facts,
                )

    with books.transaction() as session:
        again("a", 250)
        again("b", 150)
        assert standing(session) == (900, 0, 200, -500)
        again("c", -120)  # one's own hundred first, then twenty to the rides
        assert standing(session) == (1000, 20, 200, -500)
        again("d", -380)  # more than was ever paid so: the rest is one's own
        assert standing(session) == (1100, 300, 200, -500)


def test_a_grant_is_made_once_and_its_terms_stand(books: Database) -> None:
    with books.transaction() as session:
        grant(session, RIDES, 300)
        assert standing(session) == (1000, 300, 200, -500)
        with pytest.raises(ledger.PurseConflict):
            grant(session, RIDES, 301)
    for change in ("granted_minor = 1", "expires_at = now()", "codes = '{}'", "holder_id = gen_random_uuid()"):
        with pytest.raises(ProgrammingError, match="permission denied"), books.transaction() as session:
            session.connection().exec_driver_sql(f"UPDATE card.earmarked_purse SET {change}")
