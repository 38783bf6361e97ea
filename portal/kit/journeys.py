"""How a journey and its price look on a screen: every reason in words, and the way on a line map."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import cos, radians
from typing import Any, Final

from app.kernel.errors import msg
from app.web.i18n import DEFAULT, language, translate
from card.fares import Names, State, Step, StepCode
from card.transit import ContestState, ContestView, JourneyView, LineView, Place, PostingView, TapView
from portal.kit.dates import clock_time, moment
from portal.kit.money import yuan

STATES: Final[dict[State, tuple[str, str]]] = {
    State.COMPLETE: (msg("Complete"), "good"),
    State.MISSING_EXIT: (msg("Exit missing"), "wait"),
    State.MISSING_ENTRY: (msg("Entry missing"), "wait"),
    State.UNPRICED: (msg("Not priced"), "bad"),
}

_SENTENCES: Final[dict[StepCode, str]] = {
    StepCode.DISTANCE_FARE: msg("%(km)s km from %(from)s to %(to)s: the single fare is %(amount)s."),
    StepCode.LEG_FARE: msg("One ride: the single fare is %(amount)s."),
    StepCode.SAME_STATION: msg("In and out at %(stop)s after %(minutes)s minutes: %(amount)s."),
    StepCode.CONCESSION: msg("%(name)s: you pay %(percent)s percent."),
    StepCode.OVERTIME: msg("%(minutes)s minutes inside, more than the %(limit)s allowed: %(amount)s on top."),
    StepCode.TRANSFER: msg("You changed from another ride."),
    StepCode.PASS: msg("%(name)s for %(price)s: you have reached it this month, so you pay no more than the ticket."),
}
_PAIR_FARE: Final = msg("From %(from)s to %(to)s: the single fare is %(amount)s.")
_CAPS: Final[dict[str, str]] = {
    "rolling": msg("%(name)s: you never pay more than %(cap)s in %(hours)s hours."),
    "day": msg("%(name)s: you never pay more than %(cap)s a day."),
    "week": msg("%(name)s: you never pay more than %(cap)s a week."),
    "month": msg("%(name)s: you never pay more than %(cap)s a month."),
}
_INCOMPLETE: Final[dict[str, str]] = {
    "exit": msg("We know where you got in, not where you got out. Until that tap arrives the maximum fare is %(amount)s."),
    "entry": msg("We know where you got out, not where you got in. Until that tap arrives the maximum fare is %(amount)s."),
}
_UNPRICED: Final[dict[str, str]] = {
    "no-tariff": msg("The operator had no fares in force at that time. You pay nothing."),
    "no-distance": msg("The fares do not know the way between these stops. You pay nothing."),
    "no-rule": msg("The fares have no rule for this ride. You pay nothing."),
}

MAP_WIDTH: Final = 640
MAP_MARGIN: Final = 72
MAP_HEIGHT_MAX: Final = 420
SPAN_MIN: Final = 0.04  # degrees; a short ride is not blown up to the whole width
LABEL_GAP: Final = 16  # between a dot and its name
LABEL_SIZE: Final = 30  # of a name where the map is smallest, on a phone (transit.css)
LATIN_WIDTH: Final = 0.58  # of a letter's width in its size; a Chinese character is as wide as it is high
LATIN_LAST: Final = "\u02af"


def named(names: Names | None, otherwise: str = "–") -> str:
    """A name in the page's language."""
    if names is None:
        return otherwise
    return names.zh if language() == DEFAULT else names.en


def stop_name(stops: Mapping[str, Place], stop_id: str | None) -> str:
    """A stop's name in the page's language; its id where the network does not know it any more."""
    if not stop_id:
        return "–"
    return named(stops[stop_id].names) if stop_id in stops else stop_id


def state_of(state: State) -> tuple[str, str]:
    """A journey's state in words and its tone."""
    text, tone = STATES[state]
    return translate(text), tone


def explain(step: Step, stops: Mapping[str, Place]) -> str:
    """One reason in words."""
    params: dict[str, object] = dict(step.params)
    params["amount"] = yuan(step.amount_minor)
    for key in ("from", "to", "stop"):
        if key in step.params:
            params[key] = stop_name(stops, step.params[key])
    params["name"] = step.params.get("name_zh" if language() == DEFAULT else "name_en", "")
    for key in ("cap", "price"):
        if f"{key}_minor" in step.params:
            params[key] = yuan(int(step.params[f"{key}_minor"]))
    if step.code is StepCode.DISTANCE_FARE and "km" not in step.params:
        return translate(_PAIR_FARE, **params)
    if step.code is StepCode.CAP:
        return translate(_CAPS[step.params["window"]], **params)
    if step.code is StepCode.INCOMPLETE:
        return translate(_INCOMPLETE[step.params["missing"]], **params)
    if step.code is StepCode.UNPRICED:
        return translate(_UNPRICED[step.params["reason"]], **params)
    return translate(_SENTENCES[step.code], **params)


