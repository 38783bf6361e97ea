"""``/me/journeys``: where the card went, what each ride cost and why; one step to say that something is wrong."""

from datetime import datetime
from itertools import groupby
from typing import Final
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from app.kernel import clock
from app.kernel.errors import Conflict, Invalid
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import translate
from card import cards, transit
from card.fares import State
from portal.kit import journeys as words

blueprint = Blueprint("journeys", __name__, url_prefix="/me/journeys")
PAGE: Final = 30


def _moment(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


@blueprint.get("")
@allow(Role.RESIDENT)
def index() -> str:
    """The journeys of this city's card, day by day, and rides in other cities."""
    holder = principal().person_id
    before = _moment(request.args.get("before"))
    with transaction() as session:
        found = transit.journeys_of_holder(session, holder, before=before, limit=PAGE + 1)
        stops = transit.stops_by_id(session)
        lines = {line.id: line for line in transit.lines_of(session)}
        numbers = [card.number for card in cards.cards_of(session, holder)]
        away = transit.foreign_rides(session, numbers) if before is None else []
        owed_minor = transit.debts_of(session, holder)
    shown = found[:PAGE]
    days = [
        (
            day,
            [
                (journey, words.title(journey, stops, lines), words.state_of(journey.state), lines.get(journey.line_id))
                for journey in group
            ],
        )
        for day, group in groupby(shown, key=lambda journey: journey.card_day)
    ]
    return render_template(
        "resident/journeys/index.html",
        days=days,
        named=words.named,
        away=[(datetime.fromisoformat(claim["event_at"]), claim["acquirer"], -claim["amount_minor"]) for claim, _ in away],
        cities=words.CITY_NAMES,
        owed_minor=owed_minor,
        older=url_for("journeys.index", before=shown[-1].started_at.isoformat()) if len(found) > PAGE else None,
        newer=url_for("journeys.index") if before else None,
    )


def _show(journey_id: UUID, errors: dict[str, str] | None = None, status: int = 200) -> tuple[str, int]:
    with transaction() as session:
        journey = transit.journey(session, journey_id, holder_id=principal().person_id)
        stops = transit.stops_by_id(session)
        lines = transit.lines_of(session, journey.operator_id)
        operator = transit.operator(session, journey.operator_id)
        history = transit.postings_of_day(
            session, card_number=journey.card_number, day=journey.card_day, operator_id=journey.operator_id
        )
        taps = transit.taps_of_journey(session, journey)
        claimed = transit.claimed_in(session, journey)
        asked = transit.contests_of_journey(session, card_number=journey.card_number, key=journey.key)
        tariff = next((one for one in transit.tariff_views(session, journey.operator_id) if one.id == journey.tariff_id), None)
    by_id = {line.id: line for line in lines}
    page = render_template(
        "resident/journeys/show.html",
        journey=journey,
        title=words.title(journey, stops, by_id),
        state=words.state_of(journey.state),
        steps=[(words.explain(step, stops), step.amount_minor) for step in journey.steps],
        operator=words.named(operator.names),
        line=words.lines_used(journey, lines),
        map=words.line_map(journey, lines, stops),
        taps=[(tap, words.stop_name(stops, tap.stop_id)) for tap in taps],
        tap_kinds=words.tap_kinds(),
        claimed=claimed,
        history=words.changes(history) if len(history) > 1 else [],
        tariff=tariff,
        tariff_name=words.named(tariff.names) if tariff else None,
        incomplete=journey.state in (State.MISSING_ENTRY, State.MISSING_EXIT),
        asked=[(one, words.contest_state(one), words.stop_name(stops, one.claimed_stop)) for one in asked],
        can_ask=not any(one.state is transit.ContestState.OPEN for one in asked),
        choices=[(line_name, found) for line_name, found in words.stop_choices(lines, stops)],
        errors=errors or {},
    )
    return page, status


@blueprint.get("/<uuid:journey_id>")
@allow(Role.RESIDENT)
def show(journey_id: UUID) -> tuple[str, int]:
    """One journey: the way on the map, the price in words, how it changed, and a question about it."""
    return _show(journey_id)


@blueprint.post("/<uuid:journey_id>/contest")
@allow(Role.RESIDENT)
def contest(journey_id: UUID) -> tuple[str, int] | Response:
    """Say that something is wrong."""
    try:
        with transaction() as session:
            transit.contest(
                session,
                journey_id=journey_id,
                holder_id=principal().person_id,
                claimed_stop=request.form.get("claimed_stop", ""),
                words=request.form.get("words", ""),
                now=clock.now(),
            )
    except Invalid as refusal:
        return _show(journey_id, {field: translate(text) for field, text in refusal.fields.items()}, refusal.status)
    except Conflict as refusal:
        flash(translate(refusal.sentence), "error")
    else:
        flash(gettext("Sent to the operator. The answer will stand on this page."), "success")
    return redirect(url_for("journeys.show", journey_id=journey_id))
