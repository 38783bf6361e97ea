"""Clearing, read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.kernel.db import Json
from card import partners
from card.clearing import settlement
from card.clearing.models import (
    BreakRow,
    CycleRow,
    DisputeMoveRow,
    DisputeRow,
    FileRow,
    InstructionRow,
    MemberRow,
    PositionRow,
    ProposalRow,
    RecordRow,
)
from card.clearing.rules import (
    BreakKind,
    BreakState,
    CycleState,
    DisputeState,
    Move,
    NoSuchBreak,
    NoSuchCycle,
    NoSuchDispute,
    NoSuchFile,
    Party,
    Proposal,
    RecordState,
    Side,
    open_moves,
    step,
)


@dataclass(frozen=True, kw_only=True)
class File:
    """A clearing file as staff see it. Amounts in fen."""

    id: UUID
    direction: str
    acquirer: str
    issuer: str
    window: date
    number: int
    count: int
    sum_minor: int
    root: str
    digest: str
    previous: str | None
    cut_off: datetime
    state: str
    matched_count: int | None
    matched_minor: int | None
    break_count: int | None
    made_at: datetime
    made_by: str
    matched_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Break:
    """A break with both sides' records. Amounts in fen."""

    id: UUID
    acquirer: str
    issuer: str
    window: date
    kind: BreakKind
    record_id: UUID
    claim: Json | None
    debit: Json | None
    claimed_minor: int | None
    debited_minor: int | None
    proposal: Proposal
    suggestion: UUID | None
    state: BreakState
    resolution: str | None
    agreed_minor: int | None
    found_at: datetime
    resolved_at: datetime | None
    dispute_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class DisputeMove:
    """One move of a dispute."""

    number: int
    move: Move
    city: str
    state: DisputeState
    given_minor: int | None
    effective_minor: int
    note: str
    prepared_by: str
    approved_by: str | None
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What one officer prepared and another has to approve."""

    id: UUID
    kind: str
    subject: str
    payload: Json
    prepared_by: str
    prepared_at: datetime


@dataclass(frozen=True, kw_only=True)
class Dispute:
    """A dispute with its history and what we may do now. Amounts in fen."""

    id: UUID
    break_id: UUID | None
    record_id: UUID
    acquirer: str
    issuer: str
    claimant: str
    respondent: str
    original_minor: int
    asked_minor: int
    effective_minor: int
    state: DisputeState
    due_at: datetime | None
    opened_at: datetime
    moved_at: datetime
    history: tuple[DisputeMove, ...] = ()
    moves: tuple[Move, ...] = ()
    money_moves: tuple[Move, ...] = ()
    waiting: Waiting | None = None


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item of what the cities owe each other, at the hub, with both reports (fen; none where one has not come)."""

    issuer: str
    acquirer: str
    reference: str
    issuer_minor: int | None
    acquirer_minor: int | None
    cycle: int | None

    @property
    def agreed(self) -> bool:
        """Whether both sides report the same."""
        return self.issuer_minor is not None and self.issuer_minor == self.acquirer_minor


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """What one city has to settle in a cycle, fen; below zero is paid."""

    cycle: int
    city: str
    net_minor: int
    fee_minor: int
    state: str
    sent_at: datetime
    booked_at: datetime | None
    settled_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """A settlement cycle at the hub."""

    number: int
    state: CycleState
    figures: Json
    calls: dict[str, int]
    prepared_by: str
    prepared_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    settled_by: str | None
    settled_at: datetime | None
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, kw_only=True)
class Member:
    """A city's cap and funding at the hub, fen."""

    city: str
    cap_minor: int
    funded_minor: int


def _copy(target: type[Any], row: Any, /, **more: Any) -> Any:
    names = set(target.__dataclass_fields__) - set(more)
    return target(**{name: getattr(row, name) for name in names if hasattr(row, name)}, **more)


def waiting_claims(session: Session) -> list[tuple[str, date, int, int]]:
    """Our claims that are in no file yet: (issuer, window, count, fen)."""
    own = partners.own_city(session).code
    rows = session.execute(
        select(RecordRow.issuer, RecordRow.window, func.count(), func.sum(RecordRow.amount_minor))
        .where(RecordRow.side == Side.CLAIM, RecordRow.acquirer == own, RecordRow.state == RecordState.WAITING)
        .group_by(RecordRow.issuer, RecordRow.window)
        .order_by(RecordRow.window.desc(), RecordRow.issuer)
    )
    return [(issuer, window, count, int(total)) for issuer, window, count, total in rows]


