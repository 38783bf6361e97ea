"""Alarms of the books: raised by a check that fails or a partner's ledger that forks; they stand until somebody answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.kernel import audit, ids, outbox
from app.kernel.db import Database
from app.kernel.errors import Conflict, Invalid, NotFound, msg
from card.ledger.models import LedgerAlarm, LedgerCheck
from card.ledger.rules import BooksReport, Finding

log = structlog.get_logger()

REASON_MIN: Final = 10  # characters: what was done about it, not a dot
AT_ONCE: Final = 50  # findings of one check that become alarms of their own; the first say enough
FORK: Final = "fork"  # a partner's ledger that is not the continuation of what we saw

RAISED: Final = Counter("ledger_alarms_raised", "Alarms of the books raised by this process", ["kind"])
STANDING: Final = Gauge("ledger_alarms_standing", "Alarms of the books that nobody has answered yet")


class UnknownAlarm(NotFound):
    """No alarm has this id."""

    code = "unknown-ledger-alarm"
    sentence = msg("There is no such alarm.")


class AlarmAnswered(Conflict):
    """Somebody answered it before."""

    code = "ledger-alarm-answered"
    sentence = msg("This alarm was answered before.")


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Something wrong with the books: of which kind, what it is about, what should stand there and what was found."""

    id: UUID
    raised_at: datetime
    kind: str
    subject: str
    expected: str
    found: str
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Check:
    """That the books were proven: when, how much was read, how much was wrong, and how long it took.

    ``after_batch`` and the others are those of the report (:class:`BooksReport`).
    """

    at: datetime
    accounts: int
    transfers: int
    batches: int
    findings: int
    took_ms: int
    after_batch: int
    upto_batch: int
    upto_position: int

    @property
    def whole(self) -> bool:
        """Whether everything was read."""
        return self.after_batch == 0


def _alarm(row: LedgerAlarm) -> Alarm:
    return Alarm(
        id=row.id,
        raised_at=row.raised_at,
        kind=row.kind,
        subject=row.subject,
        expected=row.expected,
        found=row.found,
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=row.acknowledged_by,
        reason=row.reason,
    )


def raise_alarm(session: Session, *, kind: str, subject: str, expected: str, found: str, now: datetime) -> bool:
    """Raise an alarm; one that stands already is not raised again. Whether it is new.

    A new one is logged, counted, and emitted as ``ledger.alarm-raised`` so that those in charge get a message.
    """
    made = session.execute(
        postgresql.insert(LedgerAlarm)
        .values(id=ids.new_id(), raised_at=now, kind=kind, subject=subject, expected=expected[:500], found=found[:500])
        .on_conflict_do_nothing()
        .returning(LedgerAlarm.id)
    ).scalar_one_or_none()
    if made is None:
        return False
    log.error("ledger.alarm", kind=kind, subject=subject, expected=expected, found=found)
    RAISED.labels(kind).inc()
    outbox.emit(session, "ledger.alarm-raised", {"alarm_id": str(made), "kind": kind, "subject": subject}, at=now)
    return True


def record_check(session: Session, report: BooksReport, findings: Sequence[Finding], *, now: datetime) -> int:
    """Write down that the books were proven, and raise an alarm for each finding; how many alarms are new."""
    session.add(
        LedgerCheck(
            id=ids.new_id(),
            at=now,
            accounts=report.accounts,
            transfers=report.transfers,
            batches=report.batches,
            findings=len(findings),
            took_ms=round(report.took.total_seconds() * 1000),
            after_batch=report.after_batch,
            upto_batch=report.upto_batch,
            upto_position=report.upto_position,
        )
    )
    session.flush()
    return sum(
        raise_alarm(
            session, kind=finding.kind.value, subject=finding.subject, expected=finding.expected, found=finding.found, now=now
        )
        for finding in findings[:AT_ONCE]
    )


def measure(database: Database) -> None:
    """Let the metrics of this process say how many alarms stand, whoever raised them: it is counted when they are read."""

    def count() -> float:
        with database.transaction() as session:
            return float(standing(session))

    STANDING.set_function(count)


def standing(session: Session) -> int:
    """How many alarms nobody has answered yet."""
    return int(session.scalar(select(func.count()).where(LedgerAlarm.acknowledged_at.is_(None))) or 0)


def alarms(session: Session, *, before: UUID | None = None, limit: int = 50) -> list[Alarm]:
    """Alarms, those that stand first, the newest before the others; from after ``before`` on among the answered."""
    query = select(LedgerAlarm).order_by(LedgerAlarm.acknowledged_at.is_not(None), LedgerAlarm.id.desc()).limit(limit)
    if before is not None:
        query = query.where(LedgerAlarm.acknowledged_at.is_not(None), LedgerAlarm.id < before)
    return [_alarm(row) for row in session.scalars(query)]


def alarm(session: Session, alarm_id: UUID) -> Alarm:
    """One alarm. Raises :class:`UnknownAlarm`."""
    row = session.get(LedgerAlarm, alarm_id)
    if row is None:
        raise UnknownAlarm(str(alarm_id))
    return _alarm(row)


def acknowledge(session: Session, *, alarm_id: UUID, reason: str, by: str, now: datetime) -> None:
    """Answer an alarm: ``reason`` says what was found out and done. It stays in the list, answered.

    Raises :class:`UnknownAlarm`, :class:`AlarmAnswered`, ``Invalid``.
    """
    alarm(session, alarm_id)
    said = reason.strip()
    if len(said) < REASON_MIN:
        raise Invalid(fields={"reason": msg("Say in a sentence what was found out and done.")})
    changed = session.execute(
        update(LedgerAlarm)
        .where(LedgerAlarm.id == alarm_id, LedgerAlarm.acknowledged_at.is_(None))
        .values(acknowledged_at=now, acknowledged_by=by, reason=said[:2000])
        .returning(LedgerAlarm.id),
        execution_options={"synchronize_session": False},
    ).all()
    if not changed:
        raise AlarmAnswered(str(alarm_id))
    audit.record(session, actor=by, action="ledger.alarm.acknowledge", subject=f"ledger-alarm:{alarm_id}", at=now)


def last_checks(session: Session, *, limit: int = 10) -> list[Check]:
    """The newest checks of the books, newest first."""
    return [_check(row) for row in session.scalars(select(LedgerCheck).order_by(LedgerCheck.id.desc()).limit(limit))]


def last_whole_check(session: Session) -> Check | None:
    """The newest check that read everything."""
    row = session.scalars(
        select(LedgerCheck).where(LedgerCheck.after_batch == 0).order_by(LedgerCheck.id.desc()).limit(1)
    ).one_or_none()
    return None if row is None else _check(row)


def _check(row: LedgerCheck) -> Check:
    return Check(
        at=row.at,
        accounts=row.accounts,
        transfers=row.transfers,
        batches=row.batches,
        findings=row.findings,
        took_ms=row.took_ms,
        after_batch=row.after_batch,
        upto_batch=row.upto_batch,
        upto_position=row.upto_position,
    )
