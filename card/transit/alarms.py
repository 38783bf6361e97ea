"""What is wrong with an operator's terminals: what stands now (gaps, stale lists, clocks), and what happened."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.kernel import audit
from app.kernel.errors import Invalid, NotFound, msg
from card.transit.models import AlarmSeen, TapAlarm, TerminalBoot, TerminalRow
from card.transit.rules import SKEW_MAX, Freshness, freshness

CERTIFICATE_SOON: Final = timedelta(days=7)
NOTE_MAX: Final = 300


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
    """An alarm that was raised, and what somebody said when they looked (``seen_at`` none: nobody did)."""

    id: UUID
    at: datetime
    terminal_id: UUID
    boot_id: str
    seq: int
    kind: str
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
    """The newest alarms: those nobody has looked at first."""
    rows = session.execute(
        select(TapAlarm, AlarmSeen)
        .outerjoin(AlarmSeen, AlarmSeen.alarm_id == TapAlarm.id)
        .where(TapAlarm.operator_id == operator_id)
        .order_by(AlarmSeen.alarm_id.is_not(None), TapAlarm.id.desc())
        .limit(limit)
    )
    return [
        Happened(
            id=row.id,
            at=row.at,
            terminal_id=row.terminal_id,
            boot_id=row.boot_id,
            seq=row.seq,
            kind=row.kind,
            seen_at=seen.seen_at if seen else None,
            note=seen.note if seen else "",
        )
        for row, seen in rows
    ]


def look_at(session: Session, *, alarm_id: UUID, operator_id: str, note: str, by: str, now: datetime) -> None:
    """Somebody looked at an alarm and says what it was; once. Raises :class:`UnknownAlarm` or ``Invalid``."""
    row = session.get(TapAlarm, alarm_id)
    if row is None or row.operator_id != operator_id:
        raise UnknownAlarm(str(alarm_id))
    if not note.strip():
        raise Invalid("note", fields={"note": msg("Say in a few words what it was.")})
    if session.get(AlarmSeen, alarm_id) is None:
        session.add(AlarmSeen(alarm_id=alarm_id, seen_by=by, seen_at=now, note=note.strip()[:NOTE_MAX]))
        audit.record(session, actor=by, action="alarm.seen", subject=f"alarm:{alarm_id}", at=now)
        session.flush()
