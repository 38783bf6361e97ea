"""The hospital's desk in a browser without JavaScript: look up, enter, pre-settle, settle, reverse."""

import re
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient

from app.demo.scene import health as scene
from app.kernel import clock
from app.kernel.db import Database
from app.web.auth import Role
from card import cards, health
from tests.signing_in import resident, sign_in_as

ENGLISH = {"Accept-Language": "en"}


@pytest.fixture
def patient(database: Database) -> tuple[UUID, str]:
    holder_id = resident(database)
    now = clock.now()
    with database.transaction() as session:
        scene.hospital_of(session, "320100", now=now)
        card = cards.issue(session, holder_id=holder_id, kind=cards.Kind.PHONE, now=now)
        scene.worked_claimant(session, holder_id=holder_id, now=now)
    return holder_id, card.number


def opened(client: FlaskClient, number: str) -> str:
    answer = client.post("/hospital/claims", data={"card_number": number, "admitted_on": "2026-11-10"}, headers=ENGLISH)
    assert answer.status_code == 302, answer.text
    return str(answer.headers["Location"])


def test_a_bill_goes_from_the_card_to_the_receipt_and_back(
    client: FlaskClient, database: Database, patient: tuple[UUID, str]
) -> None:
    sign_in_as(client, database, Role.HOSPITAL, organisation="nj-first")
    page = client.get("/hospital", headers=ENGLISH)
    assert "No claims yet" in page.text
    claim = opened(client, patient[1])
    page = client.get(claim, headers=ENGLISH)
    assert "In service" in page.text
    assert page.text.count(" selected>") == 4, "the demonstration's bill is filled in"

    rows = {f"code-{n}": code for n, code in enumerate(("A-SURGERY", "B-ANTIBIOTIC", "B-JOINT", "C-ROOM"), 1)}
    answer = client.post(f"{claim}/bill", data=rows | {f"quantity-{n}": "1" for n in range(1, 5)}, headers=ENGLISH)
    assert answer.status_code == 302, answer.text
    page = client.get(claim, headers=ENGLISH)
    assert "Pooled fund: (25,200.00 − 1,000.00) × 88 % = 21,296.00." in page.text
    assert "No money has moved." in page.text

    client.post(f"{claim}/settle", headers=ENGLISH)
    page = client.get(claim, headers=ENGLISH)
    assert "The patient pays at the desk" in page.text
    assert "Receipt" in page.text
    client.post(f"{claim}/reverse", data={"reason": "entered twice"}, headers=ENGLISH)
    page = client.get(claim, headers=ENGLISH)
    assert "give back what was paid" in page.text
    assert "entered twice" in page.text


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"card_number": "123", "admitted_on": "2026-11-10"}, "This is not a card number"),
        ({"card_number": "", "admitted_on": "2026-11-10"}, "This is not a card number"),
        ({"card_number": "3132010000000099996", "admitted_on": ""}, "Enter the day of admission"),
    ],
)
def test_what_is_wrong_is_said_at_the_field(
    client: FlaskClient, database: Database, patient: tuple[UUID, str], data: dict[str, str], sentence: str
) -> None:
    sign_in_as(client, database, Role.HOSPITAL, organisation="nj-first")
    answer = client.post("/hospital/claims", data=data, headers=ENGLISH)
    assert answer.status_code >= 400
    assert sentence in answer.text
    assert "There is a problem" in answer.text


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({}, "A claim needs at least one line."),
        ({"code-1": "A-VISIT", "quantity-1": "0"}, "The quantity must be more than zero."),
        ({"code-1": "A-VISIT", "quantity-1": "1", "price-1": "much"}, "Enter the price in yuan"),
        ({"code-1": "NOTHING", "quantity-1": "1"}, "The catalogue has no item “NOTHING”"),
    ],
)
def test_a_bill_that_cannot_be_is_refused_and_what_was_entered_stays(
    client: FlaskClient, database: Database, patient: tuple[UUID, str], rows: dict[str, str], sentence: str
) -> None:
    sign_in_as(client, database, Role.HOSPITAL, organisation="nj-first")
    claim = opened(client, patient[1])
    answer = client.post(f"{claim}/bill", data=rows, headers=ENGLISH)
    assert answer.status_code >= 400
    assert sentence in re.sub(r"\s+", " ", answer.text)


def test_a_hospital_sees_only_its_own_claims(client: FlaskClient, database: Database, patient: tuple[UUID, str]) -> None:
    now = clock.now()
    with database.transaction() as session:
        health.open_hospital(
            session, hospital_id="nj-second", name={"en": "B", "zh_Hans_CN": "乙"}, level=health.Level.PRIMARY, now=now
        )
    sign_in_as(client, database, Role.HOSPITAL, organisation="nj-first")
    claim = opened(client, patient[1])
    sign_in_as(client, database, Role.HOSPITAL, organisation="nj-second")
    assert client.get(claim).status_code == 404
    assert client.post(f"{claim}/settle").status_code == 404
    assert client.get(f"/hospital/claims/{uuid4()}").status_code == 404


def test_somebody_not_insured_is_told_at_the_desk(client: FlaskClient, database: Database, patient: tuple[UUID, str]) -> None:
    with database.transaction() as session:
        card = cards.issue(session, holder_id=uuid4(), kind=cards.Kind.PHONE, now=clock.now())
    sign_in_as(client, database, Role.HOSPITAL, organisation="nj-first")
    answer = client.post("/hospital/claims", data={"card_number": card.number, "admitted_on": "2026-11-10"}, headers=ENGLISH)
    assert answer.status_code == 409
    assert "no health coverage" in answer.text
