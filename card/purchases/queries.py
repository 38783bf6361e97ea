"""What is known of bills. Reads only."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from app.kernel.errors import NotFound, msg
from card.purchases.models import Bill, Merchant
from card.purchases.rules import BillState, MerchantKind


class NoSuchBill(NotFound):
    """No bill with this id, or not the caller's."""

    code = "no-such-bill"
    sentence = msg("There is no such bill.")


@dataclass(frozen=True, kw_only=True)
class BillView:
    """A bill; texts by language, amounts in fen. ``holder_id`` is empty while a shop's code waits for whoever scans it."""

    id: UUID
    merchant_id: str
    merchant_name: dict[str, str]
    merchant_kind: MerchantKind
    reference: str
    description: dict[str, str]
    holder_id: UUID | None
    amount_minor: int
    refunded_minor: int
    due_on: date | None
    expires_at: datetime | None
    state: BillState
    made_at: datetime
    paid_at: datetime | None

    def payable(self, now: datetime) -> bool:
        """Whether it may be paid at ``now``."""
        return self.state is BillState.OPEN and (self.expires_at is None or now < self.expires_at)


def view(row: Bill) -> BillView:
    """A loaded row as others see it."""
    return BillView(
        id=row.id,
        merchant_id=row.merchant_id,
        merchant_name=row.merchant.name,
        merchant_kind=MerchantKind(row.merchant.kind),
        reference=row.reference,
        description=row.description,
        holder_id=row.holder_id,
        amount_minor=row.amount_minor,
        refunded_minor=row.refunded_minor,
        due_on=row.due_on,
        expires_at=row.expires_at,
        state=BillState(row.state),
        made_at=row.made_at,
        paid_at=row.paid_at,
    )


def bill(session: Session, bill_id: UUID, *, holder_id: UUID | None = None, merchant_id: str | None = None) -> BillView:
    """One bill. With ``holder_id`` only that person's, or one that waits for anybody; with ``merchant_id`` only theirs."""
    row = session.scalars(
        select(Bill).where(Bill.id == bill_id).options(selectinload(Bill.merchant)).execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise NoSuchBill(str(bill_id))
    if holder_id is not None and row.holder_id not in (None, holder_id):
        raise NoSuchBill(str(bill_id))
    if merchant_id is not None and row.merchant_id != merchant_id:
        raise NoSuchBill(str(bill_id))
    return view(row)


def bills_of(session: Session, holder_id: UUID, *, limit: int = 50) -> list[BillView]:
    """A person's bills, newest first."""
    rows = session.scalars(
        select(Bill)
        .where(Bill.holder_id == holder_id)
        .options(selectinload(Bill.merchant))
        .order_by(Bill.id.desc())
        .limit(limit)
    )
    return [view(row) for row in rows]


def merchants(session: Session) -> dict[str, dict[str, str]]:
    """The names of all merchants and utilities by id, in both languages."""
    return {row.id: dict(row.name) for row in session.scalars(select(Merchant))}
