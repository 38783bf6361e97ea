"""``/staff/clearing``: windows and files, differences with both sides' records, disputes under four eyes, settlement."""

from typing import Final
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app.kernel import clock
from app.kernel.errors import Invalid, msg
from app.web.auth import Role, allow, principal
from app.web.db import settings, transaction
from app.web.i18n import translate
from card import clearing, partners, transit
from card.clearing import Move
from portal.kit import clearing as words
from portal.kit import journeys as journey_words
from portal.kit.clearing import Names

blueprint = Blueprint("staff_clearing", __name__, url_prefix="/staff/clearing")
STAFF: Final = (Role.OFFICER, Role.SUPERVISOR, Role.ADMINISTRATOR)
APPROVERS: Final = (Role.SUPERVISOR, Role.ADMINISTRATOR)
NOTE_MAX: Final = 500


def _note() -> str:
    note = request.form.get("note", "").strip()
    if not note or len(note) > NOTE_MAX:
        raise Invalid("note", fields={"note": msg("Write a reason of at most 500 characters.")})
    return note


@blueprint.get("")
@allow(*STAFF)
def index() -> str:
    """What waits, what was sent and received, what differs, what is disputed, what was settled."""
    with transaction() as session:
        names = Names(session=session)
        waiting = [
            (names.city(issuer), window, count, total) for issuer, window, count, total in clearing.waiting_claims(session)
        ]
        proposals = [
            (item, names.actor(item.prepared_by), names.city(item.payload["issuer"]))
            for item in clearing.proposals(session)
            if item.kind == "claim"
        ]
        return render_template(
            "staff/clearing/index.html",
            waiting=waiting,
            files=words.file_rows(names, clearing.files(session, limit=20)),
            breaks=[words.break_row(names, item) for item in clearing.breaks(session, open_only=True)],
            disputes=[words.dispute_row(names, item) for item in clearing.disputes(session, limit=20)],
            instructions=[
                (item, words.tagged(words.INSTRUCTION_STATES, item.state))
                for item in clearing.instructions(session, city=settings().city_code)
            ],
            proposals=proposals,
            cities=[(city.code, names.city(city.code)) for city in partners.cities(session)],
            today=clock.civil_date(clock.now()),
            suspense=len(clearing.pending(session)),
        )


@blueprint.post("/files")
@allow(*STAFF)
def close() -> Response:
    """Cut the next file of today's window for every other city."""
    now = clock.now()
    with transaction() as session:
        made = clearing.close_window(session, window=clock.civil_date(now), by=principal().actor, now=now)
    flash(translate("%(count)s files are on their way.", count=len(made)), "success")
    return redirect(url_for("staff_clearing.index"))


@blueprint.get("/files/<uuid:file_id>")
@allow(*STAFF)
def file(file_id: UUID) -> str:
    """One file, its manifest's commitments and the result of matching."""
    with transaction() as session:
        names = Names(session=session)
        found = clearing.file(session, file_id)
        return render_template(
            "staff/clearing/file.html",
            row=words.file_rows(names, [found])[0],
            made_by=names.actor(found.made_by),
            breaks=[words.break_row(names, item) for item in clearing.breaks(session, file_id=file_id)],
        )


@blueprint.get("/breaks/<uuid:break_id>")
@allow(*STAFF)
def difference(break_id: UUID) -> str:
    """A difference: what each side recorded, what ought to be done, and the way to ask."""
    with transaction() as session:
        names = Names(session=session)
        found = clearing.break_(session, break_id)
        return render_template(
            "staff/clearing/break.html",
            row=words.break_row(names, found),
            claim=words.record_rows(found.claim),
            debit=words.record_rows(found.debit),
            ours=settings().city_code,
            asked_minor=(found.claimed_minor if settings().city_code == found.acquirer else found.debited_minor) or 0,
        )


@blueprint.post("/breaks/<uuid:break_id>/inquiry")
@allow(*STAFF)
def inquire(break_id: UUID) -> Response:
    """Ask the other city about a difference."""
    asked = request.form.get("asked", "")
    with transaction() as session:
        dispute_id = clearing.open_on_break(
            session,
            break_id=break_id,
            asked_minor=words.fen(asked, field="asked") if asked else None,
            note=_note(),
            by=principal().actor,
            now=clock.now(),
        )
    flash(translate("The other city has been asked."), "success")
    return redirect(url_for("staff_clearing.dispute", dispute_id=dispute_id))


@blueprint.post("/charges/<uuid:record_id>/inquiry")
@allow(*STAFF)
def contest(record_id: UUID) -> Response:
    """Contest a charge that both cities recorded alike."""
    with transaction() as session:
        dispute_id = clearing.open_on_record(
            session,
            record_id=record_id,
            asked_minor=words.fen(request.form.get("asked", ""), field="asked"),
            note=_note(),
            by=principal().actor,
            now=clock.now(),
        )
    flash(translate("The other city has been asked."), "success")
    return redirect(url_for("staff_clearing.dispute", dispute_id=dispute_id))


