"""The rider's journeys and the operator's console: everybody sees their own, in words, and can ask."""

from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask.testing import FlaskClient

from app.kernel.db import Database
from app.web.auth import Role
from card import credentials, transit
from tests.gates import Phone, purse, some_rides
from tests.signing_in import sign_in_as
from tests.web.strictly import parse

EN = "?lang=en"


def rider_with_rides(client: FlaskClient, database: Database) -> Phone:
    """A resident, signed in, with a whole journey, one without its exit, and a bus ride."""
    return some_rides(database, sign_in_as(client, database))


def operator(client: FlaskClient, database: Database, organisation: str = "nj-metro") -> UUID:
    return sign_in_as(client, database, Role.OPERATOR, organisation=organisation)


def journeys(database: Database, holder: UUID) -> dict[str, transit.JourneyView]:
    with database.transaction() as session:
        return {
            one.state.value if one.operator_id == "nj-metro" else "bus": one
            for one in transit.journeys_of_holder(session, holder)
        }


@pytest.mark.parametrize("language", ["en", "zh_Hans_CN"])
def test_a_rider_sees_every_ride_and_why_it_cost_what_it_cost(client: FlaskClient, database: Database, language: str) -> None:
    phone = rider_with_rides(client, database)
    page = client.get(f"/me/journeys?lang={language}")
    assert page.status_code == 200
    parse(page.text)
    found = journeys(database, phone.holder_id)
    for one in found.values():
        shown = client.get(f"/me/journeys/{one.id}?lang={language}")
        assert shown.status_code == 200, shown.text
        parse(shown.text)
    whole = client.get(f"/me/journeys/{found['complete'].id}{EN}").text
    assert "km from Gulou to Xianlin Centre: the single fare is ¥5.00." in whole
    assert "Half fare from 60 to 69: you pay 50 percent." in whole
    assert "−¥2.50" in whole
    assert "<svg viewBox" in whole
    assert "secondary source" in whole
    assert "+¥10.00" in whole, "the first charge, before the entry was known"
    part = client.get(f"/me/journeys/{found['missing-exit'].id}{EN}").text
    assert "Until that tap arrives the maximum fare is ¥10.00" in part


def test_somebody_else_does_not_see_the_ride(client: FlaskClient, database: Database) -> None:
    phone = rider_with_rides(client, database)
    found = journeys(database, phone.holder_id)["complete"]
    sign_in_as(client, database)
    assert client.get(f"/me/journeys/{found.id}").status_code == 404
    operator(client, database, "nj-bus")
    assert client.get(f"/operator/journeys/{found.id}").status_code == 404
    assert client.get(f"/me/journeys/{found.id}").status_code == 403


def test_a_missing_tap_is_claimed_accepted_and_the_price_follows(client: FlaskClient, database: Database) -> None:
    phone = rider_with_rides(client, database)
    found = journeys(database, phone.holder_id)["missing-exit"]
    with database.transaction() as session:
        before = purse(session, phone.holder_id)
    wrong = client.post(f"/me/journeys/{found.id}/contest{EN}", data={"claimed_stop": "sz-mudu"})
    assert wrong.status_code == 422
    assert "Choose the stop where you got in or out." in wrong.text
    nothing = client.post(f"/me/journeys/{found.id}/contest{EN}", data={})
    assert "Tell us what is wrong." in nothing.text
    data = {"claimed_stop": "nj-nanjingnanzhan", "words": "The gate stood open."}
    assert client.post(f"/me/journeys/{found.id}/contest", data=data).status_code == 302
    again = client.post(f"/me/journeys/{found.id}/contest{EN}", data=data, follow_redirects=True)
    assert "You have already asked" in again.text
    with database.transaction() as session:
        (asked,) = transit.contests_of_operator(session, "nj-metro")
    rider_session = client.get_cookie("session_320100")
    operator(client, database)
    page = client.get(f"/operator/questions{EN}")
    assert "The gate stood open." in page.text
    parse(page.text)
    assert client.post(f"/operator/questions/{asked.id}", data={"decision": "accept"}).status_code == 302
    with database.transaction() as session:
        assert purse(session, phone.holder_id) == before + 1000 - 200, "13.2 km at half of 4.00"
        after = transit.journey_by_key(session, card_number=phone.number, key=found.key)
        assert (after.state.value, after.to_stop, transit.claimed_in(session, after)) == ("complete", "nj-nanjingnanzhan", True)
    client.set_cookie("session_320100", rider_session.value)
    assert "With a tap you told us" in client.get(f"/me/journeys/{found.id}{EN}").text


@pytest.mark.parametrize(
    "path", ["", "/terminals", "/taps", "/journeys", "/statement", "/questions", "/tariffs", "/statement.csv"]
)
@pytest.mark.parametrize("language", ["en", "zh_Hans_CN"])
def test_the_console_is_for_the_operators_own_staff(client: FlaskClient, database: Database, path: str, language: str) -> None:
    rider_with_rides(client, database)
    assert client.get(f"/operator{path}").status_code == 403
    operator(client, database)
    page = client.get(f"/operator{path}?lang={language}")
    assert page.status_code == 200
    if not path.endswith("csv"):
        parse(page.text)


def test_the_statement_agrees_with_the_ledger_and_comes_as_csv(client: FlaskClient, database: Database) -> None:
    rider_with_rides(client, database)
    operator(client, database)
    assert "The ledger booked the same sum: ¥12.50." in client.get(f"/operator/statement{EN}").text
    lines = client.get("/operator/statement.csv").text.strip().split("\r\n")
    assert lines[0].lstrip("\ufeff").startswith("transfer_id,posted_at,card_day,card_number")
    assert lines[-1].endswith("ledger,12.50")
    assert sum(float(line.split(",")[5]) for line in lines[1:-1]) == 12.50


def test_an_operator_makes_a_token_that_enrols_one_terminal(client: FlaskClient, database: Database) -> None:
    rider_with_rides(client, database)
    operator(client, database)
    assert client.post(f"/operator/terminals/enrolments{EN}", data={"mode": "both"}).status_code == 422
    made = client.post(f"/operator/terminals/enrolments{EN}", data={"mode": "both", "stop_id": "nj-gulou"})
    assert made.status_code == 201
    parse(made.text)
    token = made.text.split("--token ")[1].split("<")[0]
    assert token.isalnum(), "a dash in front would be an option to the terminal's command line"
    key = credentials.to_base64url(credentials.raw_public(Ed25519PrivateKey.generate().public_key()))
    answer = client.post("/api/transit/terminals/enrol", json={"token": token, "public_key": key})
    assert answer.status_code == 201
    revoked = client.post(f"/operator/terminals/{answer.json['terminal_id']}/revoke{EN}", follow_redirects=True)
    assert "The terminal is revoked" in revoked.text
    operator(client, database, "nj-bus")
    assert client.post(f"/operator/terminals/{answer.json['terminal_id']}/revoke").status_code in (401, 404)
