"""Disputes: every move is a signed message, a deadline and, where money moves, a transfer on both sides after four eyes."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel import audit, ids, outbox
from app.kernel.db import Json
from app.kernel.errors import Conflict, FourEyes, msg
from app.kernel.settings import HUB_CODE
from card import partners
from card.clearing import actions, postings, rules, suspense
from card.clearing.models import BreakRow, DisputeMoveRow, DisputeRow, ProposalRow, RecordRow
from card.clearing.rules import (
    BreakState,
    DisputeState,
    Move,
    NoSuchBreak,
    NoSuchDispute,
    Party,
    RecordState,
    Side,
    WrongParty,
)
from card.ledger import TransferCode

TYPE: Final = "clearing-dispute+jwt"

CODES: Final = {
    Move.ADJUST: TransferCode.DISPUTE_CREDIT,
    Move.DECIDE: TransferCode.DISPUTE_CREDIT,
    Move.CHARGE_BACK: TransferCode.DISPUTE_CHARGEBACK,
    Move.CHARGE_BACK_AGAIN: TransferCode.DISPUTE_CHARGEBACK,
    Move.REPRESENT: TransferCode.DISPUTE_CHARGEBACK,
    Move.WITHDRAW: TransferCode.DISPUTE_CHARGEBACK,
}


class AlreadyDisputed(Conflict):
    """One record has one dispute at a time."""

    code = "already-disputed"
    sentence = msg("This difference is already being disputed or was resolved.")


class ProposalGone(Conflict):
    """The proposal was decided, or what it was about has moved on."""

    code = "proposal-gone"
    sentence = msg("This proposal was already decided.")


class ProposalWaiting(Conflict):
    """Something else about the same subject waits for approval."""

    code = "proposal-waiting"
    sentence = msg("Something about this already waits for approval.")


def open_on_break(session: Session, *, break_id: UUID, asked_minor: int | None, note: str, by: str, now: datetime) -> UUID:
    """Ask the other city about a break. ``asked_minor`` is what we think the issuer owes; by default our own record."""
    own = partners.own_city(session).code
    row = session.scalars(select(BreakRow).where(BreakRow.id == break_id).with_for_update()).one_or_none()
    if row is None:
        raise NoSuchBreak(str(break_id))
    if row.state != BreakState.OPEN or own not in (row.acquirer, row.issuer):
        raise AlreadyDisputed(str(break_id))
    original = max(row.claimed_minor or 0, row.debited_minor or 0, key=abs)
    mine = row.claimed_minor if own == row.acquirer else row.debited_minor
    dispute = _dispute(
        dispute_id=ids.derived_id(now, "dispute", str(break_id), own),
        break_id=break_id,
        record_id=row.record_id,
        acquirer=row.acquirer,
        issuer=row.issuer,
        claimant=own,
        original_minor=original,
        debited_minor=row.debited_minor or 0,
        before_minor=0,
        asked_minor=rules.in_range(mine or 0 if asked_minor is None else asked_minor, original_minor=original),
        card_number=str((row.claim or row.debit or {}).get("card_number", "")),
        at=now,
    )
    session.add(dispute)
    row.state = BreakState.DISPUTED
    _write_move(session, dispute, Move.INQUIRE, city=own, given_minor=None, note=note, prepared_by=by, approved_by=None, at=now)
    return dispute.id


def open_on_record(session: Session, *, record_id: UUID, asked_minor: int, note: str, by: str, now: datetime) -> UUID:
    """Contest a charge that both cities recorded alike (a rider says it is wrong). The issuer asks the acquirer."""
    own = partners.own_city(session).code
    row = session.get(RecordRow, (Side.DEBIT, record_id), with_for_update=True)
    if row is None or row.issuer != own:
        raise NoSuchBreak(str(record_id))
    running = session.scalars(
        select(DisputeRow.id).where(DisputeRow.record_id == record_id, DisputeRow.state.not_in(rules.FINAL))
    ).first()
    if row.state != RecordState.MATCHED or running is not None:
        raise AlreadyDisputed(str(record_id))
    dispute = _dispute(
        dispute_id=ids.derived_id(now, "dispute", str(record_id), own),
        break_id=None,
        record_id=record_id,
        acquirer=row.acquirer,
        issuer=row.issuer,
        claimant=own,
        original_minor=row.amount_minor,
        debited_minor=row.amount_minor,
        before_minor=row.amount_minor,
        asked_minor=rules.in_range(asked_minor, original_minor=row.amount_minor),
        card_number=row.card_number,
        at=now,
    )
    session.add(dispute)
    _write_move(session, dispute, Move.INQUIRE, city=own, given_minor=None, note=note, prepared_by=by, approved_by=None, at=now)
    return dispute.id


def _dispute(
    *, dispute_id: UUID, claimant: str, acquirer: str, issuer: str, before_minor: int, at: datetime, **facts: Any
) -> DisputeRow:
    return DisputeRow(
        id=dispute_id,
        acquirer=acquirer,
        issuer=issuer,
        claimant=claimant,
        respondent=issuer if claimant == acquirer else acquirer,
        before_minor=before_minor,
        effective_minor=before_minor,
        state=DisputeState.INQUIRY,
        moves=0,
        due_at=rules.after_working_days(at, rules.INQUIRY_WORKING_DAYS),
        opened_at=at,
        moved_at=at,
        **facts,
    )


def make_move(
    session: Session, *, dispute_id: UUID, move: Move, note: str, by: str, now: datetime, given_minor: int | None = None
) -> None:
    """Make a move that moves no money at once. One that moves money has to be prepared with :func:`propose`."""
    dispute = _locked(session, dispute_id)
    line = rules.step(DisputeState(dispute.state), move, by=party(dispute, partners.own_city(session).code))
    if line.money:
        raise FourEyes
    _apply(session, dispute, move, given_minor=given_minor, note=note, prepared_by=by, approved_by=None, at=now, now=now)


def propose(
    session: Session, *, dispute_id: UUID, move: Move, given_minor: int | None, note: str, by: str, now: datetime
) -> UUID:
    """Prepare a move of money; a second officer approves. ``given_minor`` is what the issuer shall owe after an adjustment."""
    dispute = _locked(session, dispute_id)
    line = rules.step(DisputeState(dispute.state), move, by=party(dispute, partners.own_city(session).code))
    assert line.money, f"{move} needs no approval"
    if given_minor is not None:
        rules.in_range(given_minor, original_minor=dispute.original_minor)
    subject = f"dispute:{dispute_id}"
    waiting = session.scalars(
        select(ProposalRow.id).where(ProposalRow.subject == subject, ProposalRow.state == "waiting")
    ).first()
    if waiting is not None:
        raise ProposalWaiting(subject)
    row = ProposalRow(
        id=ids.new_id(),
        kind="move",
        subject=subject,
        payload={"move": move, "given_minor": given_minor, "note": note},
        state="waiting",
        prepared_by=by,
        prepared_at=now,
        decided_by=None,
        decided_at=None,
    )
    session.add(row)
    audit.record(session, actor=by, action="dispute.propose", subject=subject, at=now, details=row.payload)
    return row.id


def decide(session: Session, *, proposal_id: UUID, approve: bool, by: str, now: datetime) -> None:
    """Approve or refuse what somebody else prepared. Raises ``FourEyes`` where approver and preparer are one."""
    row = session.scalars(select(ProposalRow).where(ProposalRow.id == proposal_id).with_for_update()).one_or_none()
    if row is None or row.state != "waiting":
        raise ProposalGone(str(proposal_id))
    if approve and row.prepared_by == by:
        raise FourEyes
    row.state, row.decided_by, row.decided_at = "approved" if approve else "refused", by, now
    audit.record(session, actor=by, action=f"proposal.{row.state}", subject=row.subject, at=now, details=row.payload)
    if not approve:
        return
    if row.kind == "claim":
        actions.book_claim(session, row.payload, now=now)
        return
    if row.kind == suspense.KIND:
        suspense.book_allocation(session, row.id, row.payload, now=now)
        return
    dispute = _locked(session, UUID(row.subject.removeprefix("dispute:")))
    _apply(
        session,
        dispute,
        Move(row.payload["move"]),
        given_minor=row.payload["given_minor"],
        note=row.payload["note"],
        prepared_by=row.prepared_by,
        approved_by=by,
        at=now,
        now=now,
    )


def party(dispute: DisputeRow, city: str) -> Party:
    """Which party a city is; raises :class:`WrongParty`."""
    if city == dispute.claimant:
        return Party.CLAIMANT
    if city == dispute.respondent:
        return Party.RESPONDENT
    if city == HUB_CODE:
        return Party.HUB
    raise WrongParty(city)


def _locked(session: Session, dispute_id: UUID) -> DisputeRow:
    row = session.scalars(select(DisputeRow).where(DisputeRow.id == dispute_id).with_for_update()).one_or_none()
    if row is None:
        raise NoSuchDispute(str(dispute_id))
    return row


def _apply(
    session: Session,
    dispute: DisputeRow,
    move: Move,
    *,
    given_minor: int | None,
    note: str,
    prepared_by: str,
    approved_by: str | None,
    at: datetime,
    now: datetime,
) -> None:
    """Our own move: change our side, then let the courier carry it to the others."""
    own = partners.own_city(session).code
    _carry_out(session, dispute, move, by=party(dispute, own), given_minor=given_minor, at=at, now=now)
    _write_move(
        session,
        dispute,
        move,
        city=own,
        given_minor=given_minor,
        note=note,
        prepared_by=prepared_by,
        approved_by=approved_by,
        at=at,
    )


def _carry_out(
    session: Session, dispute: DisputeRow, move: Move, *, by: Party, given_minor: int | None, at: datetime, now: datetime
) -> None:
    """Change the dispute and this city's books by one move, alike on both sides."""
    line = rules.step(DisputeState(dispute.state), move, by=by)
    present = dispute.effective_minor
    effective = present
    if line.money:
        effective = rules.in_range(
            rules.effective_after(
                move,
                present_minor=present,
                asked_minor=dispute.asked_minor,
                given_minor=given_minor,
                before_minor=dispute.before_minor,
            ),
            original_minor=dispute.original_minor,
        )
    own = partners.own_city(session).code
    number = dispute.moves + 1
    if effective != present:
        postings.shift(
            session,
            own=own,
            issuer=dispute.issuer,
            acquirer=dispute.acquirer,
            delta_minor=effective - present,
            cause=f"dispute:{dispute.id}:{number}",
            code=CODES[move],
            at=at,
            reference=f"dispute:{dispute.id}",
            now=now,
        )
        if own in (dispute.issuer, dispute.acquirer):
            actions.agree(session, dispute, reference=f"dispute:{dispute.id}:{number}", amount_minor=effective - present, at=at)
    dispute.effective_minor = effective
    dispute.state = line.to
    dispute.due_at = rules.deadline(line, at=at)
    dispute.moved_at = at
    if line.to in rules.FINAL:
        _close(session, dispute, move, now=now)


