"""``/me/journeys``: where the card went, what each ride cost and why; one step to say that something is wrong."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from app.kernel import clock
from app.kernel.errors import Conflict, Invalid
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import translate
from card import cards, ledger, transit
from card.fares import State
from portal.kit import journeys as words
from portal.kit import rides, yuan
from portal.kit.dates import moment

blueprint = Blueprint("journeys", __name__, url_prefix="/me/journeys")
PAGE: Final = 30
LATE: Final = timedelta(hours=1)


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
        away = transit.rides_elsewhere(session, numbers) if before is None else []
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
        away=[(ride, words.told(ride.explanation) if ride.explanation and ride.settled else []) for ride in away],
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
        booked = [one for one in history if _is_booked(session, one.id)]
        day = transit.taps_of_card_day(session, journey)
        placed = transit.put_in_place(session, journey)
        asked = transit.contests_of_journey(session, journey)
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
        taps=_taps(journey, day, placed, stops, by_id),
        placed=[(one, words.stop_name(stops, one.stop_id)) for one in placed],
        history=words.changes(history, day, stops) if history else [],
        receipts=booked,
        tariff=tariff,
        tariff_name=words.named(tariff.names) if tariff else None,
        incomplete=journey.state in (State.MISSING_ENTRY, State.MISSING_EXIT),
        guessed=next((one.kind for one in placed if one.source == "habit"), None),
        asked=[(one, words.contest_state(one), words.stop_name(stops, one.claimed_stop)) for one in asked],
        can_ask=not any(one.state is transit.ContestState.OPEN for one in asked),
        choices=[(line_name, found) for line_name, found in words.stop_choices(lines, stops)],
        errors=errors or {},
    )
    return page, status


def _is_booked(session: Session, transfer_id: UUID) -> bool:
    """Whether money moved under this very id; a debt or a correction may have moved under others."""
    try:
        ledger.transfer(session, transfer_id)
    except ledger.UnknownTransfer:
        return False
    return True


def _taps(
    journey: transit.JourneyView,
    day: Mapping[str, transit.TapView],
    placed: Sequence[transit.PutInPlace],
    stops: Mapping[str, transit.Place],
    lines: Mapping[str, transit.LineView],
) -> list[tuple[str, str, datetime, datetime | None, str]]:
    """The journey's taps in the order of travel: kind, stop, when, when it arrived (a late one), and how it is marked."""
    kinds = words.tap_kinds()
    found: list[tuple[str, str, datetime, datetime | None, str]] = []
    for key in journey.taps:
        if key in day:
            tap = day[key]
            late = tap.received_at if tap.received_at - tap.at > LATE else None
            found.append((kinds[tap.kind], rides.place(tap.stop_id, tap.line_id, stops, lines), tap.at, late, ""))
    for one in placed:
        found.append((kinds[one.kind], words.stop_name(stops, one.stop_id), one.at, None, words.put_name(one.source)))
    return sorted(found, key=lambda tap: tap[2])


@blueprint.get("/owed")
@allow(Role.RESIDENT)
def owed() -> str:
    """Rides that the card could not pay at the gate: what is left of each, and what was paid back when."""
    holder = principal().person_id
    with transaction() as session:
        found = transit.debts_of_holder(session, holder)
        operators = {one.id: one.names for one in transit.operators(session)}
    return render_template(
        "resident/journeys/owed.html",
        debts=[
            (
                debt,
                words.named(operators.get(debt.operator_id or "")) if debt.operator_id else None,
                words.CITY_NAMES.get(debt.city or ""),
            )
            for debt in found
        ],
        owed_minor=sum(debt.left_minor for debt in found),
    )


def _elsewhere(ride_id: UUID, errors: dict[str, str] | None = None, status: int = 200) -> tuple[str, int]:
    with transaction() as session:
        numbers = [card.number for card in cards.cards_of(session, principal().person_id)]
        ride = transit.ride_elsewhere(session, ride_id, numbers)
        if ride is None:
            raise transit.UnknownJourney(str(ride_id))
        asked = transit.contests_elsewhere(session, ride)
    explanation = ride.explanation or {}
    page = render_template(
        "resident/journeys/elsewhere.html",
        ride=ride,
        city=words.CITY_NAMES.get(ride.acquirer, {"en": ride.acquirer, "zh_Hans_CN": ride.acquirer}),
        operator=explanation.get("operator"),
        journeys=words.told(explanation) if explanation else [],
        parts=[(moment(at), yuan(amount, sign=True)) for at, amount, _ in ride.parts],
        asked=[(one, words.contest_state(one)) for one in asked],
        can_ask=not any(one.state is transit.ContestState.OPEN for one in asked),
        errors=errors or {},
    )
    return page, status


@blueprint.get("/elsewhere/<uuid:ride_id>")
@allow(Role.RESIDENT)
def elsewhere(ride_id: UUID) -> tuple[str, int]:
    """Rides of one day in another city: one price, explained by the city where they were made."""
    return _elsewhere(ride_id)


@blueprint.post("/elsewhere/<uuid:ride_id>/contest")
@allow(Role.RESIDENT)
def contest_elsewhere(ride_id: UUID) -> tuple[str, int] | Response:
    """Say that a charge from another city is wrong."""
    try:
        with transaction() as session:
            holder = principal().person_id
            transit.contest_elsewhere(
                session,
                ride_id=ride_id,
                holder_id=holder,
                card_numbers=[card.number for card in cards.cards_of(session, holder)],
                words=request.form.get("words", ""),
                now=clock.now(),
            )
    except Invalid as refusal:
        return _elsewhere(ride_id, {field: translate(text) for field, text in refusal.fields.items()}, refusal.status)
    except Conflict as refusal:
        flash(translate(refusal.sentence), "error")
    else:
        flash(gettext("Sent to your city. The answer will stand on this page."), "success")
    return redirect(url_for("journeys.elsewhere", ride_id=ride_id))


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