def files(session: Session, *, partner: str | None = None, limit: int = 50) -> list[File]:
    """The newest files, sent and received, with one partner or with all."""
    query = select(FileRow).order_by(FileRow.made_at.desc(), FileRow.id.desc()).limit(limit)
    if partner is not None:
        query = query.where((FileRow.acquirer == partner) | (FileRow.issuer == partner))
    return [_copy(File, row) for row in session.scalars(query)]


def file(session: Session, file_id: UUID) -> File:
    """One file; raises :class:`NoSuchFile`."""
    row = session.get(FileRow, file_id)
    if row is None:
        raise NoSuchFile(str(file_id))
    found: File = _copy(File, row)
    return found


def breaks(
    session: Session, *, partner: str | None = None, file_id: UUID | None = None, open_only: bool = False, limit: int = 100
) -> list[Break]:
    """Breaks, the newest first."""
    query = select(BreakRow).order_by(BreakRow.found_at.desc(), BreakRow.id.desc()).limit(limit)
    if partner is not None:
        query = query.where((BreakRow.acquirer == partner) | (BreakRow.issuer == partner))
    if file_id is not None:
        query = query.where(BreakRow.file_id == file_id)
    if open_only:
        query = query.where(BreakRow.state != BreakState.RESOLVED)
    return [_break(session, row) for row in session.scalars(query)]


def _break(session: Session, row: BreakRow) -> Break:
    dispute_id = session.scalars(
        select(DisputeRow.id).where(DisputeRow.break_id == row.id).order_by(DisputeRow.opened_at.desc()).limit(1)
    ).one_or_none()
    found: Break = _copy(
        Break,
        row,
        kind=BreakKind(row.kind),
        state=BreakState(row.state),
        proposal=Proposal(row.proposal),
        dispute_id=dispute_id,
    )
    return found


def break_(session: Session, break_id: UUID) -> Break:
    """One break; raises :class:`NoSuchBreak`."""
    row = session.get(BreakRow, break_id)
    if row is None:
        raise NoSuchBreak(str(break_id))
    return _break(session, row)


def disputes(session: Session, *, partner: str | None = None, limit: int = 50) -> list[Dispute]:
    """Disputes without their history, those that moved last first."""
    query = select(DisputeRow).order_by(DisputeRow.moved_at.desc(), DisputeRow.id.desc()).limit(limit)
    if partner is not None:
        query = query.where((DisputeRow.claimant == partner) | (DisputeRow.respondent == partner))
    return [_dispute(session, row) for row in session.scalars(query)]


def dispute(session: Session, dispute_id: UUID) -> Dispute:
    """One dispute with its history and our moves; raises :class:`NoSuchDispute`."""
    row = session.get(DisputeRow, dispute_id)
    if row is None:
        raise NoSuchDispute(str(dispute_id))
    history = session.scalars(
        select(DisputeMoveRow).where(DisputeMoveRow.dispute_id == dispute_id).order_by(DisputeMoveRow.number)
    )
    moves = tuple(_copy(DisputeMove, move, move=Move(move.move), state=DisputeState(move.state)) for move in history)
    return _dispute(session, row, moves)


def _dispute(session: Session, row: DisputeRow, history: tuple[DisputeMove, ...] = ()) -> Dispute:
    own = partners.own_city(session).code
    by = {row.claimant: Party.CLAIMANT, row.respondent: Party.RESPONDENT}.get(own, Party.HUB)
    state = DisputeState(row.state)
    ours = open_moves(state, by=by)
    money = [move for move in ours if step(state, move, by=by).money]
    prepared = proposals(session, subject=f"dispute:{row.id}")
    found: Dispute = _copy(
        Dispute,
        row,
        state=state,
        history=history,
        moves=tuple(move for move in ours if move not in money),
        money_moves=tuple(money),
        waiting=prepared[0] if prepared else None,
    )
    return found


def proposals(session: Session, *, subject: str | None = None) -> list[Waiting]:
    """What waits for a second officer, the oldest first."""
    query = select(ProposalRow).where(ProposalRow.state == "waiting").order_by(ProposalRow.id)
    if subject is not None:
        query = query.where(ProposalRow.subject == subject)
    return [_copy(Waiting, row) for row in session.scalars(query)]


def matched_debits(session: Session, *, partner: str | None = None, limit: int = 50) -> list[RecordRow]:
    """Debits that both sides agree on, the newest first: what a rider may still contest."""
    query = select(RecordRow).where(RecordRow.side == Side.DEBIT, RecordRow.state == RecordState.MATCHED)
    if partner is not None:
        query = query.where(RecordRow.acquirer == partner)
    return list(session.scalars(query.order_by(RecordRow.accepted_at.desc(), RecordRow.id.desc()).limit(limit)))