def _close(session: Session, dispute: DisputeRow, move: Move, *, now: datetime) -> None:
    """The end: a break is resolved (or open again where it was withdrawn), and the issuer settles with its rider."""
    own = partners.own_city(session).code
    row = session.get(BreakRow, dispute.break_id, with_for_update=True) if dispute.break_id else None
    if dispute.state == DisputeState.WITHDRAWN:
        if row is not None:
            row.state = BreakState.OPEN
        return
    if row is not None:
        actions.resolve(session, row, agreed_minor=dispute.effective_minor, resolution=f"dispute-{move}", now=now)
    if own == dispute.issuer:
        debited = row.debited_minor or 0 if row is not None else dispute.debited_minor
        postings.settle_with_rider(
            session,
            card_number=dispute.card_number,
            owed_minor=debited - dispute.effective_minor,
            cause=f"dispute:{dispute.id}",
            at=dispute.moved_at,
            reference=f"dispute:{dispute.id}",
            now=now,
        )


def _write_move(
    session: Session,
    dispute: DisputeRow,
    move: Move,
    *,
    city: str,
    given_minor: int | None,
    note: str,
    prepared_by: str,
    approved_by: str | None,
    at: datetime,
) -> None:
    dispute.moves += 1
    document = {
        "dispute": {
            "id": str(dispute.id),
            "break_id": None if dispute.break_id is None else str(dispute.break_id),
            "record_id": str(dispute.record_id),
            "acquirer": dispute.acquirer,
            "issuer": dispute.issuer,
            "claimant": dispute.claimant,
            "original_minor": dispute.original_minor,
            "debited_minor": dispute.debited_minor,
            "before_minor": dispute.before_minor,
            "asked_minor": dispute.asked_minor,
            "effective_minor": dispute.effective_minor,
            "card_number": dispute.card_number,
            "opened_at": dispute.opened_at.isoformat(),
        },
        "number": dispute.moves,
        "move": move,
        "given_minor": given_minor,
        "note": note,
        "at": at.isoformat(),
    }
    session.flush()
    session.add(
        DisputeMoveRow(
            dispute_id=dispute.id,
            number=dispute.moves,
            move=move,
            city=city,
            state=dispute.state,
            given_minor=given_minor,
            effective_minor=dispute.effective_minor,
            note=note,
            prepared_by=prepared_by,
            approved_by=approved_by,
            at=at,
            document=partners.sign_document(session, document, typ=TYPE),
        )
    )
    session.flush()
    audit.record(session, actor=prepared_by, action=f"dispute.{move}", subject=f"dispute:{dispute.id}", at=at)
    outbox.emit(session, "dispute.moved", {"dispute_id": str(dispute.id), "number": dispute.moves}, at=at)


