"""Machines get a token for a signed assertion, once, and do with it what its scopes say."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from app.kernel import clock, signing
from app.kernel.db import Database
from app.kernel.errors import Invalid
from app.kernel.signing import Purpose
from app.web import oauth
from app.web.auth import machine, principal

URL = "http://localhost:8001"
KEY = OKPKey.generate_key("Ed25519", parameters={"kid": "1"})
OTHER = OKPKey.generate_key("Ed25519", parameters={"kid": "1"})
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
NOON = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


def public(*keys) -> dict[str, list]:
    return {"keys": [key.as_dict(private=False) for key in keys]}


@pytest.fixture
def metro(database: Database) -> str:
    with database.transaction() as session:
        oauth.register(
            session,
            client_id="metro",
            name="Demo Metro",
            organisation="op-1",
            scopes=frozenset({"transit.journeys", "transit.statement"}),
            jwks=public(KEY),
            now=clock.now(),
        )
    return "metro"


@pytest.fixture
def app(app: Flask) -> Flask:
    @app.get("/api/test/who")
    @machine("transit.journeys")
    def who():
        return {"id": principal().id, "organisation": principal().organisation, "scopes": sorted(principal().scopes)}

    return app


def assertion(*, key=KEY, alg: str = "Ed25519", **claims: object) -> str:
    now = int(clock.now().timestamp())
    facts = {"iss": "metro", "sub": "metro", "aud": f"{URL}/oauth/token", "iat": now, "exp": now + 60, "jti": "first"}
    facts = {name: value for name, value in {**facts, **claims}.items() if value is not None}
    return jwt.encode({"alg": alg, "kid": "1"}, facts, key, algorithms=[alg])


def ask(client: FlaskClient, made: str, **form: str):
    data = {"grant_type": "client_credentials", "client_assertion_type": TYPE, "client_assertion": made, **form}
    return client.post("/oauth/token", data=data)


def call(client: FlaskClient, token: str):
    return client.get("/api/test/who", headers={"Authorization": f"Bearer {token}"})


def test_an_assertion_gives_a_token_and_the_token_opens_what_its_scope_says(client: FlaskClient, metro: str) -> None:
    answer = ask(client, assertion())
    assert answer.status_code == 200
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 600)
    assert answer.json["scope"] == "transit.journeys transit.statement"
    assert answer.headers["Cache-Control"] == "no-store"
    seen = call(client, answer.json["access_token"])
    assert seen.json == {"id": "metro", "organisation": "op-1", "scopes": ["transit.journeys", "transit.statement"]}

    narrow = ask(client, assertion(jti="second"), scope="transit.statement").json
    assert narrow["scope"] == "transit.statement"
    refused = call(client, narrow["access_token"])
    assert (refused.status_code, refused.json["code"]) == (403, "missing-scope")


@pytest.mark.parametrize("audience", [URL, [URL, "https://elsewhere.example"]])
def test_our_address_is_an_audience_as_well(client: FlaskClient, metro: str, audience: object) -> None:
    assert ask(client, assertion(aud=audience)).status_code == 200


def test_an_assertion_counts_once(client: FlaskClient, metro: str) -> None:
    made = assertion()
    assert ask(client, made).status_code == 200
    again = ask(client, made)
    assert again.json["error"] == "invalid_client"
    assert ask(client, assertion(jti="first")).json["error"] == "invalid_client", "it is the id that counts"


@pytest.mark.parametrize(
    "claims",
    [
        {"key": OTHER},
        {"iss": "tram"},
        {"sub": "tram", "iss": "tram"},
        {"sub": None},
        {"aud": "https://elsewhere.example"},
        {"aud": None},
        {"exp": None},
        {"exp": 1},
        {"exp": 4_000_000_000},
        {"jti": None},
        {"jti": ""},
        {"jti": "x" * 129},
    ],
    ids=",".join,
)
def test_an_assertion_that_is_wrong_in_any_way_gives_no_token(client: FlaskClient, metro: str, claims: dict) -> None:
    answer = ask(client, assertion(**claims))
    assert answer.status_code in (400, 401)
    assert answer.json["error"] == "invalid_client"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"scope": "transit.journeys health.claims"}, "invalid_scope"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"client_assertion": "not.a.jwt"}, "invalid_client"),
        ({"client_assertion_type": "something"}, "invalid_client"),
    ],
)
def test_other_mistakes_are_named_as_the_standard_does(client: FlaskClient, metro: str, form: dict, error: str) -> None:
    made = form.pop("client_assertion", None) or assertion()
    assert ask(client, made, **form).json["error"] == error


def test_a_secret_or_a_symmetric_signature_is_no_proof(client: FlaskClient, metro: str) -> None:
    basic = client.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=("metro", "secret"))
    assert basic.json["error"] == "invalid_client"


def test_a_token_dies_after_ten_minutes_with_its_client_and_with_its_scope(
    client: FlaskClient, database: Database, metro: str
) -> None:
    with time_machine.travel(NOON, tick=False) as traveller:
        token = ask(client, assertion()).json["access_token"]
        traveller.shift(timedelta(seconds=599))
        assert call(client, token).status_code == 200
        traveller.shift(timedelta(seconds=1))
        assert call(client, token).json["code"] == "token-refused"
        fresh = ask(client, assertion()).json["access_token"]
        assert call(client, fresh).status_code == 200
        with database.transaction() as session:
            oauth.close(session, client_id="metro", now=clock.now())
        assert call(client, fresh).status_code == 401
        assert ask(client, assertion(jti="third")).json["error"] == "invalid_client"


@pytest.mark.parametrize("wrong", ["", "nonsense", "typ", "other key", "audience"])
def test_a_token_that_is_not_ours_opens_nothing(client: FlaskClient, app: Flask, metro: str, wrong: str) -> None:
    now = int(clock.now().timestamp())
    claims = {"iss": URL, "aud": URL, "client_id": "metro", "scope": "transit.journeys", "exp": now + 60}
    keys = app.extensions["settings"].keys_dir
    made = {
        "": "",
        "nonsense": "a.b.c",
        "typ": signing.sign_jws(signing.load_or_create(keys, Purpose.TOKEN), claims, typ="JWT"),
        "other key": signing.sign_jws(signing.load_or_create(keys, Purpose.DOCUMENT), claims, typ="at+jwt"),
        "audience": signing.sign_jws(
            signing.load_or_create(keys, Purpose.TOKEN), {**claims, "aud": "http://localhost:8002"}, typ="at+jwt"
        ),
    }[wrong]
    answer = call(client, made)
    assert (answer.status_code, answer.json["code"]) == (401, "token-refused")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("kind", "alg"), [("P-256", "ES256"), ("RSA", "PS256")])
def test_other_keys_that_organisations_have_serve_too(client: FlaskClient, database: Database, kind: str, alg: str) -> None:
    key = ECKey.generate_key("P-256", parameters={"kid": "1"}) if kind == "P-256" else RSAKey.generate_key(2048, {"kid": "1"})
    with database.transaction() as session:
        oauth.register(session, client_id="metro", name="Metro", scopes=frozenset({"x"}), jwks=public(key), now=clock.now())
    assert ask(client, assertion(key=key, alg=alg)).status_code == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"jwks": {"keys": []}}, "jwks"),
        ({"jwks": {"keys": [KEY.as_dict(private=True)]}}, "jwks"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}, "jwks"),
        ({"jwks": {}}, "jwks"),
        ({"client_id": "A b"}, "client_id"),
        ({"scopes": frozenset()}, "scopes"),
        ({"scopes": frozenset({"a b"})}, "scopes"),
    ],
)
def test_a_client_is_registered_by_public_keys_only(database: Database, change: dict, field: str) -> None:
    facts = {"client_id": "metro", "name": "Metro", "scopes": frozenset({"x"}), "jwks": public(KEY), **change}
    with database.transaction() as session, pytest.raises(Invalid) as refused:
        oauth.register(session, now=clock.now(), **facts)
    assert list(refused.value.fields) == [field]


def test_the_server_says_what_it_does(client: FlaskClient, app: Flask) -> None:
    told = client.get("/.well-known/oauth-authorization-server").json
    assert told["token_endpoint"] == f"{URL}/oauth/token"
    assert told["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert "transit.journeys" in told["scopes_supported"]
    (key,) = client.get("/.well-known/jwks.json").json["keys"]
    assert key["kid"] == signing.load_or_create(app.extensions["settings"].keys_dir, Purpose.TOKEN).kid
    assert "d" not in key


def test_an_administrator_registers_and_closes_a_client_from_a_terminal(app: Flask, tmp_path: Path) -> None:
    file = tmp_path / "metro.jwks.json"
    file.write_text(json.dumps(public(KEY)))
    runner = app.test_cli_runner()
    add = ["clients", "add", "metro", "--name", "Demo Metro", "--organisation", "op-1", "--scope", "transit.journeys"]
    assert "metro may ask for: transit.journeys" in runner.invoke(args=[*add, "--jwks", str(file)]).output
    again = runner.invoke(args=[*add, "--jwks", str(file)])
    assert (again.exit_code, "registered already" in again.output) == (1, True)
    assert "Demo Metro\top-1\ttransit.journeys" in runner.invoke(args=["clients", "list"]).output
    assert "metro is closed" in runner.invoke(args=["clients", "close", "metro"]).output
    assert runner.invoke(args=["clients", "list"]).output == ""
