"""Clocks that are far off: batches dated ahead of the database's, a worker that lives in another time, a clock that jumps.

A batch is dated by whoever books it, and a day's balance ends with the first batch of a later day. One machine a year ahead
would therefore end every day until then; so a batch is dated at most ``city.clock_ahead`` later than the database's own clock
says (:mod:`app.kernel.db`, ``posting.NOTE``), and here somebody is told. The machine's own ticks tell where the database and
its callers share a clock that jumps.
"""

import time
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.kernel.db import Database
from card.ledger import alarming
from card.ledger.rules import FindingKind

FAR: Final = timedelta(seconds=30)

# Batches dated ahead that no alarm has named yet; one alarm stands for all that came before somebody answers it.
AHEAD: Final = """
SELECT clock_timestamp() AS at, count(batch_no) AS batches, max(batch_no) AS newest, max(posted_at) AS dated
FROM card.ledger_batch
WHERE posted_at > clock_timestamp() + :far
  AND batch_no > coalesce((SELECT max(split_part(subject, ':', 2)::bigint) FROM card.ledger_alarm
    WHERE kind = :kind AND subject LIKE 'batch:%'), 0)
  AND NOT EXISTS (SELECT FROM card.ledger_alarm
    WHERE kind = :kind AND subject LIKE 'batch:%' AND acknowledged_at IS NULL)
"""


class Reading(NamedTuple):
    """What a clock said, and at which tick of the machine (seconds)."""

    at: datetime
    tick: float


def tick() -> float:
    """Seconds that only ever count up, also while the machine sleeps where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def jumped(before: Reading, now: Reading) -> timedelta:
    """How far a clock went beyond what passed between two readings; negative where it stepped back."""
    return (now.at - before.at) - timedelta(seconds=now.tick - before.tick)


def watch(database: Database, own: Reading, before: Reading | None) -> None:
    """Raise an alarm for batches dated ahead, for a clock of ours that is far from the database's, and for one that jumped."""
    with database.transaction() as session:
        found = session.execute(text(AHEAD), {"far": FAR, "kind": FindingKind.CLOCK.value}).one()
        if found.batches:
            _alarm(session, f"batch:{found.newest}", found.at, f"{found.dated.isoformat()}, {found.batches} batches", found.at)
        if abs(own.at - found.at) > FAR:
            _alarm(session, "clock:worker", found.at, own.at.isoformat(), found.at)
        if before is not None and abs(jumped(before, own)) > FAR:
            steady = before.at + timedelta(seconds=own.tick - before.tick)
            _alarm(session, "clock:jump", steady, own.at.isoformat(), found.at)


def _alarm(session: Session, subject: str, expected: datetime, found: str, now: datetime) -> None:
    alarming.raise_alarm(
        session, kind=FindingKind.CLOCK.value, subject=subject, expected=expected.isoformat(), found=found, now=now
    )
