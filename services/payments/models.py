"""Payments, refunds, Stripe's events as they came, and the daily matching."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Json
from app.kernel.ids import new_id
from services.payments.rules import Purpose, State

_STATES = ", ".join(f"'{state}'" for state in State)
_PURPOSES = ", ".join(f"'{purpose}'" for purpose in Purpose)


class Payment(Base):
    """One attempt to pay. Amounts are fen of CNY."""

    __tablename__ = "payment"
    __table_args__ = (
        UniqueConstraint("intent_id"),
        CheckConstraint("amount_minor > 0", name="amount_positive"),
        CheckConstraint("refunded_minor BETWEEN 0 AND amount_minor", name="refunded_within"),
        CheckConstraint(f"state IN ({_STATES})", name="state"),
        CheckConstraint(f"purpose IN ({_PURPOSES})", name="purpose"),
        CheckConstraint("(settled_at IS NOT NULL) = (state IN ('settled', 'refunded'))", name="settled_at"),
        Index("ix_payment_subject", "purpose", "subject"),
        Index("ix_payment_person_id", "person_id", "id"),
        Index("ix_payment_settled_at", "settled_at", "id"),
        {"schema": "services"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    purpose: Mapped[str]
    subject: Mapped[str]
    person_id: Mapped[UUID] = mapped_column(ForeignKey("services.person.id"))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str]
    intent_id: Mapped[str | None]
    failure_code: Mapped[str] = mapped_column(default="")
    return_path: Mapped[str] = mapped_column(default="")
    refunded_minor: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]


class Refund(Base):
    """Money given back. It leaves the ledger when it is decided and is ``done_at`` when Stripe has it; never both undone."""

    __tablename__ = "refund"
    __table_args__ = (
        CheckConstraint("amount_minor > 0", name="amount_positive"),
        Index("ix_refund_payment_id", "payment_id"),
        {"schema": "services"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    payment_id: Mapped[UUID] = mapped_column(ForeignKey("services.payment.id"))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str]
    by: Mapped[str]
    stripe_id: Mapped[str | None]
    created_at: Mapped[datetime]
    done_at: Mapped[datetime | None]
    refused_at: Mapped[datetime | None]


class StripeEvent(Base):
    """An event of Stripe, byte for byte as it came, so that it can be replayed."""

    __tablename__ = "stripe_event"
    __table_args__ = (
        Index("ix_stripe_event_open", "received_at", postgresql_where="applied_at IS NULL"),
        {"schema": "services"},
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    body: Mapped[str]
    received_at: Mapped[datetime]
    applied_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(default="")


class Matching(Base):
    """What one civil day's comparison with Stripe found."""

    __tablename__ = "payment_matching"
    __table_args__ = {"schema": "services"}  # noqa: RUF012

    day: Mapped[date] = mapped_column(primary_key=True)
    here_minor: Mapped[int] = mapped_column(BigInteger)
    there_minor: Mapped[int] = mapped_column(BigInteger)
    breaks: Mapped[Json]
    made_at: Mapped[datetime]
