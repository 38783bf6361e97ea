"""What changes in purchases: merchants, bills, payments from the purse, refunds."""

from datetime import date, datetime
from functools import partial
from typing import Final
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel import audit, ids
from app.kernel.db import Database
from app.kernel.errors import Conflict, Invalid, msg
from card import ledger
from card.ledger import Transfer, TransferCode
from card.purchases import queries, rules
from card.purchases.models import Bill, Merchant
from card.purchases.rules import BillState, MerchantKind

DRAFTS: Final = 3  # how often a payment is drafted anew where the holder's purses, or the bill, changed under it


class BillChanged(Conflict):
    """The merchant's reference came before with another bill."""

    code = "bill-changed"
    sentence = msg("This reference was used for another bill.")


class BillExpired(Conflict):
    """The code on the shop's screen is too old."""

    code = "bill-expired"
    sentence = msg("This code has expired. Ask for a new one.")


def open_merchant(session: Session, *, merchant_id: str, name: dict[str, str], kind: MerchantKind, now: datetime) -> None:
    """Let a shop or utility take the card; repeating it changes nothing."""
    session.execute(insert(Merchant).values(id=merchant_id, name=name, kind=kind.value, opened_at=now).on_conflict_do_nothing())
    ledger.open_account(session, ledger.chart.merchant(merchant_id), now=now)


def present(
    session: Session,
    *,
    merchant_id: str,
    reference: str,
    description: dict[str, str],
    amount_minor: int,
    holder_id: UUID | None = None,
    due_on: date | None = None,
    expires_at: datetime | None = None,
    now: datetime,
) -> UUID:
    """Ask for a payment: of ``holder_id``, or of whoever scans the code. The merchant's ``reference`` makes it idempotent.

    Raises ``Invalid``, :class:`BillChanged` where the reference stands for another amount or person.
    """
    if session.get(Merchant, merchant_id) is None:
        raise Invalid(fields={"merchant": msg("There is no such merchant in this city.")})
    if amount_minor <= 0:
        raise Invalid(fields={"amount_minor": msg("The amount must be more than zero.")})
    before = session.scalars(select(Bill).where(Bill.merchant_id == merchant_id, Bill.reference == reference)).one_or_none()
    if before is not None:
        if before.amount_minor != amount_minor or (holder_id is not None and before.holder_id != holder_id):
            raise BillChanged(reference)
        return before.id
    row = Bill(
        merchant_id=merchant_id,
        reference=reference,
        description=description,
        holder_id=holder_id,
        amount_minor=amount_minor,
        due_on=due_on,
        expires_at=expires_at,
        state=BillState.OPEN.value,
        made_at=now,
        refunded_minor=0,
    )
    session.add(row)
    session.flush()
    return row.id


def _locked(session: Session, bill_id: UUID) -> Bill:
    row = session.get(Bill, bill_id, with_for_update=True)
    if row is None:
        raise queries.NoSuchBill(str(bill_id))
    return row


def pay(database: Database, *, bill_id: UUID, holder_id: UUID, by: str, now: datetime) -> None:
    """Pay a bill from the holder's purses, the earmarked ones first. Paying it twice pays it once.

    The transfers go to this process's poster, which books them together with others' and with the bill's new state. Raises
    :class:`BillExpired`, ``InsufficientFunds``, ``IllegalMove``, and ``NoSuchBill`` for somebody else's; ``LedgerBusy`` where
    nothing was booked, and ``OutcomeUnknown`` where the answer is late: the bill then tells, or paying it once more.
    """
    refusal, before = None, None
    for _ in range(DRAFTS):
        with database.transaction() as session:
            transfers = _draft(session, bill_id=bill_id, holder_id=holder_id, now=now)
        shares = [(part.debit, part.amount_minor) for part in transfers]
        if not transfers:
            return
        if refusal is not None and shares == before:
            raise refusal
        before = shares
        paid = partial(_note_paid, bill_id=bill_id, holder_id=holder_id, transfer_id=transfers[0].id, by=by, now=now)
        refusal = ledger.refusal_in(ledger.poster_of(database).post(transfers, then=paid, remember=False))
        if refusal is None:
            return
    assert refusal is not None
    raise refusal


def _draft(session: Session, *, bill_id: UUID, holder_id: UUID, now: datetime) -> list[Transfer]:
    """The transfers that would pay a bill; none where the holder has paid it."""
    bill = queries.bill(session, bill_id, holder_id=holder_id)
    if bill.state is BillState.PAID and bill.holder_id == holder_id:
        return []
    rules.move(bill.state, BillState.PAID)
    if bill.expires_at is not None and now >= bill.expires_at:
        raise BillExpired
    return ledger.draft_payment(
        session,
        payment_id=ids.derived_id(bill.made_at, "bill", str(bill.id)),
        holder_id=holder_id,
        payee=ledger.chart.merchant(bill.merchant_id),
        amount_minor=bill.amount_minor,
        code=TransferCode.BILL if bill.merchant_kind is MerchantKind.UTILITY else TransferCode.PURCHASE,
        event_at=now,
        reference=f"bill:{bill.id}",
        now=now,
    )


def _note_paid(session: Session, *, bill_id: UUID, holder_id: UUID, transfer_id: UUID, by: str, now: datetime) -> None:
    """Write beside its transfers that a bill is paid. Raises ``IllegalMove`` where it was taken back meanwhile."""
    changed = session.execute(
        update(Bill)
        .where(Bill.id == bill_id, Bill.state == BillState.OPEN.value)
        .values(state=BillState.PAID.value, paid_at=now, holder_id=holder_id, transfer_id=transfer_id)
        .returning(Bill.id),
        execution_options={"synchronize_session": False},
    ).all()
    if not changed:
        rules.move(queries.bill(session, bill_id).state, BillState.PAID)
    audit.record(session, actor=by, action="bill.pay", subject=f"bill:{bill_id}", at=now)


def refund(
    session: Session, *, bill_id: UUID, refund_id: UUID, amount_minor: int | None = None, by: str, now: datetime
) -> None:
    """Give back all that is left of a payment, or part of it; ``refund_id`` makes it idempotent.

    Raises ``IllegalMove`` where nothing was paid, ``ReversalExceedsOriginal`` where it would be more than was paid.
    """
    row = _locked(session, bill_id)
    if row.transfer_id is None:
        rules.move(BillState(row.state), BillState.REFUNDED)
    assert row.transfer_id is not None
    ledger.refund(
        session,
        payment_id=row.transfer_id,
        refund_id=refund_id,
        amount_minor=amount_minor,
        now=now,
        reference=f"bill:{row.id}",
        code=TransferCode.REFUND,
    )
    row.refunded_minor = ledger.refunded_minor(session, row.transfer_id)
    if row.refunded_minor == row.amount_minor and BillState(row.state) is not BillState.REFUNDED:
        row.state = rules.move(BillState(row.state), BillState.REFUNDED).value
    audit.record(session, actor=by, action="bill.refund", subject=f"bill:{row.id}", at=now)


def cancel(session: Session, *, bill_id: UUID, by: str, now: datetime) -> None:
    """The merchant takes an unpaid bill back."""
    row = _locked(session, bill_id)
    row.state = rules.move(BillState(row.state), BillState.CANCELLED).value
    audit.record(session, actor=by, action="bill.cancel", subject=f"bill:{row.id}", at=now)
