"""Taps as they are stored, each to every reader exactly once, however often the reader's line breaks.

Neither a clock nor a sequence says what a reader has seen: the transaction that drew the lower number may commit later. A
snapshot does: PostgreSQL knows which transactions it holds, and every upload keeps the number of its own. News is what a
later snapshot holds and the reader's does not. The reader keeps the snapshot, as text; nothing is remembered here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Text, and_, any_, cast, func, literal, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.kernel.errors import Refusal, msg
from card.transit.models import AlarmSeen, TapAlarm, TapRow, TapUpload
from card.transit.queries import TapView, tap_view

RESUME_WITHIN: Final = timedelta(hours=1)
STORED_WITHIN: Final = timedelta(days=1)  # a restored database counts transactions anew: old numbers must not pass for new
AT_ONCE: Final = 200
COUNTED_MAX: Final = 1000
_TEXT_MAX: Final = 4000
_NUMBER_MAX: Final = 2**62
_TEXT: Final = re.compile(r"(\d{1,10})/(\d{1,19}:[\d,]*)(?:/(\d{1,19}:[\d,]*)/(\d{1,9}))?", re.ASCII)


class CannotResume(Refusal):
    """The reader's place is not one of ours, or older than an hour: begin with the list again."""

    code = "cannot-resume"
    sentence = msg("This list cannot go on from where it was. Load it again.")
    status = 410


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """Which transactions can be seen: all below ``ends`` but those of ``running``, which had not committed."""

    ends: int
    running: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """``ends:running,running``. Raises :class:`CannotResume`."""
        ends, _, rest = text.partition(":")
        found = cls(ends=int(ends), running=tuple(int(number) for number in rest.split(",") if number))
        if max(found.ends, *found.running, 0) > _NUMBER_MAX:
            raise CannotResume(text[:40])
        return found

    def __str__(self) -> str:
        return f"{self.ends}:{','.join(map(str, self.running))}"

    def holds(self, xact: InstrumentedAttribute[int | None]) -> ColumnElement[bool]:
        """In SQL: whether the transaction ``xact`` can be seen."""
        return and_(xact < self.ends, ~(xact == any_(self._running)))

    def lacks(self, xact: InstrumentedAttribute[int | None]) -> ColumnElement[bool]:
        """In SQL: whether it cannot. The first bound is implied by the others and lets an index find the few."""
        first = min(self.ends, *self.running) if self.running else self.ends
        return and_(xact >= first, or_(xact >= self.ends, xact == any_(self._running)))

    @property
    def _running(self) -> ColumnElement[Sequence[int]]:
        return literal(self.running, ARRAY(BigInteger()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """How far a reader has come: through ``seen``, and through the first ``offset`` of what ``until`` holds beyond it."""

    at: datetime
    seen: Snapshot
    until: Snapshot | None = None
    offset: int = 0

    @classmethod
    def parse(cls, text: str, *, now: datetime) -> "Place":
        """A place from its text. Raises :class:`CannotResume` where it is none, or too old."""
        found = _TEXT.fullmatch(text) if len(text) <= _TEXT_MAX else None
        if found is None:
            raise CannotResume(text[:40])
        at, seen, until, offset = found.groups()
        place = cls(
            at=datetime.fromtimestamp(int(at), tz=UTC),
            seen=Snapshot.parse(seen),
            until=Snapshot.parse(until) if until else None,
            offset=int(offset or 0),
        )
        if abs(now - place.at) > RESUME_WITHIN:
            raise CannotResume(text[:40])
        return place

    def __str__(self) -> str:
        head = f"{int(self.at.timestamp())}/{self.seen}"
        return head if self.until is None else f"{head}/{self.until}/{self.offset}"


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """Taps that a reader has not seen, in the order in which they were received, and the place after them."""

    taps: tuple[TapView, ...]
    place: Place

    @property
    def complete(self) -> bool:
        """Whether there was no more of it."""
        return self.place.until is None


def here(session: Session, *, now: datetime) -> Place:
    """The place of who has seen all that this statement sees; for a list too, read both in one ``REPEATABLE READ``."""
    text = session.scalars(select(cast(func.pg_current_snapshot(), Text))).one()
    _, ends, running = text.split(":")
    return Place(at=now, seen=Snapshot.parse(f"{ends}:{running}"))


def news(session: Session, operator_id: str, place: Place, *, now: datetime, limit: int = AT_ONCE) -> News:
    """What an operator's terminals uploaded and a reader at ``place`` has not seen, at most ``limit`` taps of it."""
    until = place.until or here(session, now=now).seen
    if until == place.seen:
        return News(taps=(), place=Place(at=now, seen=until))
    rows = session.scalars(
        select(TapRow)
        .join(TapUpload, TapUpload.id == TapRow.upload_id)
        .where(
            place.seen.lacks(TapUpload.xact),
            until.holds(TapUpload.xact),
            TapUpload.received_at >= now - STORED_WITHIN,
            TapRow.received_at == TapUpload.received_at,  # it is the same instant; an index of taps begins with it
            TapRow.operator_id == operator_id,
        )
        .order_by(TapRow.received_at, TapRow.upload_id, TapRow.boot_id, TapRow.seq)
        .offset(place.offset)
        .limit(limit)
    ).all()
    taps = tuple(tap_view(row) for row in rows)
    if len(taps) < limit:
        return News(taps=taps, place=Place(at=now, seen=until))
    return News(taps=taps, place=Place(at=now, seen=place.seen, until=until, offset=place.offset + limit))


def unseen_alarms(session: Session, operator_id: str) -> int:
    """How many alarms nobody has looked at; counting stops at a thousand."""
    waiting = (
        select(TapAlarm.id)
        .outerjoin(AlarmSeen, AlarmSeen.alarm_id == TapAlarm.id)
        .where(TapAlarm.operator_id == operator_id, AlarmSeen.alarm_id.is_(None))
        .limit(COUNTED_MAX)
        .subquery()
    )
    return session.scalars(select(func.count()).select_from(waiting)).one()
