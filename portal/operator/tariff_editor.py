"""``/operator/tariffs/drafts``: new fares in the making: edited, compared, tried on past taps, published by a second person."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final
from uuid import UUID

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response as AnyResponse

from app.kernel import clock
from app.kernel.errors import Forbidden, Invalid, NotFound, Refusal, msg
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import translate
from card import fares, transit
from card.fares import FeedRefused, Sheet, Sheets, Tariff
from card.transit import DraftContents, DraftState, Place, RunState, RunView, WhatIfGroup
from portal.kit import dates, yuan
from portal.kit import journeys as words

blueprint = Blueprint("tariff_editor", __name__, url_prefix="/operator/tariffs/drafts")

BLANK_ROWS: Final = 2
LARGE: Final = 60
REFRESH_SECONDS: Final = 3
AMOUNTS: Final = frozenset({"amount", "step_amount", "max_fare", "overtime_surcharge"})  # columns of yuan
CHART_WIDTH, CHART_HEIGHT, CHART_LEFT, CHART_RIGHT, CHART_KM = 640, 260, 88, 36, 60
STATES: Final[dict[DraftState, tuple[str, str]]] = {
    DraftState.OPEN: (msg("Being edited"), "info"),
    DraftState.SUBMITTED: (msg("Waiting for a second person"), "wait"),
    DraftState.PUBLISHED: (msg("Published"), "good"),
    DraftState.WITHDRAWN: (msg("Given up"), "neutral"),
}
RUN_STATES: Final[dict[RunState, tuple[str, str]]] = {
    RunState.WAITING: (msg("Waiting to start"), "wait"),
    RunState.RUNNING: (msg("Being priced"), "info"),
    RunState.DONE: (msg("Finished"), "good"),
    RunState.FAILED: (msg("Stopped"), "bad"),
}
FILES: Final[dict[str, tuple[str, str]]] = {
    "tariffs.txt": (msg("The version"), msg("Its name, first day and general amounts.")),
    "distance_bands.txt": (
        msg("Distance bands"),
        msg("The first row is the flat part. In every other row each step begun costs its amount. The last row has no end."),
    ),
    "od_fares.txt": (msg("Fares of single pairs of stops"), msg("They come before the distance bands, both ways.")),
    "od_distances.txt": (msg("Distances of single pairs of stops"), msg("Where it is not the shortest way.")),
    "concessions.txt": (msg("Concessions"), msg("Of several that fit the rider pays the least.")),
    "cap_rules.txt": (msg("Caps"), msg("The most a card pays in a window. Several operators are written with spaces between.")),
    "pass_rules.txt": (msg("Month tickets nobody has to buy"), msg("The rider pays the ticket as soon as it is cheaper.")),
    "same_station_rules.txt": (msg("In and out at one station"), msg("No amount means the maximum fare.")),
    "interchange_rules.txt": (msg("Changes over the street"), msg("Out and in again within these minutes is one journey.")),
    "apportionment_rules.txt": (msg("Shares of operators"), msg("Percentages that add up to 100.")),
    "fare_products.txt": (msg("Products and prices"), msg("For all lines that are not priced by distance.")),
    "fare_leg_rules.txt": (msg("Which ride costs which product"), ""),
    "fare_transfer_rules.txt": (msg("Transfers"), msg("What changing from one ride to another costs.")),
}
COLUMN_NAMES: Final[dict[str, str]] = {
    "tariff_id": msg("Name of the version"),
    "effective_from": msg("First day"),
    "effective_until": msg("Last day (empty: open)"),
    "name_zh": msg("Chinese name"),
    "name_en": msg("English name"),
    "max_fare": msg("Fare when a tap is missing"),
    "pairing_minutes": msg("Minutes within which an exit belongs to an entry"),
    "overtime_after_minutes": msg("Overtime after minutes"),
    "overtime_surcharge": msg("Overtime costs"),
    "join_minutes": msg("Minutes within which legs join"),
    "source": msg("Source"),
    "secondary_source": msg("Not from the law itself"),
    "up_to_km": msg("Up to km"),
    "step_km": msg("Step in km"),
    "step_amount": msg("Amount of a step"),
    "from_stop_id": msg("From stop"),
    "to_stop_id": msg("To stop"),
    "km": msg("Kilometres"),
    "amount": msg("Amount"),
    "entitlement": msg("Entitlement"),
    "payable_percent": msg("Percent to pay"),
    "same_city": msg("Only granted by this city"),
    "covers_incomplete": msg("Also when a tap is missing"),
    "cap_id": msg("Cap"),
    "window": msg("Window"),
    "window_minutes": msg("Minutes of a rolling window"),
    "agency_ids": msg("Operators together"),
    "agency_id": msg("Operator"),
    "local_only": msg("Only cards of this city"),
    "pass_id": msg("Ticket"),
    "rides": msg("Rides in it"),
    "up_to_minutes": msg("Up to minutes"),
    "minutes": msg("Minutes"),
    "percent": msg("Percent"),
    "fare_product_id": msg("Product"),
    "fare_product_name": msg("Name"),
    "currency": msg("Currency"),
    "transfer_count": msg("How many times (-1: always)"),
    "duration_limit": msg("Seconds"),
}
HIDDEN: Final = frozenset({"agency_id", "distance_unit"})
SUGGESTED: Final = {"from_stop_id": "stops", "to_stop_id": "stops", "agency_id": "operators", "agency_ids": "operators"}
CHOICES: Final = {
    "rolling": msg("rolling"),
    "day": msg("day"),
    "week": msg("week"),
    "month": msg("month"),
    "0": msg("no"),
    "1": msg("yes"),
}
YES_NO: Final = ["0", "1"]
DAY: Final = re.compile(r"\d{8}", re.ASCII)
GROUPS: Final[dict[str, str]] = {
    "local-card": msg("Local cards without a concession"),
    "foreign-card": msg("Cards of other cities"),
    "senior-60": msg("60 to 69 years"),
    "senior-70": msg("70 years and older"),
    "student": msg("Students"),
    "disabled": msg("People with disabilities"),
    "veteran": msg("Veterans"),
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a sheet as the page shows it; ``choices`` where only some values are allowed.

    ``kind`` is how a browser asks for it (``text`` or ``date``), ``suggested`` the list of names it offers while one types.
    """

    name: str
    label: str
    choices: list[tuple[str, str]]
    kind: str
    suggested: str


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A sheet on the page: a row of cells for each of its rows and some empty ones."""

    file: str
    title: str
    hint: str
    columns: list[Column]
    rows: list[list[str]]
    large: bool


def _operator() -> str:
    organisation = principal().organisation
    if organisation is None:
        raise Forbidden("no organisation")
    return organisation


def _words(refusal: Refusal) -> str:
    if isinstance(refusal, Invalid) and refusal.fields and not isinstance(refusal, FeedRefused):
        return " ".join(translate(text) for text in refusal.fields.values())
    return translate(type(refusal).sentence, **refusal.params)


def _column_label(name: str) -> str:
    return translate(COLUMN_NAMES[name]) if name in COLUMN_NAMES else name


def _file_title(file: str) -> str:
    return translate(FILES[file][0]) if file in FILES else file


def _grids(contents: DraftContents, sheets: Sheets) -> list[Grid]:
    """The sheets that the page shows: all of ours, and the Fares v2 files that price what has no distance."""
    by_legs = not (sheets.get("distance_bands.txt") or sheets.get("od_fares.txt"))
    shown = [file for file in FILES if file in fares.OURS or (by_legs and file in fares.FARE_FILES)]
    made = []
    for file in shown:
        rows = sheets.get(file, fares.shared_sheet(contents.feed, file) if file in fares.FARE_FILES else [])
        columns = [
            Column(
                name=name,
                label=_column_label(name),
                choices=_choices(file, name),
                kind="date" if _is_date(file, name) else "text",
                suggested=SUGGESTED.get(name, ""),
            )
            for name in fares.columns_of(contents.feed, file)
            if name not in HIDDEN or file == "apportionment_rules.txt"
        ]
        blank = 0 if file == "tariffs.txt" else BLANK_ROWS
        made.append(
            Grid(
                file=file,
                title=_file_title(file),
                hint=translate(FILES[file][1]) if FILES[file][1] else "",
                columns=columns,
                rows=[
                    [_shown(file, column.name, row.get(column.name, "")) for column in columns]
                    for row in [*rows, *({} for _ in range(blank))]
                ],
                large=len(rows) > LARGE,
            )
        )
    return made


def _kind(file: str, name: str) -> str:
    return next((column.kind for column in fares.COLUMNS.get(file, ()) if column.name == name), "")


def _is_date(file: str, name: str) -> bool:
    return _kind(file, name) == "date"


def _shown(file: str, name: str, text: str) -> str:
    """A cell as a browser's field holds it: a feed writes a day as eight digits, a field with hyphens."""
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if _is_date(file, name) and DAY.fullmatch(text) else text


