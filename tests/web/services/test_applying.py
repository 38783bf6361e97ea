"""From the catalogue to the signed decision, on pages, without JavaScript, as a resident, an officer and a supervisor."""

import hashlib
import hmac
import io
import json
import time
from datetime import date
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from app import wiring
from app.kernel import clock, outbox
from app.kernel.db import Database
from app.web.auth import Role
from services import applications, catalogue, documents, payments
from tests.payments import SECRET
from tests.signing_in import enter, resident, sign_in_as
from tests.web.strictly import parse


@pytest.fixture(autouse=True)
def loaded(app: Flask, database: Database) -> None:
    with database.transaction() as session:
        catalogue.load(session, now=clock.now())


def picture(colour: str = "teal") -> io.BytesIO:
    drawn = io.BytesIO()
    Image.new("RGB", (300, 400), colour).save(drawn, "JPEG")
    drawn.seek(0)
    return drawn


def page(answer: TestResponse, *texts: str, status: int = 200) -> str:
    assert answer.status_code == status, (answer.status_code, answer.location, answer.text[:2000])
    parse(answer.text)
    for text in texts:
        assert text in answer.text, text
    return answer.text


def deliver(database: Database) -> None:
    while outbox.deliver_one(database, wiring.HANDLERS, wiring.COURIERS, now=clock.now()):
        pass


def settle(client: FlaskClient, database: Database, case: UUID) -> None:
    """Stripe says that the fee is paid."""
    with database.transaction() as session:
        payment_id = applications.case(session, case, now=clock.now()).payment_id
    intent = {
        "id": f"pi_{payment_id}",
        "object": "payment_intent",
        "status": "succeeded",
        "amount": 20_00,
        "amount_received": 20_00,
        "currency": "cny",
        "created": 1,
        "metadata": {"payment_id": str(payment_id)},
    }
    event = {"id": f"evt_{payment_id}", "object": "event", "type": "payment_intent.succeeded", "data": {"object": intent}}
    body, moment = json.dumps(event).encode(), int(time.time())
    mac = hmac.new(SECRET.encode(), b"%d.%s" % (moment, body), hashlib.sha256).hexdigest()
    headers = {"Stripe-Signature": f"t={moment},v1={mac}", "Content-Type": "application/json"}
    assert client.post("/webhooks/stripe", data=body, headers=headers).json == {"outcome": "settled"}
    deliver(database)


def begin(client: FlaskClient, code: str) -> tuple[UUID, str]:
    """A draft's id and the address of its first page."""
    started = client.post(f"/me/apply/{code}")
    assert started.status_code == 303
    assert started.location is not None
    return UUID(started.location.split("/")[3]), started.location


def fill_card(client: FlaskClient, case: UUID) -> None:
    steps = f"/me/applications/{case}/steps"
    for step, form, following in (
        ("residence", {"tie": "work"}, "phone"),
        ("phone", {"phone": "138 0000 0000"}, "photo"),
        ("photo", {"photo-file": (picture(), "me.jpg")}, "delivery"),
        ("delivery", {"delivery": "collect"}, "hall"),
        ("hall", {"hall": "central-hall"}, "check"),
    ):
        page(client.get(f"{steps}/{step}?lang=en"), "Save and continue")
        answer = client.post(f"{steps}/{step}", data=form, content_type="multipart/form-data")
        assert answer.status_code == 303, answer.text
        assert str(answer.location).endswith(following)


def fill_allowance(client: FlaskClient, case: UUID) -> None:
    for step, form in (
        ("household", {"household": "here"}),
        ("paid-elsewhere", {"paid-elsewhere": "unpaid"}),
        ("payout", {"payout": "bank"}),
        ("bank", {"bank-name": "演示银行", "bank-account": "6222 0000 0000 0000 123"}),
        ("contact", {"contact-name": "演示·林小满", "contact-phone": "13800000000"}),
    ):
        assert client.post(f"/me/applications/{case}/steps/{step}", data=form).status_code == 303


