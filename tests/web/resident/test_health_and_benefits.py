"""A resident reads who paid what of a bill, files for treatment elsewhere, and sees pension and payments."""

from datetime import date, datetime
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from app.demo.scene import benefits as pension_scene
from app.demo.scene import health as scene
from app.kernel import clock
from app.kernel.db import Database
from app.web.auth import Role
from card import benefits, cards, health
from tests.signing_in import enter, resident, sign_in_as

ENGLISH = {"Accept-Language": "en"}
CHINESE = {"Accept-Language": "zh-CN"}


@pytest.fixture
def settled(client: FlaskClient, database: Database) -> tuple[UUID, UUID]:
    """A signed-in resident with one settled bill, and the bill."""
    holder_id, now = resident(database), clock.now()
    with database.transaction() as session:
        scene.hospital_of(session, "320100", now=now)
        card = cards.issue(session, holder_id=holder_id, kind=cards.Kind.PHONE, now=now)
        scene.worked_claimant(session, holder_id=holder_id, now=now)
        claim_id = health.register(
            session, hospital_id="nj-first", card_number=card.number, admitted_on=date(2026, 11, 10), by="person:desk", now=now
        )
        health.set_lines(session, claim_id=claim_id, lines=scene.worked_lines())
    health.pre_settle(database, claim_id=claim_id, now=now)
    health.settle(database, claim_id=claim_id, by="person:desk", now=now)
    enter(client, database, holder_id)
    return holder_id, claim_id


def test_the_split_is_told_line_by_line_in_words_and_as_a_picture(client: FlaskClient, settled: tuple[UUID, UUID]) -> None:
    page = client.get("/me/health", headers=ENGLISH)
    assert page.status_code == 200
    assert "Demo First Hospital, Nanjing" in page.text
    page = client.get(f"/me/health/claims/{settled[1]}", headers=ENGLISH)
    assert "Who pays ¥32,000.00" in page.text
    assert "The price limit is 5,000.00; the price is 6,000.00. Above the limit: 1,000.00." in page.text
    assert "Class C is not covered: all of 4,000.00 is yours to pay." in page.text
    assert page.text.count("<rect") >= 10, "a bar and its key"


def test_the_same_is_told_in_chinese(client: FlaskClient, settled: tuple[UUID, UUID]) -> None:
    page = client.get(f"/me/health/claims/{settled[1]}", headers=CHINESE)
    assert "统筹基金" in page.text
    assert "Pooled fund" not in page.text
    assert "within scope" not in page.text


def test_a_bill_is_its_owners_alone(client: FlaskClient, database: Database, settled: tuple[UUID, UUID]) -> None:
    assert client.get(f"/api/health/me/ExplanationOfBenefit/{settled[1]}").json["resourceType"] == "ExplanationOfBenefit"
    assert client.get("/api/health/me/ExplanationOfBenefit").json["total"] == 1
    sign_in_as(client, database, Role.RESIDENT)
    assert client.get(f"/me/health/claims/{settled[1]}").status_code == 404
    assert client.get(f"/api/health/me/ExplanationOfBenefit/{settled[1]}").status_code == 404


def test_somebody_not_insured_here_is_told_so(client: FlaskClient, database: Database) -> None:
    sign_in_as(client, database, Role.RESIDENT)
    assert "You are not insured here" in client.get("/me/health", headers=ENGLISH).text
    assert "No record of pension insurance" in client.get("/me/benefits", headers=ENGLISH).text


def test_a_filing_names_what_is_missing_and_can_be_cancelled(
    client: FlaskClient, database: Database, settled: tuple[UUID, UUID]
) -> None:
    answer = client.post("/me/health/filings", data={"region": "nowhere"}, headers=ENGLISH)
    assert answer.status_code == 422
    for sentence in ("Choose a city.", "Choose why.", "Enter the first day."):
        assert sentence in answer.text
    with database.transaction() as session:
        (filing,) = health.filings_of(session, settled[0])
    assert client.post(f"/me/health/filings/{filing.id}/cancel").status_code == 302
    with database.transaction() as session:
        assert health.filing(session, filing.id).state is health.FilingState.CANCELLED


def test_a_forecast_and_payments_explain_themselves(client: FlaskClient, database: Database) -> None:
    holder_id = resident(database, born=date(1976, 9, 20))
    with database.transaction() as session:
        pension_scene.working_life(session, holder_id=holder_id, category=benefits.Category.MAN, now=clock.now())
    enter(client, database, holder_id)
    page = client.get("/me/benefits", headers=ENGLISH)
    assert "You reach the statutory age in September 2039" in page.text
    assert "Basic pension:" in page.text


def test_the_pensioner_of_the_worked_run_sees_what_was_paid_and_why(client: FlaskClient, database: Database) -> None:
    holder_id = resident(database, born=date(1966, 11, 2))
    now = datetime(2026, 12, 1, 1, tzinfo=clock.SHANGHAI)
    with database.transaction() as session:
        pension_scene.endow_funds(session, now=now)
        pension_scene.worked_run(session, holders={"A": holder_id}, birth_of_a=date(1966, 11, 2), now=now)
        run_id = benefits.prepare_run(session, month=date(2026, 12, 1), by="person:a", now=now)
        benefits.approve_run(session, run_id=run_id, by="person:b", now=now)
        benefits.send_run(session, run_id=run_id, by="person:a", now=now)
    enter(client, database, holder_id)
    page = client.get("/me/benefits", headers=ENGLISH)
    assert "¥5,235.90" in page.text
    assert "2 × 5,235.90 for 2026-11 to 2026-12 = 10,471.80." in page.text
    assert "Basic pension: (9,000.00 + 9,000.00 × 1.2) ÷ 2 × 32.5 years × 1 % = 3,217.50 a month." in page.text
