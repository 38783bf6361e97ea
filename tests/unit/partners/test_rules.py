"""Statements and message signatures, judged without a network."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from app.kernel import signing
from app.kernel.errors import IllegalMove, Refusal
from app.kernel.signing import BadSignature, Key, Purpose
from card.partners import MessageExpired, State, StatementRefused, UnknownCity, rules

NOW = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
HUB, CITY = "http://hub.example", "http://nanjing.example"


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Key]:
    return {name: signing.load_or_create(tmp_path / name, Purpose.FEDERATION) for name in ("hub", "city", "stranger")}


def configuration(keys: dict[str, Key], **changes: Any) -> str:
    facts = {
        "entity_id": CITY,
        "code": "320100",
        "names": ("Nanjing", "南京市"),
        "hub_url": HUB,
        "federation": keys["city"],
        "card_issuer": keys["city"],
        "bundle": keys["city"],
        "now": NOW,
    }
    return rules.configuration(**{**facts, **changes})


def statement(keys: dict[str, Key], **changes: Any) -> str:
    facts = {
        "hub": keys["hub"],
        "hub_url": HUB,
        "entity_id": CITY,
        "jwks": {"keys": [keys["city"].jwk]},
        "policy": rules.admission_policy("320100"),
        "now": NOW,
    }
    return rules.subordinate_statement(**{**facts, **changes})


def resolve(keys: dict[str, Key], *, said: str, stated: str, now: datetime = NOW) -> tuple[rules.Entity, datetime]:
    anchor = {keys["hub"].kid: keys["hub"].public}
    return rules.resolve(statement=stated, configuration=said, anchor_keys=anchor, hub_url=HUB, now=now)


def test_a_chain_of_two_gives_the_city_its_keys_until_the_earlier_expiry(keys: dict[str, Key]) -> None:
    entity, until = resolve(keys, said=configuration(keys, now=NOW - timedelta(hours=1)), stated=statement(keys))
    assert (entity.code, entity.name_zh, entity.entity_id) == ("320100", "南京市", CITY)
    assert list(rules.keys_of(entity.issuer_jwks)) == [keys["city"].kid]
    assert until == NOW + timedelta(hours=23)


def test_every_broken_chain_is_refused(keys: dict[str, Key]) -> None:
    cases = {
        "signed by a stranger instead of the anchor": (configuration(keys), statement(keys, hub=keys["stranger"])),
        "about another entity": (configuration(keys), statement(keys, entity_id="http://other.example")),
        "by another anchor's address": (configuration(keys), statement(keys, hub_url="http://other.example")),
        "keys the anchor never stated": (configuration(keys, federation=keys["stranger"]), statement(keys)),
        "a code the policy does not allow": (configuration(keys, code="320500"), statement(keys)),
        "not yet in force": (configuration(keys, now=NOW + timedelta(minutes=1)), statement(keys)),
        "expired": (configuration(keys), statement(keys, now=NOW - timedelta(hours=25))),
        "not a statement": ("a.b.c", statement(keys)),
        "a statement of another type": (
            signing.sign_jws(keys["city"], rules.unverified(configuration(keys))[1], typ="JWT"),
            statement(keys),
        ),
    }
    for name, (said, stated) in cases.items():
        try:
            resolve(keys, said=said, stated=stated)
        except (StatementRefused, BadSignature):
            continue
        pytest.fail(name)


def test_a_city_that_is_admitted_may_be_suspended_and_comes_back_but_a_refused_one_asks_again() -> None:
    assert rules.move(State.ADMITTED, State.SUSPENDED) == State.SUSPENDED
    assert rules.move(State.SUSPENDED, State.ADMITTED) == State.ADMITTED
    assert rules.move(State.REFUSED, State.REQUESTED) == State.REQUESTED
    with pytest.raises(IllegalMove):
        rules.move(State.REFUSED, State.ADMITTED)


BODY = b'{"amount_minor":200}'


def signed(key: Key, *, now: datetime = NOW) -> rules.Request:
    request = rules.Request(method="POST", url=f"{CITY}/api/federation/echo?a=1", headers={"Idempotency-Key": "k1"})
    rules.sign_request(request, body=BODY, key=key, nonce="n1", now=now)
    return request


def test_a_signed_request_verifies_and_names_its_nonce(keys: dict[str, Key]) -> None:
    with time_machine.travel(NOW, tick=False):
        proof = rules.verify_request(signed(keys["city"]), body=BODY, keys={keys["city"].kid: keys["city"].public})
    assert (proof.kid, proof.nonce, proof.expires_at) == (keys["city"].kid, "n1", NOW + timedelta(minutes=5))


@pytest.mark.parametrize(
    ("name", "change", "refusal"),
    [
        ("the body", lambda _: None, BadSignature),
        ("the method", lambda m: setattr(m, "method", "PUT"), BadSignature),
        ("the authority", lambda m: setattr(m, "url", m.url.replace("nanjing", "suzhou")), BadSignature),
        ("the path", lambda m: setattr(m, "url", m.url.replace("echo", "other")), BadSignature),
        ("the query", lambda m: setattr(m, "url", m.url.replace("a=1", "a=2")), BadSignature),
        ("the idempotency key", lambda m: m.headers.update({"Idempotency-Key": "k2"}), BadSignature),
        ("a missing signature", lambda m: m.headers.pop("Signature"), BadSignature),
        ("a missing digest", lambda m: m.headers.pop("Content-Digest"), BadSignature),
        (
            "a coverage that leaves the path out",
            lambda m: m.headers.update({"Signature-Input": m.headers["Signature-Input"].replace('"@path" ', "")}),
            BadSignature,
        ),
    ],
)
def test_any_change_of_a_signed_request_is_refused(
    keys: dict[str, Key], name: str, change: Any, refusal: type[Refusal]
) -> None:
    with time_machine.travel(NOW, tick=False):
        request = signed(keys["city"])
        change(request)
        body = b'{"amount_minor":201}' if name == "the body" else BODY
        with pytest.raises(refusal):
            rules.verify_request(request, body=body, keys={keys["city"].kid: keys["city"].public})


def test_an_unknown_key_and_an_old_or_early_message_are_refused_by_name(keys: dict[str, Key]) -> None:
    known = {keys["city"].kid: keys["city"].public}
    with time_machine.travel(NOW, tick=False):
        with pytest.raises(UnknownCity):
            rules.verify_request(signed(keys["stranger"]), body=BODY, keys=known)
        for shift in (timedelta(minutes=-6), timedelta(minutes=1)):
            with pytest.raises(MessageExpired):
                rules.verify_request(signed(keys["city"], now=NOW + shift), body=BODY, keys=known)


def test_an_answer_is_bound_to_the_request_it_answers(keys: dict[str, Key]) -> None:
    known = {keys["hub"].kid: keys["hub"].public}
    with time_machine.travel(NOW, tick=False):
        request, other = signed(keys["city"]), signed(keys["city"])
        other.headers["Signature"] = signed(keys["stranger"]).headers["Signature"]
        answer = rules.Answer(status_code=200, request=request)
        rules.sign_answer(answer, body=b"{}", key=keys["hub"], nonce="n2", now=NOW)
        assert rules.verify_answer(answer, body=b"{}", keys=known).nonce == "n2"
        for changed in (
            rules.Answer(status_code=201, request=request, headers=answer.headers),
            rules.Answer(status_code=200, request=other, headers=answer.headers),
        ):
            with pytest.raises(BadSignature):
                rules.verify_answer(changed, body=b"{}", keys=known)
        with pytest.raises(BadSignature):
            rules.verify_answer(answer, body=b"{ }", keys=known)
        unbound = rules.Answer(status_code=200, request=rules.Request(method="POST", url=request.url))
        rules.sign_answer(unbound, body=b"{}", key=keys["hub"], nonce="n3", now=NOW)
        with pytest.raises(BadSignature):
            rules.verify_answer(rules.Answer(status_code=200, request=request, headers=unbound.headers), body=b"{}", keys=known)
