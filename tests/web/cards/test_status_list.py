"""``/api/cards/status-list``: what a wallet asks before it trusts a card."""

from flask.testing import FlaskClient

from app.kernel import clock
from app.kernel.city import city_of
from app.kernel.db import Database
from app.kernel.ids import new_id
from app.kernel.signing import Purpose, read_jws
from card import cards
from card.cards.status_list import decode
from card.credentials import cbor, sign1


def test_a_wallet_sees_which_indexes_are_denied_and_nothing_else(client: FlaskClient, database: Database) -> None:
    with database.transaction() as session:
        good, lost = (cards.issue(session, holder_id=new_id(), now=clock.now()) for _ in range(2))
        cards.block(session, card_id=lost.id, reason="lost", by="system", now=clock.now())
        cards.publish_deny_list(session, now=clock.now())
        key = city_of(session).key(Purpose.BUNDLE)
    answer = client.get("/api/cards/status-list")
    assert answer.content_type == "application/statuslist+jwt"
    assert "max-age=300" in answer.headers["Cache-Control"]
    claims = read_jws(answer.text, {key.kid: key.public}, typ="statuslist+jwt")
    assert claims["sub"].endswith("/api/cards/status-list")
    assert claims["exp"] > claims["iat"]
    denied = decode(claims["status_list"]["lst"])
    assert lost.status_index in denied
    assert good.status_index not in denied
    assert lost.number not in answer.text


def test_a_city_without_cards_publishes_an_empty_list(client: FlaskClient) -> None:
    assert client.get("/api/cards/status-list").status_code == 200


def test_the_same_list_comes_as_a_cwt_to_who_asks_for_it(client: FlaskClient, database: Database) -> None:
    with database.transaction() as session:
        good, lost = (cards.issue(session, holder_id=new_id(), now=clock.now()) for _ in range(2))
        cards.block(session, card_id=lost.id, reason="lost", by="system", now=clock.now())
        cards.publish_deny_list(session, now=clock.now())
        key = city_of(session).key(Purpose.BUNDLE)
    answer = client.get("/api/cards/status-list", headers={"Accept": "application/statuslist+cwt"})
    assert answer.content_type == "application/statuslist+cwt"
    assert "Accept" in answer.headers["Vary"]
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    message = sign1.parse(answer.data)
    assert message.headers[16] == "application/statuslist+cwt"
    said = cbor.read(sign1.check(message, key.public))
    assert said[2].endswith("/api/cards/status-list")
    assert (said[65534], said[4] - said[6]) == (300, 86_400)
    assert said[65533]["bits"] == 1
    denied = decode(said[65533]["lst"])
    assert lost.status_index in denied
    assert good.status_index not in denied
    plain = client.get("/api/cards/status-list", headers={"Accept": "*/*"})
    assert plain.content_type == "application/statuslist+jwt"
