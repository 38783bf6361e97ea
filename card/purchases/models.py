"""Tables of purchases: merchants, bills, payments made with the card."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.kernel.db import Base, Json
from app.kernel.ids import new_id


class Merchant(Base):
    """A shop or a utility that takes the card. ``kind`` is ``shop`` or ``utility``."""

    __tablename__ = "purchases_merchant"
    __table_args__ = ({"schema": "card"},)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[Json]
    kind: Mapped[str]
    opened_at: Mapped[datetime]


class Bill(Base):
    """What a utility asks of a holder, or a shop asks of whoever scans its code (then ``holder_id`` is empty until paid)."""

    __tablename__ = "purchases_bill"
    __table_args__ = (
        UniqueConstraint("merchant_id", "reference", name="uq_purchases_bill_reference"),
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("refunded_minor BETWEEN 0 AND amount_minor", name="refunded"),
        Index("ix_purchases_bill_holder", "holder_id", "id"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    merchant_id: Mapped[str] = mapped_column(ForeignKey("card.purchases_merchant.id"))
    reference: Mapped[str]
    description: Mapped[Json]
    holder_id: Mapped[UUID | None]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    due_on: Mapped[date | None]
    expires_at: Mapped[datetime | None]
    state: Mapped[str]
    made_at: Mapped[datetime]
    paid_at: Mapped[datetime | None]
    transfer_id: Mapped[UUID | None]
    refunded_minor: Mapped[int] = mapped_column(BigInteger, default=0)

    merchant: Mapped[Merchant] = relationship(lazy="raise_on_sql")
