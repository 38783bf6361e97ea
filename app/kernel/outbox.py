"""The outbox: events written in the caller's transaction and delivered by the worker at least once.

``app/wiring.py`` is the one table that maps an event's name to the action it causes. A handler runs in a transaction of its own
together with the mark that the event is done, so a handler that is itself idempotent is applied exactly once.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import Index, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.kernel.db import Base, Database, Json
from app.kernel.ids import new_id

Handler = Callable[[Session, Json], None]

RETRY_SECONDS: Final = (1, 5, 15, 60, 300, 1800)
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


def emit(session: Session, name: str, payload: Json, *, at: datetime, due_at: datetime | None = None) -> UUID:
    """Write the event ``name`` (``noun.happened``) in the caller's transaction; deliver it from ``due_at`` on."""
    event_id = new_id()
    session.add(OutboxEvent(id=event_id, name=name, payload=payload, written_at=at, due_at=due_at or at))
    return event_id


def deliver_one(database: Database, handlers: Mapping[str, Handler], *, now: datetime) -> bool:
    """Deliver the oldest event that is due; answer whether there was one.

    The row is locked while its handler runs (``SKIP LOCKED`` lets other workers pass). A failure is kept on the row and tried
    again later, at most half an hour apart, for ever: nothing is dropped.
    """
    failure: Exception | None = None
    with database.transaction() as session:
        event = session.scalars(
            select(OutboxEvent)
            .where(OutboxEvent.done_at.is_(None), OutboxEvent.due_at <= now)
            .order_by(OutboxEvent.due_at, OutboxEvent.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if event is None:
            return False
        try:
            with session.begin_nested():
                handlers[event.name](session, event.payload)
        except Exception as error:  # noqa: BLE001  whatever a handler raises is kept and tried again
            failure = error
            delay = RETRY_SECONDS[min(event.attempts, len(RETRY_SECONDS) - 1)]
            event.attempts += 1
            event.error = f"{type(error).__name__}: {error}"[:2000]
            event.due_at = now + timedelta(seconds=delay)
        else:
            event.done_at = now
            event.error = None
        name, event_id, attempts = event.name, event.id, event.attempts
    if failure is not None:
        log.warning("outbox.failed", event_name=name, event_id=str(event_id), attempts=attempts, exc_info=failure)
    return True
