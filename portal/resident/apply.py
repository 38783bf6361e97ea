"""Applying, one page at a time: every page is kept as it is sent, so it can be left and gone on with anywhere."""

from uuid import UUID

from flask import Blueprint, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from app.kernel import clock
from app.kernel.errors import Invalid, Refusal
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import language, translate
from portal.kit import cases
from services import applications, catalogue, documents
from services.applications import Case, State
from services.catalogue import FormField, Step

blueprint = Blueprint("apply", __name__, url_prefix="/me")

CHANGE = "change"
"""Set in the address of a page that was opened from the check page or a correction: it leads back there."""


@blueprint.get("/apply/<code>")
@allow(Role.RESIDENT)
def begin(code: str) -> str:
    """Before it begins: what it takes, and what was begun already."""
    with transaction() as session:
        item = catalogue.item(session, code)
        drafts = applications.drafts(session, principal().person_id, code)
        facts = applications.facts_of_person(session, principal().person_id, on=clock.civil_date(clock.now()))
    verdict = catalogue.eligibility(item, facts)
    return render_template("resident/apply/begin.html", item=item, drafts=drafts, eligibility=verdict)


@blueprint.post("/apply/<code>")
@allow(Role.RESIDENT)
def start(code: str) -> Response:
    """A new draft."""
    with transaction() as session:
        application_id = applications.start(session, person_id=principal().person_id, item_code=code, now=clock.now())
        first = _case(session, application_id).pages[0].code
    return redirect(url_for("apply.step", application_id=application_id, step_code=first), 303)


def _case(session: Session, application_id: UUID) -> Case:
    return applications.case(session, application_id, now=clock.now(), person_id=principal().person_id)


@blueprint.get("/applications/<uuid:application_id>/steps/<step_code>")
@allow(Role.RESIDENT)
def step(application_id: UUID, step_code: str) -> Response | tuple[str, int]:
    """One page."""
    with transaction() as session:
        case = _case(session, application_id)
        if step_code not in case.open_pages:
            return redirect(_onward(case))
        return _page(session, case, case.item.step(step_code))


def _page(session: Session, case: Case, page: Step, errors: dict[str, str] | None = None) -> tuple[str, int]:
    codes = [each.code for each in case.pages]
    at = codes.index(page.code)
    wallet = documents.wallet(session, principal().person_id)
    asked = case.open_correction
    shown = render_template(
        "resident/apply/step.html",
        case=case,
        item=case.item,
        page=page,
        questions=catalogue.questions(page, case.answers, case.facts),
        wallet={
            field.code: [paper for paper in wallet if paper.media_type in field.accepts]
            for field in page.fields
            if field.kind == "upload"
        },
        notes=asked.fields if asked else {},
        number=at + 1,
        total=len(codes),
        back=_back(case, codes[at - 1] if at else None),
        errors=errors or {},
    )
    return shown, 422 if errors else 200


def _back(case: Case, before: str | None) -> str:
    if case.state is State.CORRECTION:
        return url_for("applications.show", application_id=case.id)
    if request.args.get(CHANGE):
        return url_for("apply.check", application_id=case.id)
    if before:
        return url_for("apply.step", application_id=case.id, step_code=before)
    return url_for("apply.begin", code=case.item.code)


@blueprint.post("/applications/<uuid:application_id>/steps/<step_code>")
@allow(Role.RESIDENT)
def save(application_id: UUID, step_code: str) -> Response | tuple[str, int]:
    """Keep one page and go on."""
    now = clock.now()
    refused: dict[str, str] = {}
    with transaction() as session:
        case = _case(session, application_id)
        if step_code not in case.open_pages:
            return redirect(_onward(case), 303)
        page = case.item.step(step_code)
        given: dict[str, str | list[str]] = {}
        for field in catalogue.questions(page, case.answers, case.facts):
            given[field.code] = _given(session, field, refused)
        wrong = applications.save(
            session,
            application_id=application_id,
            person_id=principal().person_id,
            step_code=step_code,
            given=given,
            now=now,
        )
        case = _case(session, application_id)
        errors = {**{code: words.said(language()) for code, words in wrong.items()}, **refused}
        if errors:
            return _page(session, case, page, errors)
    return redirect(_next(case, step_code), 303)


