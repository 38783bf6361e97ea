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


def test_a_bill_is_paid_once_and_refunded_up_to_what_was_paid(session: Session) -> None:
    holder_id, refund_id = uuid4(), uuid4()
    filled(session, holder_id)
    bill_id = bill(session, holder_id)
    assert bill(session, holder_id) == bill_id, "the merchant's reference is the same bill"
    for _ in range(2):
        purchases.pay(session, bill_id=bill_id, holder_id=holder_id, by="person:x", now=NOW)
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
def test_a_purse_pays_a_bill_up_to_its_balance(session: Session, on_card: int, paid: bool) -> None:
    holder_id = uuid4()
    filled(session, holder_id, on_card)
    bill_id = bill(session, holder_id)
    if paid:
        purchases.pay(session, bill_id=bill_id, holder_id=holder_id, by="person:x", now=NOW)
    else:
        with pytest.raises(ledger.InsufficientFunds):
            purchases.pay(session, bill_id=bill_id, holder_id=holder_id, by="person:x", now=NOW)


def test_what_cannot_be_paid_or_refunded_is_refused(session: Session) -> None:
    holder_id = uuid4()
    filled(session, holder_id)
    bill_id = bill(session, holder_id)
    with pytest.raises(IllegalMove):
        purchases.refund(session, bill_id=bill_id, refund_id=uuid4(), by="client:water", now=NOW)
    with pytest.raises(purchases.NoSuchBill):
        purchases.pay(session, bill_id=bill_id, holder_id=uuid4(), by="person:y", now=NOW)
    with pytest.raises(purchases.BillChanged):
        bill(session, holder_id, 6_541)
    with pytest.raises(Invalid):
        bill(session, holder_id, 0, reference="2026-12")
    purchases.cancel(session, bill_id=bill_id, by="client:water", now=NOW)
    with pytest.raises(IllegalMove):
        purchases.pay(session, bill_id=bill_id, holder_id=holder_id, by="person:x", now=NOW)


def test_a_shops_code_is_paid_by_whoever_scans_it_in_time(session: Session) -> None:
    holder_id = uuid4()
    filled(session, holder_id)
    late = bill(session, None, reference="till-1", due_on=None, expires_at=NOW)
    with pytest.raises(purchases.BillExpired):
        purchases.pay(session, bill_id=late, holder_id=holder_id, by="person:x", now=NOW)
    code = bill(session, None, reference="till-2", due_on=None, expires_at=NOW + timedelta(minutes=5))
    purchases.pay(session, bill_id=code, holder_id=holder_id, by="person:x", now=NOW)
    with pytest.raises(purchases.NoSuchBill):
        purchases.pay(session, bill_id=code, holder_id=uuid4(), by="person:y", now=NOW)


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
