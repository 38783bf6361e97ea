"""A resident's applications: the list, one with its timeline, its correction, its decision."""

from uuid import UUID

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from app.kernel import clock
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import translate
from portal.kit import cases
from services import applications, catalogue, documents
from services.applications import State

blueprint = Blueprint("applications", __name__, url_prefix="/me/applications")


@blueprint.get("")
@allow(Role.RESIDENT)
def show_all() -> str:
    """Every application, the newest first."""
    with transaction() as session:
        found = applications.of_person(session, principal().person_id)
        names = {
            (each.item_code, each.item_version): catalogue.item(session, each.item_code, each.item_version).name
            for each in found
        }
    return render_template(
        "resident/applications/list.html",
        drafts=[each for each in found if each.state is State.DRAFT],
        others=[each for each in found if each.state is not State.DRAFT],
        names=names,
        state_name=cases.state_told,
        tone=cases.tone,
    )


@blueprint.get("/<uuid:application_id>")
@allow(Role.RESIDENT)
def show(application_id: UUID) -> str | AnyResponse:
    """One application: where it stands, what comes next, what has happened."""
    with transaction() as session:
        case = applications.case(session, application_id, now=clock.now(), person_id=principal().person_id)
        papers = documents.papers(session, cases.paper_ids(case))
        certificate = documents.certificate_about(session, f"application:{application_id}")
    if case.state is State.DRAFT:
        return redirect(url_for("apply.resume", application_id=application_id))
    return render_template(
        "resident/applications/show.html",
        case=case,
        item=case.item,
        state=case.state.value,
        state_name=cases.state_told(case.state),
        tone=cases.tone(case.state),
        answers=cases.answers(case, papers),
        timeline=[*cases.stops(case.public_events), *cases.ahead(case)],
        due=cases.due_sentence(case.promised) if case.promised else "",
        asked=[(case.item.field(code), case.item.step_of(code), note) for code, note in case.open_correction.fields.items()]
        if case.open_correction
        else [],
        certificate=certificate,
        done=request.args.get("done"),
        may_withdraw=State.WITHDRAWN in applications.MOVES[case.state],
    )


@blueprint.post("/<uuid:application_id>/correction")
@allow(Role.RESIDENT)
def correct(application_id: UUID) -> AnyResponse:
    """Send what was corrected."""
    with transaction() as session:
        applications.answer_correction(session, application_id=application_id, person_id=principal().person_id, now=clock.now())
    flash(translate("Thank you. The office has your correction and goes on."), "success")
    return redirect(url_for("applications.show", application_id=application_id), 303)


@blueprint.post("/<uuid:application_id>/withdraw")
@allow(Role.RESIDENT)
def withdraw(application_id: UUID) -> AnyResponse:
    """Take the application back."""
    with transaction() as session:
        applications.withdraw(session, application_id=application_id, person_id=principal().person_id, now=clock.now())
    flash(translate("The application is withdrawn."), "success")
    return redirect(url_for("applications.show_all"), 303)


@blueprint.get("/<uuid:application_id>/decision.pdf")
@allow(Role.RESIDENT)
def decision(application_id: UUID) -> Response:
    """The signed decision."""
    with transaction() as session:
        case = applications.case(session, application_id, now=clock.now(), person_id=principal().person_id)
        certificate = documents.certificate_about(session, f"application:{application_id}")
        if certificate is None:
            raise documents.NoSuchDocument(str(application_id))
        pdf = documents.certificate_file(session, certificate.id)
    headers = {"Content-Disposition": f'attachment; filename="decision-{case.summary.reference}.pdf"'}
    return Response(pdf, content_type="application/pdf", headers=headers)
