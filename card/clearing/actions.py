"""Noting foreign charges, closing windows into files, receiving files, matching, and telling each other the result."""

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel import audit, clock, ids, outbox
from app.kernel.db import Json
from card import ledger, partners
from card.clearing import manifest, matching, postings, rules
from card.clearing.models import BreakRow, FileRow, PositionRow, ProposalRow, RecordRow
from card.clearing.rules import (
    BadClearingFile,
    BreakKind,
    BreakState,
    Charge,
    FileOutOfOrder,
    ManifestBreak,
    NoSuchFile,
    Proposal,
    RecordState,
    ResultDisagrees,
    Side,
    WrongParty,
)
from card.ledger import Transfer, TransferCode, chart

# ------------------------------------------------------------------------------------------------------------------- records


def note_charge(session: Session, payload: Json) -> None:
    """The acquirer's claim, from ``charge.foreign``. Noting it twice changes nothing."""
    _note(session, rules.charge_from(payload), Side.CLAIM, RecordState.WAITING, now=clock.now())


def note_debit(session: Session, payload: Json) -> None:
    """The issuer's debit, from ``debit.foreign``; it may meet a claim that came before it."""
    charge = rules.charge_from(payload)
    now = clock.now()
    if _note(session, charge, Side.DEBIT, RecordState.WAITING, now=now):
        _meet_broken_claim(session, charge, now=now)


def _note(
    session: Session, charge: Charge, side: Side, state: RecordState, *, now: datetime, file_id: UUID | None = None
) -> bool:
    """Insert a record; whether it is new. A charge of nothing is no charge."""
    if charge.amount_minor == 0:
        return False
    values = {name: getattr(charge, name) for name in charge.__dataclass_fields__}
    return bool(
        session.execute(
            insert(RecordRow)
            .values(**values, side=side, window=charge.window, state=state, file_id=file_id, noted_at=now)
            .on_conflict_do_nothing()
            .returning(RecordRow.id)
        ).first()
    )


def _set_state(session: Session, side: Side, found: Sequence[UUID], state: RecordState, **more: Any) -> None:
    for start in range(0, len(found), 10_000):
        session.execute(
            update(RecordRow)
            .where(RecordRow.side == side, RecordRow.id.in_(found[start : start + 10_000]))
            .values(state=state, **more)
            .execution_options(synchronize_session=False)
        )


def _meet_broken_claim(session: Session, charge: Charge, *, now: datetime) -> None:
    """A debit that arrives after its claim was broken: it resolves the break where the amounts agree and nobody disputes."""
    row = session.scalars(
        select(BreakRow)
        .where(BreakRow.record_id == charge.id, BreakRow.kind == BreakKind.ACQUIRER_ONLY, BreakRow.state != BreakState.RESOLVED)
        .with_for_update()
    ).one_or_none()
    if row is None:
        return
    row.debit, row.debited_minor = charge.document, charge.amount_minor
    if row.state == BreakState.OPEN and row.claimed_minor == charge.amount_minor:
        resolve(session, row, agreed_minor=charge.amount_minor, resolution="arrived-late", now=now)
        _set_state(session, Side.DEBIT, [charge.id], RecordState.MATCHED)
        agree(session, row, reference=f"break:{row.id}", amount_minor=charge.amount_minor, at=now)
        outbox.emit(session, "break.resolved", {"break_id": str(row.id), "agreed_minor": charge.amount_minor}, at=now)
        return
    _set_state(session, Side.DEBIT, [charge.id], RecordState.BROKEN)
    _park(session, row, side=Side.DEBIT, amount_minor=charge.amount_minor, now=now)


def _park(session: Session, row: BreakRow, *, side: Side, amount_minor: int | None, now: datetime) -> None:
    """Take a broken amount out of what the cities owe each other until it is agreed; it waits in suspense."""
    own = partners.own_city(session).code
    if amount_minor and own == (row.acquirer if side is Side.CLAIM else row.issuer):
        postings.shift(
            session,
            own=own,
            issuer=row.issuer,
            acquirer=row.acquirer,
            delta_minor=-amount_minor,
            cause=f"park:{row.id}",
            code=TransferCode.CLEARING_CORRECTION,
            at=row.found_at,
            reference=f"break:{row.id}",
            now=now,
        )


