"""Tables of health. A *claim* is the hospital's side, where one is treated; a *settlement* the fund's, where one is insured."""

from datetime import date, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, Numeric, PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.kernel.db import Base, Json, refuse_on_constraint
from app.kernel.errors import Conflict, msg
from app.kernel.ids import new_id

Quantity: Final = Numeric(12, 3)
Exact: Final = Numeric(20, 6)  # yuan, before rounding


class FilingOverlaps(Conflict):
    """The holder already has an open filing for that city from that day."""

    code = "filing-exists"
    sentence = msg("There is already a filing for that city from that day.")


refuse_on_constraint("uq_health_filing_open", FilingOverlaps)


class Hospital(Base):
    """A hospital or pharmacy of this city."""

    __tablename__ = "health_hospital"
    __table_args__ = ({"schema": "card"},)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[Json]
    level: Mapped[str]
    opened_at: Mapped[datetime]


class CatalogueItem(Base):
    """What this city's catalogue says of a drug, service or material from a day on. Prices and limits are fen a unit."""

    __tablename__ = "health_catalogue_item"
    __table_args__ = (
        PrimaryKeyConstraint("code", "valid_from", name="pk_health_catalogue_item"),
        CheckConstraint("first_self_pay BETWEEN 0 AND 1", name="first_self_pay"),
        CheckConstraint("price_minor >= 0", name="price"),
        {"schema": "card"},
    )

    code: Mapped[str]
    valid_from: Mapped[date]
    valid_to: Mapped[date | None]
    name: Mapped[Json]
    unit: Mapped[Json]
    item_class: Mapped[str]
    first_self_pay: Mapped[Decimal] = mapped_column(Numeric(5, 4))
    price_minor: Mapped[int] = mapped_column(BigInteger)
    limit_minor: Mapped[int | None] = mapped_column(BigInteger)
    source: Mapped[str]


class Coverage(Base):
    """Somebody insured here. ``entitled`` names further payers (``other-fund``, ``medical-aid``)."""

    __tablename__ = "health_coverage"
    __table_args__ = (Index("ix_health_coverage_holder", "holder_id", "valid_from"), {"schema": "card"})

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    holder_id: Mapped[UUID]
    scheme: Mapped[str]
    status: Mapped[str]
    entitled: Mapped[list[str]]
    valid_from: Mapped[date]
    valid_to: Mapped[date | None]


