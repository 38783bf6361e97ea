"""``/operator``: a transit operator's terminals, journeys, revenue, statement and riders' questions. Only its own."""

import csv
import io
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from typing import Final
from uuid import UUID

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from app.kernel import clock
from app.kernel.errors import Conflict, Invalid, msg
from app.kernel.money import major
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import translate
from card import transit
from card.credentials import numbers
from card.fares import card_day
from card.transit import Freshness, LineView, Place, TerminalView
from portal.kit import journeys as words
from portal.kit import rides, yuan
from portal.operator import taps
from portal.operator.asking import asked_card_day, asked_day, civil_day, one_instant, own_operator

blueprint = Blueprint("operator", __name__, url_prefix="/operator")

FRESHNESS: Final[dict[Freshness, tuple[str, str]]] = {
    Freshness.FRESH: (msg("Up to date"), "good"),
    Freshness.AGEING: (msg("Not synced for over an hour"), "wait"),
    Freshness.OLD: (msg("Not synced for over a day"), "bad"),
    Freshness.EXPIRED: (msg("Lists have run out"), "bad"),
    Freshness.NEVER: (msg("Never synced"), "wait"),
    Freshness.REVOKED: (msg("Revoked"), "neutral"),
}
MODE_NAMES: Final = {
    "entry": msg("Entry gate"),
    "exit": msg("Exit gate"),
    "both": msg("Entry and exit gate"),
    "ride": msg("On a vehicle"),
}
CHART_HEIGHT: Final = 120
BAR: Final = 26
JOURNEYS: Final = 100  # of a page
PIECE: Final = 65_536  # characters of a download that go out at once


@dataclass(frozen=True, kw_only=True)
class TerminalLine:
    """A terminal as the table shows it."""

    terminal: TerminalView
    place: str
    mode: str
    state: tuple[str, str]


def _places(session: Session, operator_id: str) -> tuple[dict[str, Place], dict[str, LineView]]:
    return transit.stops_by_id(session), {line.id: line for line in transit.lines_of(session, operator_id)}


def _terminal_lines(found: Sequence[TerminalView], stops: dict[str, Place], lines: dict[str, LineView]) -> list[TerminalLine]:
    return [
        TerminalLine(
            terminal=one,
            place=rides.place(one.stop_id, one.line_id, stops, lines),
            mode=translate(MODE_NAMES[one.mode]),
            state=(translate(FRESHNESS[one.freshness][0]), FRESHNESS[one.freshness][1]),
        )
        for one in found
    ]


@blueprint.get("")
@allow(Role.OPERATOR)
def start() -> str:
    """The day at a glance."""
    operator_id, now = own_operator(), clock.now()
    today = card_day(now)
    with transaction() as session:
        operator = transit.operator(session, operator_id)
        stops, lines = _places(session, operator_id)
        terminals = transit.terminals_of(session, operator_id, now=now)
        revenue = transit.revenue_by_line(session, operator_id, on=today)
        hours = transit.revenue_by_hour(session, operator_id, on=today)
        latest = transit.taps_of_operator(session, operator_id, limit=12)
        alarms = [one for one in transit.happened_alarms(session, operator_id, limit=5) if one.seen_at is None]
        asked = [one for one in transit.contests_of_operator(session, operator_id) if one.state is transit.ContestState.OPEN]
    most = max(*hours, 1)
    places = {one.id: rides.place(one.stop_id, one.line_id, stops, lines) for one in terminals}
    return render_template(
        "operator/start.html",
        operator=words.named(operator.names),
        today=today,
        live=[one for one in terminals if one.freshness is Freshness.FRESH],
        terminals=[one for one in terminals if one.freshness is not Freshness.REVOKED],
        journeys=sum(line.journeys for line in revenue),
        revenue_minor=sum(line.charged_minor for line in revenue),
        revenue=[
            (rides.place("", line.line_id, stops, lines), line.charged_minor, yuan(line.charged_minor)) for line in revenue
        ],
        hours=[(hour, round(CHART_HEIGHT * max(value, 0) / most, 1), yuan(value)) for hour, value in enumerate(hours)],
        most=yuan(max(hours)),
        chart_height=CHART_HEIGHT,
        bar=BAR,
        taps=taps.lines_of(latest, stops, lines),
        alarms=[(one, rides.alarm(one.kind), places.get(one.terminal_id, "")) for one in alarms],
        asked=len(asked),
    )