def instructions(session: Session, *, city: str | None = None, limit: int = 20) -> list[Instruction]:
    """Settlement instructions, the newest cycle first."""
    query = select(InstructionRow).order_by(InstructionRow.cycle.desc(), InstructionRow.city).limit(limit)
    if city is not None:
        query = query.where(InstructionRow.city == city)
    return [_copy(Instruction, row) for row in session.scalars(query)]


def closed_by_clock(session: Session, window: date) -> bool:
    """Whether the clock has cut the last file of ``window``."""
    return (
        session.scalars(
            select(FileRow.id)
            .where(FileRow.direction == "sent", FileRow.window == window, FileRow.made_by == "system")
            .limit(1)
        ).first()
        is not None
    )


# ------------------------------------------------------------------------------------------------------------------- the hub


def items(session: Session, *, open_only: bool = True) -> list[Item]:
    """What the cities reported, by pair and reference."""
    query = select(PositionRow).order_by(PositionRow.issuer, PositionRow.acquirer, PositionRow.reference)
    if open_only:
        query = query.where(PositionRow.cycle.is_(None))
    found: dict[tuple[str, str, str], dict[str, PositionRow]] = {}
    for row in session.scalars(query):
        found.setdefault((row.issuer, row.acquirer, row.reference), {})[row.reporter] = row
    listed = []
    for (issuer, acquirer, reference), reports in found.items():
        ours, theirs = reports.get(issuer), reports.get(acquirer)
        listed.append(
            Item(
                issuer=issuer,
                acquirer=acquirer,
                reference=reference,
                issuer_minor=ours.amount_minor if ours else None,
                acquirer_minor=theirs.amount_minor if theirs else None,
                cycle=next(iter(reports.values())).cycle,
            )
        )
    return listed


def cycles(session: Session, *, limit: int = 20) -> list[Cycle]:
    """Settlement cycles, the newest first."""
    return [_cycle(session, row) for row in session.scalars(select(CycleRow).order_by(CycleRow.number.desc()).limit(limit))]


def cycle(session: Session, number: int) -> Cycle:
    """One cycle; raises :class:`NoSuchCycle`."""
    row = session.get(CycleRow, number)
    if row is None:
        raise NoSuchCycle(str(number))
    return _cycle(session, row)


def _cycle(session: Session, row: CycleRow) -> Cycle:
    told = session.scalars(select(InstructionRow).where(InstructionRow.cycle == row.number).order_by(InstructionRow.city))
    open_ = row.state in (CycleState.NETTED, CycleState.FUNDING_CALL)
    found: Cycle = _copy(
        Cycle,
        row,
        state=CycleState(row.state),
        calls=settlement.calls_of(session, row) if open_ else {},
        instructions=tuple(_copy(Instruction, item) for item in told),
    )
    return found


def members(session: Session) -> list[Member]:
    """Every admitted city with its cap."""
    known = {row.city: row for row in session.scalars(select(MemberRow))}
    return [
        _copy(Member, known[city.code])
        if city.code in known
        else Member(city=city.code, cap_minor=settlement.DEFAULT_CAP_MINOR, funded_minor=0)
        for city in partners.cities(session)
    ]


def status(session: Session) -> Json:
    """Counts by state."""

    def by_state(column: Any, *where: Any) -> dict[str, int]:
        rows: Sequence[Any] = session.execute(select(column, func.count()).where(*where).group_by(column)).all()
        return {str(state): count for state, count in rows}

    own = partners.own_city(session).code
    return {
        "city": own,
        "claims": by_state(RecordRow.state, RecordRow.side == Side.CLAIM, RecordRow.acquirer == own),
        "debits": by_state(RecordRow.state, RecordRow.side == Side.DEBIT, RecordRow.issuer == own),
        "files": {
            "sent": by_state(FileRow.state, FileRow.direction == "sent"),
            "received": by_state(FileRow.state, FileRow.direction == "received"),
        },
        "breaks": by_state(BreakRow.state),
        "open_breaks": [str(found.id) for found in breaks(session, open_only=True)],
        "disputes": by_state(DisputeRow.state),
        "proposals": [str(found.id) for found in proposals(session)],
        "instructions": by_state(InstructionRow.state),
        "cycles": {str(row.number): str(row.state) for row in cycles(session)},
        "items": {
            "agreed": sum(item.agreed for item in items(session)),
            "one_sided": sum(not item.agreed for item in items(session)),
        }
        if own == "320000"
        else {},
    }
