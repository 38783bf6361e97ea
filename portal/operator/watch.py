"""``/operator``: alarms, copied codes, what stands at the operator's risk, keys and enrolment tokens. Only one's own."""

from typing import Final
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from app.kernel import clock
from app.kernel.errors import Invalid, msg
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import translate
from card import transit
from card.credentials import numbers
from card.transit import FraudState, StandingKind
from portal.kit import rides
from portal.operator.asking import own_operator

blueprint = Blueprint("operator_watch", __name__, url_prefix="/operator")

STANDING: Final[dict[StandingKind, tuple[str, str]]] = {
    StandingKind.GAP: (msg("Records are missing"), "bad"),
    StandingKind.STALE_LIST: (msg("The lists are old"), "bad"),
    StandingKind.CLOCK: (msg("The clock is off"), "wait"),
    StandingKind.CERTIFICATE: (msg("The certificate ends soon"), "wait"),
}


@blueprint.get("/alarms")
@allow(Role.OPERATOR)
def alarms() -> str:
    """What is wrong now, and what happened that nobody has looked at yet."""
    operator_id, now = own_operator(), clock.now()
    with transaction() as session:
        stops = transit.stops_by_id(session)
        lines = {line.id: line for line in transit.lines_of(session, operator_id)}
        places = {
            one.id: rides.place(one.stop_id, one.line_id, stops, lines)
            for one in transit.terminals_of(session, operator_id, now=now)
        }
        standing = transit.standing_alarms(session, operator_id, now=now)
        happened = transit.happened_alarms(session, operator_id)
        unseen = transit.unseen_alarms(session, operator_id)
        found = transit.fraud_cases(session, operator_id=operator_id)
        exposure = transit.exposure(session, operator_id)
        debts = transit.open_debts(session, bearer=operator_id)
    return render_template(
        "operator/alarms.html",
        standing=[
            (
                one,
                translate(STANDING[one.kind][0]),
                STANDING[one.kind][1],
                places.get(one.terminal_id, ""),
                ", ".join(f"{first}–{last}" if first != last else str(first) for first, last in one.missing),
            )
            for one in standing
        ],
        unseen=unseen,
        happened=[(one, rides.alarm(one.kind), places.get(one.terminal_id, "")) for one in happened],
        cases=[(one, rides.case_state(one), numbers.masked(one.card_number), rides.case_reason(one)) for one in found],
        waiting=sum(one.state in (FraudState.OPEN, FraudState.PREPARED) for one in found),
        exposure=exposure,
        debts=[(one, numbers.masked(one.card_number), rides.liability_reason(one.reason)) for one in debts],
    )


@blueprint.post("/alarms/<uuid:alarm_id>")
@allow(Role.OPERATOR)
def seen(alarm_id: UUID) -> Response:
    """Say what an alarm was."""
    try:
        with transaction() as session:
            transit.look_at_alarm(
                session,
                alarm_id=alarm_id,
                operator_id=own_operator(),
                note=request.form.get("note", ""),
                by=principal().actor,
                now=clock.now(),
            )
    except Invalid as refusal:
        flash(" ".join(translate(text) for text in refusal.fields.values()), "error")
    else:
        flash(gettext("Noted."), "success")
    return redirect(url_for("operator_watch.alarms"))


@blueprint.get("/keys")
@allow(Role.OPERATOR)
def keys() -> str:
    """Enrolment tokens that still work, and the key and certificate of every terminal."""
    operator_id, now = own_operator(), clock.now()
    with transaction() as session:
        stops = transit.stops_by_id(session)
        lines = {line.id: line for line in transit.lines_of(session, operator_id)}
        terminals = transit.terminal_keys(session, operator_id)
        tokens = transit.enrolments_of(session, operator_id, now=now)
    return render_template(
        "operator/keys.html",
        tokens=[(one, rides.place(one.stop_id, one.line_id, stops, lines)) for one in tokens],
        terminals=[(one, rides.place(one.stop_id, one.line_id, stops, lines)) for one in terminals],
        now=now,
    )


@blueprint.post("/keys/tokens/<uuid:enrolment_id>/revoke")
@allow(Role.OPERATOR)
def revoke_token(enrolment_id: UUID) -> Response:
    """A token that got into the wrong hands enrols nothing any more."""
    with transaction() as session:
        transit.revoke_enrolment(
            session, enrolment_id=enrolment_id, operator_id=own_operator(), by=principal().actor, now=clock.now()
        )
    flash(gettext("The token is revoked."), "success")
    return redirect(url_for("operator_watch.keys"))
