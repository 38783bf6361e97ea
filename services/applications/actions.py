"""What residents and officers do with a case. Each act joins the caller's transaction and leaves a stop on the timeline."""

from collections.abc import Mapping
from datetime import datetime, time
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.kernel import audit, ids, outbox
from app.kernel.city import city_of
from app.kernel.clock import SHANGHAI, civil_date
from app.kernel.db import Json
from app.kernel.errors import IllegalMove, msg
from services import catalogue, documents, messages, payments, registries
from services.applications import queries, rules
from services.applications.models import (
    Application,
    ApplicationCorrection,
    ApplicationDecision,
    ApplicationEvent,
    ApplicationPaper,
)
from services.applications.rules import (
    Happened,
    Incomplete,
    NotDeclared,
    NotEditable,
    NotTheCaseOfficer,
    Outcome,
    OwnCase,
    State,
)
from services.catalogue import FormField, Item

SEEN: Final = (msg("Full name"), msg("Masked identity number"), msg("Answers and papers of the application"))


def _tell(found: Application, kind: Happened, *, at: datetime, actor: str, note: str = "") -> ApplicationEvent:
    return ApplicationEvent(application_id=found.id, at=at, kind=kind.value, actor=actor, note=note)


def _note(session: Session, found: Application, kind: Happened, *, at: datetime, actor: str, note: str = "") -> None:
    session.add(_tell(found, kind, at=at, actor=actor, note=note))
    audit.record(session, actor=actor, action=f"application.{kind.value}", subject=f"application:{found.id}", at=at)


def _move(found: Application, to: State) -> None:
    found.state = rules.move(State(found.state), to).value


def _item(session: Session, found: Application) -> Item:
    return catalogue.item(session, found.item_code, found.item_version)


def _message(session: Session, found: Application, template: str, params: Json, *, at: datetime) -> None:
    name = _item(session, found).name.model_dump()
    params = {"service": name, "number": found.reference, "application_id": str(found.id), **params}
    messages.send(session, person_id=found.person_id, template=template, params=params, at=at)


def _set_clocks(session: Session, found: Application) -> None:
    """Work out anew when the case is due."""
    assert found.accepted_at is not None, "clocks begin when a case is accepted"
    session.flush()
    item, since = _item(session, found), civil_date(found.accepted_at)
    calendar, stood = catalogue.calendar(session), queries.pauses(session, found.id)
    promised = calendar.deadline(since, item.promised_days, stood)
    statutory = calendar.deadline(since, item.statutory_days, stood)
    found.promised_due_on = promised.on if promised else None
    found.statutory_due_on = statutory.on if statutory else None


# The resident


def start(session: Session, *, person_id: UUID, item_code: str, now: datetime) -> UUID:
    """Begin an application for the newest version of a service and answer its id."""
    item = catalogue.item(session, item_code)
    found = Application(
        id=ids.new_id(),
        reference=rules.fresh_reference(city_of(session).code, civil_date(now)),
        person_id=person_id,
        item_code=item.code,
        item_version=item.version,
        state=State.DRAFT.value,
        answers={},
        fee_minor=item.fee.amount_minor if item.fee else 0,
        created_at=now,
        saved_at=now,
    )
    session.add(found)
    session.flush()
    _note(session, found, Happened.BEGUN, at=now, actor=f"person:{person_id}")
    return found.id


def save(
    session: Session,
    *,
    application_id: UUID,
    person_id: UUID,
    step_code: str,
    given: Mapping[str, str | list[str]],
    now: datetime,
) -> dict[str, catalogue.Words]:
    """Keep what was answered on one page, and answer what is wrong with it (nothing: go on).

    ``given`` has a text per question, or a list of documents' ids for an upload. What is wrong is kept too, so that nobody
    types it again. Raises :class:`NotEditable`.
    """
    found = queries.own_row(session, application_id, person_id, lock=True)
    item = _item(session, found)
    facts = queries.facts_of(session, found, item, on=civil_date(now))
    if step_code not in queries.open_pages(found, item, facts, queries.corrections_of(session, found.id)):
        raise NotEditable(step_code)
    step = item.step(step_code)
    answers: dict[str, Any] = dict(found.answers)
    for field in catalogue.questions(step, answers, facts):
        answers[field.code] = _taken(session, field, given.get(field.code), person_id)
    found.answers, found.saved_at = answers, now
    wrong = {field.code: catalogue.check(field, answers[field.code]) for field in catalogue.questions(step, answers, facts)}
    return {code: words for code, words in wrong.items() if words is not None}