def _sent(file: str, name: str, text: str) -> str:
    """A cell as the feed writes it."""
    return text.replace("-", "") if _is_date(file, name) else text


def _choices(file: str, name: str) -> list[tuple[str, str]]:
    values = _kind(file, name).split("|")
    if values == YES_NO or all(value in CHOICES for value in values):
        return [(value, translate(CHOICES[value])) for value in values]
    return []


def _asked(contents: DraftContents) -> Sheets:
    """The sheets as the form sends them; what it does not show stays, an uploaded file replaces its sheet."""
    sheets: Sheets = {file: [dict(row) for row in rows] for file, rows in contents.sheets.items()}
    for grid in _grids(contents, contents.sheets):
        if grid.large or f"{grid.file}:rows" not in request.form:
            continue
        kept: Sheet = []
        before = sheets.get(grid.file, [])
        for number in range(min(request.form.get(f"{grid.file}:rows", 0, type=int), LARGE + BLANK_ROWS)):
            row = {
                column.name: _sent(grid.file, column.name, request.form.get(f"{grid.file}:{number}:{column.name}", ""))
                for column in grid.columns
            }
            hidden = {name: text for name, text in before[number].items() if name in HIDDEN} if number < len(before) else {}
            kept.append({**hidden, **row})
        sheets[grid.file] = kept
    upload = request.files.get("file")
    if upload is not None and upload.filename:
        name = upload.filename.rsplit("/", 1)[-1]
        if name not in fares.OURS and name not in fares.FARE_FILES:
            raise Invalid(fields={"file": msg("Only files that say something about fares can be part of a draft.")})
        rows = fares.sheet_from(name, upload.stream.read())
        own = sheets["tariffs.txt"][0].get("tariff_id", "")
        if name in fares.OURS:
            rows = [{k: v for k, v in row.items() if k != "tariff_id"} for row in rows if row.get("tariff_id", own) == own]
        sheets[name] = rows
    return sheets