def _terminals(errors: dict[str, str] | None = None, status: int = 200) -> tuple[str, int]:
    operator_id = own_operator()
    with transaction() as session:
        stops, lines = _places(session, operator_id)
        found = transit.terminals_of(session, operator_id, now=clock.now())
    page = render_template(
        "operator/terminals.html",
        terminals=_terminal_lines(found, stops, lines),
        stop_choices=words.stop_choices(lines.values(), stops),
        line_choices=[(line.id, words.named(line.names)) for line in lines.values()],
        has_gates=any(line.rail for line in lines.values()),
        modes=[
            (mode, translate(text))
            for mode, text in MODE_NAMES.items()
            if (mode == "ride") != any(line.rail for line in lines.values())
        ],
        values=request.form,
        errors={field: translate(text) for field, text in (errors or {}).items()},
    )
    return page, status


@blueprint.get("/terminals")
@allow(Role.OPERATOR)
def terminals() -> tuple[str, int]:
    """Every terminal, how fresh its lists are, when it was last used; and a new one's token."""
    return _terminals()


@blueprint.post("/terminals/enrolments")
@allow(Role.OPERATOR)
def create_enrolment() -> tuple[str, int]:
    """A one-time token, shown once: the answer to this form is the only page that has it."""
    try:
        with transaction() as session:
            made = transit.create_enrolment(
                session,
                operator_id=own_operator(),
                stop_id=request.form.get("stop_id", ""),
                line_id=request.form.get("line_id", ""),
                mode=request.form.get("mode", ""),
                by=principal().actor,
                now=clock.now(),
            )
    except Invalid as refusal:
        return _terminals(refusal.fields, refusal.status)
    return render_template("operator/token.html", made=made), 201


@blueprint.post("/terminals/<uuid:terminal_id>/revoke")
@allow(Role.OPERATOR)
def revoke(terminal_id: UUID) -> AnyResponse:
    """Stop believing a terminal."""
    with transaction() as session:
        transit.revoke(session, terminal_id=terminal_id, operator_id=own_operator(), by=principal().actor, now=clock.now())
    flash(gettext("The terminal is revoked: it gets no lists and its uploads are refused."), "success")
    return redirect(url_for("operator.terminals"))


def _place(text: str) -> tuple[datetime, UUID] | None:
    """Where a page of journeys goes on: the instant and the id of the last one shown before it; none where it says neither."""
    begun, _, journey_id = text.partition(" ")
    try:
        found = datetime.fromisoformat(begun), UUID(journey_id)
    except ValueError:
        return None
    return found if found[0].tzinfo is not None else None


@blueprint.get("/journeys")
@allow(Role.OPERATOR)
def journeys() -> str:
    """The journeys of one card-day."""
    operator_id, on, before = own_operator(), asked_card_day(), _place(request.args.get("before", ""))
    with transaction() as session:
        stops, lines = _places(session, operator_id)
        more = transit.journeys_of_operator(session, operator_id, on=on, before=before, limit=JOURNEYS + 1)
    found = more[:JOURNEYS]
    older = f"{found[-1].started_at.isoformat()} {found[-1].id}" if len(more) > len(found) else ""
    return render_template(
        "operator/journeys.html",
        on=on,
        newer=url_for("operator.journeys", on=on.isoformat()) if before else None,
        older=url_for("operator.journeys", on=on.isoformat(), before=older) if older else None,
        journeys=[
            (one, words.title(one, stops, lines), words.state_of(one.state), numbers.masked(one.card_number)) for one in found
        ],
    )


@blueprint.get("/journeys/<uuid:journey_id>")
@allow(Role.OPERATOR)
def journey(journey_id: UUID) -> str:
    """One journey: map, taps, price."""
    operator_id = own_operator()
    with transaction() as session:
        found = transit.journey(session, journey_id, operator_id=operator_id)
        stops, lines = _places(session, operator_id)
        made = transit.taps_of_journey(session, found)
        history = transit.postings_of_day(session, card_number=found.card_number, day=found.card_day, operator_id=operator_id)
        day = transit.taps_of_card_day(session, found)
        tariffs = {one.id: words.named(one.names) for one in transit.tariff_views(session, operator_id)}
    return render_template(
        "operator/journey.html",
        journey=found,
        title=words.title(found, stops, lines),
        state=words.state_of(found.state),
        steps=[(words.explain(step, stops), step.amount_minor) for step in found.steps],
        map=words.line_map(found, list(lines.values()), stops),
        taps=taps.lines_of(made, stops, lines),
        card=numbers.masked(found.card_number),
        tariff_name=tariffs.get(found.tariff_id or ""),
        issuer=words.CITY_NAMES.get(found.issuer, {"en": found.issuer, "zh_Hans_CN": found.issuer}),
        history=words.changes(history, day, stops),
    )


def _statement_of(session: Session, operator_id: str, on: date) -> transit.DayStatement:
    begin, end = civil_day(on)
    return transit.day_statement(session, operator_id, begin=begin, end=end)


