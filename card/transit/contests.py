"""A rider objects to a charge in one step; a missing tap that is believed is put in place, marked, and the day priced again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.kernel import audit
from app.kernel.errors import Conflict, IllegalMove, Invalid, NotFound, msg
from app.kernel.ids import new_id
from card.fares import State, card_day, in_card_day_of
from card.transit import charging, explanations, network, queries
from card.transit.models import ClaimedTap, Contest, TapRow
from card.transit.rules import Liability, UnknownJourney

USUAL_RIDE: Final = timedelta(minutes=30)  # where a claimed tap stands on the clock; the price does not depend on it
WORDS_MAX: Final = 1000
CITY: Final = "city:"  # in place of an operator: another city's charge
ELSEWHERE: Final = "ride:"


class ContestKind(StrEnum):
    """What the rider says."""

    MISSING_TAP = "missing-tap"
    QUESTION = "question"


class ContestState(StrEnum):
    """Where an objection stands. ``rejected`` also closes a question that was answered in words."""

    OPEN = "open"
    UPHELD = "upheld"
    REJECTED = "rejected"


class AlreadyContested(Conflict):
    """There is an open objection to this journey."""

    code = "already-contested"
    sentence = msg("You have already asked about this journey. The operator will answer.")


class UnknownContest(NotFound):
    """No such objection, or not the caller's."""

    code = "unknown-contest"
    sentence = msg("We could not find this objection.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ContestView:
    """An objection as its rider and the operator see it."""

    id: UUID
    journey_key: str
    card_number: str
    operator_id: str
    kind: ContestKind
    claimed_stop: str
    words: str
    state: ContestState
    opened_at: datetime
    decided_at: datetime | None
    answer: str


def view(row: Contest) -> ContestView:
    """A row as others see it."""
    return ContestView(
        id=row.id,
        journey_key=row.journey_key,
        card_number=row.card_number,
        operator_id=row.operator_id,
        kind=ContestKind(row.kind),
        claimed_stop=row.claimed_stop,
        words=row.words,
        state=ContestState(row.state),
        opened_at=row.opened_at,
        decided_at=row.decided_at,
        answer=row.answer,
    )


def from_habit(journey: queries.JourneyView) -> bool:
    """Whether a tap of the journey was put in place from habit: the rider may name another stop."""
    return any(key.startswith("habit/") for key in journey.taps)


def contest(
    session: Session, *, journey_id: UUID, holder_id: UUID, claimed_stop: str, words: str, now: datetime
) -> ContestView:
    """Object to a journey: name the stop of a missing tap, or ask in words.

    Raises ``UnknownJourney``, :class:`AlreadyContested`; ``Invalid`` where neither or a strange stop is given.
    """
    journey = queries.journey(session, journey_id, holder_id=holder_id)
    charging.lock_cards(session, [journey.card_number])
    incomplete = journey.state in (State.MISSING_ENTRY, State.MISSING_EXIT) or from_habit(journey)
    stops = {stop for line in network.lines_of(session, journey.operator_id) for stop, _ in line.stops}
    if claimed_stop and (not incomplete or claimed_stop not in stops):
        raise Invalid("stop", fields={"claimed_stop": msg("Choose the stop where you got in or out.")})
    if not claimed_stop and not words.strip():
        raise Invalid("words", fields={"words": msg("Tell us what is wrong.")})
    open_now = session.scalar(
        select(func.count())
        .select_from(Contest)
        .where(
            Contest.card_number == journey.card_number,
            Contest.journey_key == journey.key,
            Contest.state == ContestState.OPEN.value,
        )
    )
    if open_now:
        raise AlreadyContested
    row = Contest(
        id=new_id(),
        card_number=journey.card_number,
        journey_key=journey.key,
        holder_id=holder_id,
        operator_id=journey.operator_id,
        kind=(ContestKind.MISSING_TAP if claimed_stop else ContestKind.QUESTION).value,
        claimed_stop=claimed_stop,
        words=words.strip()[:WORDS_MAX],
        state=ContestState.OPEN.value,
        opened_at=now,
        answer="",
    )
    session.add(row)
    audit.record(session, actor=f"person:{holder_id}", action="journey.contest", subject=f"journey:{journey_id}", at=now)
    session.flush()
    return view(row)


def contest_elsewhere(
    session: Session, *, ride_id: UUID, holder_id: UUID, card_numbers: Sequence[str], words: str, now: datetime
) -> ContestView:
    """Object to a charge from another city, in words; this city's desk answers, and disputes it with the other where it must.

    Raises ``UnknownJourney``, :class:`AlreadyContested`; ``Invalid`` without a word.
    """
    ride = explanations.ride_elsewhere(session, ride_id, card_numbers)
    if ride is None:
        raise UnknownJourney(str(ride_id))
    if not words.strip():
        raise Invalid("words", fields={"words": msg("Tell us what is wrong.")})
    charging.lock_cards(session, [ride.card_number])
    if any(one.state is ContestState.OPEN for one in contests_elsewhere(session, ride)):
        raise AlreadyContested
    row = Contest(
        id=new_id(),
        card_number=ride.card_number,
        journey_key=f"{ELSEWHERE}{ride.id}",
        holder_id=holder_id,
        operator_id=f"{CITY}{ride.acquirer}",
        kind=ContestKind.QUESTION.value,
        claimed_stop="",
        words=words.strip()[:WORDS_MAX],
        state=ContestState.OPEN.value,
        opened_at=now,
        answer="",
    )
    session.add(row)
    audit.record(session, actor=f"person:{holder_id}", action="ride.contest", subject=f"ride:{ride.id}", at=now)
    session.flush()
    return view(row)


def contests_elsewhere(session: Session, ride: explanations.ForeignRide | None = None) -> list[ContestView]:
    """Objections to charges from other cities (to ``ride``, or all): the open ones first, the newest first among them."""
    query = select(Contest).where(Contest.operator_id.startswith(CITY)).limit(100)
    if ride is not None:
        query = query.where(Contest.card_number == ride.card_number, Contest.journey_key == f"{ELSEWHERE}{ride.id}")
    rows = session.scalars(query.order_by(Contest.state != ContestState.OPEN.value, Contest.id.desc()))
    return [view(row) for row in rows]


def decide(
    session: Session, *, contest_id: UUID, operator_id: str, upheld: bool, answer: str, by: str, now: datetime
) -> ContestView:
    """The operator answers. A missing tap that is upheld is put in place and the card-day priced again.

    Raises :class:`UnknownContest`; ``IllegalMove`` where it was decided before; ``Invalid`` without a word of answer.
    """
    row = session.scalars(select(Contest).where(Contest.id == contest_id).with_for_update()).one_or_none()
    if row is None or row.operator_id != operator_id:
        raise UnknownContest(str(contest_id))
    if row.state != ContestState.OPEN:
        raise IllegalMove(row.state, state=row.state)
    if not upheld and not answer.strip():
        raise Invalid("answer", fields={"answer": msg("Say why, in a sentence the rider understands.")})
    if upheld and row.kind == ContestKind.MISSING_TAP:
        _put_in_place(session, row, now=now)
    row.state = (ContestState.UPHELD if upheld else ContestState.REJECTED).value
    row.answer, row.decided_at, row.decided_by = answer.strip()[:WORDS_MAX], now, by
    audit.record(
        session, actor=by, action="contest.decide", subject=f"contest:{contest_id}", at=now, details={"state": row.state}
    )
    session.flush()
    return view(row)


def _put_in_place(session: Session, row: Contest, *, now: datetime) -> None:
    charging.lock_cards(session, [row.card_number])
    found = queries.journey_by_key(session, card_number=row.card_number, key=row.journey_key)
    if from_habit(found):
        _instead_of_habit(session, row, found, now=now)
        return
    if found.state not in (State.MISSING_ENTRY, State.MISSING_EXIT):
        return  # the tap itself arrived in the meantime: nothing is missing any more
    leaving = found.state is State.MISSING_EXIT
    at = found.started_at + USUAL_RIDE if leaving else found.started_at - USUAL_RIDE
    neighbour = session.scalar(
        select(func.min(TapRow.at) if leaving else func.max(TapRow.at)).where(
            TapRow.card_number == row.card_number,
            TapRow.operator_id == row.operator_id,
            TapRow.at > found.started_at if leaving else TapRow.at < found.started_at,
            TapRow.decision == "accepted",
        )
    )
    if neighbour is not None:  # stay between the taps on either side, so that only this journey changes
        middle = found.started_at + (neighbour - found.started_at) / 2
        at = min(at, middle) if leaving else max(at, middle)
    at = in_card_day_of(found.started_at, at)
    tap = ClaimedTap(
        id=new_id(),
        contest_id=row.id,
        source="claim",
        journey_key=found.key,
        card_number=row.card_number,
        card_day=card_day(at),
        kind="exit" if leaving else "entry",
        at=at,
        operator_id=row.operator_id,
        stop_id=row.claimed_stop,
        line_id=found.line_id,
        evidence={},
        made_at=now,
    )
    _place(session, row, found, tap, now=now)


def _instead_of_habit(session: Session, row: Contest, found: queries.JourneyView, *, now: datetime) -> None:
    """The rider knows better than their habit: their tap takes the guessed one's place and hour."""
    guessed = session.get_one(ClaimedTap, UUID(next(key for key in found.taps if key.startswith("habit/"))[6:]))
    tap = ClaimedTap(
        id=new_id(),
        contest_id=row.id,
        source="claim",
        journey_key=guessed.journey_key,
        card_number=row.card_number,
        card_day=guessed.card_day,
        kind=guessed.kind,
        at=guessed.at,
        operator_id=row.operator_id,
        stop_id=row.claimed_stop,
        line_id=guessed.line_id,
        evidence={},
        made_at=now,
    )
    _place(session, row, found, tap, now=now)


def _place(session: Session, row: Contest, found: queries.JourneyView, tap: ClaimedTap, *, now: datetime) -> None:
    session.add(tap)
    session.flush()
    charging.price_again(
        session,
        card_number=row.card_number,
        days={found.card_day, tap.card_day},
        cause=(f"claim/{tap.id}",),
        liability=Liability.ISSUER,
        now=now,
    )


def contests_of_journey(session: Session, found: queries.JourneyView) -> list[ContestView]:
    """Every objection to one journey, the newest first: also those made before a tap put in place became its first."""
    keys = {found.key, *found.taps}
    placed = [UUID(key.partition("/")[2]) for key in found.taps if key.startswith(("claim/", "habit/"))]
    if placed:
        keys |= set(session.scalars(select(ClaimedTap.journey_key).where(ClaimedTap.id.in_(placed))))
    ids = select(ClaimedTap.contest_id).where(ClaimedTap.id.in_(placed), ClaimedTap.contest_id.is_not(None))
    rows = session.scalars(
        select(Contest)
        .where(Contest.card_number == found.card_number, Contest.journey_key.in_(keys) | Contest.id.in_(ids))
        .order_by(Contest.id.desc())
    )
    return [view(row) for row in rows]


def contests_of_operator(session: Session, operator_id: str) -> list[ContestView]:
    """Objections against an operator: the open ones first, the newest first among them."""
    rows = session.scalars(
        select(Contest)
        .where(Contest.operator_id == operator_id)
        .order_by(Contest.state != ContestState.OPEN.value, Contest.id.desc())
        .limit(100)
    )
    return [view(row) for row in rows]
