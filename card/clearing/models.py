"""Records of foreign charges, files, breaks, disputes, positions and settlement."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Json
from app.kernel.ids import new_id
from card.clearing.rules import BreakKind, BreakState, Charge, CycleState, DisputeState, RecordState, Side


def _one_of(column: str, kind: type[Any]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in kind)})"


class RecordRow(Base):
    """A foreign charge on one side. On the issuer's database a claim is what the acquirer's file said."""

    __tablename__ = "clearing_record"
    __table_args__ = (
        CheckConstraint(_one_of("side", Side), name="side"),
        CheckConstraint(_one_of("state", RecordState), name="state"),
        CheckConstraint("issuer <> acquirer", name="two_cities"),
        Index("ix_clearing_record_pair", "side", "acquirer", "issuer", "state", "window"),
        Index("ix_clearing_record_file_id", "file_id"),
        {"schema": "card"},
    )

    side: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer: Mapped[str]
    acquirer: Mapped[str]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str]
    card_number: Mapped[str]
    reference: Mapped[str]
    terminal_id: Mapped[str]
    counter: Mapped[int | None] = mapped_column(BigInteger)
    event_at: Mapped[datetime]
    accepted_at: Mapped[datetime]
    window: Mapped[date]
    state: Mapped[str]
    file_id: Mapped[UUID | None]
    noted_at: Mapped[datetime]

    @property
    def charge(self) -> Charge:
        """The record as a value."""
        return Charge(
            id=self.id,
            issuer=self.issuer,
            acquirer=self.acquirer,
            amount_minor=self.amount_minor,
            kind=self.kind,
            card_number=self.card_number,
            reference=self.reference,
            terminal_id=self.terminal_id,
            counter=self.counter,
            event_at=self.event_at,
            accepted_at=self.accepted_at,
        )


class FileRow(Base):
    """A clearing file, sent or received, with its manifest and records as they were signed."""

    __tablename__ = "clearing_file"
    __table_args__ = (
        CheckConstraint("direction IN ('sent', 'received')", name="direction"),
        CheckConstraint("state IN ('prepared', 'delivered', 'refused', 'received', 'matched')", name="state"),
        CheckConstraint("number > 0", name="number"),
        Index("uq_clearing_file_number", "acquirer", "issuer", "window", "number", unique=True),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    direction: Mapped[str]
    acquirer: Mapped[str]
    issuer: Mapped[str]
    window: Mapped[date]
    number: Mapped[int]
    count: Mapped[int]
    sum_minor: Mapped[int] = mapped_column(BigInteger)
    root: Mapped[str]
    digest: Mapped[str]
    previous: Mapped[str | None]
    cut_off: Mapped[datetime]
    manifest: Mapped[str]
    records: Mapped[bytes]
    state: Mapped[str]
    matched_count: Mapped[int | None]
    matched_minor: Mapped[int | None] = mapped_column(BigInteger)
    break_count: Mapped[int | None]
    made_at: Mapped[datetime]
    made_by: Mapped[str]
    matched_at: Mapped[datetime | None]


class BreakRow(Base):
    """A difference between two views; the same id on both sides."""

    __tablename__ = "clearing_break"
    __table_args__ = (
        CheckConstraint(_one_of("kind", BreakKind), name="kind"),
        CheckConstraint(_one_of("state", BreakState), name="state"),
        Index("ix_clearing_break_record_id", "record_id"),
        Index("ix_clearing_break_state", "state", "id"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    acquirer: Mapped[str]
    issuer: Mapped[str]
    window: Mapped[date]
    kind: Mapped[str]
    record_id: Mapped[UUID]
    file_id: Mapped[UUID | None]
    claim: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))
    debit: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))
    claimed_minor: Mapped[int | None] = mapped_column(BigInteger)
    debited_minor: Mapped[int | None] = mapped_column(BigInteger)
    proposal: Mapped[str]
    suggestion: Mapped[UUID | None]
    state: Mapped[str]
    resolution: Mapped[str | None]
    agreed_minor: Mapped[int | None] = mapped_column(BigInteger)
    found_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]


class DisputeRow(Base):
    """A dispute about one record. ``effective_minor`` is what the issuer owes for it as things stand."""

    __tablename__ = "clearing_dispute"
    __table_args__ = (
        CheckConstraint(_one_of("state", DisputeState), name="state"),
        CheckConstraint("claimant <> respondent", name="two_parties"),
        Index("ix_clearing_dispute_state", "state", "id"),
        Index("ix_clearing_dispute_record_id", "record_id"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    break_id: Mapped[UUID | None]
    record_id: Mapped[UUID]
    acquirer: Mapped[str]
    issuer: Mapped[str]
    claimant: Mapped[str]
    respondent: Mapped[str]
    original_minor: Mapped[int] = mapped_column(BigInteger)
    debited_minor: Mapped[int] = mapped_column(BigInteger)
    before_minor: Mapped[int] = mapped_column(BigInteger)
    asked_minor: Mapped[int] = mapped_column(BigInteger)
    effective_minor: Mapped[int] = mapped_column(BigInteger)
    card_number: Mapped[str]
    state: Mapped[str]
    moves: Mapped[int]
    due_at: Mapped[datetime | None]
    opened_at: Mapped[datetime]
    moved_at: Mapped[datetime]


class DisputeMoveRow(Base):
    """One move of a dispute, as it was signed. Append-only."""

    __tablename__ = "clearing_dispute_move"
    __table_args__ = {"schema": "card"}  # noqa: RUF012

    dispute_id: Mapped[UUID] = mapped_column(ForeignKey("card.clearing_dispute.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    move: Mapped[str]
    city: Mapped[str]
    state: Mapped[str]
    given_minor: Mapped[int | None] = mapped_column(BigInteger)
    effective_minor: Mapped[int] = mapped_column(BigInteger)
    note: Mapped[str]
    prepared_by: Mapped[str]
    approved_by: Mapped[str | None]
    at: Mapped[datetime]
    document: Mapped[str]


class ProposalRow(Base):
    """What one officer prepared and another has to approve."""

    __tablename__ = "clearing_proposal"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'approved', 'refused')", name="state"),
        CheckConstraint("decided_by IS NULL OR decided_by <> prepared_by OR state = 'refused'", name="four_eyes"),
        Index("ix_clearing_proposal_state", "state", "id"),
        Index("uq_clearing_proposal_waiting", "subject", unique=True, postgresql_where="state = 'waiting'"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str]
    subject: Mapped[str]
    payload: Mapped[Json]
    state: Mapped[str]
    prepared_by: Mapped[str]
    prepared_at: Mapped[datetime]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]


class PositionRow(Base):
    """What the issuer owes the acquirer under ``reference``, as one of them reported it. A city holds its own reports."""

    __tablename__ = "clearing_position"
    __table_args__ = (
        CheckConstraint("reporter IN (issuer, acquirer)", name="reporter"),
        Index("ix_clearing_position_cycle", "cycle"),
        {"schema": "card"},
    )

    reporter: Mapped[str] = mapped_column(primary_key=True)
    issuer: Mapped[str] = mapped_column(primary_key=True)
    acquirer: Mapped[str] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(primary_key=True)
    window: Mapped[date]
    count: Mapped[int]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    cycle: Mapped[int | None]


class MemberRow(Base):
    """A city's net debit cap at the hub and what it has funded beyond it."""

    __tablename__ = "clearing_member"
    __table_args__ = (
        CheckConstraint("cap_minor >= 0", name="cap_minor"),
        CheckConstraint("funded_minor >= 0", name="funded_minor"),
        {"schema": "card"},
    )

    city: Mapped[str] = mapped_column(primary_key=True)
    cap_minor: Mapped[int] = mapped_column(BigInteger)
    funded_minor: Mapped[int] = mapped_column(BigInteger)