def _given(session: Session, field: FormField, refused: dict[str, str]) -> str | list[str]:
    """What the form says to one question; a file that is refused is named in ``refused``."""
    if field.kind == "date":
        parts = [request.form.get(f"{field.code}-{part}", "").strip() for part in ("year", "month", "day")]
        return "-".join(part.zfill(2) for part in parts) if any(parts) else ""
    if field.kind != "upload":
        return request.form.get(field.code, "")
    kept = request.form.getlist(field.code)
    for file in request.files.getlist(f"{field.code}-file"):
        if not file.filename:
            continue
        try:
            paper = documents.store(
                session,
                owner_id=principal().person_id,
                filename=file.filename,
                content=file.read(documents.UPLOAD_BYTES_MAX + 1),
                accepts=field.accepts,
                now=clock.now(),
            )
        except Invalid as refusal:
            refused[field.code] = translate(refusal.sentence, **refusal.params)
        else:
            kept = [str(paper)] if field.files_max == 1 else [*kept, str(paper)]
    return kept


def _next(case: Case, step_code: str) -> str:
    """Where one goes after a page: back where one came from, or to the page that follows."""
    if case.state is State.CORRECTION:
        missing = [page for page in case.open_pages if _unanswered(case, page)]
        if missing:
            return url_for("apply.step", application_id=case.id, step_code=missing[0])
        return url_for("applications.show", application_id=case.id)
    if request.args.get(CHANGE):
        return _onward(case)
    following = catalogue.next_page(case.item, case.answers, case.facts, after=step_code)
    if following is None:
        return _onward(case)
    return url_for("apply.step", application_id=case.id, step_code=following.code)


def _unanswered(case: Case, page: str) -> bool:
    return any(field.code in case.problems for field in case.item.step(page).fields)


def _onward(case: Case) -> str:
    """The first page that is not well answered, or the check page, or the case itself once it is handed in."""
    if case.state is not State.DRAFT:
        return url_for("applications.show", application_id=case.id)
    for code in case.problems:
        page = case.item.step_of(code).code
        return url_for("apply.step", application_id=case.id, step_code=page, change=1)
    return url_for("apply.check", application_id=case.id)


@blueprint.get("/applications/<uuid:application_id>/resume")
@allow(Role.RESIDENT)
def resume(application_id: UUID) -> Response:
    """Go on where it was left."""
    with transaction() as session:
        return redirect(_onward(_case(session, application_id)))


@blueprint.get("/applications/<uuid:application_id>/check")
@allow(Role.RESIDENT)
def check(application_id: UUID) -> Response | tuple[str, int]:
    """All answers on one page, before they are handed in."""
    with transaction() as session:
        case = _case(session, application_id)
        if case.state is not State.DRAFT or case.problems:
            return redirect(_onward(case))
        return _check_page(session, case)


def _check_page(session: Session, case: Case, errors: dict[str, str] | None = None) -> tuple[str, int]:
    papers = documents.papers(session, cases.paper_ids(case))
    shown = render_template(
        "resident/apply/check.html", case=case, item=case.item, answers=cases.answers(case, papers), errors=errors or {}
    )
    return shown, 422 if errors else 200


@blueprint.post("/applications/<uuid:application_id>/submit")
@allow(Role.RESIDENT)
def submit(application_id: UUID) -> Response | tuple[str, int]:
    """Hand it in; then to the payment, or to the case."""
    declared = request.form.get("declaration") == "yes"
    try:
        with transaction() as session:
            applications.submit(
                session, application_id=application_id, person_id=principal().person_id, declared=declared, now=clock.now()
            )
            case = _case(session, application_id)
    except applications.NotDeclared as refusal:
        with transaction() as session:
            return _check_page(session, _case(session, application_id), {"declaration": _sentence(refusal)})
    if case.payment_id is not None:
        return redirect(f"/me/payments/{case.payment_id}", 303)
    return redirect(url_for("applications.show", application_id=application_id, done=1), 303)


def _sentence(refusal: Refusal) -> str:
    return translate(refusal.sentence, **refusal.params)


@blueprint.post("/applications/<uuid:application_id>/pay")
@allow(Role.RESIDENT)
def pay(application_id: UUID) -> Response:
    """To the payment that settles the fee."""
    with transaction() as session:
        payment_id = applications.start_payment(
            session, application_id=application_id, person_id=principal().person_id, now=clock.now()
        )
    return redirect(f"/me/payments/{payment_id}", 303)
