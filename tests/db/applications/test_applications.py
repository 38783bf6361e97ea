"""A case from its first page to the card and the signed letter."""

import io
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from PIL import Image
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app import wiring
from app.kernel import city, ids, outbox
from app.kernel.db import Database
from app.kernel.errors import FourEyes, IllegalMove, Invalid
from app.kernel.settings import Settings
from app.web.auth import Role
from card import cards
from services import applications, catalogue, documents, messages, people
from services.applications import Happened, Outcome, State
from services.documents import Standing
from tests.signing_in import resident

MONDAY = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def ready(database: Database, settings: Settings) -> None:
    city.equip(database, city.city_from(settings))
    documents.equip(database, settings)
    with database.transaction() as session:
        catalogue.load(session, now=MONDAY)


def officer(database: Database, role: Role = Role.OFFICER) -> UUID:
    with database.transaction() as session:
        return people.create_staff(
            session,
            username=f"staff-{ids.new_id().hex[-12:]}",
            name="演示·陈",
            name_latin="Demo Chen",
            password=None,
            role=role,
            organisation=None,
            now=MONDAY,
        )


def deliver(database: Database, at: datetime) -> None:
    while outbox.deliver_one(database, wiring.HANDLERS, wiring.COURIERS, now=at):
        pass


def photo(database: Database, owner: UUID, kind: str = "PNG") -> str:
    drawn = io.BytesIO()
    Image.new("RGB", (300, 400), "teal").save(drawn, kind)
    with database.transaction() as session:
        accepts = ("image/png", "image/jpeg")
        return str(
            documents.store(session, owner_id=owner, filename="me.png", content=drawn.getvalue(), accepts=accepts, now=MONDAY)
        )


def fill(database: Database, case: UUID, person: UUID, answers: dict[str, dict[str, str | list[str]]], at: datetime) -> None:
    for step, given in answers.items():
        with database.transaction() as session:
            wrong = applications.save(session, application_id=case, person_id=person, step_code=step, given=given, now=at)
            assert wrong == {}


def card_answers(photo_id: str) -> dict[str, dict[str, str | list[str]]]:
    return {
        "residence": {"tie": "work"},
        "phone": {"phone": "138 0000 0000"},
        "photo": {"photo": [photo_id]},
        "delivery": {"delivery": "collect"},
        "hall": {"hall": "central-hall"},
    }


ALLOWANCE_ANSWERS: dict[str, dict[str, str | list[str]]] = {
    "household": {"household": "here"},
    "paid-elsewhere": {"paid-elsewhere": "unpaid"},
    "payout": {"payout": "card"},
    "contact": {"contact-name": "演示·林小满", "contact-phone": "13800000000"},
}


def submitted_card(database: Database, person: UUID, at: datetime = MONDAY) -> UUID:
    with database.transaction() as session:
        case = applications.start(session, person_id=person, item_code="citizen-card", now=at)
    fill(database, case, person, card_answers(photo(database, person)), at)
    with database.transaction() as session:
        assert applications.submit(session, application_id=case, person_id=person, declared=True, now=at) is State.FEE_DUE
    return case


def pay(database: Database, case: UUID, person: UUID, at: datetime, **changes: object) -> None:
    payload = {
        "payment_id": str(ids.new_id()),
        "purpose": "service-fee",
        "subject": f"application:{case}",
        "person_id": str(person),
        "amount_minor": 2000,
        "at": at.isoformat(),
        **changes,
    }
    with database.transaction() as session:
        applications.mark_paid(session, payload)


def state(database: Database, case: UUID) -> State:
    with database.transaction() as session:
        return applications.case(session, case, now=MONDAY).state


