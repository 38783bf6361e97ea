"""``/staff/rides``: codes shown twice, rides not paid, who bears them, and how much may be risked."""

from decimal import Decimal, InvalidOperation
from typing import Final
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from app.kernel import clock
from app.kernel.errors import Invalid, Refusal, msg
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import translate
from card import clearing, transit
from card.credentials import numbers
from card.transit import FraudState
from portal.kit import journeys as words
from portal.kit import rides

blueprint = Blueprint("staff_rides", __name__, url_prefix="/staff/rides")
STAFF: Final = (Role.OFFICER, Role.SUPERVISOR, Role.ADMINISTRATOR)
APPROVERS: Final = (Role.SUPERVISOR, Role.ADMINISTRATOR)
YUAN_MAX: Final = 1_000_000


def _fen(text: str, *, field: str) -> int:
    """Yuan as typed, in fen."""
    try:
        amount = Decimal(text.strip().replace("¥", "") or "0")
    except InvalidOperation:
        amount = Decimal(-1)
    if not 0 <= amount <= YUAN_MAX or amount != amount.quantize(Decimal("0.01")):
        raise Invalid(field, fields={field: msg("Enter an amount of zero or more.")})
    return int(amount * 100)


def _said(refusal: Refusal) -> str:
    if isinstance(refusal, Invalid) and refusal.fields:
        return " ".join(translate(text) for text in refusal.fields.values())
    return translate(refusal.sentence, **refusal.params)


def _approver() -> bool:
    return bool(principal().roles & set(APPROVERS))


@blueprint.get("")
@allow(*STAFF)
def index() -> str:
    """What waits for a decision, and what stands open at whose risk."""
    with transaction() as session:
        operators = {one.id: words.named(one.names) for one in transit.operators(session)}
        cases = transit.fraud_cases(session)
        debts = transit.open_debts(session)
        exposure = transit.exposure(session, "issuer")
        asked = transit.contests_elsewhere(session)
    return render_template(
        "staff/rides/index.html",
        cases=[(one, rides.case_state(one), numbers.masked(one.card_number), rides.case_reason(one)) for one in cases],
        waiting=sum(one.state in (FraudState.OPEN, FraudState.PREPARED) for one in cases),
        debts=[
            (
                one,
                numbers.masked(one.card_number),
                operators.get(one.operator_id or "") or words.city(one.city or ""),
                rides.liability_reason(one.reason),
                rides.bearer(one.liability),
                one.waiting is not None and one.waiting.prepared_by == principal().actor,
            )
            for one in debts
        ],
        exposure=exposure,
        asked=[
            (
                one,
                words.contest_state(one),
                words.city(one.operator_id.partition(":")[2]),
                numbers.masked(one.card_number),
            )
            for one in asked
        ],
        approver=_approver(),
    )


def _case(case_id: UUID, errors: dict[str, str] | None = None, status: int = 200) -> tuple[str, int]:
    with transaction() as session:
        found = transit.fraud_case(session, case_id)
        stops = transit.stops_by_id(session)
        lines = {line.id: line for line in transit.lines_of(session)}
        operators = {one.id: words.named(one.names) for one in transit.operators(session)}
    kinds = words.tap_kinds()
    page = render_template(
        "staff/rides/case.html",
        case=found,
        state=rides.case_state(found),
        why=rides.case_reason(found),
        bearer=rides.bearer(found.bearer),
        card=numbers.masked(found.card_number),
        issuer=words.CITY_NAMES.get(found.issuer, {"en": found.issuer, "zh_Hans_CN": found.issuer}),
        taps=[
            (
                tap,
                rides.place(tap.stop_id, tap.line_id, stops, lines),
                operators.get(tap.operator_id, tap.operator_id),
                kinds[tap.kind],
            )
            for tap in found.taps
        ],
        approver=_approver(),
        errors=errors or {},
    )
    return page, status


@blueprint.get("/cases/<uuid:case_id>")
@allow(*STAFF)
def case(case_id: UUID) -> tuple[str, int]:
    """One code shown twice: the evidence and the decision."""
    return _case(case_id)


