"""Two cities and the hub over real HTTP: joining, trust along the chain, signed messages in both directions."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError

from app.kernel import clock, signing
from app.kernel.signing import Purpose
from card import partners
from card.partners import rules
from card.partners.models import Message
from tests.cities import Running, federate, get, running

HUB, NANJING, SUZHOU = "320000", "320100", "320500"


@pytest.fixture
def cities(server_url: str, template: str, worker_id: str, tmp_path: Path) -> Iterator[dict[str, Running]]:
    with running(
        (HUB, NANJING, SUZHOU), server_url=server_url, template=template, worker_id=worker_id, folder=tmp_path
    ) as made:
        yield made


def signed(
    sender: Running, receiver: Running, *, nonce: str = "n-1", age: timedelta = timedelta()
) -> tuple[str, dict[str, str]]:
    """A signed echo from ``sender`` addressed to ``receiver``, not sent yet."""
    request = rules.Request(method="POST", url=f"{receiver.url}/api/federation/echo", headers={"Idempotency-Key": "k"})
    key = signing.load_or_create(sender.settings.keys_dir, Purpose.FEDERATION)
    rules.sign_request(request, body=b"{}", key=key, nonce=nonce, now=clock.now() - age)
    return request.url, request.headers


def post(url: str, headers: dict[str, str], body: bytes = b"{}") -> tuple[int, str]:
    with httpx.Client(trust_env=False) as client:
        answer = client.post(url, content=body, headers=headers)
    return answer.status_code, str(answer.json().get("code", ""))


def test_a_city_joins_is_admitted_by_the_hub_and_exchanges_signed_messages(cities: dict[str, Running]) -> None:
    hub, nanjing, suzhou = cities[HUB], cities[NANJING], cities[SUZHOU]
    assert partners.ask_to_join(nanjing.database, now=clock.now()) == "requested"
    assert get(f"{hub.url}/api/federation/list").json() == [], "nobody is trusted before somebody at the hub decided"
    with pytest.raises(partners.NoSuchPartner):
        partners.send(nanjing.database, SUZHOU, "POST", "/api/federation/echo", {})

    federate(cities)
    assert get(f"{hub.url}/api/federation/list").json() == [nanjing.url, suzhou.url]
    with suzhou.database.transaction() as session:
        assert [city.code for city in partners.cities(session)] == [NANJING]
        keys = partners.issuer_keys(session)
    own = signing.load_or_create(nanjing.settings.keys_dir, Purpose.CARD_ISSUER)
    assert keys[NANJING] == [(own.kid, own.public_bytes)]
    assert set(keys) == {NANJING, SUZHOU}

    answer = partners.send(suzhou.database, NANJING, "POST", "/api/federation/echo?x=%E5%8D%97&y=1", {"words": "一卡多地"})
    assert answer["city"] == SUZHOU
    assert partners.send(suzhou.database, HUB, "POST", "/api/federation/echo", {})["city"] == SUZHOU
    assert partners.send(hub.database, SUZHOU, "POST", "/api/federation/echo", {})["city"] == HUB

    with suzhou.database.transaction() as session:
        sent = session.scalars(select(Message).where(Message.city == NANJING)).one()
    with nanjing.database.transaction() as session:
        received = session.scalars(select(Message)).one()
    assert (sent.direction, received.direction, sent.status, received.status) == ("sent", "received", 200, 200)
    assert sent.request_body == received.request_body
    assert sent.answer_body == received.answer_body
    assert sent.request_headers["Signature"] == received.request_headers["Signature"]
    assert sent.answer_headers["signature"] == received.answer_headers["Signature"]
    with pytest.raises(ProgrammingError), nanjing.database.transaction() as session:
        session.execute(text("DELETE FROM card.partner_message"))


def test_what_is_not_signed_as_it_must_be_is_refused_by_name(cities: dict[str, Running]) -> None:
    federate(cities)
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    url, headers = signed(suzhou, nanjing)
    assert post(url, headers, b"{ }") == (401, "bad-signature")
    assert post(url, {**headers, "Idempotency-Key": "other"}) == (401, "bad-signature")
    assert post(url, {"Idempotency-Key": "k"}) == (401, "bad-signature")
    assert post(url, headers) == (200, "")
    assert post(url, headers) == (401, "message-replayed")
    url, headers = signed(suzhou, nanjing, nonce="n-2", age=timedelta(minutes=6))
    assert post(url, headers) == (401, "message-expired")
    _, headers = signed(suzhou, cities[HUB], nonce="n-3")
    assert post(url, headers) == (401, "bad-signature")
    assert post(url, {**headers, "Host": cities[HUB].url.removeprefix("http://")}) == (401, "wrong-authority")


def test_a_city_that_the_hub_suspends_is_no_longer_believed_and_comes_back_when_admitted(cities: dict[str, Running]) -> None:
    federate(cities)
    hub, nanjing, suzhou = cities[HUB], cities[NANJING], cities[SUZHOU]
    with hub.database.transaction() as session:
        partners.suspend(session, code=SUZHOU, by="person:test", now=clock.now())
    partners.refresh(nanjing.database, now=clock.now())
    with pytest.raises(partners.PartnerRefused) as refused:
        partners.send(suzhou.database, NANJING, "POST", "/api/federation/echo", {})
    assert refused.value.answer_code == "unknown-city"
    with nanjing.database.transaction() as session:
        assert partners.cities(session) == []
        assert SUZHOU not in partners.issuer_keys(session)
        with pytest.raises(partners.NotTheHub):
            partners.admit(session, code=SUZHOU, by="person:test", now=clock.now())
    with hub.database.transaction() as session:
        partners.admit(session, code=SUZHOU, by="person:test", now=clock.now())
    partners.refresh(nanjing.database, now=clock.now())
    assert partners.send(suzhou.database, NANJING, "POST", "/api/federation/echo", {})["city"] == SUZHOU


def test_a_city_without_the_hubs_key_trusts_nobody(cities: dict[str, Running]) -> None:
    federate(cities)
    nanjing = cities[NANJING]
    (nanjing.settings.data_dir / "hub.jwks.json").unlink()
    with pytest.raises(partners.TrustAnchorMissing):
        partners.refresh(nanjing.database, now=clock.now())
    stranger = cities[SUZHOU].settings
    partners.install_anchor(nanjing.settings, hub_keys=stranger.keys_dir)
    with pytest.raises(signing.BadSignature):
        partners.refresh(nanjing.database, now=clock.now())


def test_a_second_address_cannot_take_a_code_that_is_admitted(cities: dict[str, Running], tmp_path: Path) -> None:
    federate(cities)
    hub, nanjing = cities[HUB], cities[NANJING]
    impostor = rules.configuration(
        entity_id="http://impostor.example",
        code=NANJING,
        names=("Nanjing", "南京市"),
        hub_url=hub.url,
        federation=signing.load_or_create(tmp_path / "impostor", Purpose.FEDERATION),
        card_issuer=signing.load_or_create(tmp_path / "impostor", Purpose.CARD_ISSUER),
        bundle=signing.load_or_create(tmp_path / "impostor", Purpose.BUNDLE),
        now=clock.now(),
    )
    with httpx.Client(trust_env=False) as client:
        answer = client.post(f"{hub.url}/api/federation/join", json={"entity_configuration": impostor})
    assert (answer.status_code, answer.json()["code"]) == (409, "city-code-taken")
    assert partners.ask_to_join(nanjing.database, now=clock.now()) == "admitted", "its own key renews its entry at once"