@blueprint.get("/charges")
@allow(*STAFF)
def charges() -> str:
    """Charges of our cards elsewhere that both cities agree on: what a rider may still contest."""
    with transaction() as session:
        names = Names(session=session)
        rows = [(row.charge, names.city(row.acquirer)) for row in clearing.matched_debits(session)]
        return render_template("staff/clearing/charges.html", rows=rows)


@blueprint.get("/disputes/<uuid:dispute_id>")
@allow(*STAFF)
def dispute(dispute_id: UUID) -> str:
    """A dispute: its history, what each city may do now, and what waits for a second officer."""
    with transaction() as session:
        names = Names(session=session)
        found = clearing.dispute(session, dispute_id)
        item = clearing.break_(session, found.break_id) if found.break_id and not settings().is_hub else None
        return render_template(
            "staff/clearing/dispute.html",
            row=words.dispute_row(names, found),
            issuer=names.city(found.issuer),
            acquirer=names.city(found.acquirer),
            difference=words.break_row(names, item) if item else None,
            mine=found.waiting is not None and found.waiting.prepared_by == principal().actor,
            approver=bool(principal().roles & set(APPROVERS)),
        )


@blueprint.post("/disputes/<uuid:dispute_id>/moves")
@allow(*STAFF)
def move(dispute_id: UUID) -> Response:
    """Make a move without money, or prepare one with money for a second officer."""
    try:
        made = Move(request.form.get("move", ""))
    except ValueError as error:
        raise Invalid("move", fields={"move": msg("Choose what to do.")}) from error
    given = request.form.get("given", "")
    given_minor = words.fen(given, field="given") if given else None
    note, by, now = _note(), principal().actor, clock.now()
    with transaction() as session:
        money = made in clearing.dispute(session, dispute_id).money_moves
        if money:
            clearing.propose(session, dispute_id=dispute_id, move=made, given_minor=given_minor, note=note, by=by, now=now)
        else:
            clearing.make_move(session, dispute_id=dispute_id, move=made, note=note, by=by, now=now)
    flash(translate("A second officer has to approve this.") if money else translate("The other city is told."), "success")
    return redirect(url_for("staff_clearing.dispute", dispute_id=dispute_id))


@blueprint.post("/proposals/<uuid:proposal_id>")
@allow(*APPROVERS)
def decide(proposal_id: UUID) -> Response:
    """Approve or refuse what another officer prepared."""
    approve = request.form.get("decision") == "approve"
    with transaction() as session:
        waiting = next((item for item in clearing.proposals(session) if item.id == proposal_id), None)
        clearing.decide(session, proposal_id=proposal_id, approve=approve, by=principal().actor, now=clock.now())
    flash(translate("Approved. Both cities book it.") if approve else translate("Refused. Nothing was booked."), "success")
    if waiting is not None and waiting.subject.startswith("dispute:"):
        return redirect(url_for("staff_clearing.dispute", dispute_id=waiting.subject.removeprefix("dispute:")))
    if waiting is not None and waiting.kind == "allocation":
        return redirect(url_for("staff_clearing.suspense"))
    return redirect(url_for("staff_clearing.index"))


@blueprint.get("/suspense")
@allow(*STAFF)
def suspense() -> str:
    """Settled claims whose money has not reached an operator."""
    with transaction() as session:
        names = Names(session=session)
        operators = {one.id: journey_words.named(one.names) for one in transit.operators(session)}
        rows = [
            (
                item,
                names.city(item.issuer),
                names.actor(item.prepared_by) if item.prepared_by else "",
                operators.get(str((item.payload or {}).get("operator_id") or "")),
                item.prepared_by == principal().actor,
            )
            for item in clearing.pending(session)
        ]
        return render_template(
            "staff/clearing/suspense.html",
            rows=rows,
            operators=sorted(operators.items()),
            approver=bool(principal().roles & set(APPROVERS)),
        )


@blueprint.post("/suspense/<uuid:record_id>")
@allow(*STAFF)
def allocate(record_id: UUID) -> Response:
    """Prepare where a claim's money in suspense goes."""
    with transaction() as session:
        clearing.propose_allocation(
            session,
            record_id=record_id,
            operator_id=request.form.get("operator") or None,
            reason=_note(),
            by=principal().actor,
            now=clock.now(),
        )
    flash(translate("A second officer has to approve this."), "success")
    return redirect(url_for("staff_clearing.suspense"))


@blueprint.post("/claims")
@allow(*STAFF)
def claim() -> Response:
    """Prepare a claim that no terminal presented, such as one read out of a broken gate's journal."""
    card_number = "".join(request.form.get("card_number", "").split())
    if not card_number.isdigit():
        raise Invalid("card_number", fields={"card_number": msg("Enter the card number: 19 digits.")})
    with transaction() as session:
        clearing.propose_claim(
            session,
            issuer=request.form.get("issuer", ""),
            card_number=card_number,
            amount_minor=words.fen(request.form.get("amount", ""), field="amount"),
            accepted_at=clock.now(),
            note=_note(),
            by=principal().actor,
            now=clock.now(),
        )
    flash(translate("A second officer has to approve this."), "success")
    return redirect(url_for("staff_clearing.index"))