def resolve(session: Session, row: BreakRow, *, agreed_minor: int, resolution: str, now: datetime) -> None:
    """Mark a break as resolved. What was agreed is booked by whoever agreed it."""
    row.state, row.resolution, row.agreed_minor, row.resolved_at = BreakState.RESOLVED, resolution, agreed_minor, now
    for side in Side:
        _set_state(session, side, [row.record_id], RecordState.RESOLVED)


def agree(
    session: Session, pair: BreakRow | FileRow | Any, *, reference: str, amount_minor: int, at: datetime, count: int = 1
) -> None:
    """Note what the issuer owes the acquirer under ``reference`` as our report to the hub, once."""
    own = partners.own_city(session).code
    new = session.execute(
        insert(PositionRow)
        .values(
            reporter=own,
            issuer=pair.issuer,
            acquirer=pair.acquirer,
            reference=reference,
            window=getattr(pair, "window", None) or clock.civil_date(at),
            count=count,
            amount_minor=amount_minor,
            at=at,
        )
        .on_conflict_do_nothing()
        .returning(PositionRow.reference)
    ).first()
    if new:
        outbox.emit(
            session,
            "position.agreed",
            {"issuer": pair.issuer, "acquirer": pair.acquirer, "reference": reference},
            at=at,
        )


# --------------------------------------------------------------------------------------------------------------- claim by hand


def propose_claim(
    session: Session,
    *,
    issuer: str,
    card_number: str,
    amount_minor: int,
    accepted_at: datetime,
    note: str,
    by: str,
    now: datetime,
) -> UUID:
    """Prepare a claim that no terminal presented (a journal read out of a broken gate); a second officer approves."""
    partners.city(session, issuer)
    charge = Charge(
        id=ids.derived_id(accepted_at, "hand", issuer, card_number, str(amount_minor), note),
        issuer=issuer,
        acquirer=partners.own_city(session).code,
        amount_minor=amount_minor,
        kind="transit",
        card_number=card_number,
        reference=f"hand:{note}"[:200],
        terminal_id="",
        counter=None,
        event_at=accepted_at,
        accepted_at=accepted_at,
    )
    row = ProposalRow(
        kind="claim", subject=f"claim:{charge.id}", payload=charge.document, state="waiting", prepared_by=by, prepared_at=now
    )
    row.decided_by = row.decided_at = None
    session.add(row)
    session.flush()
    return row.id


def book_claim(session: Session, payload: Json, *, now: datetime) -> None:
    """Book an approved claim by hand: the issuer owes it, the operator is known later."""
    charge = rules.charge_from(payload)
    transfer = Transfer(
        id=charge.id,
        debit=ledger.open_account(session, chart.due_from(charge.issuer), now=now),
        credit=ledger.open_account(session, chart.suspense(), now=now),
        amount_minor=charge.amount_minor,
        code=TransferCode.FOREIGN_FARE,
        event_at=charge.accepted_at,
        reference=charge.reference,
    )
    ledger.post_all(session, [transfer], now=now)
    _note(session, charge, Side.CLAIM, RecordState.WAITING, now=now)  # at once: the next file may be cut in this second
    outbox.emit(session, "charge.foreign", charge.document, at=now)


# --------------------------------------------------------------------------------------------------------------------- files


def close_window(session: Session, *, window: date, by: str, now: datetime) -> list[UUID]:
    """Cut files for every other city: its waiting claims of ``window`` and earlier. Zero files are cut too.

    Several files a day carry the numbers 1, 2, …; later records keep their window and go with the next file. Where one file
    would be too large to be sent, several are cut, each up to an instant that is its cut-off.
    """
    made: list[UUID] = []
    for city in partners.cities(session):
        more = True
        while more:
            file_id, more = _cut(session, issuer=city.code, window=window, by=by, now=now)
            made.append(file_id)
    audit.record(session, actor=by, action="window.close", subject=f"window:{window}", at=now, details={"files": len(made)})
    return made


