"""``/staff/cards``: found by number, name or identity number; blocked, released, replaced."""

from datetime import date
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from app.kernel import clock
from app.kernel.db import Database
from app.web.auth import Role
from card import cards
from card.credentials import numbers
from services import people
from tests import signing_in
from tests.web.strictly import parse


@pytest.fixture
def card(client: FlaskClient, database: Database) -> cards.Card:
    holder = signing_in.resident(database, name="演示·林小满", born=date(1951, 2, 3))
    with database.transaction() as session:
        made = cards.issue(session, holder_id=holder, now=clock.now())
        cards.show_code(session, card_id=made.id, now=clock.now())
    signing_in.sign_in_as(client, database, Role.OFFICER)
    return made


def state(database: Database, card_id: UUID) -> cards.Status:
    with database.transaction() as session:
        return cards.get(session, card_id).status


def test_a_card_is_found_by_number_name_and_identity_number(client: FlaskClient, database: Database, card: cards.Card) -> None:
    by_number = client.get("/staff/cards", query_string={"q": numbers.spaced(card.number)})
    assert by_number.headers["Location"] == f"/staff/cards/{card.id}"
    with database.transaction() as session:
        identity = people.identity_number(session, card.holder_id)
    for asked in ("演示·林", str(getattr(identity, "text", identity))):
        text = client.get("/staff/cards", query_string={"q": asked, "lang": "en"}).text
        parse(text)
        assert numbers.spaced(card.number) in text
    nothing = client.get("/staff/cards", query_string={"q": "nobody", "lang": "en"}).text
    assert "No card was found." in nothing
    assert "No card was found." in client.get("/staff/cards", query_string={"q": "3" * 19, "lang": "en"}).text
    parse(client.get("/staff/cards").text)


def test_an_officer_blocks_releases_and_replaces(client: FlaskClient, database: Database, card: cards.Card) -> None:
    place = f"/staff/cards/{card.id}"
    shown = client.get(place, query_string={"lang": "en"}).text
    parse(shown)
    assert "Key kept by the city" in shown
    assert client.post(f"{place}/block", data={"reason": ""}).status_code == 422
    assert client.post(f"{place}/block", data={"reason": "misuse"}).status_code == 303
    assert state(database, card.id) is cards.Status.BLOCKED
    with database.transaction() as session:
        cards.publish_deny_list(session, now=clock.now())
    assert "Yes, as of list 1" in client.get(place, query_string={"lang": "en"}).text
    assert client.post(f"{place}/release").status_code == 303
    assert state(database, card.id) is cards.Status.ACTIVE
    assert client.post(f"{place}/replace").status_code == 303
    assert state(database, card.id) is cards.Status.REPLACED
    assert client.post(f"{place}/block", data={"reason": "lost"}).status_code == 409


@pytest.mark.parametrize("role", [Role.RESIDENT, Role.HOSPITAL, Role.OPERATOR])
def test_the_desk_is_for_officers(client: FlaskClient, database: Database, role: Role) -> None:
    signing_in.sign_in_as(client, database, role, organisation="x")
    assert client.get("/staff/cards").status_code == 403