@blueprint.get("/statement")
@allow(Role.OPERATOR)
def statement() -> str:
    """What was booked on a day, and that the ledger agrees."""
    operator_id, on = own_operator(), asked_day()
    with one_instant() as session:
        found = _statement_of(session, operator_id, on)
    return render_template(
        "operator/statement.html",
        on=on,
        statement=found,
        shown=found.postings[::-1],
        masked=numbers.masked,
        by_means=found.by_means,
        means=_means(),
        cities=words.CITY_NAMES,
    )


def _means() -> dict[str, str]:
    return {"purse": gettext("Card purse"), "debt": gettext("Owed by the rider"), "foreign": gettext("Owed by another city")}


@blueprint.get("/statement.csv")
@allow(Role.OPERATOR)
def statement_csv() -> Response:
    """The same as comma-separated values: amounts in yuan, instants in UTC, the ledger's transfer id on every line."""
    operator_id, on = own_operator(), asked_day()
    made = _csv_of(operator_id, on)
    answer = Response(chain([next(made)], made), content_type="text/csv; charset=utf-8")
    answer.call_on_close(made.close)  # also where the reader goes away in the middle
    answer.headers["Content-Disposition"] = f'attachment; filename="{operator_id}-{on.isoformat()}.csv"'
    return answer


def _csv_of(operator_id: str, on: date) -> Generator[bytes]:
    """The lines as they are read, some hundred at a time: a metro's day has a million."""
    begin, end = civil_day(on)
    text = io.StringIO("\ufeff")
    text.seek(0, io.SEEK_END)
    out = csv.writer(text, lineterminator="\r\n")
    out.writerow(["transfer_id", "posted_at", "card_day", "card_number", "issuer", "amount", "day_total", "means", "liability"])
    with one_instant() as session:
        found = _statement_of(session, operator_id, on)
        for one in transit.each_posting(session, operator_id, begin=begin, end=end):
            out.writerow(
                [
                    one.id,
                    one.posted_at.isoformat(),
                    one.card_day.isoformat(),
                    one.card_number,
                    one.issuer,
                    major(one.amount_minor),
                    major(one.total_minor),
                    one.means,
                    one.liability,
                ]
            )
            if text.tell() > PIECE:
                yield text.getvalue().encode()
                text.seek(0)
                text.truncate()
    out.writerow(["total", "", "", "", "", major(found.total_minor), "", "ledger", major(found.ledger_minor)])
    yield text.getvalue().encode()


@blueprint.get("/tariffs")
@allow(Role.OPERATOR)
def tariffs() -> str:
    """The versions of the operator's fares and the lines they are for."""
    operator_id = own_operator()
    with transaction() as session:
        stops, lines = _places(session, operator_id)
        versions = transit.tariff_views(session, operator_id)
        bands = {tariff.id: tariff for tariff in transit.tariffs_of(session, [operator_id]).versions.get(operator_id, ())}
    return render_template(
        "operator/tariffs.html",
        versions=[(one, words.named(one.names), bands.get(one.id)) for one in versions],
        named=words.named,
        lines=[(words.named(line.names), len(line.stops), line.stops, line.color) for line in lines.values()],
        stops=stops,
    )


@blueprint.get("/questions")
@allow(Role.OPERATOR)
def questions() -> str:
    """What riders say is wrong."""
    operator_id = own_operator()
    with transaction() as session:
        stops, lines = _places(session, operator_id)
        found = transit.contests_of_operator(session, operator_id)
        journeys = {one.id: _journey_of(session, one) for one in found}
    return render_template(
        "operator/questions.html",
        asked=[
            (
                one,
                words.contest_state(one),
                words.stop_name(stops, one.claimed_stop),
                numbers.masked(one.card_number),
                (ride, words.title(ride, stops, lines)) if (ride := journeys[one.id]) else None,
            )
            for one in found
        ],
    )


def _journey_of(session: Session, asked: transit.ContestView) -> transit.JourneyView | None:
    """The journey that a rider asks about; none where a later pricing joined it to another."""
    try:
        return transit.journey_by_key(session, card_number=asked.card_number, key=asked.journey_key)
    except transit.UnknownJourney:
        return None


@blueprint.post("/questions/<uuid:contest_id>")
@allow(Role.OPERATOR)
def answer(contest_id: UUID) -> AnyResponse:
    """Accept what the rider says, or answer in words."""
    try:
        with transaction() as session:
            transit.decide_contest(
                session,
                contest_id=contest_id,
                operator_id=own_operator(),
                upheld=request.form.get("decision") == "accept",
                answer=request.form.get("answer", ""),
                by=principal().actor,
                now=clock.now(),
            )
    except Invalid as refusal:
        flash(" ".join(translate(text) for text in refusal.fields.values()), "error")
    except Conflict as refusal:
        flash(translate(refusal.sentence, **refusal.params), "error")
    else:
        flash(gettext("Answered. The rider sees it with the journey."), "success")
    return redirect(url_for("operator.questions"))
