"""Complete journeys whose other tap never came from the rider's own habit: marked, contestable, and never at a higher price."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel import audit, clock
from app.kernel.db import Database, Json
from app.kernel.ids import derived_id
from app.kernel.settings import Settings
from card.fares import State, card_day, in_card_day_of
from card.transit import charging
from card.transit.habits import LOOK_BACK, Habit, Missing, Trip, usual
from card.transit.models import ClaimedTap, Contest, JourneyRow
from card.transit.rules import Liability

log = structlog.get_logger()
WAIT: Final = timedelta(hours=24)  # so long the real tap may still arrive
GIVE_UP: Final = timedelta(hours=72)
AT_ONCE: Final = 500
INCOMPLETE: Final = (State.MISSING_ENTRY.value, State.MISSING_EXIT.value)


def trips_of(session: Session, *, card_number: str, operator_id: str, before: datetime) -> list[Trip]:
    """The card's whole journeys with this operator in the six weeks before, those put together from habit left out."""
    rows = session.scalars(
        select(JourneyRow)
        .where(
            JourneyRow.card_number == card_number,
            JourneyRow.operator_id == operator_id,
            JourneyRow.state == State.COMPLETE.value,
            JourneyRow.started_at >= before - LOOK_BACK,
            JourneyRow.started_at < before,
        )
        .order_by(JourneyRow.started_at)
    )
    return [
        Trip(from_stop=row.from_stop, to_stop=row.to_stop, started_at=row.started_at, ended_at=row.ended_at)
        for row in rows
        if row.from_stop and row.to_stop and row.ended_at and not any(key.startswith("habit/") for key in row.taps)
    ]


def complete(session: Session, *, journey_id: UUID, now: datetime) -> Habit | None:
    """Put the missing tap of a journey in place where the rider's habit is sure of it.

    The answer is the habit, or none where nothing was done: not while the rider's objection is open or after one was upheld,
    nor where the price would rise.
    """
    row = session.get(JourneyRow, journey_id)
    if row is None:
        return None
    charging.lock_cards(session, [row.card_number])
    session.refresh(row)
    if row.state not in INCOMPLETE or row.key.startswith(("claim/", "habit/")):
        return None
    asked = session.scalars(
        select(Contest.id).where(
            Contest.card_number == row.card_number, Contest.journey_key == row.key, Contest.state != "rejected"
        )
    ).first()
    placed = session.scalars(
        select(ClaimedTap.id).where(ClaimedTap.card_number == row.card_number, ClaimedTap.journey_key == row.key)
    ).first()
    leaving = row.state == State.MISSING_EXIT.value
    known = row.from_stop if leaving else row.to_stop
    if asked is not None or placed is not None or known is None:
        return None
    trips = trips_of(session, card_number=row.card_number, operator_id=row.operator_id, before=row.started_at)
    found = usual(Missing(end="exit" if leaving else "entry", stop_id=known, at=row.started_at), trips)
    if found is None:
        return None
    key, number = row.key, row.card_number
    at = in_card_day_of(row.started_at, found.at)
    evidence: Json = {"trips": found.trips, "same": found.same, "confidence": f"{found.confidence:.2f}", "journey": key}
    tap = ClaimedTap(
        id=derived_id(row.started_at, "habit", number, key),
        contest_id=None,
        source="habit",
        journey_key=key,
        card_number=number,
        card_day=card_day(at),
        kind="exit" if leaving else "entry",
        at=at,
        operator_id=row.operator_id,
        stop_id=found.stop_id,
        line_id=row.line_id,
        evidence=evidence,
        made_at=now,
    )
    days = {row.card_day, tap.card_day}
    attempt = session.begin_nested()
    session.add(tap)
    session.flush()
    moved = charging.price_again(
        session, card_number=number, days=days, cause=(f"habit/{tap.id}",), liability=Liability.ISSUER, now=now
    )
    if moved > 0:  # a guess never costs the rider more
        attempt.rollback()
        return None
    attempt.commit()
    audit.record(session, actor="system", action="journey.complete", subject=f"journey:{journey_id}", at=now, details=evidence)
    return found


def complete_all(database: Database, settings: Settings) -> None:
    """Job: look at the journeys that have waited a day for their other tap."""
    del settings
    now = clock.now()
    with database.transaction() as session:
        waiting = session.scalars(
            select(JourneyRow.id)
            .where(
                JourneyRow.state.in_(INCOMPLETE),
                JourneyRow.card_day >= card_day(now - GIVE_UP),
                JourneyRow.card_day <= card_day(now - WAIT),
                JourneyRow.started_at <= now - WAIT,
            )
            .order_by(JourneyRow.started_at.desc(), JourneyRow.id)
            .limit(AT_ONCE)
        ).all()
    done = 0
    for journey_id in waiting:
        with database.transaction() as session:
            done += complete(session, journey_id=journey_id, now=now) is not None
    if done:
        log.info("transit.habits", completed=done, waiting=len(waiting))