def _cut(session: Session, *, issuer: str, window: date, by: str, now: datetime) -> tuple[UUID, bool]:
    """One file of the oldest claims; its id, and whether claims are left for another one."""
    acquirer = partners.own_city(session).code
    waiting = session.scalars(
        select(RecordRow)
        .where(
            RecordRow.side == Side.CLAIM,
            RecordRow.acquirer == acquirer,
            RecordRow.issuer == issuer,
            RecordRow.state == RecordState.WAITING,
            RecordRow.window <= window,
        )
        .order_by(RecordRow.accepted_at, RecordRow.id)
        .limit(manifest.ROWS_CUT + 1)
        .with_for_update()
    ).all()
    rows, more = waiting[: manifest.ROWS_CUT], len(waiting) > manifest.ROWS_CUT
    if more:  # of what was accepted at one instant nothing is left behind, unless it is a whole file's
        rows = [row for row in rows if row.accepted_at < waiting[-1].accepted_at] or rows
    cut_off = rows[-1].accepted_at if more else now  # what the issuer debited later is not due in this file
    last = session.scalars(
        select(FileRow)
        .where(FileRow.acquirer == acquirer, FileRow.issuer == issuer, FileRow.direction == "sent")
        .order_by(FileRow.made_at.desc(), FileRow.number.desc())
        .limit(1)
    ).one_or_none()
    numbers = session.scalars(
        select(FileRow.number).where(FileRow.acquirer == acquirer, FileRow.issuer == issuer, FileRow.window == window)
    ).all()
    number = max(numbers, default=0) + 1
    charges = [row.charge for row in rows]
    records = manifest.to_parquet(charges)
    said = manifest.build(
        charges,
        records,
        acquirer=acquirer,
        issuer=issuer,
        window=window,
        number=number,
        previous=last.digest if last else None,
        cut_off=cut_off,
        kid=partners.federation_key(session).kid,
    )
    file_id = ids.derived_id(cut_off, "clearing-file", acquirer, issuer, window.isoformat(), str(number))
    session.add(
        FileRow(
            id=file_id,
            direction="sent",
            state="prepared",
            made_by=by,
            **_file_facts(said, partners.sign_document(session, said, typ=manifest.TYPE), records, now=now),
        )
    )
    _set_state(session, Side.CLAIM, [row.id for row in rows], RecordState.FILED, file_id=file_id)
    session.flush()
    outbox.emit(session, "file.cut", {"file_id": str(file_id)}, at=now)
    return file_id, more


def _file_facts(said: Json, token: str, records: bytes, *, now: datetime) -> Json:
    return {
        "acquirer": said["acquirer"],
        "issuer": said["issuer"],
        "window": date.fromisoformat(said["window"]),
        "number": said["number"],
        "count": said["count"],
        "sum_minor": said["sum_minor"],
        "root": said["root"],
        "digest": manifest.digest(said),
        "previous": said["previous"],
        "cut_off": datetime.fromisoformat(said["cut_off"]),
        "manifest": token,
        "records": records,
        "matched_count": None,
        "matched_minor": None,
        "break_count": None,
        "matched_at": None,
        "made_at": now,
    }


