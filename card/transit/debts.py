"""What riders owe: a fare that a purse could not pay, its correction, and its recovery when there is money again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.kernel import bulk, clock
from app.kernel.db import Json
from app.kernel.ids import derived_id
from card import ledger
from card.ledger import Transfer, TransferCode, chart
from card.transit.models import Debt
from card.transit.rules import Liability


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpaid:
    """A charge that the holder's purse could not pay; ``posting_id`` is the transfer that was refused."""

    posting_id: UUID
    holder_id: UUID
    creditor: ledger.AccountSpec
    amount_minor: int
    card_number: str
    liability: Liability
    event_at: datetime
    reference: str


def owe(session: Session, unpaid: Sequence[Unpaid], *, now: datetime) -> None:
    """Book each charge as what its holder owes, and remember it as a debt."""
    if not unpaid:
        return
    specs = [spec for one in unpaid for spec in (one.creditor, chart.receivable(one.holder_id))]
    accounts = ledger.open_accounts(session, specs, now=now)
    ids = [derived_id(now, "fare-debt", str(one.posting_id)) for one in unpaid]
    owed = [
        Transfer(
            id=debt_id,
            debit=accounts[chart.receivable(one.holder_id).key],
            credit=accounts[one.creditor.key],
            amount_minor=one.amount_minor,
            code=TransferCode.FARE_DEBT,
            event_at=one.event_at,
            reference=one.reference,
        )
        for debt_id, one in zip(ids, unpaid, strict=True)
    ]
    ledger.post_all(session, owed, now=now)
    session.execute(
        insert(Debt),
        [
            {
                "id": debt_id,
                "holder_id": one.holder_id,
                "card_number": one.card_number,
                "creditor": one.creditor.key,
                "liability": one.liability.value,
                "amount_minor": one.amount_minor,
                "left_minor": one.amount_minor,
                "opened_at": now,
                "posting_id": one.posting_id,
            }
            for debt_id, one in zip(ids, unpaid, strict=True)
        ],
    )


def owing_cards(session: Session, numbers: Iterable[str]) -> set[str]:
    """Those of ``numbers`` for which something is still owed."""
    wanted = bulk.texts(sorted(set(numbers)))
    found = bulk.rows(
        session,
        "SELECT DISTINCT card_number FROM card.debt WHERE left_minor > 0 AND card_number = ANY(%(numbers)s::text[])",
        numbers=wanted,
    )
    return {number for (number,) in found}


def charge_holder(
    session: Session,
    *,
    posting_id: UUID,
    holder_id: UUID,
    creditor: ledger.AccountSpec,
    amount_minor: int,
    code: TransferCode,
    card_number: str,
    liability: Liability,
    event_at: datetime,
    reference: str,
    metadata: Json,
    now: datetime,
) -> str:
    """Debit the holder's purses, the earmarked ones first; where they cannot pay, the whole amount becomes a debt.

    Answers ``purse`` or ``debt``.
    """
    try:
        ledger.pay(
            session,
            payment_id=posting_id,
            holder_id=holder_id,
            payee=creditor,
            amount_minor=amount_minor,
            code=code,
            event_at=event_at,
            reference=reference,
            metadata=metadata,
            now=now,
        )
    except ledger.InsufficientFunds:
        pass
    else:
        return "purse"
    unpaid = Unpaid(
        posting_id=posting_id,
        holder_id=holder_id,
        creditor=creditor,
        amount_minor=amount_minor,
        card_number=card_number,
        liability=liability,
        event_at=event_at,
        reference=reference,
    )
    owe(session, [unpaid], now=now)
    return "debt"


def refund_holder(
    session: Session,
    *,
    posting_id: UUID,
    holder_id: UUID,
    creditor: ledger.AccountSpec,
    amount_minor: int,
    code: TransferCode,
    card_number: str,
    event_at: datetime,
    reference: str,
    metadata: Json,
    now: datetime,
) -> str:
    """Give an amount back: first against what the holder still owes this creditor, the rest to the purses that had paid."""
    debit = ledger.open_account(session, creditor, now=now)
    receivable = ledger.open_account(session, chart.receivable(holder_id), now=now)
    left, transfers = amount_minor, []
    for debt in _open_debts(session, holder_id, creditor=creditor.key, card_number=card_number):
        part = min(left, debt.left_minor)
        if part:
            transfers.append((derived_id(now, "debt-correction", str(posting_id), str(debt.id)), receivable, part))
            _reduce(debt, part, now)
            left -= part
    means = "purse" if left else "debt"
    if left:
        ledger.give_back(
            session,
            refund_id=posting_id,
            holder_id=holder_id,
            payee=creditor,
            amount_minor=left,
            code=code,
            event_at=event_at,
            reference=reference,
            metadata=metadata,
            now=now,
        )
    ledger.post_all(
        session,
        [
            Transfer(
                id=transfer_id,
                debit=debit,
                credit=credit,
                amount_minor=part,
                code=code,
                event_at=event_at,
                reference=reference,
                metadata=metadata,
            )
            for transfer_id, credit, part in transfers
        ],
        now=now,
    )
    return means


def _open_debts(
    session: Session, holder_id: UUID, *, creditor: str | None = None, card_number: str | None = None
) -> list[Debt]:
    query = select(Debt).where(Debt.holder_id == holder_id, Debt.left_minor > 0).order_by(Debt.id).with_for_update()
    if creditor is not None:
        query = query.where(Debt.creditor == creditor)
    if card_number is not None:
        query = query.where(Debt.card_number == card_number)
    return list(session.scalars(query))


def _reduce(debt: Debt, part: int, now: datetime) -> None:
    debt.left_minor -= part
    if debt.left_minor == 0:
        debt.closed_at = now


def recover_debts(session: Session, *, holder_id: UUID, now: datetime) -> int:
    """Pay open debts from the purse as far as it reaches, the oldest first. Answers the minor units recovered."""
    debts = _open_debts(session, holder_id)
    if not debts:
        return 0
    purse = ledger.open_account(session, chart.purse(holder_id), now=now)
    receivable = ledger.account_id(session, chart.receivable(holder_id))
    available = ledger.balance(session, purse).available_minor
    recovered = 0
    for debt in debts:
        part = min(debt.left_minor, available - recovered)
        if part <= 0:
            break
        transfer = Transfer(
            id=derived_id(now, "debt-recovery", str(debt.id), str(debt.left_minor)),
            debit=purse,
            credit=receivable,
            amount_minor=part,
            code=TransferCode.DEBT_RECOVERY,
            event_at=now,
            reference=f"debt:{debt.id}",
        )
        ledger.post_all(session, [transfer], now=now)
        _reduce(debt, part, now)
        recovered += part
    session.flush()
    return recovered


def on_payment_settled(session: Session, payload: Json) -> None:
    """The handler of ``payment.settled``: a top-up first pays what its holder owes for rides."""
    if payload["purpose"] == "top-up":
        recover_debts(session, holder_id=UUID(payload["person_id"]), now=clock.now())


def indebted_holders(session: Session, *, limit: int = 500) -> list[UUID]:
    """Holders with an open debt, for the recovery job."""
    return list(
        session.scalars(select(Debt.holder_id).where(Debt.left_minor > 0).distinct().order_by(Debt.holder_id).limit(limit))
    )