def message_of(session: Session, payload: Json) -> tuple[list[str], Json]:
    """To whom and what is said of a move: to the other party; from arbitration on, the hub hears and speaks too."""
    dispute = session.get_one(DisputeRow, UUID(payload["dispute_id"]))
    row = session.get_one(DisputeMoveRow, (dispute.id, payload["number"]))
    own = partners.own_city(session).code
    to = [city for city in (dispute.claimant, dispute.respondent) if city != own]
    if row.move == Move.ARBITRATE:
        to.append(HUB_CODE)
    return to, {"document": row.document}


def receive_move(session: Session, *, sender: str, token: str, now: datetime) -> DisputeState:
    """Take the other party's move; answer the state. A repeat is quiet.

    Raises ``BadSignature``, :class:`WrongParty`, ``IllegalMove``, :class:`AlreadyDisputed`, :class:`NoSuchBreak`.
    """
    said = partners.verify_document(session, token, city=sender, typ=TYPE)
    facts, number, move = said["dispute"], int(said["number"]), Move(said["move"])
    at = datetime.fromisoformat(said["at"])
    dispute_id = UUID(facts["id"])
    dispute = session.scalars(select(DisputeRow).where(DisputeRow.id == dispute_id).with_for_update()).one_or_none()
    if dispute is None:
        dispute = _received(session, facts, sender=sender, number=number, move=move)
    elif number <= dispute.moves:
        known = session.get_one(DisputeMoveRow, (dispute_id, number))
        if known.document != token:
            raise AlreadyDisputed(f"move {number} is another")
        return DisputeState(dispute.state)
    elif number != dispute.moves + 1:
        raise ProposalGone(f"move {number} follows {dispute.moves + 1}")
    if move is not Move.INQUIRE:
        _carry_out(session, dispute, move, by=party(dispute, sender), given_minor=said["given_minor"], at=at, now=now)
    dispute.moves = number
    session.flush()
    session.add(
        DisputeMoveRow(
            dispute_id=dispute.id,
            number=number,
            move=move,
            city=sender,
            state=dispute.state,
            given_minor=said["given_minor"],
            effective_minor=dispute.effective_minor,
            note=str(said["note"]),
            prepared_by=f"city:{sender}",
            approved_by=None,
            at=at,
            document=token,
        )
    )
    session.flush()
    return DisputeState(dispute.state)


