"""Drafts of tariffs: opened from a version in force, saved version by version, priced on past taps, published by somebody else.

A draft is sheets of feed rows (``card.fares.drafting``). Publishing merges them into the newest import of the operator's feed
and takes the result in as any feed: what an import refuses, an editor refuses, at the same file, line and field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel import audit
from app.kernel.city import city_of
from app.kernel.clock import civil_date
from app.kernel.db import Database
from app.kernel.errors import FourEyes, Invalid, Refusal, msg
from app.kernel.ids import new_id
from card import fares
from card.fares import Change, Feed, FeedRefused, Sheet, Sheets, Tariff
from card.transit import network, repricing
from card.transit.models import FeedImport, OperatorRow, TariffDraft, TariffDraftVersion, TariffRow, WhatIfRun
from card.transit.repricing import WhatIf
from card.transit.rules import (
    DraftState,
    NoSuchDraft,
    NoTariffYet,
    RunState,
    StaleDraft,
    TariffBeginsTooEarly,
    move_draft,
)

_TAKEN: Final = msg("This name belongs to a version that was published before.")
_NAMELESS: Final = msg("Give the version a name of its own.")
_NO_REASON: Final = msg("Say in a sentence what has to change.")
_PERIOD: Final = msg("The last day is before the first.")
VERSION_FILE: Final = "tariffs.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class DraftView:
    """A draft in a list. ``tariff_id`` is the name of the version it makes."""

    id: UUID
    operator_id: str
    state: DraftState
    version: int
    tariff_id: str
    base_tariff: str
    effective_from: date | None
    opened_by: str
    opened_at: datetime
    submitted_by: str | None
    submitted_at: datetime | None
    decided_by: str | None
    decided_at: datetime | None
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DraftVersion:
    """One save of a draft."""

    version: int
    note: str
    made_by: str
    made_at: datetime


@dataclass(frozen=True, kw_only=True)
class DraftContents:
    """What a draft says: its sheets, those of the version it began from, the feed around them, and all its saves."""

    view: DraftView
    sheets: Sheets
    base: Sheets
    feed: Feed
    versions: tuple[DraftVersion, ...]

    @property
    def changes(self) -> list[Change]:
        """What it changes against the version it began from."""
        return fares.differences(self.base, self.sheets)


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A what-if run and what it found so far; ``parts`` of which ``done`` are priced."""

    id: UUID
    draft_id: UUID
    version: int
    state: RunState
    first: date
    last: date
    parts: int
    done: int
    cards: int
    taps: int
    asked_by: str
    asked_at: datetime
    begun_at: datetime | None
    ended_at: datetime | None
    error: str
    found: WhatIf


def open_draft(session: Session, *, operator_id: str, by: str, now: datetime) -> UUID:
    """Begin a draft from the operator's newest version. Raises ``NoTariffYet`` where there is none."""
    network.operator(session, operator_id)
    newest = session.scalars(
        select(TariffRow).where(TariffRow.operator_id == operator_id).order_by(TariffRow.effective_from.desc(), TariffRow.id)
    ).first()
    if newest is None:
        raise NoTariffYet(operator_id)
    feed_id = session.get_one(OperatorRow, operator_id).feed_id
    base = network.feed_of_import(session, newest.feed_import_id)
    sheets = fares.sheets_of(base, newest.id)
    if not sheets:
        raise NoTariffYet(operator_id)
    begins = _first_of_next_month(civil_date(now))
    [version] = sheets[VERSION_FILE]
    version.update(tariff_id=f"{operator_id}-{begins:%Y%m%d}", effective_from=f"{begins:%Y%m%d}", effective_until="")
    row = TariffDraft(
        id=new_id(),
        operator_id=operator_id,
        feed_id=feed_id,
        import_id=newest.feed_import_id,
        base_tariff=newest.id,
        state=DraftState.OPEN.value,
        version=1,
        opened_by=by,
        opened_at=now,
        answer="",
    )
    session.add(row)
    session.flush()
    session.add(TariffDraftVersion(draft_id=row.id, version=1, sheets=fares.tidy(sheets), note="", made_by=by, made_at=now))
    audit.record(session, actor=by, action="tariff-draft.open", subject=f"tariff-draft:{row.id}", at=now)
    session.flush()
    return row.id


def _first_of_next_month(today: date) -> date:
    return (today.replace(day=1) + timedelta(days=32)).replace(day=1)


def _draft(session: Session, draft_id: UUID, operator_id: str, *, lock: bool = False) -> TariffDraft:
    row = session.get(TariffDraft, draft_id, with_for_update=lock)
    if row is None or row.operator_id != operator_id:
        raise NoSuchDraft(str(draft_id))
    return row