@blueprint.get("")
@allow(Role.OPERATOR)
def index() -> str:
    """All drafts, and the way to a new one."""
    with transaction() as session:
        found = transit.drafts_of(session, _operator())
    return render_template(
        "operator/tariff_editor/index.html",
        drafts=[(one, translate(STATES[one.state][0]), STATES[one.state][1]) for one in found],
    )


@blueprint.post("")
@allow(Role.OPERATOR)
def create() -> AnyResponse:
    """Begin from the newest version."""
    try:
        with transaction() as session:
            draft_id = transit.open_draft(session, operator_id=_operator(), by=principal().actor, now=clock.now())
    except Refusal as refusal:
        flash(_words(refusal), "error")
        return redirect(url_for("tariff_editor.index"))
    return redirect(url_for("tariff_editor.edit", draft_id=draft_id))


@blueprint.get("/<uuid:draft_id>")
@allow(Role.OPERATOR)
def show(draft_id: UUID) -> str:
    """What a draft changes, its versions, its what-ifs, and what can be done with it."""
    operator_id, today = _operator(), clock.civil_date(clock.now())
    last = today.replace(day=1) - timedelta(days=1)
    with transaction() as session:
        contents = transit.draft(session, draft_id, operator_id=operator_id)
        runs = transit.what_if_runs(session, draft_id, operator_id=operator_id)
        published = transit.tariffs_of(session, [operator_id]).versions.get(operator_id, ())
        stops = transit.stops_by_id(session)
    base = next((one for one in published if one.id == contents.view.base_tariff), None)
    drafted = transit.tariff_of(contents.feed, contents.sheets, city=base.city) if base else None
    me = principal().actor
    makers = {one.made_by for one in contents.versions} | {contents.view.submitted_by, contents.view.opened_by}
    return render_template(
        "operator/tariff_editor/show.html",
        draft=contents.view,
        state=(translate(STATES[contents.view.state][0]), STATES[contents.view.state][1]),
        changes=[
            (
                _file_title(one.file),
                _row_name(one.file, one.row, stops),
                _column_label(one.column),
                _read(one.file, one.column, one.before, stops),
                _read(one.file, one.column, one.after, stops),
            )
            for one in contents.changes
        ],
        versions=contents.versions,
        runs=[(one, translate(RUN_STATES[one.state][0]), RUN_STATES[one.state][1]) for one in runs],
        chart=_chart(base, drafted) if base and drafted else None,
        mine=me in makers,
        first=last.replace(day=1),
        last=last,
    )