@blueprint.post("/cases/<uuid:case_id>")
@allow(*STAFF)
def decide(case_id: UUID) -> tuple[str, int] | Response:
    """Say which tap was the rider's own and what the other was."""
    try:
        with transaction() as session:
            state = transit.decide_fraud(
                session,
                case_id=case_id,
                confirmed=request.form.get("decision") == "confirm",
                genuine=request.form.get("genuine", ""),
                covered_minor=_fen(request.form.get("covered", ""), field="covered"),
                answer=request.form.get("answer", ""),
                by=principal().actor,
                now=clock.now(),
            )
    except Invalid as refusal:
        return _case(case_id, {field: translate(text) for field, text in refusal.fields.items()}, refusal.status)
    waits = state is FraudState.PREPARED
    flash(gettext("A second officer has to approve the payment.") if waits else gettext("Decided."), "success")
    return redirect(url_for("staff_rides.case", case_id=case_id))


@blueprint.post("/cases/<uuid:case_id>/approval")
@allow(*APPROVERS)
def approve(case_id: UUID) -> Response:
    """Pay the operator, or hand the case back."""
    try:
        with transaction() as session:
            transit.approve_fraud(
                session,
                case_id=case_id,
                approved=request.form.get("decision") == "approve",
                by=principal().actor,
                now=clock.now(),
            )
        flash(gettext("Decided."), "success")
    except Refusal as refusal:
        flash(_said(refusal), "error")
    return redirect(url_for("staff_rides.case", case_id=case_id))


@blueprint.post("/debts/<uuid:debt_id>/write-off")
@allow(*STAFF)
def write_off(debt_id: UUID) -> Response:
    """Prepare giving up a debt."""
    try:
        with transaction() as session:
            transit.propose_write_off(
                session, debt_id=debt_id, reason=request.form.get("reason", ""), by=principal().actor, now=clock.now()
            )
        flash(gettext("A second officer has to approve this."), "success")
    except Refusal as refusal:
        flash(_said(refusal), "error")
    return redirect(url_for("staff_rides.index"))


@blueprint.post("/write-offs/<uuid:write_off_id>")
@allow(*APPROVERS)
def decide_write_off(write_off_id: UUID) -> Response:
    """Approve giving up a debt that somebody else prepared, or refuse it."""
    try:
        with transaction() as session:
            transit.decide_write_off(
                session,
                write_off_id=write_off_id,
                approve=request.form.get("decision") == "approve",
                by=principal().actor,
                now=clock.now(),
            )
        flash(gettext("Decided."), "success")
    except Refusal as refusal:
        flash(_said(refusal), "error")
    return redirect(url_for("staff_rides.index"))


@blueprint.post("/debts/<uuid:debt_id>/ask")
@allow(*STAFF)
def ask_city(debt_id: UUID) -> Response:
    """Open a dispute about a ride on a blocked card in another city: its operator bears it."""
    try:
        with transaction() as session:
            found = transit.debt(session, debt_id)
            if found.record_id is None:
                raise transit.UnknownDebt(str(debt_id))
            dispute_id = clearing.open_on_record(
                session,
                record_id=found.record_id,
                asked_minor=found.amount_minor - found.left_minor,
                note=f"{found.reason.value}: the card stood on our deny list",
                by=principal().actor,
                now=clock.now(),
            )
        flash(gettext("The other city has been asked."), "success")
        return redirect(url_for("staff_clearing.dispute", dispute_id=dispute_id))
    except Refusal as refusal:
        flash(_said(refusal), "error")
    return redirect(url_for("staff_rides.index"))


@blueprint.post("/questions/<uuid:contest_id>")
@allow(*STAFF)
def answer(contest_id: UUID) -> Response:
    """Answer a rider who asked about a charge from another city."""
    try:
        with transaction() as session:
            found = next((one for one in transit.contests_elsewhere(session) if one.id == contest_id), None)
            if found is None:
                raise transit.UnknownContest(str(contest_id))
            transit.decide_contest(
                session,
                contest_id=contest_id,
                operator_id=found.operator_id,
                upheld=False,
                answer=request.form.get("answer", ""),
                by=principal().actor,
                now=clock.now(),
            )
        flash(gettext("Answered. The rider sees it with the journey."), "success")
    except Refusal as refusal:
        flash(_said(refusal), "error")
    return redirect(url_for("staff_rides.index"))


@blueprint.post("/budget")
@allow(*APPROVERS)
def set_budget() -> Response:
    """How much may stand open at the city's risk."""
    try:
        with transaction() as session:
            limit = _fen(request.form.get("limit", ""), field="limit")
            transit.set_budget(session, bearer="issuer", limit_minor=limit, by=principal().actor, now=clock.now())
        flash(gettext("Set."), "success")
    except Refusal as refusal:
        flash(_said(refusal), "error")
    return redirect(url_for("staff_rides.index"))
