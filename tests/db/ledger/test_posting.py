"""Money moves once, between two accounts, and never below a floor."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from app.kernel import ids
from app.kernel.db import Database
from card import ledger
from card.ledger import AccountId, Hold, OutcomeStatus, Transfer, TransferCode, chart

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
HOLDER = UUID("019a9000-0000-7000-8000-000000000001")


def transfer(
    debit: AccountId, credit: AccountId, amount_minor: int, *cause: str, code: TransferCode = TransferCode.FARE
) -> Transfer:
    return Transfer(
        id=ids.derived_id(NOW, *cause) if cause else ids.new_id(),
        debit=debit,
        credit=credit,
        amount_minor=amount_minor,
        code=code,
        event_at=NOW,
        reference=":".join(cause),
    )


@pytest.fixture
def bank(session: Session) -> AccountId:
    return ledger.open_account(session, chart.bank(), now=NOW)


@pytest.fixture
def purse(session: Session, bank: AccountId) -> AccountId:
    """A purse with 500 fen."""
    opened = ledger.open_account(session, chart.purse(HOLDER), now=NOW)
    ledger.post_all(session, [transfer(bank, opened, 500, "opening", code=TransferCode.OPENING)], now=NOW)
    return opened


@pytest.fixture
def metro(session: Session) -> AccountId:
    return ledger.open_account(session, chart.operator("nanjing-metro"), now=NOW)


def booked(session: Session, *accounts: AccountId) -> list[int]:
    return [ledger.balance(session, account).posted_minor for account in accounts]


def test_an_account_opens_once(session: Session) -> None:
    first = ledger.open_account(session, chart.purse(HOLDER), now=NOW)
    assert ledger.open_account(session, chart.purse(HOLDER), now=NOW) == first
    assert ledger.account_id(session, chart.purse(HOLDER)) == first
    assert ledger.account_id(session, f"purse:{HOLDER}") == first
    with pytest.raises(ledger.UnknownAccount):
        ledger.account_id(session, chart.medical(HOLDER))


@pytest.mark.parametrize(("amount", "refused"), [(1, False), (500, False), (501, True)])
def test_a_purse_pays_up_to_its_balance_and_not_a_fen_more(
    session: Session, bank: AccountId, purse: AccountId, metro: AccountId, *, amount: int, refused: bool
) -> None:
    payment = transfer(purse, metro, amount)
    [outcome] = ledger.post(session, [payment], now=NOW)
    assert outcome.refused is refused
    assert outcome.code == ("insufficient-funds" if refused else "")
    moved = 0 if refused else amount
    assert booked(session, bank, purse, metro) == [-500, 500 - moved, moved]
    if refused:
        with pytest.raises(ledger.InsufficientFunds):
            ledger.post_all(session, [transfer(purse, metro, amount)], now=NOW)
    assert ledger.check_books(session).findings == []


def test_a_repeat_gets_the_first_answer_and_other_content_is_a_conflict(
    session: Session, bank: AccountId, purse: AccountId, metro: AccountId
) -> None:
    payment = transfer(purse, metro, 350, "journey", "1")
    too_much = transfer(purse, metro, 400, "journey", "2")
    assert [o.status for o in ledger.post(session, [payment, too_much], now=NOW)] == [
        OutcomeStatus.POSTED,
        OutcomeStatus.REFUSED,
    ]
    ledger.post_all(session, [transfer(bank, purse, 10_000, "top-up", code=TransferCode.TOP_UP)], now=NOW)
    again = ledger.post(session, [payment, too_much], now=NOW + timedelta(days=1))
    assert [(o.status.value, o.code) for o in again] == [("repeated", ""), ("refused", "insufficient-funds")]
    for other in (
        replace(payment, amount_minor=351),
        replace(payment, credit=bank),
        replace(payment, code=TransferCode.PURCHASE),
        replace(payment, event_at=NOW + timedelta(microseconds=1)),
        replace(payment, reference="other"),
        replace(payment, metadata={"line": "S1"}),
        replace(too_much, amount_minor=1),
    ):
        assert [o.code for o in ledger.post(session, [other], now=NOW)] == ["transfer-conflict"]
        with pytest.raises(ledger.TransferConflict):
            ledger.post_all(session, [other], now=NOW)
    ledger.post_all(session, [payment], now=NOW)
    assert booked(session, purse, metro) == [10_150, 350]


def test_linked_transfers_are_booked_together_or_not_at_all_and_may_be_tried_again(
    session: Session, bank: AccountId, purse: AccountId, metro: AccountId
) -> None:
    pair = [transfer(purse, metro, 300, "a"), transfer(purse, metro, 300, "b")]
    with pytest.raises(ledger.InsufficientFunds):
        ledger.post_all(session, pair, now=NOW)
    assert booked(session, purse, metro) == [500, 0]
    ledger.post_all(session, [transfer(bank, purse, 100, "more")], now=NOW)
    ledger.post_all(session, pair, now=NOW)
    ledger.post_all(session, pair, now=NOW)
    assert booked(session, purse, metro) == [0, 600]


def test_a_credit_funds_a_later_debit_of_the_same_batch(
    session: Session, bank: AccountId, purse: AccountId, metro: AccountId
) -> None:
    batch = [transfer(purse, metro, 500), transfer(bank, purse, 200), transfer(purse, metro, 200), transfer(purse, metro, 1)]
    assert [o.status.value for o in ledger.post(session, batch, now=NOW)] == ["posted", "posted", "posted", "refused"]
    assert [line.balance_after_minor for line in ledger.statement(session, purse)] == [0, 200, 0, 500]


@pytest.mark.parametrize("amount", [0, -1, 10**15 + 1, 1.5, True])
def test_a_transfer_moves_a_whole_amount_above_zero(amount: int) -> None:
    with pytest.raises(ledger.BadTransfer) as refused:
        transfer(AccountId(1), AccountId(2), amount)
    assert list(refused.value.fields) == ["amount_minor"]


def test_a_transfer_needs_two_accounts_that_exist_and_mix(session: Session, purse: AccountId) -> None:
    with pytest.raises(ledger.BadTransfer):
        transfer(purse, purse, 1)
    dollars = ledger.open_account(session, replace(chart.merchant("abroad"), currency="USD"), now=NOW)
    outcomes = ledger.post(session, [transfer(purse, AccountId(10**9), 1), transfer(purse, dollars, 1)], now=NOW)
    assert [o.code for o in outcomes] == ["unknown-account", "accounts-do-not-mix"]


def test_an_account_with_a_credit_line_may_go_down_to_it(session: Session, metro: AccountId) -> None:
    student = ledger.open_account(session, replace(chart.purse("student"), floor_minor=-200), now=NOW)
    batch = [transfer(student, metro, 150), transfer(student, metro, 50), transfer(student, metro, 1)]
    assert [o.status.value for o in ledger.post(session, batch, now=NOW)] == ["posted", "posted", "refused"]
    assert ledger.balance(session, student) == ledger.Balance(posted_minor=-200, held_minor=0, available_minor=0)


def test_a_statement_reads_back_page_by_page_with_running_balances(
    session: Session, purse: AccountId, metro: AccountId
) -> None:
    for n in range(1, 6):
        ledger.post_all(
            session, [transfer(purse, metro, n, "journey", str(n)), transfer(purse, metro, n, "again", str(n))], now=NOW
        )
    for account, amounts, after in (
        (purse, [-5, -5, -4, -4, -3, -3, -2, -2, -1, -1, 500], [470, 475, 480, 484, 488, 491, 494, 496, 498, 499, 500]),
        (metro, [5, 5, 4, 4, 3, 3, 2, 2, 1, 1], [30, 25, 20, 16, 12, 9, 6, 4, 2, 1]),
    ):
        lines = ledger.statement(session, account, limit=3)
        while page := ledger.statement(session, account, before=lines[-1].cursor, limit=3):
            lines += page
        assert [line.amount_minor for line in lines] == amounts
        assert [line.balance_after_minor for line in lines] == after
    newest = ledger.statement(session, purse, limit=1)[0]
    assert (newest.counter_key, newest.code, newest.reference) == ("operator:nanjing-metro", TransferCode.FARE, "again:5")
    with pytest.raises(ledger.BadCursor):
        ledger.statement(session, purse, before="x")


def test_transfers_are_found_by_their_business_reference(session: Session, purse: AccountId, metro: AccountId) -> None:
    first, other = transfer(purse, metro, 100, "journey", "7"), transfer(purse, metro, 100, "journey", "8")
    ledger.post_all(session, [first, other], now=NOW)
    assert ledger.transfers_by_reference(session, "journey:7") == [first]
    assert ledger.transfers_by_reference(session, "") == []


def holding(purse: AccountId, metro: AccountId, amount_minor: int) -> Hold:
    return Hold(
        id=ids.new_id(),
        debit=purse,
        credit=metro,
        amount_minor=amount_minor,
        code=TransferCode.FARE,
        expires_at=NOW + timedelta(hours=1),
        reference="journey:9",
    )


def test_a_hold_reserves_and_is_resolved_once(session: Session, purse: AccountId, metro: AccountId) -> None:
    held = holding(purse, metro, 400)
    ledger.hold(session, held, now=NOW)
    ledger.hold(session, held, now=NOW)
    with pytest.raises(ledger.TransferConflict):
        ledger.hold(session, replace(held, amount_minor=1), now=NOW)
    with pytest.raises(ledger.InsufficientFunds):
        ledger.hold(session, holding(purse, metro, 101), now=NOW)
    assert ledger.balance(session, purse) == ledger.Balance(posted_minor=500, held_minor=400, available_minor=100)
    assert [o.code for o in ledger.post(session, [transfer(purse, metro, 101)], now=NOW)] == ["insufficient-funds"]

    paid = ids.new_id()
    with pytest.raises(ledger.HoldExceeded):
        ledger.post_hold(session, hold_id=held.id, transfer_id=paid, amount_minor=401, now=NOW)
    first = ledger.post_hold(session, hold_id=held.id, transfer_id=paid, amount_minor=350, now=NOW)
    assert ledger.post_hold(session, hold_id=held.id, transfer_id=paid, amount_minor=350, now=NOW + timedelta(days=1)) == first
    assert ledger.balance(session, purse) == ledger.Balance(posted_minor=150, held_minor=0, available_minor=150)
    for again in (
        lambda: ledger.post_hold(session, hold_id=held.id, transfer_id=ids.new_id(), now=NOW),
        lambda: ledger.void_hold(session, hold_id=held.id, now=NOW),
    ):
        with pytest.raises(ledger.HoldResolved):
            again()
    assert ledger.check_books(session).findings == []


def test_a_voided_or_expired_hold_gives_everything_back(session: Session, purse: AccountId, metro: AccountId) -> None:
    voided, late = holding(purse, metro, 200), holding(purse, metro, 300)
    ledger.hold(session, voided, now=NOW)
    ledger.hold(session, late, now=NOW)
    ledger.void_hold(session, hold_id=voided.id, now=NOW)
    ledger.void_hold(session, hold_id=voided.id, now=NOW)
    assert ledger.balance(session, purse).available_minor == 200
    assert ledger.expire_holds(session, now=late.expires_at - timedelta(microseconds=1)) == 0
    with pytest.raises(ledger.HoldResolved):
        ledger.post_hold(session, hold_id=late.id, transfer_id=ids.new_id(), now=late.expires_at)
    assert ledger.expire_holds(session, now=late.expires_at) == 1
    assert ledger.expire_holds(session, now=late.expires_at) == 0
    assert ledger.balance(session, purse) == ledger.Balance(posted_minor=500, held_minor=0, available_minor=500)
    with pytest.raises(ledger.UnknownHold):
        ledger.void_hold(session, hold_id=ids.new_id(), now=NOW)


def test_reversals_add_up_to_the_original_at_most(session: Session, purse: AccountId, metro: AccountId) -> None:
    paid = transfer(purse, metro, 350, "journey", "1")
    ledger.post_all(session, [paid], now=NOW)
    part, rest = ids.new_id(), ids.new_id()
    first = ledger.reverse(session, original_id=paid.id, reversal_id=part, amount_minor=100, now=NOW)
    assert ledger.reverse(session, original_id=paid.id, reversal_id=part, amount_minor=100, now=NOW + timedelta(1)) == first
    assert (first.reverses, first.reference, first.debit, first.credit) == (paid.id, "journey:1", metro, purse)
    with pytest.raises(ledger.TransferConflict):
        ledger.reverse(session, original_id=paid.id, reversal_id=part, amount_minor=99, now=NOW)
    with pytest.raises(ledger.ReversalExceedsOriginal):
        ledger.reverse(session, original_id=paid.id, reversal_id=rest, amount_minor=251, now=NOW)
    assert ledger.reverse(session, original_id=paid.id, reversal_id=rest, now=NOW).amount_minor == 250
    assert ledger.reverse(session, original_id=paid.id, reversal_id=rest, now=NOW).amount_minor == 250
    with pytest.raises(ledger.ReversalExceedsOriginal):
        ledger.reverse(session, original_id=paid.id, reversal_id=ids.new_id(), now=NOW)
    assert booked(session, purse, metro) == [500, 0]
    with pytest.raises(ledger.UnknownTransfer):
        ledger.reverse(session, original_id=ids.new_id(), reversal_id=ids.new_id(), now=NOW)
    assert ledger.check_books(session).findings == []


def test_the_trial_balance_sums_to_zero(session: Session, purse: AccountId, metro: AccountId) -> None:
    ledger.post_all(session, [transfer(purse, metro, 120)], now=NOW)
    trial = ledger.trial_balance(session)
    assert trial.balanced
    assert [(line.kind.value, line.debit_minor, line.credit_minor) for line in trial.lines] == [
        ("bank", 500, 0),
        ("operator", 0, 120),
        ("purse", 120, 500),
    ]


def test_a_refusal_leaves_the_callers_transaction_usable(database: Database) -> None:
    with database.transaction() as session:
        purse = ledger.open_account(session, chart.purse(HOLDER), now=NOW)
        metro = ledger.open_account(session, chart.operator("metro"), now=NOW)
        with pytest.raises(ledger.InsufficientFunds):
            ledger.post_all(session, [transfer(purse, metro, 1)], now=NOW)
        debt = ledger.open_account(session, chart.receivable(HOLDER), now=NOW)
        ledger.post_all(session, [transfer(debt, metro, 1, code=TransferCode.FARE_DEBT)], now=NOW)
    with database.transaction() as session:
        assert booked(session, purse, metro, debt) == [0, 1, -1]


@pytest.mark.parametrize(
    "text", ['a "quoted" word', "back\\slash", "{1,2}", "NULL", "null", "金陵，通宝", " ", "a,b", "'; DROP TABLE x"]
)
def test_any_reference_and_metadata_come_back_as_they_were(
    session: Session, purse: AccountId, metro: AccountId, text: str
) -> None:
    paid = replace(transfer(purse, metro, 1), reference=text, metadata={"note": text, "list": [1, None, {"x": text}]})
    too_much = replace(transfer(purse, metro, 10_000), reference=text, metadata={"note": text})
    ledger.post(session, [paid], now=NOW)
    mixed = [replace(paid, id=ids.new_id()), too_much]
    ledger.post(session, mixed, now=NOW)
    assert ledger.transfers_by_reference(session, text) == [paid, mixed[0]]
    assert [o.status.value for o in ledger.post(session, [paid, *mixed], now=NOW)] == ["repeated", "repeated", "refused"]


def test_a_balance_is_known_at_any_instant(session: Session, purse: AccountId, metro: AccountId) -> None:
    for minute in (1, 2, 3):
        pair = [transfer(purse, metro, minute), transfer(purse, metro, 10)]
        ledger.post_all(session, pair, now=NOW + timedelta(minutes=minute))
    for seconds, spent in ((-1, None), (0, 0), (59, 0), (60, 11), (119, 11), (120, 23), (180, 36), (10_000, 36)):
        instant = NOW + timedelta(seconds=seconds)
        found = [ledger.balance_at(session, account, instant) for account in (purse, metro)]
        assert found == ([0, 0] if spent is None else [500 - spent, spent]), seconds