def _received(session: Session, facts: Json, *, sender: str, number: int, move: Move) -> DisputeRow:
    """The dispute as its first message to us describes it."""
    own = partners.own_city(session).code
    acquirer, issuer, claimant = str(facts["acquirer"]), str(facts["issuer"]), str(facts["claimant"])
    dispute = _dispute(
        dispute_id=UUID(facts["id"]),
        break_id=None if facts["break_id"] is None else UUID(facts["break_id"]),
        record_id=UUID(facts["record_id"]),
        acquirer=acquirer,
        issuer=issuer,
        claimant=claimant,
        original_minor=int(facts["original_minor"]),
        debited_minor=int(facts["debited_minor"]),
        before_minor=int(facts["before_minor"]),
        asked_minor=rules.in_range(int(facts["asked_minor"]), original_minor=int(facts["original_minor"])),
        card_number=str(facts["card_number"]),
        at=datetime.fromisoformat(facts["opened_at"]),
    )
    if own == HUB_CODE:
        if move is not Move.ARBITRATE or sender != dispute.respondent:
            raise WrongParty("the hub hears a dispute when arbitration is asked for")
        dispute.effective_minor, dispute.state, dispute.moves = (
            int(facts["effective_minor"]),
            DisputeState.SECOND_CHARGEBACK,
            number - 1,
        )
        session.add(dispute)
        return dispute
    if move is not Move.INQUIRE or claimant != sender or own not in (acquirer, issuer) or number != 1:
        raise WrongParty(f"{sender} opens a dispute with an inquiry of its own")
    if dispute.break_id is not None:
        _hold_to_break(session, dispute)
    else:
        _hold_to_record(session, dispute)
    session.add(dispute)
    return dispute