@pytest.mark.parametrize("lang", ["en", "zh_Hans_CN"])
def test_the_catalogue_says_what_takes_how_long_and_who_qualifies(client: FlaskClient, lang: str) -> None:
    names = {"en": "Allowance for older residents", "zh_Hans_CN": "高龄津贴"}
    page(client.get(f"/services?lang={lang}"), names[lang])
    page(client.get(f"/services?q=nothing-like-it&lang={lang}"))
    page(client.get(f"/services/older-residents-allowance?lang={lang}"), names[lang])
    assert client.get("/services/nothing").status_code == 404


@pytest.mark.parametrize(
    ("query", "verdict"),
    [
        ("age=81&settled-here=yes&paid-elsewhere=no", "Yes: by what you say, you qualify."),
        ("age=79&settled-here=yes&paid-elsewhere=no", "No: one condition is not met."),
        ("age=81", "Maybe: the open conditions decide."),
        ("age=old&settled-here=perhaps", "Maybe: the open conditions decide."),
    ],
)
def test_anybody_can_check_whether_they_qualify(client: FlaskClient, query: str, verdict: str) -> None:
    page(client.get(f"/services/older-residents-allowance?lang=en&{query}"), verdict)


def test_a_card_is_applied_for_corrected_decided_by_two_people_and_verified_by_anybody(  # noqa: PLR0915  one story
    app: Flask, database: Database
) -> None:
    mine, office, head, stranger = (app.test_client() for _ in range(4))
    person = resident(database)
    enter(mine, database, person)
    sign_in_as(office, database, Role.OFFICER)
    sign_in_as(head, database, Role.SUPERVISOR)

    page(mine.get("/me/apply/citizen-card?lang=en"), "Begin")
    case, _ = begin(mine, "citizen-card")
    fill_card(mine, case)
    page(mine.get(f"/me/applications/{case}/check"), "138", "me.jpg", "Central Service Hall", "Hand in and pay")
    page(mine.post(f"/me/applications/{case}/submit"), "Confirm that what you have given is true", status=422)
    handed_in = mine.post(f"/me/applications/{case}/submit", data={"declaration": "yes"})
    assert str(handed_in.location).startswith("/me/payments/")
    page(mine.get(f"/me/applications/{case}"), "Pay the fee", "¥20.00")
    assert str(mine.post(f"/me/applications/{case}/pay").location) == str(handed_in.location), "one payment, however often"
    settle(stranger, database, case)
    page(mine.get(f"/me/applications/{case}"), "What happens next", "Promised by")

    page(office.get("/staff/cases?lang=en"), "Apply for a citizen card")
    assert office.post(f"/staff/cases/{case}/claim").status_code == 303
    shown = page(office.get(f"/staff/cases/{case}"), "Prepare a decision", "me.jpg")
    paper = shown.split("/papers/")[1].split('"')[0]
    assert office.get(f"/staff/cases/{case}/papers/{paper}").content_type == "image/jpeg"
    page(office.post(f"/staff/cases/{case}/correction"), "Choose at least one answer", status=422)
    form = {"fields": "photo", "note-photo": "The face is not visible.", "message": ""}
    assert office.post(f"/staff/cases/{case}/correction", data=form).status_code == 303

    page(mine.get(f"/me/applications/{case}"), "Something has to be corrected", "The face is not visible.")
    page(mine.get(f"/me/applications/{case}/steps/photo"), "The office asks:", "me.jpg")
    assert mine.get(f"/me/applications/{case}/steps/phone").status_code == 302, "only what is named is open"
    form = {"photo-file": (picture("navy"), "better.jpg")}
    mine.post(f"/me/applications/{case}/steps/photo", data=form, content_type="multipart/form-data")
    assert mine.post(f"/me/applications/{case}/correction").status_code == 303

    page(office.post(f"/staff/cases/{case}/decision"), "Choose whether to approve", status=422)
    assert office.post(f"/staff/cases/{case}/decision", data={"outcome": "approved"}).status_code == 303
    page(office.get(f"/staff/cases/{case}"), "Somebody else has to approve it.")
    assert office.post(f"/staff/cases/{case}/approve").status_code == 403
    page(head.get("/staff/cases?lang=en"), "Decision being checked")
    page(head.get(f"/staff/cases/{case}"), "Put it into force", "issue a citizen card")
    assert head.post(f"/staff/cases/{case}/approve").status_code == 303
    deliver(database)

    text = page(mine.get(f"/me/applications/{case}"), "Download the signed decision", "Card issued")
    number = text.split("/verify/")[1].split('"')[0]
    pdf = mine.get(f"/me/applications/{case}/decision.pdf")
    assert pdf.content_type == "application/pdf"
    page(head.get(f"/staff/cases/{case}"), number)
    assert office.get(f"/staff/cases/{case}/decision.pdf").data == pdf.data

    page(stranger.get(f"/verify/{number}?lang=en"), 'data-standing="valid"', "林＊＊")
    upload = {"file": (io.BytesIO(pdf.data), "decision.pdf")}
    page(stranger.post("/verify", data=upload, content_type="multipart/form-data"), 'data-standing="valid"', "演示·林小满")
    upload = {"file": (io.BytesIO(pdf.data + b"\n%more"), "decision.pdf")}
    page(stranger.post("/verify", data=upload, content_type="multipart/form-data"), 'data-standing="altered"')
    page(stranger.post("/verify", data={"text": "320100-20200101-AAAAAAAA"}), 'data-standing="unknown"')
    page(stranger.post("/verify", data={"text": ""}), "Enter a number", status=422)
    page(mine.get("/me/documents"), "me.jpg", "better.jpg", number)
    page(mine.get("/me/applications"), "Approved")
    seen = page(mine.get("/me/data"), "Case officer", "Supervisor")
    assert seen.count("Answers and papers of the application") == 2, "each officer once a day, however often they look"