def title(journey: JourneyView, stops: Mapping[str, Place], lines: Mapping[str, LineView]) -> str:
    """Where the journey led: two stops, or the line where there is only one tap."""
    if journey.from_stop and journey.to_stop:
        return f"{stop_name(stops, journey.from_stop)} → {stop_name(stops, journey.to_stop)}"
    if journey.state is State.COMPLETE and journey.line_id in lines:
        return named(lines[journey.line_id].names)
    if journey.from_stop:
        return f"{stop_name(stops, journey.from_stop)} → ?"
    return f"? → {stop_name(stops, journey.to_stop)}"


@dataclass(frozen=True, kw_only=True)
class MapLine:
    """A line on the map: its points and its colour."""

    points: str
    color: str


@dataclass(frozen=True, kw_only=True)
class MapLabel:
    """A named dot; ``anchor`` is the side from which the name is written."""

    x: float
    y: float
    text: str
    anchor: str
    text_x: float
    text_y: float
    kind: str


@dataclass(frozen=True, kw_only=True)
class LineMap:
    """The network with one journey on it, as the template draws it; ``whole``: the stops are not known, the line is."""

    width: int
    height: int
    lines: tuple[MapLine, ...]
    path: str
    dots: tuple[tuple[float, float], ...]
    labels: tuple[MapLabel, ...]
    between: int
    whole: bool


def way(lines: Iterable[LineView], begin: str, end: str) -> list[tuple[str, str]]:
    """The shortest way from one stop to another as ``(stop, line that leads to it)``; empty where there is none."""
    roads: dict[str, list[tuple[str, str, float]]] = defaultdict(list)
    for line in lines:
        for (one, one_km), (other, other_km) in zip(line.stops, line.stops[1:], strict=False):
            length = abs(float(other_km - one_km)) if one_km is not None and other_km is not None else 1.0
            roads[one].append((other, line.id, length))
            roads[other].append((one, line.id, length))
    queue: list[tuple[float, str, tuple[tuple[str, str], ...]]] = [(0.0, begin, ((begin, ""),))]
    done: set[str] = set()
    while queue:
        reached, stop, path = heapq.heappop(queue)
        if stop == end:
            return list(path)
        if stop in done:
            continue
        done.add(stop)
        for beyond, line_id, length in roads[stop]:
            if beyond not in done:
                heapq.heappush(queue, (reached + length, beyond, (*path, (beyond, line_id))))
    return []


def line_map(journey: JourneyView, lines: Sequence[LineView], stops: Mapping[str, Place]) -> LineMap | None:
    """The operator's lines with the journey drawn on them; none where the network has no places."""
    drawn = [line for line in lines if line.operator_id == journey.operator_id and line.stops]
    places = {
        stop: (float(place.longitude), float(place.latitude))
        for line in drawn
        for stop, _ in line.stops
        if (place := stops.get(stop)) and place.longitude is not None and place.latitude is not None
    }
    if not places:
        return None
    ends = [stop for stop in (journey.from_stop, journey.to_stop) if stop in places]
    path = [step for step in way(drawn, ends[0], ends[1]) if step[0] in places] if len(ends) == 2 else []  # noqa: PLR2004  both
    ridden = [] if ends else [stop for line in drawn if line.id == journey.line_id for stop, _ in line.stops if stop in places]
    path = path or [(stop, "") for stop in ridden]
    spots, height = _on_paper(places, [stop for stop, _ in path] or ends)
    changes = [stop for (stop, arrived), (_, leaving) in pairwise(path) if arrived and leaving != arrived]
    return LineMap(
        width=MAP_WIDTH,
        height=height,
        lines=tuple(
            MapLine(
                points=" ".join(f"{x},{y}" for x, y in (spots[stop] for stop, _ in line.stops if stop in spots)),
                color=line.color,
            )
            for line in drawn
        ),
        path=" ".join(f"{spots[stop][0]},{spots[stop][1]}" for stop, _ in path),
        dots=tuple(spots[stop] for stop, _ in path[1:-1]),
        labels=tuple(_label(stop, spots[stop], "change", stops, height) for stop in (*changes, *ridden[:1], *ridden[-1:]))
        + tuple(_label(stop, spots[stop], "end", stops, height) for stop in ends),
        between=0 if ridden else max(0, len(path) - 2),
        whole=bool(ridden),
    )


