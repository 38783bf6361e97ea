"""Reading cases: a resident's own, the office's queue, one case with everything about it."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.kernel.clock import civil_date
from app.kernel.db import Json
from services import catalogue, people
from services.applications import rules
from services.applications.models import (
    Application,
    ApplicationCorrection,
    ApplicationDecision,
    ApplicationEvent,
    ApplicationPaper,
)
from services.applications.rules import ACCEPTED, INTERNAL, Happened, NoSuchApplication, Outcome, State
from services.catalogue import Answers, Calendar, Deadline, Eligibility, Facts, Item, Pause, Step, Words


@dataclass(frozen=True, kw_only=True)
class Event:
    """One stop of a case's timeline."""

    kind: Happened
    at: datetime
    actor: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What was asked of the resident: a note by question's code, and a message."""

    asked_at: datetime
    message: str
    fields: dict[str, str]
    answered_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A prepared decision and who has seen it."""

    outcome: Outcome
    reason: str
    effects: list[Json]
    prepared_by: UUID
    prepared_at: datetime
    approved_by: UUID | None
    approved_at: datetime | None
    returned_because: str | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A case as a line of a list."""

    id: UUID
    reference: str
    person_id: UUID
    item_code: str
    item_version: int
    state: State
    officer_id: UUID | None
    created_at: datetime
    saved_at: datetime
    submitted_at: datetime | None
    promised_due_on: date | None
    statutory_due_on: date | None
    decided_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Clock:
    """One of a case's two clocks, in working days. No deadline while it stands still or after the decision."""

    days: int
    elapsed: int
    deadline: Deadline | None


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case with everything about it."""

    summary: Summary
    item: Item
    answers: Answers
    fee_minor: int
    payment_id: UUID | None
    fee_returns: bool
    accepted_at: datetime | None
    facts: Facts
    eligibility: Eligibility
    events: list[Event]
    corrections: list[Correction]
    decision: Decision | None
    pages: tuple[Step, ...]
    open_pages: tuple[str, ...]
    problems: dict[str, Words]
    statutory: Clock | None
    promised: Clock | None

    @property
    def id(self) -> UUID:
        """The case's id."""
        return self.summary.id

    @property
    def state(self) -> State:
        """Where it stands."""
        return self.summary.state

    @property
    def open_correction(self) -> Correction | None:
        """What the resident still has to answer."""
        return next((found for found in self.corrections if found.answered_at is None), None)

    @property
    def public_events(self) -> list[Event]:
        """The timeline without the office's own steps."""
        return [event for event in self.events if event.kind not in INTERNAL]


def row(session: Session, application_id: UUID, *, lock: bool = False) -> Application:
    """The case's row. Raises :class:`NoSuchApplication`."""
    found = session.get(Application, application_id, with_for_update=True if lock else None)
    if found is None:
        raise NoSuchApplication(str(application_id))
    return found


def own_row(session: Session, application_id: UUID, person_id: UUID, *, lock: bool = False) -> Application:
    """The row of a resident's own case; anybody else's does not exist for them."""
    found = row(session, application_id, lock=lock)
    if found.person_id != person_id:
        raise NoSuchApplication(str(application_id))
    return found


def _summary(found: Application) -> Summary:
    return Summary(
        id=found.id,
        reference=found.reference,
        person_id=found.person_id,
        item_code=found.item_code,
        item_version=found.item_version,
        state=State(found.state),
        officer_id=found.officer_id,
        created_at=found.created_at,
        saved_at=found.saved_at,
        submitted_at=found.submitted_at,
        promised_due_on=found.promised_due_on,
        statutory_due_on=found.statutory_due_on,
        decided_at=found.decided_at,
    )


def of_person(session: Session, person_id: UUID) -> list[Summary]:
    """A resident's cases, the newest first."""
    found = session.scalars(select(Application).where(Application.person_id == person_id).order_by(Application.id.desc()))
    return [_summary(each) for each in found]


def drafts(session: Session, person_id: UUID, item_code: str) -> list[Summary]:
    """What the resident began for this service and has not handed in."""
    return [each for each in of_person(session, person_id) if each.item_code == item_code and each.state is State.DRAFT]


def queue(session: Session, *, states: frozenset[State] = ACCEPTED, officer_id: UUID | None = None) -> list[Summary]:
    """The office's cases in these states, those due first on top; what waits for the resident comes last."""
    chosen: list[ColumnElement[bool]] = [Application.state.in_([state.value for state in states])]
    if officer_id is not None:
        chosen.append(Application.officer_id == officer_id)
    found = session.scalars(
        select(Application)
        .where(*chosen)
        .order_by(Application.promised_due_on.asc().nulls_last(), Application.submitted_at, Application.id)
        .limit(200)
    )
    return [_summary(each) for each in found]


def counts(session: Session) -> dict[State, int]:
    """How many cases stand in each state."""
    rows = session.execute(select(Application.state, func.count()).group_by(Application.state))
    return {State(state): int(number) for state, number in rows}


def pauses(session: Session, application_id: UUID) -> list[Pause]:
    """The civil days on which the case's clocks stood still."""
    found = session.scalars(
        select(ApplicationCorrection)
        .where(ApplicationCorrection.application_id == application_id)
        .order_by(ApplicationCorrection.id)
    )
    return [
        Pause(
            since=civil_date(each.asked_at),
            until=civil_date(each.answered_at) if each.answered_at else None,
        )
        for each in found
    ]