def test_a_card_is_applied_for_paid_corrected_decided_by_two_and_issued(database: Database) -> None:  # noqa: PLR0915  one story
    person, first, second = resident(database), officer(database), officer(database, Role.SUPERVISOR)
    case = submitted_card(database, person)

    pay(database, case, person, MONDAY, purpose="top-up")
    pay(database, case, person, MONDAY, subject=f"card:{case}")
    pay(database, case, person, MONDAY, amount_minor=1999)
    assert state(database, case) is State.FEE_DUE
    pay(database, case, person, MONDAY)
    pay(database, case, person, MONDAY)  # the event comes twice
    assert state(database, case) is State.SUBMITTED
    with database.transaction() as session:
        [line] = applications.queue(session)
        assert (line.promised_due_on, line.statutory_due_on) == (date(2026, 11, 30), date(2026, 12, 21))

    tuesday = MONDAY + DAY
    with database.transaction() as session:
        applications.claim(session, application_id=case, officer_id=first, now=tuesday)
        applications.ask_correction(
            session, application_id=case, officer_id=first, notes={"photo": "Face not visible."}, message="", now=tuesday
        )
    with database.transaction() as session:
        found = applications.case(session, case, now=tuesday)
        assert found.promised is not None
        assert found.promised.deadline is None, "the clock stands still"
        assert found.summary.promised_due_on is None
        assert found.open_correction is not None
        assert found.open_correction.fields == {"photo": "Face not visible."}
    with pytest.raises(applications.NotEditable), database.transaction() as session:
        applications.save(
            session, application_id=case, person_id=person, step_code="phone", given={"phone": "13900000000"}, now=tuesday
        )

    thursday = MONDAY + 3 * DAY
    fill(database, case, person, {"photo": {"photo": [photo(database, person, "JPEG")]}}, thursday)
    with database.transaction() as session:
        applications.answer_correction(session, application_id=case, person_id=person, now=thursday)
        assert applications.queue(session)[0].promised_due_on == date(2026, 12, 2), "two days later than promised at first"

    with database.transaction() as session:
        applications.prepare(session, application_id=case, officer_id=first, outcome=Outcome.APPROVED, reason="", now=thursday)
    with pytest.raises(FourEyes), database.transaction() as session:
        applications.approve(session, application_id=case, supervisor_id=first, now=thursday)
    with database.transaction() as session:
        applications.approve(session, application_id=case, supervisor_id=second, now=thursday)
    deliver(database, thursday)

    with database.transaction() as session:
        found = applications.case(session, case, now=thursday, person_id=person)
        assert found.state is State.APPROVED
        assert [event.kind for event in found.public_events] == [
            Happened.BEGUN,
            Happened.HANDED_IN,
            Happened.PAID,
            Happened.ACCEPTED,
            Happened.CLAIMED,
            Happened.CORRECTION_ASKED,
            Happened.CORRECTED,
            Happened.APPROVED,
            Happened.CARD_ISSUED,
            Happened.CARD_ISSUED,
            Happened.LETTER_ISSUED,
        ]
        assert found.promised is not None
        assert found.promised.elapsed == 1, "Tuesday; Wednesday and Thursday belonged to the resident"
        assert {card.kind.value for card in cards.cards_of(session, person)} == {"phone", "physical"}
        assert [held.code for held in cards.entitlements_of(session, person, thursday.date())] == ["senior-60"]
        certificate = documents.certificate_about(session, f"application:{case}")
        assert certificate is not None
        assert documents.verify_text(session, certificate.number).standing is Standing.VALID
        inbox = [message.subject for message in messages.inbox(session, person_id=person, language="en")]
        assert "Approved: Apply for a citizen card" in inbox
    pdf_of(database, certificate.id)


def pdf_of(database: Database, certificate_id: UUID) -> bytes:
    with database.transaction() as session:
        pdf = documents.certificate_file(session, certificate_id)
        assert documents.verify_file(session, pdf).standing is Standing.VALID
    return pdf


def test_an_application_may_be_left_and_resumed_and_is_pinned_to_the_version_it_began_with(database: Database) -> None:
    person = resident(database)
    with database.transaction() as session:
        case = applications.start(session, person_id=person, item_code="citizen-card", now=MONDAY)
        item = catalogue.item(session, "citizen-card")
        catalogue.publish(session, item.model_copy(update={"version": 2, "promised_days": 3}), now=MONDAY)
    fill(database, case, person, {"phone": {"phone": "13800000000"}}, MONDAY)
    with database.transaction() as session:
        [draft] = applications.drafts(session, person, "citizen-card")
        assert (draft.id, draft.item_version) == (case, 1)
        assert applications.case(session, case, now=MONDAY).answers["phone"] == "13800000000"


def test_a_wrong_answer_is_kept_and_named_and_stops_the_submission(database: Database) -> None:
    person = resident(database)
    with database.transaction() as session:
        case = applications.start(session, person_id=person, item_code="citizen-card", now=MONDAY)
    with database.transaction() as session:
        wrong = applications.save(
            session, application_id=case, person_id=person, step_code="phone", given={"phone": "12"}, now=MONDAY
        )
        assert list(wrong) == ["phone"]
    with database.transaction() as session:
        assert applications.case(session, case, now=MONDAY).answers["phone"] == "12"
    with pytest.raises(applications.Incomplete) as raised, database.transaction() as session:
        applications.submit(session, application_id=case, person_id=person, declared=True, now=MONDAY)
    assert list(raised.value.fields) == ["tie", "phone", "photo", "delivery"]


def test_a_paper_of_somebody_elses_wallet_is_never_taken(database: Database) -> None:
    person, other = resident(database), resident(database)
    stolen = photo(database, other)
    with database.transaction() as session:
        case = applications.start(session, person_id=person, item_code="citizen-card", now=MONDAY)
        wrong = applications.save(
            session, application_id=case, person_id=person, step_code="photo", given={"photo": [stolen]}, now=MONDAY
        )
    assert list(wrong) == ["photo"]


