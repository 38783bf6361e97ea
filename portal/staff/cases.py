"""``/staff/cases``: the office's queue, a case with its clocks, corrections, decisions, and the second pair of eyes."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from app.kernel import clock
from app.kernel.clock import civil_date
from app.kernel.errors import Invalid, msg
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import language, translate
from portal.kit import cases
from services import applications, catalogue, documents, people
from services.applications import Case, Outcome, State, Summary

blueprint = Blueprint("cases", __name__, url_prefix="/staff/cases")

OFFICE: Final = (Role.OFFICER, Role.SUPERVISOR)
VIEWS: Final[dict[str, tuple[str, frozenset[State]]]] = {
    "open": (msg("To claim"), frozenset({State.SUBMITTED})),
    "mine": (msg("My cases"), frozenset({State.IN_REVIEW, State.CORRECTION, State.PREPARED})),
    "check": (msg("Decisions to check"), frozenset({State.PREPARED})),
    "waiting": (msg("With the applicant"), frozenset({State.CORRECTION, State.FEE_DUE})),
    "decided": (msg("Decided"), frozenset({State.APPROVED, State.REFUSED, State.WITHDRAWN})),
}


@blueprint.get("")
@allow(*OFFICE)
def queue() -> str:
    """The queue, those due first on top."""
    is_supervisor = Role.SUPERVISOR in principal().roles
    view = request.args.get("view", "check" if is_supervisor else "open")
    if view not in VIEWS:
        view = "open"
    mine = principal().person_id if view == "mine" else None
    with transaction() as session:
        found = applications.queue(session, states=VIEWS[view][1], officer_id=mine)
        counts = applications.counts(session)
        own = applications.queue(session, states=VIEWS["mine"][1], officer_id=principal().person_id)
        rows = [(each, *_who_and_what(session, each)) for each in found]
    today = civil_date(clock.now())
    return render_template(
        "staff/cases/queue.html",
        rows=rows,
        view=view,
        views=[
            (code, name, len(own) if code == "mine" else sum(counts.get(state, 0) for state in states))
            for code, (name, states) in VIEWS.items()
        ],
        state_name=cases.state_name,
        tone=cases.tone,
        days_left=lambda due_on: cases.days_left(due_on, today),
    )


def _who_and_what(session: Session, found: Summary) -> tuple[str, catalogue.Words]:
    person = people.get(session, found.person_id)
    return person.called(language()), catalogue.item(session, found.item_code, found.item_version).name


@blueprint.get("/<uuid:application_id>")
@allow(*OFFICE)
def show(application_id: UUID) -> str:
    """One case."""
    return _page(application_id)[0]


def _page(application_id: UUID, refusal: Invalid | None = None) -> tuple[str, int]:
    me = principal().person_id
    with transaction() as session:
        case = applications.case(session, application_id, now=clock.now())
        applications.look_at(session, application_id=application_id, actor=principal().actor, office=_office(), now=clock.now())
        person = people.get(session, case.summary.person_id)
        papers = documents.papers(session, cases.paper_ids(case))
        certificate = documents.certificate_about(session, f"application:{application_id}")
        names = _names(session, case)
    today = civil_date(clock.now())
    shown = render_template(
        "staff/cases/show.html",
        case=case,
        item=case.item,
        applicant=person,
        applicant_name=person.called(language()),
        state=case.state.value,
        state_name=cases.state_name(case.state),
        tone=cases.tone(case.state),
        answers=cases.answers(case, papers),
        timeline=[*cases.stops(case.events, names), *cases.ahead(case)],
        promised_left=cases.days_left(case.promised.deadline.on, today) if case.promised and case.promised.deadline else None,
        certificate=certificate,
        names=names,
        is_mine=case.summary.officer_id == me,
        is_supervisor=Role.SUPERVISOR in principal().roles,
        prepared_by_me=case.decision is not None and case.decision.prepared_by == me,
        tones={"yes": "good", "no": "bad", "maybe": "wait"},
        errors={field: translate(text) for field, text in refusal.fields.items()} if refusal else {},
        given=request.form,
    )
    return shown, refusal.status if refusal else 200


def _office() -> str:
    """The post that the applicant is told of."""
    return msg("Supervisor") if Role.SUPERVISOR in principal().roles else msg("Case officer")


def _names(session: Session, case: Case) -> dict[str, str]:
    """The people behind the timeline's actors."""
    ids = {event.actor.removeprefix("person:") for event in case.events if event.actor.startswith("person:")}
    return {f"person:{each}": people.get(session, UUID(each)).called(language()) for each in ids}