def receive_file(session: Session, *, sender: str, token: str, records: bytes, now: datetime) -> FileRow:
    """Take an acquirer's file. The same digest gets the same answer; another under the same number is a manifest break.

    Raises ``BadSignature``, :class:`WrongParty`, :class:`BadClearingFile`, :class:`ManifestBreak`, :class:`FileOutOfOrder`.
    """
    said = partners.verify_document(session, token, city=sender, typ=manifest.TYPE)
    own = partners.own_city(session).code
    if (said.get("acquirer"), said.get("issuer")) != (sender, own):
        raise WrongParty(f"{sender} claims of {own} and of nobody else")
    try:
        window, number = date.fromisoformat(str(said["window"])), int(said["number"])
    except (KeyError, ValueError) as error:
        raise BadClearingFile(f"window or number: {error}") from error
    known = session.scalars(
        select(FileRow).where(
            FileRow.acquirer == sender, FileRow.issuer == own, FileRow.window == window, FileRow.number == number
        )
    ).one_or_none()
    if known is not None:
        if known.digest != manifest.digest(said):
            raise ManifestBreak(f"{sender} {window} {number}")
        return known
    charges = manifest.check(said, records)
    if any((charge.acquirer, charge.issuer) != (sender, own) for charge in charges):
        raise BadClearingFile("a record belongs to another pair")
    last = session.scalars(
        select(FileRow)
        .where(FileRow.acquirer == sender, FileRow.issuer == own, FileRow.direction == "received")
        .order_by(FileRow.made_at.desc(), FileRow.number.desc())
        .limit(1)
        .with_for_update()
    ).one_or_none()
    if said.get("previous") != (last.digest if last else None):
        raise FileOutOfOrder(f"{sender} {window} {number}")
    file_id = ids.derived_id(datetime.fromisoformat(said["cut_off"]), "clearing-file", sender, own, str(window), str(number))
    row = FileRow(
        id=file_id,
        direction="received",
        state="received",
        made_by=f"city:{sender}",
        **_file_facts(said, token, records, now=now),
    )
    session.add(row)
    session.flush()
    outbox.emit(session, "file.received", {"file_id": str(file_id)}, at=now)
    return row


def note_manifest_break(session: Session, *, sender: str, token: str, now: datetime) -> None:
    """Keep the evidence of a changed file under a known number: both manifests are in the message log."""
    said = partners.verify_document(session, token, city=sender, typ=manifest.TYPE)
    window = date.fromisoformat(str(said["window"]))
    seen = hashlib.sha256(token.encode()).hexdigest()
    cause = ids.derived_id(datetime.fromisoformat(said["cut_off"]), "manifest-break", sender, manifest.digest(said))
    _add_break(
        session,
        acquirer=sender,
        issuer=partners.own_city(session).code,
        window=window,
        kind=BreakKind.MANIFEST,
        break_id=cause,
        record_id=cause,
        file_id=None,
        claim={"number": said["number"], "root": said["root"], "sum_minor": said["sum_minor"], "token_sha256": seen},
        debit=None,
        suggestion=None,
        found_at=now,
    )


def _add_break(
    session: Session,
    *,
    break_id: UUID,
    acquirer: str,
    issuer: str,
    window: date,
    kind: BreakKind,
    record_id: UUID,
    file_id: UUID | None,
    claim: Json | None,
    debit: Json | None,
    suggestion: UUID | None,
    found_at: datetime,
) -> BreakRow | None:
    """Insert a break; none where it is known."""
    if session.get(BreakRow, break_id) is not None:
        return None
    row = BreakRow(
        id=break_id,
        acquirer=acquirer,
        issuer=issuer,
        window=window,
        kind=kind,
        record_id=record_id,
        file_id=file_id,
        claim=claim,
        debit=debit,
        claimed_minor=None if claim is None else claim.get("amount_minor"),
        debited_minor=None if debit is None else debit.get("amount_minor"),
        proposal=rules.PROPOSALS[kind],
        suggestion=suggestion,
        state=BreakState.OPEN,
        resolution=None,
        agreed_minor=None,
        found_at=found_at,
        resolved_at=None,
    )
    if kind in rules.SELF_CLOSING:
        row.state, row.resolution, row.agreed_minor, row.resolved_at = BreakState.RESOLVED, Proposal.DROP, 0, found_at
    session.add(row)
    session.flush()
    return row


# ------------------------------------------------------------------------------------------------------------------ matching