class Filing(Base):
    """Leave to be treated in another city with direct settlement (异地就医备案)."""

    __tablename__ = "health_filing"
    __table_args__ = (
        CheckConstraint("valid_to IS NULL OR valid_to >= valid_from", name="period"),
        Index(
            "uq_health_filing_open",
            "holder_id",
            "region",
            "valid_from",
            unique=True,
            postgresql_where="state IN ('draft', 'filed', 'active')",
        ),
        Index("ix_health_filing_state", "state", "id"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    holder_id: Mapped[UUID]
    kind: Mapped[str]
    region: Mapped[str]
    reason: Mapped[str]
    valid_from: Mapped[date]
    valid_to: Mapped[date | None]
    state: Mapped[str]
    filed_by: Mapped[str]
    filed_at: Mapped[datetime]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]


class Accumulator(Base):
    """What a person's insured year has used up. Fen. One row is locked while a claim of the person is settled."""

    __tablename__ = "health_accumulator"
    __table_args__ = (
        PrimaryKeyConstraint("holder_id", "year", name="pk_health_accumulator"),
        CheckConstraint(
            "admissions >= 0 AND pool_used_minor >= 0 AND self_pay_minor >= 0 AND catastrophic_minor >= 0", name="not_negative"
        ),
        {"schema": "card"},
    )

    holder_id: Mapped[UUID]
    year: Mapped[int] = mapped_column(Integer)
    admissions: Mapped[int] = mapped_column(Integer, default=0)
    pool_used_minor: Mapped[int] = mapped_column(BigInteger, default=0)
    self_pay_minor: Mapped[int] = mapped_column(BigInteger, default=0)
    catastrophic_minor: Mapped[int] = mapped_column(BigInteger, default=0)


class Claim(Base):
    """One bill at a hospital of this city. ``id`` is the message id between the cities, so a retry is the same claim.

    ``accepted_at`` is set when settlement is first asked for and stays: it decides the clearing window.
    """

    __tablename__ = "health_claim"
    __table_args__ = (
        Index("ix_health_claim_hospital", "hospital_id", "id"),
        Index("ix_health_claim_asked", "accepted_at", postgresql_where="accepted_at IS NOT NULL AND settled_at IS NULL"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    hospital_id: Mapped[str] = mapped_column(ForeignKey("card.health_hospital.id"))
    card_number: Mapped[str]
    insured_region: Mapped[str]
    treating_region: Mapped[str]
    admitted_on: Mapped[date]
    state: Mapped[str]
    split: Mapped[Json | None]
    registered_by: Mapped[str]
    registered_at: Mapped[datetime]
    pre_settled_at: Mapped[datetime | None]
    accepted_at: Mapped[datetime | None]
    settled_by: Mapped[str | None]
    settled_at: Mapped[datetime | None]
    reversal_id: Mapped[UUID | None]
    reversal_reason: Mapped[str | None]
    reversal_asked_at: Mapped[datetime | None]
    reversed_at: Mapped[datetime | None]

    hospital: Mapped[Hospital] = relationship(lazy="raise_on_sql")
    lines: Mapped[list["ClaimLine"]] = relationship(
        lazy="raise_on_sql", order_by="ClaimLine.number", cascade="all, delete-orphan"
    )


class ClaimLine(Base):
    """One line of a bill with what the catalogue of its day made of it (yuan, exact)."""

    __tablename__ = "health_claim_line"
    __table_args__ = (
        PrimaryKeyConstraint("claim_id", "number", name="pk_health_claim_line"),
        CheckConstraint("own + over + pre + scope = amount", name="adds_up"),
        {"schema": "card"},
    )

    claim_id: Mapped[UUID] = mapped_column(ForeignKey("card.health_claim.id"))
    number: Mapped[int] = mapped_column(Integer)
    code: Mapped[str]
    name: Mapped[Json]
    item_class: Mapped[str]
    quantity: Mapped[Decimal] = mapped_column(Quantity)
    unit_price_minor: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[Decimal] = mapped_column(Exact)
    own: Mapped[Decimal] = mapped_column(Exact)
    over: Mapped[Decimal] = mapped_column(Exact)
    pre: Mapped[Decimal] = mapped_column(Exact)
    scope: Mapped[Decimal] = mapped_column(Exact)
    steps: Mapped[list[Json]] = mapped_column(JSONB)


class Settlement(Base):
    """A claim settled for somebody insured here. ``facts`` and ``inputs`` are enough to compute it again years later."""

    __tablename__ = "health_settlement"
    __table_args__ = (
        Index("ix_health_settlement_holder", "holder_id", "settled_at"),
        UniqueConstraint("reversal_id", name="uq_health_settlement_reversal_id"),
        CheckConstraint("(state = 'reversed') = (reversed_at IS NOT NULL)", name="reversed"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID]
    card_number: Mapped[str]
    treating_region: Mapped[str]
    hospital_id: Mapped[str]
    hospital_name: Mapped[Json]
    admitted_on: Mapped[date]
    digest: Mapped[str]
    state: Mapped[str]
    facts: Mapped[list[Json]] = mapped_column(JSONB)
    inputs: Mapped[Json]
    split: Mapped[Json]
    total_minor: Mapped[int] = mapped_column(BigInteger)
    owed_minor: Mapped[int] = mapped_column(BigInteger)
    accepted_at: Mapped[datetime]
    settled_at: Mapped[datetime]
    reversal_id: Mapped[UUID | None]
    reversal_reason: Mapped[str | None]
    reversed_at: Mapped[datetime | None]

    fund_lines: Mapped[list["FundLine"]] = relationship(lazy="raise_on_sql", order_by="FundLine.position")


class FundLine(Base):
    """What one payer paid of a settlement, and the transfer that moved it. Append-only."""

    __tablename__ = "health_fund_line"
    __table_args__ = (
        PrimaryKeyConstraint("settlement_id", "payer", name="pk_health_fund_line"),
        CheckConstraint("amount_minor > 0", name="amount"),
        {"schema": "card"},
    )

    settlement_id: Mapped[UUID] = mapped_column(ForeignKey("card.health_settlement.id"))
    payer: Mapped[str]
    position: Mapped[int] = mapped_column(Integer)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    transfer_id: Mapped[UUID | None]