def _on_paper(places: Mapping[str, tuple[float, float]], seen: Sequence[str]) -> tuple[dict[str, tuple[float, float]], int]:
    """Every stop on the drawing, and the drawing's height: the stops in ``seen`` fill it, what lies beyond is cut off.

    A journey of one known stop shows its neighbourhood.
    """
    xs, ys = [places[stop][0] for stop in seen], [places[stop][1] for stop in seen]
    if not seen:
        xs, ys = [x for x, _ in places.values()], [y for _, y in places.values()]
    middle_x, middle_y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    narrow = cos(radians(middle_y))
    wide = max((max(xs) - min(xs)) * narrow, SPAN_MIN)
    high = max(max(ys) - min(ys), SPAN_MIN / 2)
    scale = min((MAP_WIDTH - 2 * MAP_MARGIN) / wide, (MAP_HEIGHT_MAX - 2 * MAP_MARGIN) / high)
    height = round(high * scale + 2 * MAP_MARGIN)
    spots = {
        stop: (
            round(MAP_WIDTH / 2 + (x - middle_x) * narrow * scale, 1),
            round(height / 2 - (y - middle_y) * scale, 1),
        )
        for stop, (x, y) in places.items()
    }
    return spots, height


def lines_used(journey: JourneyView, lines: Sequence[LineView]) -> str:
    """The lines of a journey in their order, in the page's language; the line of its tap where the way is not known."""
    names = {line.id: named(line.names) for line in lines}
    used: list[str] = []
    if journey.from_stop and journey.to_stop:
        for _, line_id in way([line for line in lines if line.rail], journey.from_stop, journey.to_stop)[1:]:
            if not used or used[-1] != line_id:
                used.append(line_id)
    return " → ".join(names.get(line_id, line_id) for line_id in used or [journey.line_id] if line_id)


def _label(stop: str, spot: tuple[float, float], kind: str, stops: Mapping[str, Place], height: int) -> MapLabel:
    """A name beside its dot: to the right, to the left where it would not fit there, over or under it where neither does."""
    x, y = spot
    text = stop_name(stops, stop)
    wide = sum(1.0 if letter > LATIN_LAST else LATIN_WIDTH for letter in text) * LABEL_SIZE
    beside = y + 30 if kind == "change" else y - 12
    if x + LABEL_GAP + wide <= MAP_WIDTH:
        anchor, text_x, text_y = "start", x + LABEL_GAP, beside
    elif x - LABEL_GAP - wide >= 0:
        anchor, text_x, text_y = "end", x - LABEL_GAP, beside
    else:
        anchor, text_x = "middle", min(max(x, wide / 2), MAP_WIDTH - wide / 2)
        text_y = y + 44 if y > height / 2 else y - 24
    return MapLabel(x=x, y=y, text=text, anchor=anchor, text_x=round(text_x, 1), text_y=text_y, kind=kind)


CITY_NAMES: Final[dict[str, dict[str, str]]] = {
    "320100": {"en": "Nanjing", "zh_Hans_CN": "南京市"},
    "320200": {"en": "Wuxi", "zh_Hans_CN": "无锡市"},
    "320500": {"en": "Suzhou", "zh_Hans_CN": "苏州市"},
}


def city(code: str) -> str:
    """A city's name in the page's language; its code where it is none of ours."""
    return _in_language(CITY_NAMES[code]) if code in CITY_NAMES else code


_TAP_KINDS: Final = {"entry": msg("In"), "exit": msg("Out"), "ride": msg("On board")}
_CONTESTS: Final[dict[ContestState, tuple[str, str]]] = {
    ContestState.OPEN: (msg("Being looked at"), "wait"),
    ContestState.UPHELD: (msg("Accepted"), "good"),
    ContestState.REJECTED: (msg("Answered"), "neutral"),
}


def tap_kinds() -> dict[str, str]:
    """What each kind of tap is called."""
    return {kind: translate(text) for kind, text in _TAP_KINDS.items()}


def contest_state(found: ContestView) -> tuple[str, str]:
    """An objection's state in words and its tone."""
    text, tone = _CONTESTS[found.state]
    return translate(text), tone


