"""What is wrong with an operator's terminals: what stands now (gaps, stale lists, clocks), and what happened."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import Text, cast, func, insert, literal, select
from sqlalchemy.orm import Session

from app.kernel import audit
from app.kernel.errors import Invalid, NotFound, msg
from card.transit.models import AlarmSeen, TapAlarm, TerminalBoot, TerminalRow
from card.transit.rules import SKEW_MAX, Freshness, freshness

CERTIFICATE_SOON: Final = timedelta(days=7)
NOTE_MAX: Final = 300
GROUPED_MAX: Final = 5_000


class StandingKind(StrEnum):
    """What stands until it is mended."""

    GAP = "gap"
    STALE_LIST = "stale-list"
    CLOCK = "clock-off"
    CERTIFICATE = "certificate-ends"


class UnknownAlarm(NotFound):
    """No such alarm, or another operator's."""

    code = "unknown-alarm"
    sentence = msg("We could not find this alarm.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Something that is wrong now. ``since`` is when it began, as far as known; ``missing`` are the records of the run
    ``boot_id`` that never came, as inclusive pairs.
    """

    kind: StandingKind
    terminal_id: UUID
    since: datetime | None
    boot_id: str = ""
    missing: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Happened:
    """Alarms of one kind about one run of a terminal, and what somebody said when they looked (``seen_at`` none: nobody did).

    ``id`` and ``at`` are the newest's; the records ``first_seq`` to ``last_seq`` have ``count`` alarms among them.
    """

    id: UUID
    at: datetime
    terminal_id: UUID
    boot_id: str
    kind: str
    count: int
    first_seq: int
    last_seq: int
    seen_at: datetime | None
    note: str


def standing(session: Session, operator_id: str, *, now: datetime) -> list[Standing]:
    """What is wrong now with the operator's terminals that are not revoked: gaps first, then lists, clocks, certificates."""
    mine = TerminalRow.operator_id == operator_id, TerminalRow.revoked_at.is_(None)
    found: list[Standing] = []
    boots = session.scalars(
        select(TerminalBoot)
        .join(TerminalRow, TerminalRow.id == TerminalBoot.terminal_id)
        .where(*mine, func.jsonb_array_length(TerminalBoot.gaps["gaps"]) > 0)
        .order_by(TerminalBoot.terminal_id, TerminalBoot.boot_id)
    )
    for boot in boots:
        missing = tuple((int(first), int(last)) for first, last in boot.gaps["gaps"])
        found.append(
            Standing(kind=StandingKind.GAP, terminal_id=boot.terminal_id, since=None, boot_id=boot.boot_id, missing=missing)
        )
    for row in session.scalars(select(TerminalRow).where(*mine).order_by(TerminalRow.id)):
        state = freshness(synced_at=row.synced_at, revoked=False, now=now)
        if state in (Freshness.OLD, Freshness.EXPIRED):
            found.append(Standing(kind=StandingKind.STALE_LIST, terminal_id=row.id, since=row.synced_at))
        if abs(row.skew_ms) > SKEW_MAX.total_seconds() * 1000:
            found.append(Standing(kind=StandingKind.CLOCK, terminal_id=row.id, since=row.last_tap_at))
        if row.certificate_until - now <= CERTIFICATE_SOON:
            found.append(Standing(kind=StandingKind.CERTIFICATE, terminal_id=row.id, since=row.certificate_until))
    order = list(StandingKind)
    return sorted(found, key=lambda one: (order.index(one.kind), one.terminal_id))


def happened(session: Session, operator_id: str, *, limit: int = 100) -> list[Happened]:
    """What was raised lately, what nobody has looked at first. A clock that is off raises one a tap, and is one thing."""
    newest = (
        select(TapAlarm, AlarmSeen.seen_at, AlarmSeen.note)
        .outerjoin(AlarmSeen, AlarmSeen.alarm_id == TapAlarm.id)
        .where(TapAlarm.operator_id == operator_id)
        .order_by(AlarmSeen.alarm_id.is_not(None), TapAlarm.id.desc())
        .limit(GROUPED_MAX)
        .subquery()
    )
    alike = newest.c.terminal_id, newest.c.boot_id, newest.c.kind, newest.c.seen_at, newest.c.note
    last = func.max(cast(newest.c.id, Text))
    rows = session.execute(
        select(*alike, last, func.max(newest.c.at), func.count(), func.min(newest.c.seq), func.max(newest.c.seq))
        .group_by(*alike)
        .order_by(newest.c.seen_at.is_not(None), last.desc())
        .limit(limit)
    )
    return [
        Happened(
            id=UUID(id_),
            at=at,
            terminal_id=terminal_id,
            boot_id=boot_id,
            kind=kind,
            count=count,
            first_seq=first,
            last_seq=last_seq,
            seen_at=seen_at,
            note=note or "",
        )
        for terminal_id, boot_id, kind, seen_at, note, id_, at, count, first, last_seq in rows
    ]


def look_at(session: Session, *, alarm_id: UUID, operator_id: str, note: str, by: str, now: datetime) -> None:
    """Somebody looked at an alarm and says what it was; once, and for all like it up to it that nobody looked at.

    Raises :class:`UnknownAlarm` or ``Invalid``.
    """
    row = session.get(TapAlarm, alarm_id)
    if row is None or row.operator_id != operator_id:
        raise UnknownAlarm(str(alarm_id))
    if not note.strip():
        raise Invalid("note", fields={"note": msg("Say in a few words what it was.")})
    alike = (
        select(TapAlarm.id, literal(by), literal(now), literal(note.strip()[:NOTE_MAX]))
        .outerjoin(AlarmSeen, AlarmSeen.alarm_id == TapAlarm.id)
        .where(
            TapAlarm.operator_id == operator_id,
            TapAlarm.terminal_id == row.terminal_id,
            TapAlarm.boot_id == row.boot_id,
            TapAlarm.kind == row.kind,
            TapAlarm.id <= alarm_id,
            AlarmSeen.alarm_id.is_(None),
        )
    )
    columns = ["alarm_id", "seen_by", "seen_at", "note"]
    noted = session.scalars(insert(AlarmSeen).from_select(columns, alike).returning(AlarmSeen.alarm_id)).all()
    if noted:
        audit.record(session, actor=by, action="alarm.seen", subject=f"alarm:{alarm_id}", at=now, details={"alike": len(noted)})