def _version(session: Session, row: TariffDraft, version: int | None = None) -> TariffDraftVersion:
    found = session.get(TariffDraftVersion, (row.id, row.version if version is None else version))
    if found is None:
        raise NoSuchDraft(f"{row.id} version {version}")
    return found


def _view(row: TariffDraft, sheets: Sheets) -> DraftView:
    [version] = sheets[VERSION_FILE]
    try:
        begins = fares.parse_date(version.get("effective_from", ""))
    except ValueError:
        begins = None
    return DraftView(
        id=row.id,
        operator_id=row.operator_id,
        state=DraftState(row.state),
        version=row.version,
        tariff_id=version.get("tariff_id", ""),
        base_tariff=row.base_tariff,
        effective_from=begins,
        opened_by=row.opened_by,
        opened_at=row.opened_at,
        submitted_by=row.submitted_by,
        submitted_at=row.submitted_at,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        answer=row.answer,
    )


def drafts_of(session: Session, operator_id: str) -> list[DraftView]:
    """An operator's drafts, the newest first."""
    rows = session.execute(
        select(TariffDraft, TariffDraftVersion.sheets)
        .join(
            TariffDraftVersion,
            (TariffDraftVersion.draft_id == TariffDraft.id) & (TariffDraftVersion.version == TariffDraft.version),
        )
        .where(TariffDraft.operator_id == operator_id)
        .order_by(TariffDraft.id.desc())
    )
    return [_view(row, sheets) for row, sheets in rows]


def draft(session: Session, draft_id: UUID, *, operator_id: str, version: int | None = None) -> DraftContents:
    """A draft as it says now, or as it said in an earlier version. Raises ``NoSuchDraft`` where it is somebody else's."""
    row = _draft(session, draft_id, operator_id)
    saved = session.scalars(
        select(TariffDraftVersion).where(TariffDraftVersion.draft_id == row.id).order_by(TariffDraftVersion.version.desc())
    ).all()
    base_import = session.scalars(
        select(TariffRow.feed_import_id).where(TariffRow.operator_id == operator_id, TariffRow.id == row.base_tariff)
    ).one()
    feed = network.feed_of_import(session, base_import)
    sheets: Sheets = _version(session, row, version).sheets
    base = fares.tidy(fares.sheets_of(feed, row.base_tariff))
    for file in sheets:
        if file in fares.FARE_FILES:
            base[file] = fares.tidy({file: fares.shared_sheet(feed, file)})[file]
    return DraftContents(
        view=_view(row, sheets),
        sheets=sheets,
        base=base,
        feed=feed,
        versions=tuple(
            DraftVersion(version=one.version, note=one.note, made_by=one.made_by, made_at=one.made_at) for one in saved
        ),
    )


def save_draft(
    session: Session,
    draft_id: UUID,
    *,
    operator_id: str,
    version: int,
    sheets: Mapping[str, Sheet],
    note: str,
    by: str,
    now: datetime,
) -> int:
    """Save ``sheets`` as the next version of a draft whose ``version`` the editor saw; answers the new version's number.

    Raises:
        StaleDraft: somebody saved another version meanwhile.
        FeedRefused: the rows make no sound tariff; every place is named by file, line of the sheet, field and reason.
        IllegalMove: the draft is not open.
    """
    row = _draft(session, draft_id, operator_id, lock=True)
    move_draft(DraftState(row.state), DraftState.OPEN)
    if version != row.version:
        raise StaleDraft(str(draft_id))
    contents = draft(session, draft_id, operator_id=operator_id)
    tidied = fares.tidy(sheets)
    for file in [file for file in tidied if file in fares.FARE_FILES]:
        if tidied[file] == fares.tidy({file: fares.shared_sheet(contents.feed, file)})[file]:
            del tidied[file]
    tidied.setdefault(VERSION_FILE, [{}])
    tidied[VERSION_FILE] = [{**tidied[VERSION_FILE][0], "agency_id": operator_id}]
    _check_name(session, operator_id, tidied[VERSION_FILE][0].get("tariff_id", ""))
    tariff_of(contents.feed, tidied, city=city_of(session).code)
    if tidied == contents.sheets:
        return row.version
    row.version += 1
    session.add(
        TariffDraftVersion(draft_id=row.id, version=row.version, sheets=tidied, note=note.strip(), made_by=by, made_at=now)
    )
    session.flush()
    return row.version