class CycleRow(Base):
    """A settlement cycle at the hub, with every figure it was approved on."""

    __tablename__ = "clearing_cycle"
    __table_args__ = (
        CheckConstraint(_one_of("state", CycleState), name="state"),
        CheckConstraint("approved_by IS NULL OR approved_by <> prepared_by", name="four_eyes"),
        {"schema": "card"},
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str]
    figures: Mapped[Json]
    prepared_by: Mapped[str]
    prepared_at: Mapped[datetime]
    approved_by: Mapped[str | None]
    approved_at: Mapped[datetime | None]
    settled_by: Mapped[str | None]
    settled_at: Mapped[datetime | None]


class InstructionRow(Base):
    """What one city has to settle in a cycle: on the hub every city's, on a city its own. ``net_minor`` below zero is paid."""

    __tablename__ = "clearing_instruction"
    __table_args__ = (
        CheckConstraint("state IN ('sent', 'booked', 'settled')", name="state"),
        {"schema": "card"},
    )

    cycle: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    city: Mapped[str] = mapped_column(primary_key=True)
    net_minor: Mapped[int] = mapped_column(BigInteger)
    fee_minor: Mapped[int] = mapped_column(BigInteger)
    document: Mapped[str]
    state: Mapped[str]
    sent_at: Mapped[datetime]
    booked_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