def test_a_case_is_its_residents_alone_and_its_papers_are_the_cases_alone(database: Database) -> None:
    person, other = resident(database), resident(database)
    case = submitted_card(database, person)
    with pytest.raises(applications.NoSuchApplication), database.transaction() as session:
        applications.case(session, case, now=MONDAY, person_id=other)
    with database.transaction() as session:
        [paper_id] = [UUID(each) for each in applications.case(session, case, now=MONDAY).answers["photo"]]
    elsewhere = UUID(photo(database, person, "JPEG"))
    with pytest.raises(documents.NoSuchDocument), database.transaction() as session:
        applications.paper(session, application_id=case, document_id=elsewhere, actor="person:x", now=MONDAY)
    with database.transaction() as session:
        applications.paper(session, application_id=case, document_id=paper_id, actor="person:x", now=MONDAY)
        assert [look.actor for look in documents.looks(session, paper_id, owner_id=person)] == ["person:x"]


def test_an_allowance_needs_no_fee_and_is_refused_with_a_reason_that_reaches_the_resident(database: Database) -> None:
    person, first, second = resident(database, born=date(1950, 1, 1)), officer(database), officer(database)
    with database.transaction() as session:
        case = applications.start(session, person_id=person, item_code="older-residents-allowance", now=MONDAY)
    fill(database, case, person, ALLOWANCE_ANSWERS, MONDAY)
    with database.transaction() as session:
        assert applications.submit(session, application_id=case, person_id=person, declared=True, now=MONDAY) is State.SUBMITTED
        applications.claim(session, application_id=case, officer_id=first, now=MONDAY)
    with pytest.raises(applications.AgainstTheRule), database.transaction() as session:
        applications.prepare(session, application_id=case, officer_id=first, outcome=Outcome.APPROVED, reason="", now=MONDAY)
    with pytest.raises(Invalid), database.transaction() as session:
        applications.prepare(session, application_id=case, officer_id=first, outcome=Outcome.REFUSED, reason=" ", now=MONDAY)
    with database.transaction() as session:
        applications.prepare(
            session, application_id=case, officer_id=first, outcome=Outcome.REFUSED, reason="未满80周岁。", now=MONDAY
        )
        applications.send_back(session, application_id=case, supervisor_id=second, because="Name the article.", now=MONDAY)
        found = applications.case(session, case, now=MONDAY)
        assert found.decision is not None
        assert (found.state, found.decision.returned_because) == (State.IN_REVIEW, "Name the article.")
        applications.prepare(
            session, application_id=case, officer_id=first, outcome=Outcome.REFUSED, reason="未满80周岁，第33条。", now=MONDAY
        )
        applications.approve(session, application_id=case, supervisor_id=second, now=MONDAY)
    deliver(database, MONDAY)
    with database.transaction() as session:
        assert applications.case(session, case, now=MONDAY).state is State.REFUSED
        certificate = documents.certificate_about(session, f"application:{case}")
        assert certificate is not None
        assert certificate.sentence.zh == "对演示·林小满的高龄津贴申请不予批准。"
        assert any("未满80周岁，第33条。" in each.text for each in messages.inbox(session, person_id=person, language="en"))


def test_only_the_officer_who_has_the_case_works_on_it_and_never_on_their_own(database: Database) -> None:
    person, first, second = resident(database), officer(database), officer(database)
    case = submitted_card(database, person)
    pay(database, case, person, MONDAY)
    with pytest.raises(applications.OwnCase), database.transaction() as session:
        applications.claim(session, application_id=case, officer_id=person, now=MONDAY)
    with database.transaction() as session:
        applications.claim(session, application_id=case, officer_id=first, now=MONDAY)
    with pytest.raises(IllegalMove), database.transaction() as session:
        applications.claim(session, application_id=case, officer_id=second, now=MONDAY)
    with pytest.raises(applications.NotTheCaseOfficer), database.transaction() as session:
        applications.release(session, application_id=case, officer_id=second, now=MONDAY)
    with database.transaction() as session:
        applications.release(session, application_id=case, officer_id=first, now=MONDAY)
        applications.claim(session, application_id=case, officer_id=second, now=MONDAY)


def test_a_resident_may_take_an_application_back_until_a_decision_is_prepared(database: Database) -> None:
    person, first = resident(database), officer(database)
    case, other = submitted_card(database, person), submitted_card(database, person)
    pay(database, case, person, MONDAY)
    with database.transaction() as session:
        applications.withdraw(session, application_id=other, person_id=person, now=MONDAY)
        applications.claim(session, application_id=case, officer_id=first, now=MONDAY)
        applications.prepare(session, application_id=case, officer_id=first, outcome=Outcome.APPROVED, reason="", now=MONDAY)
    with pytest.raises(IllegalMove), database.transaction() as session:
        applications.withdraw(session, application_id=case, person_id=person, now=MONDAY)


@pytest.mark.parametrize("table", ["application", "application_event", "application_decision", "application_correction"])
def test_the_application_cannot_erase_a_case(database: Database, table: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), database.transaction() as session:
        session.execute(text(f"DELETE FROM services.{table}"))
