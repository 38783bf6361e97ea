"""The outbox: events written in the caller's transaction and delivered by the worker at least once.

``app/wiring.py`` is the one table that maps an event's name to what it causes. A *handler* runs in a transaction of its own
together with the mark that the event is done, so it is applied exactly once. A *courier* speaks to the network: it runs
outside any transaction under a lease and may run twice after a crash, so what it sends carries an idempotency key.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import Index, insert, or_, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.kernel.db import Base, Database, Json
from app.kernel.ids import new_id

Handler = Callable[[Session, Json], None]
Courier = Callable[[Database, Json], None]

RETRY_SECONDS: Final = (1, 5, 15, 60, 300, 1800)
LEASE: Final = timedelta(minutes=2)
LATEST: Final = timedelta(hours=1)  # nothing is ever due so much later than it is written or tried
log = structlog.get_logger()


class OutboxEvent(Base):
    """One event. It is pending until ``done_at`` is set; ``error`` keeps the last failure for the operations page."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_pending", "due_at", "id", postgresql_where="done_at IS NULL"),
        {"schema": "app"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    payload: Mapped[Json]
    written_at: Mapped[datetime]
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    done_at: Mapped[datetime | None]


def emit(session: Session, name: str, payload: Json, *, at: datetime) -> UUID:
    """Write the event ``name`` (``noun.happened``) in the caller's transaction."""
    event_id = new_id()
    session.add(OutboxEvent(id=event_id, name=name, payload=payload, written_at=at, due_at=at))
    return event_id


def emit_all(session: Session, name: str, payloads: Sequence[Json], *, at: datetime) -> None:
    """Write one event ``name`` for each of ``payloads``, as :func:`emit` would, in one statement."""
    if payloads:
        session.execute(
            insert(OutboxEvent),
            [
                {"id": new_id(), "name": name, "payload": payload, "written_at": at, "due_at": at, "attempts": 0}
                for payload in payloads
            ],
        )


def deliver_one(database: Database, handlers: Mapping[str, Handler], couriers: Mapping[str, Courier], *, now: datetime) -> bool:
    """Deliver the oldest event that is due; answer whether there was one.

    The row is locked while its handler runs (``SKIP LOCKED`` lets other workers pass). A failure is kept on the row and tried
    again later, at most half an hour apart, for ever: nothing is dropped. What seems to be due much later was written by a
    clock that was wrong, and is due now.
    """
    failure: Exception | None = None
    with database.transaction() as session:
        event = session.scalars(
            select(OutboxEvent)
            .where(OutboxEvent.done_at.is_(None), or_(OutboxEvent.due_at <= now, OutboxEvent.due_at > now + LATEST))
            .order_by(OutboxEvent.due_at, OutboxEvent.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if event is None:
            return False
        name, event_id, payload = event.name, event.id, event.payload
        if name in couriers:
            event.due_at = now + LEASE
        else:
            try:
                with session.begin_nested():
                    handlers[name](session, payload)
            except Exception as error:  # noqa: BLE001  whatever a handler raises is kept and tried again
                failure = error
            _note(event, failure, now)
    if name in couriers:
        try:
            couriers[name](database, payload)
        except Exception as error:  # noqa: BLE001  the same for a courier
            failure = error
        with database.transaction() as session:
            _note(session.get_one(OutboxEvent, event_id), failure, now)
    if failure is not None:
        log.warning("outbox.failed", event_name=name, event_id=str(event_id), exc_info=failure)
    return True


def _note(event: OutboxEvent, failure: Exception | None, now: datetime) -> None:
    if failure is None:
        event.done_at, event.error = now, None
        return
    event.due_at = now + timedelta(seconds=RETRY_SECONDS[min(event.attempts, len(RETRY_SECONDS) - 1)])
    event.attempts += 1
    event.error = f"{type(failure).__name__}: {failure}"[:2000]