def _check_name(session: Session, operator_id: str, tariff_id: str) -> None:
    if not tariff_id:
        raise Invalid(fields={"tariff_id": _NAMELESS})
    if session.get(TariffRow, (operator_id, tariff_id)) is not None:
        raise Invalid(fields={"tariff_id": _TAKEN})


def tariff_of(feed: Feed, sheets: Sheets, *, city: str) -> Tariff:
    """The tariff that ``sheets`` make within ``feed``.

    Raises:
        FeedRefused: they make none; lines of the sheets' own rows count from 1 within their sheet.
    """
    [version] = sheets[VERSION_FILE]
    merged = fares.merge(feed, sheets)
    try:
        published = fares.publish(merged, city=city)
    except FeedRefused as refusal:
        raise fares.in_sheets(fares.placed(feed, sheets), refusal) from refusal
    return next(
        tariff
        for tariff in published.tariffs
        if (tariff.operator, tariff.id) == (version.get("agency_id"), version.get("tariff_id"))
    )


def submit_draft(session: Session, draft_id: UUID, *, operator_id: str, by: str, now: datetime) -> None:
    """Hand a draft to somebody else for approval. Raises ``IllegalMove``, ``TariffBeginsTooEarly``."""
    row = _draft(session, draft_id, operator_id, lock=True)
    row.state = move_draft(DraftState(row.state), DraftState.SUBMITTED).value
    _check_begin(_view(row, _version(session, row).sheets), now)
    row.submitted_by, row.submitted_at = by, now
    row.decided_by = row.decided_at = None
    row.answer = ""
    audit.record(session, actor=by, action="tariff-draft.submit", subject=f"tariff-draft:{row.id}", at=now)
    session.flush()


def _check_begin(view: DraftView, now: datetime) -> None:
    if view.effective_from is None or view.effective_from <= civil_date(now):
        raise TariffBeginsTooEarly(view.tariff_id)


def send_back_draft(session: Session, draft_id: UUID, *, operator_id: str, answer: str, by: str, now: datetime) -> None:
    """Open a submitted draft again, with what has to change. Raises ``Invalid`` without a reason, ``IllegalMove``."""
    if not answer.strip():
        raise Invalid(fields={"answer": _NO_REASON})
    row = _draft(session, draft_id, operator_id, lock=True)
    if row.state != DraftState.SUBMITTED:
        move_draft(DraftState.WITHDRAWN, DraftState.OPEN)
    row.state, row.answer = DraftState.OPEN.value, answer.strip()
    row.submitted_by = row.submitted_at = None
    audit.record(session, actor=by, action="tariff-draft.send-back", subject=f"tariff-draft:{row.id}", at=now)
    session.flush()


def withdraw_draft(session: Session, draft_id: UUID, *, operator_id: str, by: str, now: datetime) -> None:
    """Give a draft up. Raises ``IllegalMove``."""
    row = _draft(session, draft_id, operator_id, lock=True)
    row.state = move_draft(DraftState(row.state), DraftState.WITHDRAWN).value
    audit.record(session, actor=by, action="tariff-draft.withdraw", subject=f"tariff-draft:{row.id}", at=now)
    session.flush()


def publish_draft(session: Session, draft_id: UUID, *, operator_id: str, by: str, now: datetime) -> network.Imported:
    """Approve a submitted draft: its version joins the newest import of the feed and is in force from its first day on.

    Raises:
        FourEyes: ``by`` made a version of the draft or submitted it.
        TariffBeginsTooEarly: its first day is not ahead: journeys already made keep their price.
        StaleDraft: it changes a Fares v2 file, and another import came meanwhile.
        FeedRefused, TariffChanged: as any import.
    """
    row = _draft(session, draft_id, operator_id, lock=True)
    move = move_draft(DraftState(row.state), DraftState.PUBLISHED)
    makers = set(session.scalars(select(TariffDraftVersion.made_by).where(TariffDraftVersion.draft_id == row.id)))
    if by in makers | {row.submitted_by, row.opened_by}:
        raise FourEyes
    sheets: Sheets = _version(session, row).sheets
    _check_begin(_view(row, sheets), now)
    newest = session.scalars(
        select(FeedImport.id).where(FeedImport.feed_id == row.feed_id).order_by(FeedImport.id.desc()).limit(1)
    ).one()
    if newest != row.import_id and any(file in fares.FARE_FILES for file in sheets):
        raise StaleDraft(str(draft_id))
    merged = fares.merge(network.feed_of_import(session, newest), sheets)
    done = network.import_feed(session, merged.files, feed_id=row.feed_id, by=by, now=now)
    row.state, row.decided_by, row.decided_at, row.import_id = move.value, by, now, done.id
    audit.record(session, actor=by, action="tariff-draft.publish", subject=f"tariff-draft:{row.id}", at=now)
    session.flush()
    return done


