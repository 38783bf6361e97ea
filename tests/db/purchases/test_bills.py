"""Bills paid from the purse, once; refunded in part or whole, never beyond what was paid; on the screens too."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.kernel.db import Database
from app.kernel.errors import IllegalMove, Invalid
from card import ledger, purchases
from tests.signing_in import enter, resident, sign_in_as

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
WATER = {"en": "Demo Water Works", "zh_Hans_CN": "演示·自来水公司"}
NOVEMBER = {"en": "Water, November", "zh_Hans_CN": "11 月水费"}


def filled(session: Session, holder_id: UUID, amount_minor: int = 10_000) -> None:
    purchases.open_merchant(session, merchant_id="water", name=WATER, kind=purchases.MerchantKind.UTILITY, now=NOW)
    ledger.post_all(
        session,
        [
            ledger.Transfer(
                id=uuid4(),
                debit=ledger.open_account(session, ledger.chart.bank(), now=NOW),
                credit=ledger.open_account(session, ledger.chart.purse(holder_id), now=NOW),
                amount_minor=amount_minor,
                code=ledger.TransferCode.OPENING,
                event_at=NOW,
            )
        ],
        now=NOW,
    )


def bill(session: Session, holder_id: UUID | None, amount_minor: int = 6_540, **changes: object) -> UUID:
    facts: dict[str, object] = {"reference": "2026-11", "due_on": date(2026, 12, 10)}
    return purchases.present(
        session,
        merchant_id="water",
        description=NOVEMBER,
        amount_minor=amount_minor,
        holder_id=holder_id,
        now=NOW,
        **(facts | changes),  # type: ignore[arg-type]
    )


def balances(session: Session, holder_id: UUID) -> tuple[int, int]:
    return (
        ledger.balance(session, ledger.account_id(session, ledger.chart.purse(holder_id))).posted_minor,
        ledger.balance(session, ledger.account_id(session, ledger.chart.merchant("water"))).posted_minor,
    )


def pay(database: Database, bill_id: UUID, holder_id: UUID, *, now: datetime = NOW) -> None:
    purchases.pay(database, bill_id=bill_id, holder_id=holder_id, by="person:x", now=now)


def test_a_bill_is_paid_once_and_refunded_up_to_what_was_paid(database: Database) -> None:
    holder_id, refund_id = uuid4(), uuid4()
    with database.transaction() as session:
        filled(session, holder_id)
        bill_id = bill(session, holder_id)
        assert bill(session, holder_id) == bill_id, "the merchant's reference is the same bill"
    for minutes in range(2):
        pay(database, bill_id, holder_id, now=NOW + timedelta(minutes=minutes))
    with database.transaction() as session:
        assert balances(session, holder_id) == (3_460, 6_540)
        for _ in range(2):
            purchases.refund(session, bill_id=bill_id, refund_id=refund_id, amount_minor=540, by="client:water", now=NOW)
        assert balances(session, holder_id) == (4_000, 6_000)
        assert purchases.bill(session, bill_id).refunded_minor == 540
        with pytest.raises(ledger.ReversalExceedsOriginal):
            purchases.refund(session, bill_id=bill_id, refund_id=uuid4(), amount_minor=6_001, by="client:water", now=NOW)
        purchases.refund(session, bill_id=bill_id, refund_id=uuid4(), by="client:water", now=NOW)
        assert balances(session, holder_id) == (10_000, 0)
        assert purchases.bill(session, bill_id).state is purchases.BillState.REFUNDED


@pytest.mark.parametrize(("on_card", "paid"), [(6_540, True), (6_539, False)])
def test_a_purse_pays_a_bill_up_to_its_balance(database: Database, on_card: int, paid: bool) -> None:
    holder_id = uuid4()
    with database.transaction() as session:
        filled(session, holder_id, on_card)
        bill_id = bill(session, holder_id)
    if paid:
        pay(database, bill_id, holder_id)
    else:
        with pytest.raises(ledger.InsufficientFunds):
            pay(database, bill_id, holder_id)
        with database.transaction() as session:
            filled(session, holder_id, 1)
        pay(database, bill_id, holder_id)  # the refusal was not for ever
    with database.transaction() as session:
        assert balances(session, holder_id) == (0, 6_540)
        assert ledger.check_books(session).findings == []


def test_earmarked_money_pays_first_and_what_is_gone_meanwhile_is_drafted_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder_id, purse_id = uuid4(), uuid4()
    with database.transaction() as session:
        filled(session, holder_id)
        bill_id = bill(session, holder_id)
        ledger.grant_purse(
            session,
            purse_id=purse_id,
            holder_id=holder_id,
            name=WATER,
            codes=[],
            payees=["merchant"],
            fund=ledger.chart.allowance_fund(),
            amount_minor=3_000,
            expires_at=NOW + timedelta(days=30),
            now=NOW,
        )
    drafted = ledger.draft_payment
    meanwhile = iter([True])

    def spent_meanwhile(session: Session, **asked: object) -> list[ledger.Transfer]:
        """Between the draft and its booking 1,000 fen of the grant are paid elsewhere, once."""
        found = drafted(session, **asked)  # type: ignore[arg-type]
        if next(meanwhile, False):
            with database.transaction() as other:
                ledger.pay(
                    other,
                    payment_id=uuid4(),
                    holder_id=holder_id,
                    payee=ledger.chart.merchant("water"),
                    amount_minor=1_000,
                    code=ledger.TransferCode.PURCHASE,
                    event_at=NOW,
                    now=NOW,
                )
        return found

    monkeypatch.setattr(ledger, "draft_payment", spent_meanwhile)
    pay(database, bill_id, holder_id)
    with database.transaction() as session:
        (parts,) = [[part.amount_minor for part in ledger.transfers_by_reference(session, f"bill:{bill_id}")]]
        assert parts == [2_000, 4_540], "what is left of the grant, then the holder's own"
        assert balances(session, holder_id) == (5_460, 7_540)
        assert ledger.check_books(session).findings == []


def test_what_cannot_be_paid_or_refunded_is_refused(database: Database) -> None:
    holder_id = uuid4()
    with database.transaction() as session:
        filled(session, holder_id)
        bill_id = bill(session, holder_id)
        with pytest.raises(IllegalMove):
            purchases.refund(session, bill_id=bill_id, refund_id=uuid4(), by="client:water", now=NOW)
        with pytest.raises(purchases.BillChanged):
            bill(session, holder_id, 6_541)
        with pytest.raises(Invalid):
            bill(session, holder_id, 0, reference="2026-12")
    with pytest.raises(purchases.NoSuchBill):
        pay(database, bill_id, uuid4())
    with pytest.raises(purchases.NoSuchBill):
        pay(database, uuid4(), holder_id)
    with database.transaction() as session:
        purchases.cancel(session, bill_id=bill_id, by="client:water", now=NOW)
    with pytest.raises(IllegalMove):
        pay(database, bill_id, holder_id)


def test_a_bill_that_is_taken_back_while_it_is_paid_moves_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    holder_id = uuid4()
    with database.transaction() as session:
        filled(session, holder_id)
        bill_id = bill(session, holder_id)
    drafted = ledger.draft_payment

    def taken_back(session: Session, **asked: object) -> list[ledger.Transfer]:
        with database.transaction() as other:
            purchases.cancel(other, bill_id=bill_id, by="client:water", now=NOW)
        return drafted(session, **asked)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "draft_payment", taken_back)
    with pytest.raises(IllegalMove):
        pay(database, bill_id, holder_id)
    with database.transaction() as session:
        assert balances(session, holder_id) == (10_000, 0)
        assert purchases.bill(session, bill_id).state is purchases.BillState.CANCELLED


def test_a_shops_code_is_paid_by_whoever_scans_it_in_time(database: Database) -> None:
    holder_id = uuid4()
    with database.transaction() as session:
        filled(session, holder_id)
        late = bill(session, None, reference="till-1", due_on=None, expires_at=NOW)
        code = bill(session, None, reference="till-2", due_on=None, expires_at=NOW + timedelta(minutes=5))
    with pytest.raises(purchases.BillExpired):
        pay(database, late, holder_id)
    pay(database, code, holder_id)
    with pytest.raises(purchases.NoSuchBill):
        pay(database, code, uuid4())


def test_a_resident_pays_on_the_page_and_sees_only_their_own(client: FlaskClient, database: Database) -> None:
    holder_id = resident(database)
    with database.transaction() as session:
        filled(session, holder_id)
        bill_id = bill(session, holder_id)
        dear = bill(session, holder_id, 20_000, reference="2026-12")
    enter(client, database, holder_id)
    english = {"Accept-Language": "en"}
    assert "Demo Water Works" in client.get("/me/bills", headers=english).text
    assert "not enough" in client.get(f"/me/bills/{dear}", headers=english).text
    page = client.post(f"/me/bills/{bill_id}/pay", headers=english, follow_redirects=True)
    assert "Paid from your card." in page.text
    sign_in_as(client, database)
    assert client.get(f"/me/bills/{bill_id}").status_code == 404
    assert "Nothing to pay" in client.get("/me/bills", headers=english).text