def _taken(session: Session, field: FormField, raw: str | list[str] | None, person_id: UUID) -> str | list[str]:
    if field.kind == "upload":
        wanted = [UUID(each) for each in raw] if isinstance(raw, list) else []
        known = documents.papers(session, wanted)
        fit = [
            each
            for each in dict.fromkeys(wanted)
            if each in known and known[each].owner_id == person_id and known[each].media_type in field.accepts
        ]
        return [str(each) for each in fit]
    return catalogue.tidy(field, raw) if isinstance(raw, str) else ""


def submit(session: Session, *, application_id: UUID, person_id: UUID, declared: bool, now: datetime) -> State:
    """Hand the case in; answer where it stands: it waits for the fee, or for an officer.

    Every condition and every answer is looked at again. Raises :class:`Incomplete`, :class:`NotDeclared`.
    """
    found = queries.own_row(session, application_id, person_id, lock=True)
    if State(found.state) is not State.DRAFT:
        raise IllegalMove(state=found.state)
    if not declared:
        raise NotDeclared(fields={"declaration": NotDeclared.sentence})
    item = _seal_answers(session, found, now=now)
    found.submitted_at = now
    _note(session, found, Happened.HANDED_IN, at=now, actor=f"person:{person_id}")
    if item.fee is not None:
        _move(found, State.FEE_DUE)
        start_payment(session, application_id=found.id, person_id=person_id, now=now)
    else:
        _accept(session, found, at=now)
    return State(found.state)


def _seal_answers(session: Session, found: Application, *, now: datetime) -> Item:
    """Leave out what is not asked any more, and see that the rest is whole."""
    item = _item(session, found)
    facts = queries.facts_of(session, found, item, on=civil_date(now))
    wrong = catalogue.problems(item, found.answers, facts)
    if wrong:
        raise Incomplete(fields={code: words.en for code, words in wrong.items()})
    found.answers = catalogue.relevant(item, found.answers, facts)
    papers = {UUID(each) for answer in found.answers.values() if isinstance(answer, list) for each in answer}
    session.execute(delete(ApplicationPaper).where(ApplicationPaper.application_id == found.id))
    session.add_all(ApplicationPaper(application_id=found.id, document_id=each) for each in papers)
    return item


def _accept(session: Session, found: Application, *, at: datetime) -> None:
    _move(found, State.SUBMITTED)
    found.accepted_at = at
    _note(session, found, Happened.ACCEPTED, at=at, actor="system")
    _set_clocks(session, found)
    _message(session, found, "application-submitted", {}, at=at)


def start_payment(session: Session, *, application_id: UUID, person_id: UUID, now: datetime) -> UUID:
    """The payment that settles the fee; the one that is still open, or a new one after a failure."""
    found = queries.own_row(session, application_id, person_id, lock=True)
    if State(found.state) is not State.FEE_DUE:
        raise IllegalMove(state=found.state)
    found.payment_id = payments.start(
        session,
        purpose=payments.Purpose.SERVICE_FEE,
        subject=f"application:{found.id}",
        person_id=person_id,
        amount_minor=found.fee_minor,
        now=now,
        return_path=f"/me/applications/{found.id}",
    )
    return found.payment_id


def mark_paid(session: Session, payload: Json) -> None:
    """The handler of ``payment.settled``: a paid fee lets the case in. A payment for something else, or a repeat, is quiet."""
    kind, _, subject = str(payload["subject"]).partition(":")
    if payload["purpose"] != payments.Purpose.SERVICE_FEE.value or kind != "application":
        return
    found = queries.row(session, UUID(subject), lock=True)
    if State(found.state) is not State.FEE_DUE:
        return
    if int(payload["amount_minor"]) < found.fee_minor:
        return
    at = datetime.fromisoformat(str(payload["at"]))
    found.payment_id = UUID(str(payload["payment_id"]))
    _note(session, found, Happened.PAID, at=at, actor=f"person:{found.person_id}")
    _accept(session, found, at=at)