def _act(application_id: UUID, act: Callable[[Session], None], said: str) -> AnyResponse | tuple[str, int]:
    """Do one thing with a case, and show the case again; what the form got wrong is named on it."""
    try:
        with transaction() as session:
            act(session)
    except Invalid as refusal:
        return _page(application_id, refusal)
    flash(translate(said), "success")
    return redirect(url_for("cases.show", application_id=application_id), 303)


@blueprint.post("/<uuid:application_id>/claim")
@allow(*OFFICE)
def claim(application_id: UUID) -> AnyResponse | tuple[str, int]:
    """Take the case."""
    me, now = principal().person_id, clock.now()
    return _act(
        application_id,
        lambda session: applications.claim(session, application_id=application_id, officer_id=me, now=now),
        msg("The case is yours."),
    )


@blueprint.post("/<uuid:application_id>/release")
@allow(*OFFICE)
def release(application_id: UUID) -> AnyResponse | tuple[str, int]:
    """Give the case back."""
    me, now = principal().person_id, clock.now()
    return _act(
        application_id,
        lambda session: applications.release(session, application_id=application_id, officer_id=me, now=now),
        msg("The case is back in the queue."),
    )


@blueprint.post("/<uuid:application_id>/correction")
@allow(*OFFICE)
def correction(application_id: UUID) -> AnyResponse | tuple[str, int]:
    """Ask the applicant to correct what is ticked."""
    me, now = principal().person_id, clock.now()
    notes = {code: request.form.get(f"note-{code}", "") for code in request.form.getlist("fields")}
    message = request.form.get("message", "")
    return _act(
        application_id,
        lambda session: applications.ask_correction(
            session, application_id=application_id, officer_id=me, notes=notes, message=message, now=now
        ),
        msg("The applicant was asked. The clocks stand still."),
    )


@blueprint.post("/<uuid:application_id>/decision")
@allow(*OFFICE)
def prepare(application_id: UUID) -> AnyResponse | tuple[str, int]:
    """Prepare a decision for a second person."""
    me, now = principal().person_id, clock.now()
    asked, reason = request.form.get("outcome", ""), request.form.get("reason", "")
    if asked not in set(Outcome):
        return _page(application_id, Invalid(fields={"outcome": msg("Choose whether to approve or to refuse.")}))
    return _act(
        application_id,
        lambda session: applications.prepare(
            session, application_id=application_id, officer_id=me, outcome=Outcome(asked), reason=reason, now=now
        ),
        msg("The decision is prepared. A supervisor has to approve it."),
    )


@blueprint.post("/<uuid:application_id>/approve")
@allow(Role.SUPERVISOR)
def approve(application_id: UUID) -> AnyResponse | tuple[str, int]:
    """Put the decision into force."""
    me, now = principal().person_id, clock.now()
    return _act(
        application_id,
        lambda session: applications.approve(session, application_id=application_id, supervisor_id=me, now=now),
        msg("The decision is in force. The applicant is told and the signed letter is made."),
    )


@blueprint.post("/<uuid:application_id>/return")
@allow(Role.SUPERVISOR)
def send_back(application_id: UUID) -> AnyResponse | tuple[str, int]:
    """Return the decision to its officer."""
    me, now = principal().person_id, clock.now()
    because = request.form.get("because", "")

    def act(session: Session) -> None:
        try:
            applications.send_back(session, application_id=application_id, supervisor_id=me, because=because, now=now)
        except Invalid as refusal:
            raise Invalid(fields={"because": msg("Say what the officer should look at again.")}) from refusal

    return _act(application_id, act, msg("The decision went back to its officer."))


@blueprint.get("/<uuid:application_id>/papers/<uuid:document_id>")
@allow(*OFFICE)
def paper(application_id: UUID, document_id: UUID) -> Response:
    """One paper of the case; the look is recorded."""
    with transaction() as session:
        view, content = applications.paper(
            session, application_id=application_id, document_id=document_id, actor=principal().actor, now=clock.now()
        )
    disposition = "inline" if view.is_picture else "attachment"
    return Response(content, content_type=view.media_type, headers={"Content-Disposition": disposition})


@blueprint.get("/<uuid:application_id>/decision.pdf")
@allow(*OFFICE)
def decision(application_id: UUID) -> Response:
    """The signed decision."""
    with transaction() as session:
        case = applications.case(session, application_id, now=clock.now())
        certificate = documents.certificate_about(session, f"application:{application_id}")
        if certificate is None:
            raise documents.NoSuchDocument(str(application_id))
        pdf = documents.certificate_file(session, certificate.id)
    headers = {"Content-Disposition": f'inline; filename="decision-{case.summary.reference}.pdf"'}
    return Response(pdf, content_type="application/pdf", headers=headers)