def stop_choices(lines: Iterable[LineView], stops: Mapping[str, Place]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Every stop by line, for a list to choose from: ``[(line, [(id, name)])]``."""
    return [(named(line.names), [(stop, stop_name(stops, stop)) for stop, _ in line.stops]) for line in lines if line.rail]


_PUT: Final = {
    "claim": msg("You told us"),
    "habit": msg("Taken from your usual trip"),
}
_CAUSES: Final = {
    "claim": msg("The tap that you told us about was put in place."),
    "habit": msg("The missing tap was taken from your usual trip."),
    "other": msg("Another day changed, and with it what counts towards a cap or ticket."),
    "decided": msg("The operator or the city decided about this day."),
}


def put_name(source: str) -> str:
    """How a tap that no gate recorded is marked."""
    return translate(_PUT[source])


def cause_of(posting: PostingView, taps: Mapping[str, TapView], stops: Mapping[str, Place]) -> str:
    """What made a booking necessary: the taps that arrived, or what stood in for one."""
    said: list[str] = []
    for key in posting.cause:
        source = key.partition("/")[0]
        if source in _CAUSES:
            said.append(translate(_CAUSES[source]))
        elif key in taps:
            tap = taps[key]
            where = stop_name(stops, tap.stop_id) if tap.stop_id else ""
            said.append(f"{translate(_TAP_KINDS[tap.kind])} {where} {clock_time(tap.at)}".replace("  ", " "))
    return " · ".join(said) or translate(_CAUSES["other"])


def changes(
    postings: Sequence[PostingView], taps: Mapping[str, TapView], stops: Mapping[str, Place]
) -> list[tuple[str, str, str, str]]:
    """How a card-day's charge came about: when, why, by how much, and what it came to."""
    return [
        (moment(one.posted_at), cause_of(one, taps, stops), yuan(one.amount_minor, sign=True), yuan(one.total_minor))
        for one in postings
    ]


# ------------------------------------------------------------------------------------------------------------ rides elsewhere


@dataclass(frozen=True, kw_only=True)
class Told:
    """A journey in another city as its acquirer explains it, in the page's language."""

    title: str
    line: str
    color: str
    started_at: datetime
    ended_at: datetime | None
    state: tuple[str, str]
    charged_minor: int
    km: str | None
    tariff: str | None
    version: str | None
    secondary_source: bool
    steps: tuple[tuple[str, int], ...]
    taps: tuple[tuple[str, str, datetime, str], ...]


def _in_language(names: Mapping[str, Any] | None) -> str:
    if not names:
        return "–"
    return str(names.get("zh_Hans_CN" if language() == DEFAULT else "en") or names.get("en") or "–")


def _told_step(step: Mapping[str, Any], stops: Mapping[str, Place]) -> str:
    try:
        return explain(
            Step(code=StepCode(str(step["code"])), amount_minor=int(step["amount_minor"]), params=dict(step["params"])), stops
        )
    except (KeyError, ValueError):  # a newer neighbour may know reasons that we do not
        return str(step.get("code", ""))


def told(explanation: Mapping[str, Any]) -> list[Told]:
    """The journeys of an acquirer's explanation. What is missing in it is left out, never guessed."""
    stops = {
        stop: Place(
            id=stop, names=Names(en=str(names.get("en")), zh=str(names.get("zh_Hans_CN"))), latitude=None, longitude=None
        )
        for stop, names in explanation.get("stops", {}).items()
    }
    return [_told(one, stops) for one in explanation.get("journeys", [])]


def _told(one: Mapping[str, Any], stops: Mapping[str, Place]) -> Told:
    line, tariff = one.get("line") or {}, one.get("tariff") or {}
    ends = [
        stop_name(stops, one.get("from")) if one.get("from") else "?",
        stop_name(stops, one.get("to")) if one.get("to") else "?",
    ]
    state = State(one["state"])
    return Told(
        title=" → ".join(ends) if ends != ["?", "?"] else _in_language(line),
        line=_in_language(line),
        color=str(line.get("color", "505a5f")),
        started_at=datetime.fromisoformat(one["started_at"]),
        ended_at=datetime.fromisoformat(one["ended_at"]) if one.get("ended_at") else None,
        state=state_of(state),
        charged_minor=int(one["charged_minor"]),
        km=one.get("km"),
        tariff=_in_language(tariff) if tariff else None,
        version=tariff.get("id"),
        secondary_source=bool(tariff.get("secondary_source")),
        steps=tuple((_told_step(step, stops), int(step["amount_minor"])) for step in one.get("steps", [])),
        taps=tuple(
            (
                translate(_TAP_KINDS[tap["kind"]]),
                stop_name(stops, tap.get("stop")),
                datetime.fromisoformat(tap["at"]),
                put_name(tap["source"]) if tap.get("source") in _PUT else "",
            )
            for tap in one.get("taps", [])
        ),
    )
