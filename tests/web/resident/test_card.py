"""``/me/card``: the code a gate accepts, the balance to the fen, block and replace."""

import re
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask.testing import FlaskClient

from app.kernel import clock
from app.kernel.city import city_of
from app.kernel.db import Database
from app.kernel.ids import new_id
from app.kernel.signing import Purpose
from app.web.auth import Role
from card import cards, ledger
from card.credentials import CredentialRefused, Presentation, Reason, numbers, raw_public, to_base64url, verify
from tests import signing_in
from tests.web.strictly import parse


@pytest.fixture
def holder(client: FlaskClient, database: Database) -> UUID:
    return signing_in.sign_in_as(client, database, Role.RESIDENT)


def give_card(database: Database, holder_id: UUID, *, kind: str = "phone") -> cards.Card:
    with database.transaction() as session:
        card = cards.issue(session, holder_id=holder_id, kind=kind, now=clock.now())
        cards.grant_entitlement(
            session,
            holder_id=holder_id,
            code="senior-60",
            scope_city="320100",
            expires_on=date(2099, 12, 31),
            now=clock.now(),
        )
    return card


def give_money(database: Database, holder_id: UUID, *amounts: int) -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    with database.transaction() as session:
        purse = ledger.open_account(session, ledger.chart.purse(holder_id), now=now)
        bank = ledger.open_account(session, ledger.chart.bank(), now=now)
        for step, amount in enumerate(amounts):
            debit, credit = (bank, purse) if amount > 0 else (purse, bank)
            transfer = ledger.Transfer(
                id=new_id(),
                debit=debit,
                credit=credit,
                amount_minor=abs(amount),
                code=ledger.TransferCode.TOP_UP if amount > 0 else ledger.TransferCode.FARE,
                event_at=now + timedelta(hours=step),
            )
            ledger.post_all(session, [transfer], now=now + timedelta(hours=step))


def at_a_gate(database: Database, text: str, *, later: int = 0) -> Presentation:
    with database.transaction() as session:
        key = city_of(session).key(Purpose.CARD_ISSUER)
    keys = {"320100": [(key.kid, key.public_bytes)]}
    return verify(text, issuer_keys=keys, now=clock.now() + timedelta(seconds=later))


def page(client: FlaskClient, address: str = "/me/card", language: str = "en") -> str:
    answer = client.get(address, query_string={"lang": language})
    assert answer.status_code == 200
    parse(answer.text)
    return answer.text


def test_a_resident_without_a_card_is_shown_the_way(client: FlaskClient, holder: UUID) -> None:
    assert "You do not have a card yet." in page(client)
    assert client.get("/me/card/qr.json").status_code == 404
    assert "Nothing yet" in page(client, "/me/card/statement")


def test_the_code_of_the_page_opens_a_gate_and_each_one_is_new(client: FlaskClient, database: Database, holder: UUID) -> None:
    card = give_card(database, holder)
    first, second = (client.get("/me/card/qr.json").get_json() for _ in range(2))
    seen = at_a_gate(database, first["text"])
    assert (seen.number, seen.counter) == (card.number, first["counter"])
    assert second["counter"] == first["counter"] + 1
    assert [held.code for held in seen.static.entitlements] == ["senior-60"]
    assert (first["good_for_s"], first["renew_after_s"]) == (60, 15)
    with pytest.raises(CredentialRefused) as late:
        at_a_gate(database, first["text"], later=62)
    assert late.value.reason is Reason.CODE_TOO_OLD


def test_the_page_shows_card_code_balance_rights_and_movements(client: FlaskClient, database: Database, holder: UUID) -> None:
    card = give_card(database, holder)
    give_money(database, holder, 5000, -350)
    text = page(client)
    assert numbers.spaced(card.number) in text
    assert "¥46.50" in text
    assert "Aged 60 to 69: reduced fares" in text
    assert "In Nanjing, until 31 December 2099" in text
    assert text.index("−¥3.50") < text.index("+¥50.00")
    assert re.search(r'<noscript><meta http-equiv="refresh"', text)
    assert 'data-address="/me/card/qr.json"' in text
    chinese = page(client, language="zh_Hans_CN")
    assert "乘车时请将二维码对准扫码口。" in chinese
    assert "60至69岁：乘车优惠" in chinese
    assert "Balance" not in chinese


def test_the_statement_runs_to_the_fen_over_its_pages(client: FlaskClient, database: Database, holder: UUID) -> None:
    give_card(database, holder)
    give_money(database, holder, 10_001, *[-100] * 60)
    first = page(client, "/me/card/statement")
    assert first.count("card-lines__line") == 50
    older = re.search(r'href="(/me/card/statement\?before=[^"]+)"', first)
    assert older is not None
    rest = client.get(older.group(1)).text
    assert rest.count("card-lines__line") == 11
    assert "¥100.01" in rest