def answer_correction(session: Session, *, application_id: UUID, person_id: UUID, now: datetime) -> None:
    """Send the corrected answers; the clocks run on from the next day."""
    found = queries.own_row(session, application_id, person_id, lock=True)
    if State(found.state) is not State.CORRECTION:
        raise IllegalMove(state=found.state)
    _seal_answers(session, found, now=now)
    asked = session.scalars(
        select(ApplicationCorrection).where(
            ApplicationCorrection.application_id == found.id, ApplicationCorrection.answered_at.is_(None)
        )
    ).one()
    asked.answered_at = now
    _move(found, State.IN_REVIEW)
    _note(session, found, Happened.CORRECTED, at=now, actor=f"person:{person_id}")
    _set_clocks(session, found)


def withdraw(session: Session, *, application_id: UUID, person_id: UUID, now: datetime) -> None:
    """The resident takes the application back. Not once a decision has been prepared.

    A fee that was paid comes back when no officer has begun to work on the case.
    """
    found = queries.own_row(session, application_id, person_id, lock=True)
    fee_returns = queries.fee_returns(session, found)
    _move(found, State.WITHDRAWN)
    if fee_returns:
        assert found.payment_id is not None, "an accepted case with a fee was paid"
        payments.refund(
            session,
            payment_id=found.payment_id,
            reason="application withdrawn before work on it began",
            by=f"person:{person_id}",
            now=now,
        )
    found.decided_at = now
    found.promised_due_on = found.statutory_due_on = None
    _note(session, found, Happened.WITHDRAWN, at=now, actor=f"person:{person_id}")


# The office


def look_at(session: Session, *, application_id: UUID, actor: str, office: str, now: datetime) -> None:
    """An officer opens a case: the applicant sees that, once an officer and civil day. ``office`` is a post (message id)."""
    found = queries.row(session, application_id)
    subject = f"application:{found.id}"
    midnight = datetime.combine(civil_date(now), time.min, tzinfo=SHANGHAI)
    before = session.scalars(
        select(audit.AuditEntry.id)
        .where(
            audit.AuditEntry.subject == subject,
            audit.AuditEntry.action == "application.look",
            audit.AuditEntry.actor == actor,
            audit.AuditEntry.at >= midnight,
        )
        .limit(1)
    ).one_or_none()
    if before is not None:
        return
    audit.record(session, actor=actor, action="application.look", subject=subject, at=now)
    registries.record_access(
        session,
        person_id=found.person_id,
        seen_by=actor,
        office=office,
        purpose=registries.Purpose.CASE_WORK,
        reference=found.reference,
        facts=SEEN,
        now=now,
    )


def claim(session: Session, *, application_id: UUID, officer_id: UUID, now: datetime) -> None:
    """Take a case from the queue. Raises :class:`OwnCase` where it is the officer's own."""
    found = queries.row(session, application_id, lock=True)
    if found.person_id == officer_id:
        raise OwnCase
    _move(found, State.IN_REVIEW)
    found.officer_id = officer_id
    _note(session, found, Happened.CLAIMED, at=now, actor=f"person:{officer_id}")


def release(session: Session, *, application_id: UUID, officer_id: UUID, now: datetime) -> None:
    """Give a case back to the queue."""
    found = _claimed(session, application_id, officer_id)
    _move(found, State.SUBMITTED)
    found.officer_id = None
    _note(session, found, Happened.RELEASED, at=now, actor=f"person:{officer_id}")


def _claimed(session: Session, application_id: UUID, officer_id: UUID) -> Application:
    found = queries.row(session, application_id, lock=True)
    if State(found.state) is not State.IN_REVIEW:
        raise IllegalMove(state=found.state)
    if found.officer_id != officer_id:
        raise NotTheCaseOfficer
    return found


