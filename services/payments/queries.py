"""Reading payments."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.db import Json
from services.payments.models import Matching, Payment
from services.payments.rules import OPEN, PAID, Purpose, Seen, State, UnknownPayment


@dataclass(frozen=True, kw_only=True)
class PaymentView:
    """A payment. ``refundable_minor`` is what could still be given back; ``return_path`` is where the payer goes on."""

    id: UUID
    purpose: Purpose
    subject: str
    person_id: UUID
    amount_minor: int
    refunded_minor: int
    state: State
    failure_code: str
    intent_id: str | None
    return_path: str
    created_at: datetime
    settled_at: datetime | None

    @property
    def is_paid(self) -> bool:
        """Whether the money arrived."""
        return self.state in PAID

    @property
    def refundable_minor(self) -> int:
        """What could still be given back, in fen."""
        return self.amount_minor - self.refunded_minor if self.is_paid else 0


@dataclass(frozen=True, kw_only=True)
class MatchingView:
    """One day's comparison with Stripe."""

    day: date
    here_minor: int
    there_minor: int
    breaks: list[Json]
    made_at: datetime


def row(session: Session, payment_id: UUID, *, lock: bool = False) -> Payment:
    """The payment's row. Raises ``UnknownPayment``."""
    found = session.get(Payment, payment_id, with_for_update=True if lock else None, populate_existing=lock)
    if found is None:
        raise UnknownPayment(str(payment_id))
    return found


def view(payment: Payment) -> PaymentView:
    """The row as others see it."""
    return PaymentView(
        id=payment.id,
        purpose=Purpose(payment.purpose),
        subject=payment.subject,
        person_id=payment.person_id,
        amount_minor=payment.amount_minor,
        refunded_minor=payment.refunded_minor,
        state=State(payment.state),
        failure_code=payment.failure_code,
        intent_id=payment.intent_id,
        return_path=payment.return_path,
        created_at=payment.created_at,
        settled_at=payment.settled_at,
    )


def get(session: Session, payment_id: UUID, *, person_id: UUID | None = None) -> PaymentView:
    """The payment, where it is this person's if one is named. Raises ``UnknownPayment``."""
    found = row(session, payment_id)
    if person_id is not None and found.person_id != person_id:
        raise UnknownPayment(str(payment_id))
    return view(found)


def of_subject(session: Session, *, purpose: Purpose, subject: str) -> list[PaymentView]:
    """Every attempt to pay for ``subject``, newest first."""
    found = session.scalars(
        select(Payment).where(Payment.purpose == purpose.value, Payment.subject == subject).order_by(Payment.id.desc())
    )
    return [view(payment) for payment in found]


def of_person(session: Session, person_id: UUID, *, limit: int = 50) -> list[PaymentView]:
    """The person's payments, newest first."""
    found = session.scalars(select(Payment).where(Payment.person_id == person_id).order_by(Payment.id.desc()).limit(limit))
    return [view(payment) for payment in found]


def open_of_subject(session: Session, *, purpose: Purpose, subject: str) -> Payment | None:
    """The newest attempt for ``subject`` that may still succeed."""
    return session.scalars(
        select(Payment)
        .where(
            Payment.purpose == purpose.value,
            Payment.subject == subject,
            Payment.state.in_([state.value for state in OPEN]),
        )
        .order_by(Payment.id.desc())
        .limit(1)
    ).one_or_none()


def settled_between(session: Session, since: datetime, until: datetime) -> list[Seen]:
    """What was settled from ``since`` on and before ``until``."""
    found = session.execute(
        select(Payment.id, Payment.amount_minor)
        .where(Payment.settled_at >= since, Payment.settled_at < until)
        .order_by(Payment.id)
    )
    return [Seen(payment_id=str(payment_id), amount_minor=amount) for payment_id, amount in found]


def matchings(session: Session, *, limit: int = 31) -> list[MatchingView]:
    """The latest days' comparisons with Stripe, newest first."""
    return [
        MatchingView(
            day=found.day,
            here_minor=found.here_minor,
            there_minor=found.there_minor,
            breaks=list(found.breaks["breaks"]),
            made_at=found.made_at,
        )
        for found in session.scalars(select(Matching).order_by(Matching.day.desc()).limit(limit))
    ]