def match_file(session: Session, payload: Json) -> None:
    """The issuer matches a received file with its own debits, from ``file.received``. A second run changes nothing."""
    now = clock.now()
    file = session.scalars(select(FileRow).where(FileRow.id == UUID(payload["file_id"])).with_for_update()).one()
    if file.state != "received":
        return
    said = partners.verify_document(session, file.manifest, city=file.acquirer, typ=manifest.TYPE)
    claims = manifest.from_parquet(file.records)
    fresh, copies = _fresh_claims(session, file, claims, now=now)
    open_debits = [row.charge for row in _open_debits(session, file)]
    whole = said["buckets"] if not copies else None
    result = matching.match(fresh, open_debits, theirs=whole)
    claimed = {match.claim.id for match in result.matches}
    debited = {match.debit.id for match in result.matches}
    _set_state(session, Side.CLAIM, sorted(claimed), RecordState.MATCHED)
    _set_state(session, Side.DEBIT, sorted(debited), RecordState.MATCHED)
    resolved = _resolve_met(session, result, now=now)
    known_broken = set(
        session.scalars(
            select(BreakRow.record_id).where(
                BreakRow.acquirer == file.acquirer,
                BreakRow.issuer == file.issuer,
                BreakRow.kind == BreakKind.ISSUER_ONLY,
                BreakRow.state != BreakState.RESOLVED,
            )
        )
    )
    breaks: list[BreakRow] = []
    for found in [*result.breaks, *(matching.Break(kind=BreakKind.DUPLICATE, claim=copy, debit=None) for copy in copies)]:
        if found.kind is BreakKind.ISSUER_ONLY and (found.charge.accepted_at > file.cut_off or found.charge.id in known_broken):
            continue  # not due in this file, or known since an earlier one
        breaks += _found(session, file, found, nth=len(breaks), now=now)
    file.state, file.matched_at = "matched", now
    file.matched_count, file.matched_minor, file.break_count = len(result.matches), result.matched_minor, len(breaks)
    agree(session, file, reference=_reference(file), amount_minor=result.matched_minor, count=len(result.matches), at=now)
    outbox.emit(
        session,
        "file.matched",
        {"file_id": str(file.id), "breaks": [str(row.id) for row in breaks], "resolved": [str(found) for found in resolved]},
        at=now,
    )


def _reference(file: FileRow) -> str:
    return f"file:{file.window}:{file.number}"


def _fresh_claims(
    session: Session, file: FileRow, claims: Sequence[Charge], *, now: datetime
) -> tuple[list[Charge], list[Charge]]:
    """The claims of a file that no earlier file carried, and copies of earlier ones."""
    known = set(
        session.scalars(
            select(RecordRow.id).where(RecordRow.side == Side.CLAIM, RecordRow.id.in_([charge.id for charge in claims]))
        )
    )
    fresh, copies = [], []
    for charge in claims:
        if charge.id in known:
            copies.append(charge)
        else:
            fresh.append(charge)
            _note(session, charge, Side.CLAIM, RecordState.FILED, now=now, file_id=file.id)
    return fresh, copies


def _open_debits(session: Session, file: FileRow) -> Sequence[RecordRow]:
    """Our debits that no claim has met: those waiting, and those already reported as issuer-only and not disputed."""
    disputed = select(BreakRow.record_id).where(BreakRow.state == BreakState.DISPUTED)
    broken = select(BreakRow.record_id).where(BreakRow.kind == BreakKind.ISSUER_ONLY, BreakRow.state == BreakState.OPEN)
    return session.scalars(
        select(RecordRow)
        .where(
            RecordRow.side == Side.DEBIT,
            RecordRow.acquirer == file.acquirer,
            RecordRow.issuer == file.issuer,
            (RecordRow.state == RecordState.WAITING) | ((RecordRow.state == RecordState.BROKEN) & RecordRow.id.in_(broken)),
            RecordRow.id.not_in(disputed),
        )
        .order_by(RecordRow.id)
        .with_for_update()
    ).all()


