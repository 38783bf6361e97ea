"""What the acquirer's suspense holds of settled claims: to its operator, or given up; prepared by one, approved by another.

A claim by hand credits suspense, for no terminal said whose ride it was; a difference or a dispute that ends otherwise than
the operator was credited moves suspense too. What is left between what the issuer owes in the end and what the operator has is
pending here, and nothing else is.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.kernel import audit, ids
from app.kernel.db import Json
from app.kernel.errors import Conflict, Invalid, msg
from card import ledger, partners, transit
from card.clearing.models import BreakRow, DisputeRow, ProposalRow, RecordRow
from card.clearing.rules import FINAL, BreakState, NoSuchBreak, RecordState, Side
from card.ledger import Transfer, TransferCode, chart

HAND: Final = "hand:"
KIND: Final = "allocation"
SETTLED: Final = (RecordState.MATCHED, RecordState.RESOLVED)


class NothingInSuspense(Conflict):
    """The claim left nothing in suspense, or what it left was allocated."""

    code = "nothing-in-suspense"
    sentence = msg("Nothing of this claim is left in suspense.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """A settled claim of ours with ``amount_minor`` in suspense (below zero: suspense is owed it).

    ``operator_id`` is who was credited when the ride was claimed, none for a claim by hand. ``waiting`` is the proposal that a
    second officer has to decide.
    """

    record_id: UUID
    issuer: str
    card_number: str
    claimed_minor: int
    owed_minor: int
    amount_minor: int
    operator_id: str | None
    reference: str
    accepted_at: datetime
    waiting: UUID | None
    prepared_by: str | None
    payload: Json | None

    @property
    def by_hand(self) -> bool:
        """Whether an officer claimed it."""
        return self.reference.startswith(HAND)


def pending(session: Session, record_id: UUID | None = None) -> list[Pending]:
    """Settled claims of ours that left something in suspense, the oldest first; of one record only that."""
    own = partners.own_city(session).code
    moved = select(BreakRow.record_id).where(BreakRow.acquirer == own, BreakRow.state == BreakState.RESOLVED)
    disputed = select(DisputeRow.record_id).where(DisputeRow.acquirer == own, DisputeRow.state.in_(FINAL))
    query = (
        select(RecordRow)
        .where(
            RecordRow.side == Side.CLAIM,
            RecordRow.acquirer == own,
            RecordRow.state.in_(SETTLED),
            or_(RecordRow.reference.startswith(HAND), RecordRow.id.in_(moved), RecordRow.id.in_(disputed)),
        )
        .order_by(RecordRow.accepted_at, RecordRow.id)
    )
    if record_id is not None:
        query = query.where(RecordRow.id == record_id)
    rows = session.scalars(query).all()
    ends = _ends(session, [row.id for row in rows])
    done, waiting = _proposals(session, [row.id for row in rows])
    found = []
    for row in rows:
        owed = ends.get(row.id, row.amount_minor)
        given = 0 if row.reference.startswith(HAND) else row.amount_minor
        left = owed - given - done[row.id]
        proposal = waiting.get(row.id)
        if left:
            found.append(
                Pending(
                    record_id=row.id,
                    issuer=row.issuer,
                    card_number=row.card_number,
                    claimed_minor=row.amount_minor,
                    owed_minor=owed,
                    amount_minor=left,
                    operator_id=_operator_of(row.reference),
                    reference=row.reference,
                    accepted_at=row.accepted_at,
                    waiting=proposal.id if proposal else None,
                    prepared_by=proposal.prepared_by if proposal else None,
                    payload=proposal.payload if proposal else None,
                )
            )
    return found


def _operator_of(reference: str) -> str | None:
    kind, _, rest = reference.partition(":")
    return rest.rpartition(":")[2] if kind == "card-day" else None


def _ends(session: Session, records: list[UUID]) -> Mapping[UUID, int]:
    """What the issuer owes in the end, where a difference or a dispute said so; the latest counts."""
    found: dict[UUID, int] = {}
    for row in session.scalars(
        select(BreakRow)
        .where(BreakRow.record_id.in_(records), BreakRow.state == BreakState.RESOLVED)
        .order_by(BreakRow.resolved_at, BreakRow.id)
    ):
        if row.agreed_minor is not None and row.claimed_minor is not None:
            found[row.record_id] = row.agreed_minor
    for dispute in session.scalars(
        select(DisputeRow)
        .where(DisputeRow.record_id.in_(records), DisputeRow.state.in_(FINAL))
        .order_by(DisputeRow.moved_at, DisputeRow.id)
    ):
        found[dispute.record_id] = dispute.effective_minor
    return found


def _proposals(session: Session, records: list[UUID]) -> tuple[Mapping[UUID, int], Mapping[UUID, ProposalRow]]:
    done: dict[UUID, int] = defaultdict(int)
    waiting: dict[UUID, ProposalRow] = {}
    for row in session.scalars(
        select(ProposalRow).where(ProposalRow.kind == KIND, ProposalRow.subject.in_([_subject(record) for record in records]))
    ):
        record = UUID(row.payload["record_id"])
        if row.state == "approved":
            done[record] += int(row.payload["amount_minor"])
        elif row.state == "waiting":
            waiting[record] = row
    return done, waiting


def _subject(record_id: UUID) -> str:
    return f"{KIND}:{record_id}"


def propose_allocation(
    session: Session, *, record_id: UUID, operator_id: str | None, reason: str, by: str, now: datetime
) -> UUID:
    """Prepare where a claim's rest in suspense goes: to an operator of this city, or (none) to the city's losses.

    Raises :class:`NothingInSuspense`, ``UnknownOperator``, ``Invalid`` without a reason.
    """
    if session.get(RecordRow, (Side.CLAIM, record_id), with_for_update=True) is None:
        raise NoSuchBreak(str(record_id))
    if not reason.strip():
        raise Invalid("reason", fields={"reason": msg("Write a reason of at most 500 characters.")})
    found = pending(session, record_id)
    if not found or found[0].waiting is not None:
        raise NothingInSuspense(str(record_id))
    if operator_id is not None:
        transit.operator(session, operator_id)
    payload: Json = {
        "record_id": str(record_id),
        "issuer": found[0].issuer,
        "card_number": found[0].card_number,
        "amount_minor": found[0].amount_minor,
        "operator_id": operator_id,
        "reason": reason.strip()[:500],
    }
    row = ProposalRow(kind=KIND, subject=_subject(record_id), payload=payload, state="waiting", prepared_by=by, prepared_at=now)
    row.decided_by = row.decided_at = None
    session.add(row)
    audit.record(session, actor=by, action="suspense.propose", subject=_subject(record_id), at=now, details=payload)
    session.flush()
    return row.id


def book_allocation(session: Session, proposal_id: UUID, payload: Json, *, now: datetime) -> None:
    """Book an approved allocation: suspense is emptied to the operator or the city's losses (or filled from them)."""
    amount, operator_id = int(payload["amount_minor"]), payload["operator_id"]
    suspense = ledger.open_account(session, chart.suspense(), now=now)
    other = ledger.open_account(session, chart.operator(operator_id) if operator_id else chart.losses(), now=now)
    debit, credit = (suspense, other) if amount > 0 else (other, suspense)
    transfer = Transfer(
        id=ids.derived_id(now, "suspense", str(proposal_id)),
        debit=debit,
        credit=credit,
        amount_minor=abs(amount),
        code=TransferCode.SUSPENSE_CLEARED,
        event_at=now,
        reference=f"claim:{payload['record_id']}",
        metadata={"reason": payload["reason"]},
    )
    ledger.post_all(session, [transfer], now=now)
