"""``/operator/taps``: the taps as they arrive: streamed, asked for every few seconds, or loaded again. Only one's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from flask import Blueprint, Response, json, jsonify, render_template, request

from app.kernel import clock
from app.kernel.errors import msg
from app.web import streams
from app.web.auth import Role, allow
from app.web.db import transaction
from app.web.i18n import translate
from card import transit
from card.credentials import numbers
from card.transit import LineView, Place, TapView
from portal.kit import dates, rides
from portal.kit import journeys as words
from portal.operator.asking import one_instant, own_operator

blueprint = Blueprint("operator_taps", __name__, url_prefix="/operator/taps")

SHOWN: Final = 100
REFUSED: Final = msg("Refused at the gate"), "neutral"
WRONG: Final = msg("Should have been refused"), "bad"
ACCEPTED: Final = msg("Accepted"), "good"


@dataclass(frozen=True, kw_only=True)
class TapLine:
    """A tap as a table shows it: ``outcome`` is words and their tone, ``why`` the reason of a refusal."""

    tap: TapView
    at: str
    received: str
    kind: str
    place: str
    card: str
    outcome: tuple[str, str]
    why: str


def lines_of(found: Sequence[TapView], stops: Mapping[str, Place], lines: Mapping[str, LineView]) -> list[TapLine]:
    """Taps in words."""
    kinds, today = words.tap_kinds(), clock.civil_date(clock.now())
    return [
        TapLine(
            tap=one,
            at=dates.second(one.at, today=today),
            received=dates.second(one.received_at, today=today),
            kind=kinds[one.kind],
            place=rides.place(one.stop_id, one.line_id, stops, lines),
            card=numbers.masked(one.card_number) if one.card_number else "–",
            outcome=_outcome(one),
            why=rides.refusal(one.verdict or one.reason),
        )
        for one in found
    ]


def _outcome(tap: TapView) -> tuple[str, str]:
    text, tone = REFUSED if tap.decision == "refused" else WRONG if tap.verdict else ACCEPTED
    return translate(text), tone


@blueprint.get("")
@allow(Role.OPERATOR)
def show() -> str:
    """The taps received last, and the place from which the page goes on. Without a script there is a link to load again."""
    operator_id = own_operator()
    with one_instant() as session:
        place = transit.live_here(session, now=clock.now())
        found = transit.taps_of_operator(session, operator_id, limit=SHOWN)
        alarms = transit.unseen_alarms(session, operator_id)
        stops = transit.stops_by_id(session)
        lines = {line.id: line for line in transit.lines_of(session, operator_id)}
    return render_template("operator/taps.html", taps=lines_of(found, stops, lines), alarms=alarms, place=str(place))


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What the page is told: rows to put on top, how many, the last one in words, unseen alarms, and where to go on."""

    rows: str
    count: int
    last: str
    alarms: int
    place: str
    complete: bool


def _in_words(operator_id: str, found: transit.News) -> Heard:
    with transaction() as session:
        alarms = transit.unseen_alarms(session, operator_id)
        stops = transit.stops_by_id(session, {tap.stop_id for tap in found.taps})
        lines = {line.id: line for line in transit.lines_of(session, operator_id)}
    shown = lines_of(found.taps[::-1], stops, lines)
    return Heard(
        rows=render_template("operator/tap_rows.html", taps=shown),
        count=len(shown),
        last=", ".join((shown[0].place, shown[0].kind, shown[0].outcome[0])) if shown else "",
        alarms=alarms,
        place=str(found.place),
        complete=found.complete,
    )


def _news(operator_id: str, place: transit.LivePlace) -> transit.News:
    with transaction() as session:
        return transit.live_news(session, operator_id, place, now=clock.now())


def _asked_place() -> transit.LivePlace:
    """Where the reader was: what its browser says when it comes again, or what the page was given; else the present."""
    text, now = streams.last_event_id() or request.args.get("after", ""), clock.now()
    if text:
        return transit.LivePlace.parse(text, now=now)
    with transaction() as session:
        return transit.live_here(session, now=now)


@blueprint.get("/stream")
@allow(Role.OPERATOR)
def stream() -> Response:
    """Server-sent events ``news``, each with its place as id. Ends after some twenty seconds; the browser comes again."""
    operator_id, place = own_operator(), _asked_place()
    first = True  # says where the reader is even when nothing happens, so that its place never grows old

    def turn() -> streams.Event | None:
        nonlocal place, first
        found, greet = _news(operator_id, place), first
        place, first = found.place, False
        if not found.taps and not greet:
            return None
        return streams.Event(name="news", data=json.dumps(_in_words(operator_id, found)), id=str(place))

    return streams.stream(turn)


@blueprint.get("/news")
@allow(Role.OPERATOR)
def news() -> Response:
    """The same once, for a page that asks: JSON with the place to ask from next."""
    operator_id = own_operator()
    return jsonify(_in_words(operator_id, _news(operator_id, _asked_place())))