def _resolve_met(session: Session, result: matching.Matching, *, now: datetime) -> list[UUID]:
    """Issuer-only breaks whose claim has come after all: the parked amount is owed again."""
    debits = {match.debit.id: match.debit for match in result.matches}
    rows = session.scalars(
        select(BreakRow)
        .where(BreakRow.record_id.in_(debits), BreakRow.kind == BreakKind.ISSUER_ONLY, BreakRow.state == BreakState.OPEN)
        .order_by(BreakRow.id)
        .with_for_update()
    ).all()
    for row in rows:
        amount_minor = debits[row.record_id].amount_minor
        postings.shift(
            session,
            own=row.issuer,
            issuer=row.issuer,
            acquirer=row.acquirer,
            delta_minor=amount_minor,
            cause=f"unpark:{row.id}",
            code=TransferCode.CLEARING_CORRECTION,
            at=now,
            reference=f"break:{row.id}",
            now=now,
        )
        row.state, row.resolution, row.agreed_minor, row.resolved_at = (
            BreakState.RESOLVED,
            "claimed-late",
            amount_minor,
            now,
        )
    return [row.id for row in rows]


def _found(session: Session, file: FileRow, found: matching.Break, *, nth: int, now: datetime) -> list[BreakRow]:
    charge = found.charge
    row = _add_break(
        session,
        break_id=ids.derived_id(file.cut_off, "break", str(file.id), found.kind, str(charge.id), str(nth)),
        acquirer=file.acquirer,
        issuer=file.issuer,
        window=charge.window,
        kind=found.kind,
        record_id=charge.id,
        file_id=file.id,
        claim=None if found.claim is None else found.claim.document,
        debit=None if found.debit is None else found.debit.document,
        suggestion=found.suggestion,
        found_at=now,
    )
    if row is None:
        return []
    if found.kind is not BreakKind.DUPLICATE:
        if found.claim is not None:
            _set_state(session, Side.CLAIM, [found.claim.id], RecordState.BROKEN)
        if found.debit is not None:
            _set_state(session, Side.DEBIT, [found.debit.id], RecordState.BROKEN)
            _park(session, row, side=Side.DEBIT, amount_minor=found.debit.amount_minor, now=now)
    return [row]


# ------------------------------------------------------------------------------------------------------------ the other side


def result_of(session: Session, payload: Json) -> tuple[str, Json]:
    """To whom and what the issuer says of a matched file."""
    file = session.get_one(FileRow, UUID(payload["file_id"]))
    rows = session.scalars(select(BreakRow).where(BreakRow.id.in_([UUID(item) for item in payload["breaks"]])))
    return file.acquirer, {
        "window": file.window.isoformat(),
        "number": file.number,
        "digest": file.digest,
        "matched_count": file.matched_count,
        "matched_minor": file.matched_minor,
        "breaks": [_break_document(row) for row in sorted(rows, key=lambda row: row.id)],
        "resolved": payload["resolved"],
        "matched_at": file.matched_at.isoformat() if file.matched_at else None,
    }


def _break_document(row: BreakRow) -> Json:
    return {
        "id": str(row.id),
        "kind": row.kind,
        "window": row.window.isoformat(),
        "record_id": str(row.record_id),
        "claim": row.claim,
        "debit": row.debit,
        "suggestion": None if row.suggestion is None else str(row.suggestion),
        "found_at": row.found_at.isoformat(),
    }