def test_a_form_is_left_and_gone_on_with_on_another_device(app: Flask, database: Database) -> None:
    phone, desktop = app.test_client(), app.test_client()
    person = resident(database, born=date(1940, 1, 1))
    enter(phone, database, person)
    enter(desktop, database, person)
    case, _ = begin(phone, "older-residents-allowance")
    wrong = phone.post(f"/me/applications/{case}/steps/contact?lang=en", data={"contact-name": "Demo", "contact-phone": "12"})
    page(wrong, "There is a problem", "Enter a mobile number of 11 digits", 'value="12"', status=422)

    page(desktop.get("/me/apply/older-residents-allowance?lang=en"), "Go on with what you began")
    page(desktop.get("/me/applications"), "Begun, not handed in")
    resumed = desktop.get(f"/me/applications/{case}/resume")
    assert "/steps/household" in str(resumed.location)
    fill_allowance(desktop, case)
    page(desktop.get(f"/me/applications/{case}/check"), "演示银行", "6222000000000000123")
    done = desktop.post(f"/me/applications/{case}/submit", data={"declaration": "yes"})
    page(desktop.get(str(done.location)), "Handed in", "Your number")


def test_a_file_of_another_kind_is_refused_with_words_and_a_paper_is_handed_in_once(app: Flask, database: Database) -> None:
    client = app.test_client()
    sign_in_as(client, database)
    case, _ = begin(client, "citizen-card")
    address = f"/me/applications/{case}/steps/photo?lang=en"
    form = {"photo-file": (io.BytesIO(b"<html>not a picture</html>"), "me.jpg")}
    answer = client.post(address, data=form, content_type="multipart/form-data")
    page(answer, "The file must be one of: JPEG, PNG.", status=422)
    client.post(address, data={"photo-file": (picture(), "me.jpg")}, content_type="multipart/form-data")

    other, _ = begin(client, "citizen-card")
    shown = page(client.get(f"/me/applications/{other}/steps/photo"), "Use what you have handed in before")
    paper = shown.split('name="photo"')[1].split('value="')[1].split('"')[0]
    assert client.post(f"/me/applications/{other}/steps/photo", data={"photo": paper}).status_code == 303
    assert client.get(f"/me/documents/{paper}").content_type == "image/jpeg"