def _row_name(file: str, row: str, stops: Mapping[str, Place]) -> str:
    """Which row of a table changed, by what tells it from the others: a distance, a name, stops."""
    if file == "distance_bands.txt":
        return translate("up to %(km)s km", km=row) if row else translate("without end")
    return " · ".join(words.stop_name(stops, part) for part in row.split(" · ")) if row else ""


def _read(file: str, name: str, text: str | None, stops: Mapping[str, Place]) -> str:
    """A cell as a person reads it: days, stops and choices in words."""
    if not text:
        return ""
    if _is_date(file, name) and DAY.fullmatch(text):
        return dates.civil_date(date.fromisoformat(text))
    if SUGGESTED.get(name) == "stops":
        return words.stop_name(stops, text)
    if name in AMOUNTS:
        return f"¥{text}"
    return dict(_choices(file, name)).get(text, text)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Two step lines: the fare by kilometre now and under the draft; ``rows`` is the same as a table."""

    width: int
    height: int
    left: int
    right: int
    now: str
    draft: str
    ticks: list[tuple[float, str]]
    levels: list[tuple[float, str]]
    rows: list[tuple[str, str, str]]


def _chart(base: Tariff, drafted: Tariff) -> Chart | None:
    if not base.bands or not drafted.bands:
        return None
    kms = [Decimal(km) for km in range(1, CHART_KM + 1)]
    lines = [[tariff.fare_for(km) for km in kms] for tariff in (base, drafted)]
    top = max(max(line) for line in lines) or 1
    level = 200 if top <= 1200 else 500  # noqa: PLR2004  a line every two yuan, or every five

    def x(km: float) -> float:
        return round(CHART_LEFT + (CHART_WIDTH - CHART_LEFT - CHART_RIGHT) * km / CHART_KM, 1)

    def y(minor: float) -> float:
        return round(CHART_HEIGHT - 24 - (CHART_HEIGHT - 40) * minor / top, 1)

    def path(line: list[int]) -> str:
        return " ".join(f"{x(km)},{y(minor)} {x(km + 1)},{y(minor)}" for km, minor in enumerate(line))

    return Chart(
        width=CHART_WIDTH,
        height=CHART_HEIGHT,
        left=CHART_LEFT,
        right=CHART_RIGHT,
        now=path(lines[0]),
        draft=path(lines[1]),
        ticks=[(x(km), str(km)) for km in range(0, CHART_KM, 10)] + [(x(CHART_KM), translate("%(km)s km", km=CHART_KM))],
        levels=[(y(minor), yuan(minor)) for minor in range(0, top + 1, level)],
        rows=[(str(km), yuan(lines[0][km - 1]), yuan(lines[1][km - 1])) for km in (2, 6, 10, 16, 20, 30, 40, 60)],
    )


def _edit(draft_id: UUID, sheets: Sheets | None = None, errors: dict[str, str] | None = None, status: int = 200) -> Response:
    with transaction() as session:
        operator_id = _operator()
        contents = transit.draft(session, draft_id, operator_id=operator_id)
        stops = transit.stops_by_id(session)
        mine = {stop for line in transit.lines_of(session, operator_id) for stop, _ in line.stops}
        operators = [(one.id, words.named(one.names)) for one in transit.operators(session)]
    page = render_template(
        "operator/tariff_editor/edit.html",
        draft=contents.view,
        grids=_grids(contents, sheets or contents.sheets),
        suggested={"stops": [(stop, words.stop_name(stops, stop)) for stop in sorted(mine)], "operators": operators},
        note=request.form.get("note", ""),
        errors=errors or {},
    )
    return Response(page, status=status)


@blueprint.get("/<uuid:draft_id>/edit")
@allow(Role.OPERATOR)
def edit(draft_id: UUID) -> Response:
    """Every rule of the version in a table."""
    return _edit(draft_id)


@blueprint.post("/<uuid:draft_id>/edit")
@allow(Role.OPERATOR)
def save(draft_id: UUID) -> AnyResponse:
    """Save as the next version, or say which cell is wrong and why."""
    operator_id = _operator()
    sheets: Sheets | None = None
    try:
        with transaction() as session:
            contents = transit.draft(session, draft_id, operator_id=operator_id)
            sheets = _asked(contents)
            version = transit.save_draft(
                session,
                draft_id,
                operator_id=operator_id,
                version=request.form.get("version", 0, type=int),
                sheets=sheets,
                note=request.form.get("note", ""),
                by=principal().actor,
                now=clock.now(),
            )
    except FeedRefused as refusal:
        wrong = {
            f"{one.file}:{one.line - 1}:{one.field}": gettext(
                "%(table)s, row %(row)s, %(column)s: %(reason)s",
                table=_file_title(one.file),
                row=one.line,
                column=_column_label(one.field),
                reason=translate(one.reason),
            )
            for one in refusal.problems[:20]
        }
        return _edit(draft_id, sheets, wrong, refusal.status)
    except Invalid as refusal:
        named = {("tariffs.txt:0:tariff_id" if k == "tariff_id" else k): translate(v) for k, v in refusal.fields.items()}
        return _edit(draft_id, sheets, named or {"note": _words(refusal)}, refusal.status)
    except Refusal as refusal:
        flash(_words(refusal), "error")
        return redirect(url_for("tariff_editor.show", draft_id=draft_id))
    flash(gettext("Saved as version %(version)s.", version=version), "success")
    return redirect(url_for("tariff_editor.show", draft_id=draft_id))


@blueprint.post("/<uuid:draft_id>/steps/<step>")
@allow(Role.OPERATOR)
def move(draft_id: UUID, step: str) -> AnyResponse:
    """Hand over, give up, publish or send back."""
    operator_id, by, now = _operator(), principal().actor, clock.now()
    done = {
        "submit": gettext("Handed over. Somebody else reads it and publishes it."),
        "withdraw": gettext("The draft is given up."),
        "publish": gettext("Published. It is in force from its first day on."),
        "send_back": gettext("Sent back with your words."),
    }.get(step)
    if done is None:
        raise NotFound(step)
    try:
        with transaction() as session:
            if step == "submit":
                transit.submit_draft(session, draft_id, operator_id=operator_id, by=by, now=now)
            elif step == "withdraw":
                transit.withdraw_draft(session, draft_id, operator_id=operator_id, by=by, now=now)
            elif step == "publish":
                transit.publish_draft(session, draft_id, operator_id=operator_id, by=by, now=now)
            else:
                answer = request.form.get("answer", "")
                transit.send_back_draft(session, draft_id, operator_id=operator_id, answer=answer, by=by, now=now)
        flash(done, "success")
    except Refusal as refusal:
        flash(_words(refusal), "error")
    return redirect(url_for("tariff_editor.show", draft_id=draft_id))


@blueprint.post("/<uuid:draft_id>/what-if")
@allow(Role.OPERATOR)
def ask(draft_id: UUID) -> AnyResponse:
    """Ask what past taps would have cost."""
    try:
        first, last = (date.fromisoformat(request.form.get(name, "")) for name in ("first", "last"))
        with transaction() as session:
            run_id = transit.ask_what_if(
                session,
                draft_id,
                operator_id=_operator(),
                first=first,
                last=last,
                by=principal().actor,
                now=clock.now(),
            )
    except ValueError:
        flash(gettext("Give the first and the last day."), "error")
        return redirect(url_for("tariff_editor.show", draft_id=draft_id))
    except Refusal as refusal:
        flash(_words(refusal), "error")
        return redirect(url_for("tariff_editor.show", draft_id=draft_id))
    return redirect(url_for("tariff_editor.what_if", draft_id=draft_id, run_id=run_id))


@dataclass(frozen=True, kw_only=True)
class GroupLine:
    """A group of riders in the result: amounts in words, and widths of its bars in percent."""

    name: str
    group: WhatIfGroup
    change: str
    tone: str
    now_width: float
    draft_width: float
    now: str
    draft: str
    cheaper_width: float
    dearer_width: float


@blueprint.get("/<uuid:draft_id>/what-if/<uuid:run_id>")
@allow(Role.OPERATOR)
def what_if(draft_id: UUID, run_id: UUID) -> Response:
    """How far a run is and what it found, by group of riders. The page looks again by itself until the run is finished."""
    with transaction() as session:
        run = transit.what_if_run(session, run_id, operator_id=_operator())
    running = run.state in (RunState.WAITING, RunState.RUNNING)
    page = Response(
        render_template(
            "operator/tariff_editor/what_if.html",
            draft_id=draft_id,
            run=run,
            state=(translate(RUN_STATES[run.state][0]), RUN_STATES[run.state][1]),
            running=running,
            lines=_group_lines(run),
            total=run.found.total,
            change=yuan(run.found.total.draft_minor - run.found.total.now_minor, sign=True),
        )
    )
    if running:
        page.headers["Refresh"] = str(REFRESH_SECONDS)
    return page


def _group_lines(run: RunView) -> list[GroupLine]:
    found = sorted(run.found.groups.items(), key=lambda item: -item[1].now_minor)
    most = max((max(group.now_minor, group.draft_minor) for _, group in found), default=0) or 1
    return [
        GroupLine(
            name=translate(GROUPS[name]) if name in GROUPS else name,
            group=group,
            change=_percent(group.draft_minor - group.now_minor, group.now_minor),
            tone="bad" if group.draft_minor > group.now_minor else "good" if group.draft_minor < group.now_minor else "neutral",
            now_width=round(100 * group.now_minor / most, 2),
            draft_width=round(100 * group.draft_minor / most, 2),
            now=yuan(group.now_minor),
            draft=yuan(group.draft_minor),
            cheaper_width=round(100 * group.cheaper / (group.cards or 1), 2),
            dearer_width=round(100 * group.dearer / (group.cards or 1), 2),
        )
        for name, group in found
    ]


def _percent(part: int, whole: int) -> str:
    try:
        share = (Decimal(100 * part) / whole).quantize(Decimal("0.1"))
    except InvalidOperation:
        return "–"
    except ZeroDivisionError:
        return "–"
    return f"{share:+}%".replace("-", "−") if share else "0%"
