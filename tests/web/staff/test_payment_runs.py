"""A payment run on the screens: one officer prepares, a supervisor approves, the bank answers, the run closes."""

from datetime import date
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from app.demo.scene import benefits as scene
from app.demo.scene import health as health_scene
from app.kernel import clock
from app.kernel.db import Database
from app.web.auth import Role
from card import benefits, cards, health
from tests.signing_in import sign_in_as

ENGLISH = {"Accept-Language": "en"}


@pytest.fixture
def five(database: Database) -> None:
    with database.transaction() as session:
        scene.endow_funds(session, now=clock.now())
        scene.worked_run(
            session, holders={letter: uuid4() for letter in "ABCDE"}, birth_of_a=date(1966, 11, 2), now=clock.now()
        )


@pytest.mark.usefixtures("five")
def test_the_worked_run_is_played_on_the_screens(client: FlaskClient, database: Database) -> None:
    sign_in_as(client, database, Role.OFFICER)
    assert "No runs yet" in client.get("/staff/payment-runs", headers=ENGLISH).text
    run = client.post("/staff/payment-runs/prepare", data={"month": "2026-12-01"}).headers["Location"]
    page = client.get(run, headers=ENGLISH)
    assert "You prepared this; somebody else approves it." in page.text
    assert "¥18,972.30" in page.text
    assert client.post(f"{run}/approve").status_code == 403, "an officer does not approve"

    sign_in_as(client, database, Role.SUPERVISOR)
    assert "Approve ¥18,972.30" in client.get(run, headers=ENGLISH).text
    client.post(f"{run}/approve")
    client.post(f"{run}/send")
    page = client.get(run, headers=ENGLISH)
    assert "Sent to the bank" in page.text
    assert client.get(f"{run}/file").text.splitlines()[-1].endswith("2026-12,3,18972.30,CNY")
    client.post(f"{run}/close")
    with database.transaction() as session:
        (found,) = benefits.runs(session)
        (sent,) = (item for item in found.items if item.state is benefits.ItemState.SENT)
        assert found.state is benefits.RunState.IN_PAYMENT, "not closed while the bank has one"
    client.post(f"{run}/items/{sent.id}/bank", data={"answer": "returned", "reason": "account closed"})
    client.post(f"{run}/close")
    page = client.get(run, headers=ENGLISH)
    for text in ("¥15,091.80", "¥3,880.50", "Closed", "account closed"):
        assert text in page.text
    listed = client.get("/staff/payment-runs", headers=ENGLISH).text
    assert "Issue 1 returned payments again (¥3,880.50)" in listed
    assert "Suspended: the yearly confirmation is missing" in listed
    again = client.post("/staff/payment-runs/reissue").headers["Location"]
    assert "Supplementary run" in client.get(again, headers=ENGLISH).text


@pytest.mark.usefixtures("five")
def test_the_preparer_cannot_approve_even_as_a_supervisor(client: FlaskClient, database: Database) -> None:
    sign_in_as(client, database, Role.SUPERVISOR)
    run = client.post("/staff/payment-runs/prepare", data={"month": "2026-12-01"}).headers["Location"]
    page = client.post(f"{run}/approve", headers=ENGLISH, follow_redirects=True)
    assert "Somebody else has to approve this: you prepared it." in page.text


def test_an_officer_confirms_a_filing_of_a_resident(client: FlaskClient, database: Database) -> None:
    holder_id, now = uuid4(), clock.now()
    with database.transaction() as session:
        health_scene.hospital_of(session, "320100", now=now)
        cards.issue(session, holder_id=holder_id, kind=cards.Kind.PHONE, now=now)
        health_scene.worked_claimant(session, holder_id=holder_id, now=now)
        filing_id = health.file(
            session,
            holder_id=holder_id,
            kind=health.FilingKind.LONG_TERM,
            region="320200",
            reason="lives with daughter",
            valid_from=date(2027, 1, 1),
            by="person:resident",
            now=now,
        )
    sign_in_as(client, database, Role.OFFICER)
    assert "lives with daughter" in client.get("/staff/filings", headers=ENGLISH).text
    client.post(f"/staff/filings/{filing_id}/activate")
    with database.transaction() as session:
        assert health.filing(session, filing_id).state is health.FilingState.ACTIVE
