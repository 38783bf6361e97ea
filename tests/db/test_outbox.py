"""An event is delivered once; a failure is kept and tried again."""

from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel import clock, outbox
from app.kernel.db import Database, Json


@pytest.mark.parametrize("kind", ["handler", "courier"])
def test_an_event_is_delivered_once_and_a_failure_is_tried_again(database: Database, kind: str) -> None:
    seen: list[Json] = []
    broken = True

    def act(_: Session | Database, payload: Json) -> None:
        if broken:
            raise RuntimeError("not now")
        seen.append(payload)

    handlers = {"thing.happened": act} if kind == "handler" else {}
    couriers = {"thing.happened": act} if kind == "courier" else {}
    now = clock.now()
    with database.transaction() as session:
        outbox.emit(session, "thing.happened", {"n": 1}, at=now)

    assert outbox.deliver_one(database, handlers, couriers, now=now)
    assert not outbox.deliver_one(database, handlers, couriers, now=now), "a failed event waits before it is tried again"
    with database.transaction() as session:
        event = session.scalars(select(outbox.OutboxEvent)).one()
        assert (event.attempts, event.error, event.done_at) == (1, "RuntimeError: not now", None)

    broken = False
    later = now + timedelta(seconds=2)
    assert outbox.deliver_one(database, handlers, couriers, now=later)
    assert not outbox.deliver_one(database, handlers, couriers, now=later + timedelta(hours=1))
    assert seen == [{"n": 1}]


def test_an_event_written_by_a_clock_that_was_a_year_ahead_does_not_wait_a_year(database: Database) -> None:
    seen: list[Json] = []
    now = clock.now()
    with database.transaction() as session:
        outbox.emit(session, "thing.happened", {"n": 1}, at=now + timedelta(days=365))
        outbox.emit(session, "thing.happened", {"n": 2}, at=now + timedelta(minutes=20))
    handlers = {"thing.happened": lambda _, payload: seen.append(payload)}
    assert outbox.deliver_one(database, handlers, {}, now=now)
    assert not outbox.deliver_one(database, handlers, {}, now=now), "what was tried in vain waits at most half an hour"
    assert seen == [{"n": 1}]
