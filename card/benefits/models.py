"""Tables of social security: insured lives, contributions, awards, payment runs."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, Numeric, PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.kernel.db import Base, Json, refuse_on_constraint
from app.kernel.errors import Conflict, FourEyes, msg
from app.kernel.ids import new_id


class RunOpen(Conflict):
    """A run that has not been sent must be finished before the next is prepared: both would pay the same months."""

    code = "payment-run-open"
    sentence = msg("There is a payment run that has not been sent yet. Finish or reject it first.")


class RunExists(Conflict):
    """The month has its regular run."""

    code = "payment-run-exists"
    sentence = msg("That month already has its regular payment run.")


class AlreadyReissued(Conflict):
    """A returned payment is paid again once."""

    code = "already-reissued"
    sentence = msg("This payment has already been issued again.")


refuse_on_constraint("uq_benefits_payment_run_unsent", RunOpen)
refuse_on_constraint("uq_benefits_payment_run_month", RunExists)
refuse_on_constraint("ck_benefits_payment_run_four_eyes", FourEyes)
refuse_on_constraint("ck_benefits_award_four_eyes", FourEyes)
refuse_on_constraint("uq_benefits_payment_item_replaces_id", AlreadyReissued)


class Relation(Base):
    """An insured life: what a pension is computed from. The index is the mean wage over the local mean."""

    __tablename__ = "benefits_relation"
    __table_args__ = (
        CheckConstraint("deemed_months >= 0 AND paid_months >= 0 AND balance_minor >= 0", name="not_negative"),
        {"schema": "card"},
    )

    holder_id: Mapped[UUID] = mapped_column(primary_key=True)
    category: Mapped[str]
    wage_index: Mapped[Decimal] = mapped_column(Numeric(8, 4))
    paid_months: Mapped[int] = mapped_column(Integer)
    deemed_months: Mapped[int] = mapped_column(Integer)
    balance_minor: Mapped[int] = mapped_column(BigInteger)
    since: Mapped[date]


class Contribution(Base):
    """One month's contribution of one person. ``month`` is a first day; amounts are fen."""

    __tablename__ = "benefits_contribution"
    __table_args__ = (PrimaryKeyConstraint("holder_id", "month", name="pk_benefits_contribution"), {"schema": "card"})

    holder_id: Mapped[UUID]
    month: Mapped[date]
    employer: Mapped[str]
    base_minor: Mapped[int] = mapped_column(BigInteger)
    employer_minor: Mapped[int] = mapped_column(BigInteger)
    employee_minor: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str]
    at: Mapped[datetime]


class Award(Base):
    """A pension or allowance granted to somebody. Months are first days; ``paid_through`` is the last month sent out."""

    __tablename__ = "benefits_award"
    __table_args__ = (
        UniqueConstraint("reference", name="uq_benefits_award_reference"),
        UniqueConstraint("holder_id", "code", "from_month", name="uq_benefits_award_holder_code_from"),
        CheckConstraint("monthly_minor > 0", name="monthly"),
        CheckConstraint("approved_by IS NULL OR approved_by <> prepared_by", name="four_eyes"),
        Index("ix_benefits_award_state", "state", "id"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    reference: Mapped[str]
    holder_id: Mapped[UUID]
    kind: Mapped[str]
    code: Mapped[str]
    monthly_minor: Mapped[int] = mapped_column(BigInteger)
    from_month: Mapped[date]
    paid_through: Mapped[date | None]
    state: Mapped[str]
    channel: Mapped[str]
    qualified_until: Mapped[date | None]
    ended_on: Mapped[date | None]
    end_reason: Mapped[str | None]
    computation: Mapped[Json]
    prepared_by: Mapped[str]
    approved_by: Mapped[str | None]
    made_at: Mapped[datetime]


class PaymentRun(Base):
    """One month's payments, prepared by one officer and approved by another."""

    __tablename__ = "benefits_payment_run"
    __table_args__ = (
        Index(
            "uq_benefits_payment_run_month",
            "month",
            unique=True,
            postgresql_where="kind = 'regular' AND state NOT IN ('rejected', 'failed')",
        ),
        Index(
            "uq_benefits_payment_run_unsent",
            "kind",
            unique=True,
            postgresql_where="state IN ('generating', 'pending-approval', 'approved')",
        ),
        CheckConstraint("approved_by IS NULL OR approved_by <> prepared_by", name="four_eyes"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    month: Mapped[date]
    kind: Mapped[str]
    state: Mapped[str]
    prepared_by: Mapped[str]
    prepared_at: Mapped[datetime]
    approved_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    rejected_because: Mapped[str | None]
    sent_at: Mapped[datetime | None]
    file_digest: Mapped[str | None]
    reconciled_at: Mapped[datetime | None]

    items: Mapped[list["PaymentItem"]] = relationship(lazy="raise_on_sql", order_by="PaymentItem.number")


class PaymentItem(Base):
    """One award in one run. ``transfer_id`` moved the money; ``replaces_id`` is the returned item issued again by this one."""

    __tablename__ = "benefits_payment_item"
    __table_args__ = (
        UniqueConstraint("run_id", "number", name="uq_benefits_payment_item_number"),
        UniqueConstraint("run_id", "award_id", name="uq_benefits_payment_item_award"),
        UniqueConstraint("replaces_id", name="uq_benefits_payment_item_replaces_id"),
        CheckConstraint("amount_minor >= 0", name="amount"),
        Index("ix_benefits_payment_item_award", "award_id", "id"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("card.benefits_payment_run.id"))
    award_id: Mapped[UUID] = mapped_column(ForeignKey("card.benefits_award.id"))
    number: Mapped[int] = mapped_column(Integer)
    state: Mapped[str]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    months: Mapped[list[str]]
    steps: Mapped[list[Json]] = mapped_column(JSONB)
    channel: Mapped[str]
    transfer_id: Mapped[UUID | None]
    return_reason: Mapped[str | None]
    replaces_id: Mapped[UUID | None] = mapped_column(ForeignKey("card.benefits_payment_item.id"))
    settled_at: Mapped[datetime | None]

    award: Mapped[Award] = relationship(lazy="raise_on_sql")
