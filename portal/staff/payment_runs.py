"""``/staff/payment-runs``: pensions awaiting approval; runs prepared, approved by another, sent, reconciled; what came back."""

from collections.abc import Callable
from datetime import date
from typing import Final
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from app.kernel import clock
from app.kernel.errors import Invalid, Refusal
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import translate
from card import benefits
from card.benefits import ItemState, RunState
from portal.kit import care

blueprint = Blueprint("staff_payment_runs", __name__, url_prefix="/staff/payment-runs")
STAFF: Final = (Role.OFFICER, Role.SUPERVISOR)


def _words(refusal: Refusal) -> str:
    if isinstance(refusal, Invalid) and refusal.fields:
        return " ".join(translate(text) for text in refusal.fields.values())
    return translate(type(refusal).sentence, **refusal.params)


def _try(act: Callable[[], object], done: str, to: str) -> Response:
    """Act, say what happened, and go on to ``to``; a refusal is said in its own words."""
    try:
        act()
        flash(done, "success")
    except Refusal as refusal:
        flash(_words(refusal), "error")
    return redirect(to)


def _run_address(run_id: UUID) -> str:
    return url_for("staff_payment_runs.run", run_id=run_id)


def _months(today: date) -> list[date]:
    """The months that may be prepared: the present one and the next."""
    following = date(today.year + today.month // 12, today.month % 12 + 1, 1)
    return [today.replace(day=1), following]


@blueprint.get("")
@allow(*STAFF)
def show() -> str:
    """All runs, and what waits: pensions to approve, awards suspended, payments to issue again."""
    today = clock.civil_date(clock.now())
    with transaction() as session:
        runs = benefits.runs(session)
        waiting = benefits.awards_waiting(session)
        suspended = benefits.awards_suspended(session)
        names = care.names_of(session, [award.holder_id for award in [*waiting, *suspended]])
    to_reissue = [item for run in runs for item in run.items if item.state is ItemState.RETURNED and not item.reissued]
    return render_template(
        "staff/payment_runs/list.html",
        runs=[(run, translate(care.RUN_KINDS[run.kind]), *care.labelled(care.RUN_STATES, run.state.value)) for run in runs],
        waiting=[
            (award, names.get(award.holder_id, award.reference), [care.told(step) for step in award.steps]) for award in waiting
        ],
        suspended=[(award, names.get(award.holder_id, award.reference)) for award in suspended],
        to_reissue=to_reissue,
        to_reissue_minor=sum(item.amount_minor for item in to_reissue),
        months=_months(today),
        next_year=date(today.year + 1, 12, 31),
        me=principal().actor,
    )


@blueprint.post("/prepare")
@allow(*STAFF)
def prepare() -> Response:
    """Reckon a month's regular run."""
    month = care.day(request.form.get("month", ""))
    if month is None:
        flash(gettext("Choose a month."), "error")
        return redirect(url_for("staff_payment_runs.show"))
    try:
        with transaction() as session:
            run_id = benefits.prepare_run(session, month=month, by=principal().actor, now=clock.now())
    except Refusal as refusal:
        flash(_words(refusal), "error")
        return redirect(url_for("staff_payment_runs.show"))
    flash(gettext("Prepared. Somebody else approves it."), "success")
    return redirect(_run_address(run_id))


@blueprint.post("/reissue")
@allow(*STAFF)
def reissue() -> Response:
    """Prepare a run that issues every returned payment again, onto cards."""
    try:
        with transaction() as session:
            run_id = benefits.prepare_reissue(session, by=principal().actor, now=clock.now())
    except Refusal as refusal:
        flash(_words(refusal), "error")
        return redirect(url_for("staff_payment_runs.show"))
    flash(gettext("Prepared. Somebody else approves it."), "success")
    return redirect(_run_address(run_id))


@blueprint.get("/<uuid:run_id>")
@allow(*STAFF)
def run(run_id: UUID) -> str:
    """One run: its figures, its items, what may be done with it now."""
    with transaction() as session:
        found = benefits.run(session, run_id)
        names = care.names_of(session, [item.award.holder_id for item in found.items])
    return render_template(
        "staff/payment_runs/run.html",
        run=found,
        totals=found.totals,
        kind=translate(care.RUN_KINDS[found.kind]),
        state=care.labelled(care.RUN_STATES, found.state.value),
        items=[
            (
                item,
                names.get(item.award.holder_id, item.award.reference),
                care.award_name(item.award.code),
                translate(care.CHANNELS[item.channel]),
                [care.told(step) for step in item.steps],
                *care.labelled(care.ITEM_STATES, item.state.value),
            )
            for item in found.items
        ],
        states=RunState,
        sent=ItemState.SENT,
        mine=found.prepared_by == principal().actor,
    )


@blueprint.post("/<uuid:run_id>/approve")
@allow(Role.SUPERVISOR)
def approve(run_id: UUID) -> Response:
    """A supervisor, not the preparer, approves."""

    def act() -> None:
        with transaction() as session:
            benefits.approve_run(session, run_id=run_id, by=principal().actor, now=clock.now())

    return _try(act, gettext("Approved. It may be sent now."), _run_address(run_id))


@blueprint.post("/<uuid:run_id>/reject")
@allow(Role.SUPERVISOR)
def reject(run_id: UUID) -> Response:
    """A supervisor sends the run back with a reason."""

    def act() -> None:
        with transaction() as session:
            benefits.reject_run(
                session, run_id=run_id, reason=request.form.get("reason", ""), by=principal().actor, now=clock.now()
            )

    return _try(act, gettext("Rejected. The month may be prepared again."), _run_address(run_id))


@blueprint.post("/<uuid:run_id>/send")
@allow(*STAFF)
def send(run_id: UUID) -> Response:
    """Pay: onto cards at once, the rest through the bank's file."""

    def act() -> None:
        with transaction() as session:
            benefits.send_run(session, run_id=run_id, by=principal().actor, now=clock.now())

    return _try(act, gettext("Sent. Payments onto cards are there already; the bank reports the others."), _run_address(run_id))


@blueprint.get("/<uuid:run_id>/file")
@allow(*STAFF)
def file(run_id: UUID) -> Response:
    """The run's file as it was sent."""
    with transaction() as session:
        found = benefits.file_of(session, run_id)
    response = Response(found.text, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{found.name}"'
    return response


@blueprint.post("/<uuid:run_id>/items/<uuid:item_id>/bank")
@allow(*STAFF)
def bank(run_id: UUID, item_id: UUID) -> Response:
    """What the bank reports of one payment: made, or sent back with a reason."""
    came_back = request.form.get("answer") == "returned"

    def act() -> None:
        with transaction() as session:
            if came_back:
                benefits.bank_returned(
                    session, item_id=item_id, reason=request.form.get("reason", ""), by=principal().actor, now=clock.now()
                )
            else:
                benefits.bank_paid(session, item_id=item_id, by=principal().actor, now=clock.now())

    done = gettext("Returned: the money is back in the fund.") if came_back else gettext("Paid.")
    return _try(act, done, _run_address(run_id))


@blueprint.post("/<uuid:run_id>/close")
@allow(*STAFF)
def close(run_id: UUID) -> Response:
    """Close a run in which everything has come to rest."""

    def act() -> None:
        with transaction() as session:
            benefits.close_run(session, run_id=run_id, by=principal().actor, now=clock.now())

    return _try(act, gettext("Closed."), _run_address(run_id))


@blueprint.post("/awards/<uuid:award_id>/approve")
@allow(*STAFF)
def approve_pension(award_id: UUID) -> Response:
    """Another officer approves a computed pension."""

    def act() -> None:
        with transaction() as session:
            benefits.approve_pension(session, award_id=award_id, by=principal().actor, now=clock.now())

    return _try(act, gettext("The pension is approved."), url_for("staff_payment_runs.show"))


@blueprint.post("/awards/<uuid:award_id>/confirm")
@allow(*STAFF)
def confirm(award_id: UUID) -> Response:
    """The yearly confirmation is in: payment resumes with the next run."""
    until = care.day(request.form.get("until", ""))
    if until is None:
        flash(gettext("Enter until when it holds."), "error")
        return redirect(url_for("staff_payment_runs.show"))

    def act() -> None:
        with transaction() as session:
            benefits.confirm_qualification(session, award_id=award_id, until=until, by=principal().actor, now=clock.now())

    return _try(act, gettext("Confirmed. What was held is paid with the next run."), url_for("staff_payment_runs.show"))