def receive_result(session: Session, *, sender: str, body: Json, now: datetime) -> None:
    """The acquirer takes the issuer's result: what is not broken must add up to what the issuer matched.

    Raises :class:`NoSuchFile` or :class:`ResultDisagrees`. A repeat is quiet.
    """
    own = partners.own_city(session).code
    file = session.scalars(
        select(FileRow)
        .where(
            FileRow.acquirer == own,
            FileRow.issuer == sender,
            FileRow.window == date.fromisoformat(str(body["window"])),
            FileRow.number == int(body["number"]),
        )
        .with_for_update()
    ).one_or_none()
    if file is None:
        raise NoSuchFile(f"{sender} {body['window']} {body['number']}")
    if file.digest != body["digest"]:
        raise ResultDisagrees("the digest is of another file")
    if file.state == "matched":
        return
    rows = session.scalars(select(RecordRow).where(RecordRow.side == Side.CLAIM, RecordRow.file_id == file.id)).all()
    broken = {
        UUID(item["record_id"]) for item in body["breaks"] if item["kind"] not in (BreakKind.ISSUER_ONLY, BreakKind.DUPLICATE)
    }
    matched = [row for row in rows if row.id not in broken]
    matched_minor = sum(row.amount_minor for row in matched)
    if (len(matched), matched_minor) != (body["matched_count"], body["matched_minor"]):
        raise ResultDisagrees(f"we count {len(matched)} and {matched_minor}")
    _set_state(session, Side.CLAIM, [row.id for row in matched], RecordState.MATCHED)
    for item in body["breaks"]:
        row = _add_break(
            session,
            break_id=UUID(item["id"]),
            acquirer=own,
            issuer=sender,
            window=date.fromisoformat(item["window"]),
            kind=BreakKind(item["kind"]),
            record_id=UUID(item["record_id"]),
            file_id=file.id,
            claim=item["claim"],
            debit=item["debit"],
            suggestion=None if item["suggestion"] is None else UUID(item["suggestion"]),
            found_at=datetime.fromisoformat(item["found_at"]),
        )
        if row is not None and row.kind not in (BreakKind.ISSUER_ONLY, BreakKind.DUPLICATE):
            _set_state(session, Side.CLAIM, [row.record_id], RecordState.BROKEN)
            _park(session, row, side=Side.CLAIM, amount_minor=row.claimed_minor, now=now)
    for known in session.scalars(
        select(BreakRow).where(BreakRow.id.in_([UUID(item) for item in body["resolved"]]), BreakRow.issuer == sender)
    ):
        known.state, known.resolution, known.agreed_minor, known.resolved_at = (
            BreakState.RESOLVED,
            "claimed-late",
            known.debited_minor,
            now,
        )
    file.state, file.matched_at = "matched", now
    file.matched_count, file.matched_minor, file.break_count = len(matched), matched_minor, len(body["breaks"])
    agree(session, file, reference=_reference(file), amount_minor=matched_minor, count=len(matched), at=now)


def resolution_of(session: Session, payload: Json) -> tuple[str, Json]:
    """To whom and what is said of a break that resolved itself."""
    row = session.get_one(BreakRow, UUID(payload["break_id"]))
    other = row.acquirer if partners.own_city(session).code == row.issuer else row.issuer
    return other, {"break_id": str(row.id), "agreed_minor": row.agreed_minor, "debit": row.debit}


def receive_resolution(session: Session, *, sender: str, body: Json, now: datetime) -> None:
    """The acquirer learns that the debit came after all: the parked claim is owed again. A repeat is quiet."""
    row = session.scalars(
        select(BreakRow).where(BreakRow.id == UUID(str(body["break_id"])), BreakRow.issuer == sender).with_for_update()
    ).one_or_none()
    if row is None:
        raise rules.NoSuchBreak(str(body["break_id"]))
    if row.state == BreakState.RESOLVED:
        return
    if row.claimed_minor != body["agreed_minor"]:
        raise ResultDisagrees("the late debit is of another amount")
    row.debit, row.debited_minor = body["debit"], row.claimed_minor
    postings.shift(
        session,
        own=row.acquirer,
        issuer=row.issuer,
        acquirer=row.acquirer,
        delta_minor=row.claimed_minor or 0,
        cause=f"unpark:{row.id}",
        code=TransferCode.CLEARING_CORRECTION,
        at=now,
        reference=f"break:{row.id}",
        now=now,
    )
    resolve(session, row, agreed_minor=row.claimed_minor or 0, resolution="arrived-late", now=now)
    agree(session, row, reference=f"break:{row.id}", amount_minor=row.claimed_minor or 0, at=now)