def test_an_application_and_a_paper_are_nobody_elses_to_see(app: Flask, database: Database) -> None:
    mine, other = app.test_client(), app.test_client()
    sign_in_as(mine, database)
    sign_in_as(other, database)
    case, first = begin(mine, "citizen-card")
    mine.post(f"/me/applications/{case}/steps/photo", data={"photo-file": (picture(), "me.jpg")})
    with database.transaction() as session:
        [paper] = applications.case(session, case, now=clock.now()).answers["photo"]
    for path in (f"/me/applications/{case}", first, f"/me/applications/{case}/check", f"/me/documents/{paper}"):
        assert other.get(path).status_code == 404, path
    assert other.post(f"/me/applications/{case}/submit", data={"declaration": "yes"}).status_code == 404


def test_a_paid_fee_comes_back_when_the_application_is_withdrawn_before_work_began(app: Flask, database: Database) -> None:
    mine, office = app.test_client(), app.test_client()
    sign_in_as(mine, database)
    sign_in_as(office, database, Role.OFFICER)
    for claimed, left_minor in ((False, 0), (True, 20_00)):
        case, _ = begin(mine, "citizen-card")
        fill_card(mine, case)
        mine.post(f"/me/applications/{case}/submit", data={"declaration": "yes"})
        settle(office, database, case)
        if claimed:
            office.post(f"/staff/cases/{case}/claim")
        said = "work on it has begun" if claimed else "comes back to you"
        page(mine.get(f"/me/applications/{case}?lang=en"), said)
        assert mine.post(f"/me/applications/{case}/withdraw").status_code == 303
        with database.transaction() as session:
            found = payments.of_subject(session, purpose=payments.Purpose.SERVICE_FEE, subject=f"application:{case}")
        assert [payment.refundable_minor for payment in found] == [left_minor]


def test_an_application_is_withdrawn_and_a_decision_returned(app: Flask, database: Database) -> None:
    mine, office, head = (app.test_client() for _ in range(3))
    person = resident(database, born=date(1930, 5, 5))
    enter(mine, database, person)
    sign_in_as(office, database, Role.OFFICER)
    sign_in_as(head, database, Role.SUPERVISOR)
    cases = []
    for _ in range(2):
        case, _ = begin(mine, "older-residents-allowance")
        fill_allowance(mine, case)
        mine.post(f"/me/applications/{case}/submit", data={"declaration": "yes"})
        cases.append(case)
    assert mine.post(f"/me/applications/{cases[0]}/withdraw").status_code == 303
    page(mine.get("/me/applications?lang=en"), "Withdrawn")
    office.post(f"/staff/cases/{cases[1]}/claim")
    office.post(f"/staff/cases/{cases[1]}/decision", data={"outcome": "approved", "reason": ""})
    page(head.post(f"/staff/cases/{cases[1]}/return?lang=en"), "Say what the officer should look at again.", status=422)
    assert head.post(f"/staff/cases/{cases[1]}/return", data={"because": "Check the bank account."}).status_code == 303
    page(office.get(f"/staff/cases/{cases[1]}?lang=en"), "Check the bank account.")
    office.post(f"/staff/cases/{cases[1]}/decision", data={"outcome": "approved", "reason": ""})
    head.post(f"/staff/cases/{cases[1]}/approve")
    deliver(database)
    page(mine.get(f"/me/applications/{cases[1]}?lang=en"), "Allowance started")
    with database.transaction() as session:
        [certificate] = documents.certificates_of(session, person)
    assert certificate.sentence.zh == "准予演示·林小满享受高龄津贴，自作出决定的次月起按月发放。"