def ask_what_if(session: Session, draft_id: UUID, *, operator_id: str, first: date, last: date, by: str, now: datetime) -> UUID:
    """Ask what the draft's present version would have cost the riders of ``first`` to ``last``; the worker prices it."""
    if last < first:
        raise Invalid(fields={"last": _PERIOD})
    row = _draft(session, draft_id, operator_id)
    run = WhatIfRun(
        id=new_id(),
        draft_id=row.id,
        version=row.version,
        operator_id=operator_id,
        first=first,
        last=last,
        state=RunState.WAITING.value,
        bounds=[],
        cards=0,
        asked_by=by,
        asked_at=now,
        error="",
    )
    session.add(run)
    session.flush()
    return run.id


def _run_view(session: Session, run: WhatIfRun) -> RunView:
    found, done, taps = repricing.result(session, run)
    return RunView(
        id=run.id,
        draft_id=run.draft_id,
        version=run.version,
        state=RunState(run.state),
        first=run.first,
        last=run.last,
        parts=len(run.bounds),
        done=done,
        cards=run.cards,
        taps=taps,
        asked_by=run.asked_by,
        asked_at=run.asked_at,
        begun_at=run.begun_at,
        ended_at=run.ended_at,
        error=run.error,
        found=found,
    )


def what_if_run(session: Session, run_id: UUID, *, operator_id: str) -> RunView:
    """A what-if run. Raises ``NoSuchDraft`` where it is somebody else's."""
    run = session.get(WhatIfRun, run_id)
    if run is None or run.operator_id != operator_id:
        raise NoSuchDraft(str(run_id))
    return _run_view(session, run)


def what_if_runs(session: Session, draft_id: UUID, *, operator_id: str) -> list[RunView]:
    """The runs of a draft, the newest first."""
    row = _draft(session, draft_id, operator_id)
    rows = session.scalars(select(WhatIfRun).where(WhatIfRun.draft_id == row.id).order_by(WhatIfRun.id.desc()).limit(10))
    return [_run_view(session, run) for run in rows]


def unfinished_runs(session: Session) -> list[UUID]:
    """The runs that wait or were left, the oldest first."""
    unfinished = (RunState.WAITING.value, RunState.RUNNING.value)
    return list(session.scalars(select(WhatIfRun.id).where(WhatIfRun.state.in_(unfinished)).order_by(WhatIfRun.id)))


def begin_run(session: Session, run_id: UUID, *, now: datetime) -> repricing.Plan:
    """The plan of a run; cuts it into parts where nobody did."""
    run = session.get_one(WhatIfRun, run_id, with_for_update=True)
    row = session.get_one(TariffDraft, run.draft_id)
    contents = draft(session, row.id, operator_id=row.operator_id, version=run.version)
    drafted = tariff_of(contents.feed, contents.sheets, city=city_of(session).code)
    made = repricing.plan(session, drafted=drafted, first=run.first, last=run.last)
    if run.state == RunState.WAITING:
        run.bounds, run.cards = repricing.bounds(session, operator_id=run.operator_id, first=run.first, last=run.last)
        run.state, run.begun_at = RunState.RUNNING.value, now
        session.flush()
    return made


def price_one_part(database: Database, run_id: UUID, made: repricing.Plan, part: int, *, now: datetime) -> None:
    """Price a part of a run and write it down, in a transaction of its own."""
    with database.transaction() as session:
        ends = session.get_one(WhatIfRun, run_id).bounds
        groups, taps = repricing.price_part(session, made, after=ends[part - 1] if part else "", last_card=ends[part])
        repricing.write_part(session, run_id, part, groups, taps, now=now)


def parts_left(session: Session, run_id: UUID) -> list[int]:
    """The parts of a run that are still to be priced."""
    return repricing.parts_left(session, session.get_one(WhatIfRun, run_id))


def bounds_of(session: Session, run_id: UUID) -> list[str]:
    """The last card number of each part of a run."""
    return list(session.get_one(WhatIfRun, run_id).bounds)


def end_run(session: Session, run_id: UUID, *, now: datetime, refusal: Refusal | None = None) -> None:
    """All parts are there, or the run cannot go on."""
    run = session.get_one(WhatIfRun, run_id, with_for_update=True)
    run.state = (RunState.FAILED if refusal else RunState.DONE).value
    run.error = refusal.code if refusal else ""
    run.ended_at = now