def fee_returns(session: Session, found: Application) -> bool:
    """Whether withdrawing now brings the fee back: it is paid, and no officer has claimed the case yet."""
    if State(found.state) is not State.SUBMITTED or found.payment_id is None:
        return False
    claimed = select(ApplicationEvent.id).where(
        ApplicationEvent.application_id == found.id, ApplicationEvent.kind == Happened.CLAIMED.value
    )
    return session.scalars(claimed.limit(1)).one_or_none() is None


def facts_of(session: Session, found: Application, item: Item, *, on: date) -> Facts:
    """What is known of the applicant on a day: the city's record, then the form's answers."""
    known: dict[str, int | bool | None] = {}
    if any(fact.code == "age" for fact in item.facts):
        known["age"] = rules.age_on(people.get(session, found.person_id).birth_date, on)
    return catalogue.facts_from(item, found.answers, known)


def facts_of_person(session: Session, person_id: UUID, *, on: date) -> Facts:
    """What the city knows of somebody before they begin."""
    return {"age": rules.age_on(people.get(session, person_id).birth_date, on)}


def _clock(calendar: Calendar, found: Application, days: int, stood: list[Pause], today: date) -> Clock | None:
    if found.accepted_at is None:
        return None
    since = civil_date(found.accepted_at)
    until = civil_date(found.decided_at) if found.decided_at else today
    deadline = None if found.decided_at else calendar.deadline(since, days, stood)
    return Clock(days=days, elapsed=calendar.elapsed(since, until, stood), deadline=deadline)


def case(session: Session, application_id: UUID, *, now: datetime, person_id: UUID | None = None) -> Case:
    """One case; with ``person_id`` only if it is theirs. Raises :class:`NoSuchApplication`."""
    found = row(session, application_id) if person_id is None else own_row(session, application_id, person_id)
    item = catalogue.item(session, found.item_code, found.item_version)
    today = civil_date(found.decided_at or now)
    facts = facts_of(session, found, item, on=today)
    corrections = corrections_of(session, application_id)
    calendar, stood = catalogue.calendar(session), pauses(session, application_id)
    return Case(
        summary=_summary(found),
        item=item,
        answers=found.answers,
        fee_minor=found.fee_minor,
        payment_id=found.payment_id,
        fee_returns=fee_returns(session, found),
        accepted_at=found.accepted_at,
        facts=facts,
        eligibility=catalogue.eligibility(item, facts),
        events=_events(session, application_id),
        corrections=corrections,
        decision=standing_decision(session, application_id),
        pages=catalogue.pages(item, found.answers, facts),
        open_pages=open_pages(found, item, facts, corrections),
        problems=catalogue.problems(item, found.answers, facts),
        statutory=_clock(calendar, found, item.statutory_days, stood, today),
        promised=_clock(calendar, found, item.promised_days, stood, today),
    )


def _events(session: Session, application_id: UUID) -> list[Event]:
    found = session.scalars(
        select(ApplicationEvent)
        .where(ApplicationEvent.application_id == application_id)
        .order_by(ApplicationEvent.at, ApplicationEvent.id)
    )
    return [Event(kind=Happened(each.kind), at=each.at, actor=each.actor, note=each.note) for each in found]


def open_pages(found: Application, item: Item, facts: Facts, corrections: list[Correction]) -> tuple[str, ...]:
    """The pages that may be changed now: all of a draft; while a correction is open, those it names and what follows."""
    pages = catalogue.pages(item, found.answers, facts)
    if State(found.state) is State.DRAFT:
        return tuple(step.code for step in pages)
    asked = next((each for each in corrections if each.answered_at is None), None)
    if State(found.state) is not State.CORRECTION or asked is None:
        return ()
    named = set(asked.fields) | set(catalogue.problems(item, found.answers, facts))
    return tuple(step.code for step in pages if named & {field.code for field in step.fields})


def corrections_of(session: Session, application_id: UUID) -> list[Correction]:
    """What was asked of the resident, in order."""
    found = session.scalars(
        select(ApplicationCorrection)
        .where(ApplicationCorrection.application_id == application_id)
        .order_by(ApplicationCorrection.id)
    )
    return [
        Correction(
            asked_at=each.asked_at,
            message=each.message,
            fields={str(code): str(note) for code, note in each.fields.items()},
            answered_at=each.answered_at,
        )
        for each in found
    ]


def decision_row(session: Session, application_id: UUID) -> ApplicationDecision | None:
    """The decision that stands: prepared and not returned."""
    return session.scalars(
        select(ApplicationDecision).where(
            ApplicationDecision.application_id == application_id, ApplicationDecision.returned_at.is_(None)
        )
    ).one_or_none()


def standing_decision(session: Session, application_id: UUID) -> Decision | None:
    """The decision that stands, or the last one that was returned, for the officer to see why."""
    found = session.scalars(
        select(ApplicationDecision)
        .where(ApplicationDecision.application_id == application_id)
        .order_by(ApplicationDecision.returned_at.desc().nulls_first(), ApplicationDecision.id.desc())
        .limit(1)
    ).one_or_none()
    if found is None:
        return None
    return Decision(
        outcome=Outcome(found.outcome),
        reason=found.reason,
        effects=list(found.effects["list"]),
        prepared_by=found.prepared_by,
        prepared_at=found.prepared_at,
        approved_by=found.approved_by,
        approved_at=found.approved_at,
        returned_because=found.returned_because,
    )


def holds_paper(session: Session, application_id: UUID, document_id: UUID) -> bool:
    """Whether the paper belongs to the case."""
    return session.get(ApplicationPaper, (application_id, document_id)) is not None