def ask_correction(
    session: Session, *, application_id: UUID, officer_id: UUID, notes: Mapping[str, str], message: str, now: datetime
) -> None:
    """Ask the resident to correct the questions in ``notes`` (a note each), all at once. The clocks stand still."""
    found = _claimed(session, application_id, officer_id)
    item = _item(session, found)
    fields = rules.named_fields(dict(notes), [code for code in found.answers if _known(item, code)], message)
    session.add(
        ApplicationCorrection(
            application_id=found.id, asked_at=now, asked_by=officer_id, message=message.strip(), fields=fields
        )
    )
    _move(found, State.CORRECTION)
    _note(session, found, Happened.CORRECTION_ASKED, at=now, actor=f"person:{officer_id}", note=message.strip())
    _set_clocks(session, found)
    said = message.strip() or next(note for note in fields.values() if note)
    _message(session, found, "application-correction", {"request": said}, at=now)


def _known(item: Item, code: str) -> bool:
    return any(field.code == code for field in item.fields())


def prepare(session: Session, *, application_id: UUID, officer_id: UUID, outcome: Outcome, reason: str, now: datetime) -> None:
    """Prepare a decision for a second person to approve. What it will bring about is worked out now and shown to them."""
    found = _claimed(session, application_id, officer_id)
    text = rules.reason_of(outcome, reason)
    item = _item(session, found)
    facts = queries.facts_of(session, found, item, on=civil_date(now))
    rules.may_decide(outcome, catalogue.eligibility(item, facts))
    effects = catalogue.effects(item, found.answers, facts) if outcome is Outcome.APPROVED else []
    session.add(
        ApplicationDecision(
            application_id=found.id,
            outcome=outcome.value,
            reason=text,
            effects={"list": effects},
            prepared_by=officer_id,
            prepared_at=now,
        )
    )
    _move(found, State.PREPARED)
    _note(session, found, Happened.PREPARED, at=now, actor=f"person:{officer_id}", note=outcome.value)


def send_back(session: Session, *, application_id: UUID, supervisor_id: UUID, because: str, now: datetime) -> None:
    """Return a prepared decision to its officer, with the reason."""
    found = queries.row(session, application_id, lock=True)
    _move(found, State.IN_REVIEW)
    decision = queries.decision_row(session, application_id)
    assert decision is not None, "a prepared case has a decision"
    text = rules.reason_of(Outcome.REFUSED, because)
    decision.returned_at, decision.returned_by, decision.returned_because = now, supervisor_id, text
    _note(session, found, Happened.RETURNED, at=now, actor=f"person:{supervisor_id}", note=text)


def approve(session: Session, *, application_id: UUID, supervisor_id: UUID, now: datetime) -> None:
    """Put the prepared decision into force. Raises :class:`FourEyes` for whoever prepared it.

    Emits ``application.approved`` or ``application.refused``; what they bring about happens when they are delivered.
    """
    found = queries.row(session, application_id, lock=True)
    decision = queries.decision_row(session, application_id)
    if decision is None or State(found.state) is not State.PREPARED:
        raise IllegalMove(state=found.state)
    rules.second_pair_of_eyes(prepared_by=decision.prepared_by, approver=supervisor_id, applicant=found.person_id)
    outcome = Outcome(decision.outcome)
    _move(found, State(outcome.value))
    decision.approved_by, decision.approved_at = supervisor_id, now
    found.decided_at = now
    kind = Happened.APPROVED if outcome is Outcome.APPROVED else Happened.REFUSED
    _note(session, found, kind, at=now, actor=f"person:{supervisor_id}", note=decision.reason)
    payload: Json = {"application_id": str(found.id), "person_id": str(found.person_id), "at": now.isoformat()}
    if outcome is Outcome.APPROVED:
        outbox.emit(session, "application.approved", payload, at=now)
    else:
        outbox.emit(session, "application.refused", payload, at=now)


def paper(
    session: Session, *, application_id: UUID, document_id: UUID, actor: str, now: datetime
) -> tuple[documents.DocumentView, bytes]:
    """A paper of the case for the office; the look is recorded under the case's number."""
    found = queries.row(session, application_id)
    if not queries.holds_paper(session, application_id, document_id):
        raise documents.NoSuchDocument(str(document_id))
    return documents.read(session, document_id, actor=actor, purpose=found.reference, now=now)