def test_a_lost_card_is_blocked_found_blocked_again_and_replaced(client: FlaskClient, database: Database, holder: UUID) -> None:
    card = give_card(database, holder)
    give_money(database, holder, 2000)
    assert client.get("/me/card/qr.json").status_code == 200
    page(client, f"/me/card/{card.id}/block")
    assert client.post(f"/me/card/{card.id}/block", data={"reason": "lost"}).status_code == 303
    text = page(client)
    assert "I found it again" in text
    assert "data-card-code" not in text
    assert client.get("/me/card/qr.json").status_code == 409
    assert client.post(f"/me/card/{card.id}/found").status_code == 303
    assert client.get("/me/card/qr.json").status_code == 200
    client.post(f"/me/card/{card.id}/block", data={"reason": "stolen"})
    page(client, f"/me/card/{card.id}/replace")
    assert client.post(f"/me/card/{card.id}/replace").status_code == 303
    with database.transaction() as session:
        fresh = cards.live_card(session, holder)
        cards.publish_deny_list(session, now=clock.now())
        assert card.status_index in cards.deny_current(session)
    assert fresh is not None
    assert fresh.number != card.number
    text = page(client)
    assert "¥20.00" in text
    assert numbers.masked(card.number) in text  # among the other cards


@pytest.mark.parametrize("reason", ["", "misuse", "deceased", "<script>"])
def test_a_resident_must_say_what_happened(client: FlaskClient, database: Database, holder: UUID, reason: str) -> None:
    card = give_card(database, holder)
    answer = client.post(f"/me/card/{card.id}/block", data={"reason": reason}, query_string={"lang": "en"})
    assert answer.status_code == 422
    assert "Choose what happened." in answer.text
    parse(answer.text)


@pytest.mark.parametrize("act", ["block", "found", "replace", "activate"])
def test_nobody_touches_anothers_card(client: FlaskClient, database: Database, holder: UUID, act: str) -> None:
    stranger = signing_in.resident(database)
    card = give_card(database, stranger)
    assert client.post(f"/me/card/{card.id}/{act}", data={"reason": "lost"}).status_code == 404
    assert client.get(f"/me/card/{card.id}/block").status_code == 404
    with database.transaction() as session:
        assert cards.get(session, card.id).status is cards.Status.ACTIVE


def test_a_plastic_card_is_activated_when_it_arrives(client: FlaskClient, database: Database, holder: UUID) -> None:
    give_card(database, holder)
    plastic = give_card(database, holder, kind="physical")
    assert "It arrived: activate" in page(client)
    assert client.post(f"/me/card/{plastic.id}/activate").status_code == 303
    with database.transaction() as session:
        assert cards.get(session, plastic.id).status is cards.Status.ACTIVE


def test_a_lost_phone_is_blocked_from_anywhere_and_the_card_stays(
    client: FlaskClient, database: Database, holder: UUID
) -> None:
    card = give_card(database, holder)
    key = raw_public(Ed25519PrivateKey.generate().public_key())
    bound = client.post("/me/card/phone", json={"public_key": to_base64url(key)})
    assert bound.get_json()["number"] == card.number
    with database.transaction() as session:
        (phone,) = cards.devices_of(session, card.id)
    assert "I lost this phone: block it" in page(client)
    assert client.post(f"/me/card/{card.id}/phones/{card.id}/block").status_code == 404
    assert client.post(f"/me/card/{card.id}/phones/{phone.id}/block").status_code == 303
    with database.transaction() as session:
        cards.publish_deny_list(session, now=clock.now())
        assert phone.status_index in cards.deny_current(session)
        assert cards.get(session, card.id).status is cards.Status.ACTIVE
    assert "I lost this phone" not in page(client)
    assert client.post("/me/card/phone", json={"public_key": to_base64url(key)}).status_code == 409


@pytest.mark.parametrize("body", [{}, {"public_key": "x"}, {"public_key": "A" * 200}, {"public_key": 7}])
def test_what_is_no_key_is_not_bound(client: FlaskClient, database: Database, holder: UUID, body: dict[str, object]) -> None:
    give_card(database, holder)
    assert client.post("/me/card/phone", json=body, headers={"Accept": "application/json"}).status_code == 422


def test_a_printed_card_is_for_desks(client: FlaskClient, database: Database, holder: UUID) -> None:
    card = give_card(database, holder)
    assert "It opens no gate" in page(client, f"/me/card/{card.id}/print")


def test_only_residents_have_a_card_page(client: FlaskClient, database: Database) -> None:
    assert client.get("/me/card").status_code in (302, 303, 401)
    signing_in.sign_in_as(client, database, Role.HOSPITAL, organisation="h1")
    assert client.get("/me/card").status_code == 403
    assert client.get("/me/card/qr.json").status_code == 403