def _hold_to_break(session: Session, dispute: DisputeRow) -> None:
    row = session.get(BreakRow, dispute.break_id, with_for_update=True)
    if row is None or (row.acquirer, row.issuer, row.record_id) != (dispute.acquirer, dispute.issuer, dispute.record_id):
        raise NoSuchBreak(str(dispute.break_id))
    if row.state != BreakState.OPEN:
        raise AlreadyDisputed(str(row.id))
    ours = max(row.claimed_minor or 0, row.debited_minor or 0, key=abs)
    if dispute.original_minor != ours or dispute.before_minor != 0:
        raise rules.AmountOutOfRange(f"the break is about {ours}")
    row.state = BreakState.DISPUTED


def _hold_to_record(session: Session, dispute: DisputeRow) -> None:
    record = session.get(RecordRow, (Side.CLAIM, dispute.record_id))
    if record is None or (record.acquirer, record.issuer) != (dispute.acquirer, dispute.issuer):
        raise NoSuchBreak(str(dispute.record_id))
    if record.state != RecordState.MATCHED or {dispute.original_minor, dispute.before_minor} != {record.amount_minor}:
        raise AlreadyDisputed(str(dispute.record_id))


def expire(session: Session, *, now: datetime) -> int:
    """Let silence lose: make the expiry move of every dispute whose deadline passed and whose expiry is ours to make."""
    own = partners.own_city(session).code
    rows = session.scalars(
        select(DisputeRow)
        .where(DisputeRow.due_at < now, DisputeRow.state.not_in(rules.FINAL))
        .order_by(DisputeRow.id)
        .with_for_update(skip_locked=True)
    ).all()
    done = 0
    for row in rows:
        lines = rules.MOVES[DisputeState(row.state)].get(Move.EXPIRE, ())
        if own in (row.claimant, row.respondent) and any(line.by is party(row, own) for line in lines):
            _apply(
                session, row, Move.EXPIRE, given_minor=None, note="", prepared_by="system", approved_by=None, at=now, now=now
            )
            done += 1
    return done
