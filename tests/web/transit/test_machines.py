"""An operator's own systems read its journeys and its statement, with a token, and nobody else's."""

from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import OKPKey

from app.kernel import clock
from app.kernel.db import Database
from app.web import oauth
from tests.gates import some_rides
from tests.signing_in import resident

KEY = OKPKey.generate_key("Ed25519", parameters={"kid": "1"})
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
def headers(client: FlaskClient, database: Database) -> dict[str, str]:
    with database.transaction() as session:
        oauth.register(
            session,
            client_id="metro",
            name="Demo Metro",
            organisation="nj-metro",
            scopes=frozenset({"transit.journeys", "transit.statement"}),
            jwks={"keys": [KEY.as_dict(private=False)]},
            now=clock.now(),
        )
    now = int(clock.now().timestamp())
    url = "http://localhost:8001/oauth/token"
    facts = {"iss": "metro", "sub": "metro", "aud": url, "iat": now, "exp": now + 60, "jti": "1"}
    made = jwt.encode({"alg": "Ed25519", "kid": "1"}, facts, KEY, algorithms=["Ed25519"])
    data = {"grant_type": "client_credentials", "client_assertion_type": TYPE, "client_assertion": made}
    return {"Authorization": f"Bearer {client.post('/oauth/token', data=data).json['access_token']}"}


def test_an_operators_system_reads_its_journeys_and_its_statement(
    client: FlaskClient, database: Database, headers: dict[str, str]
) -> None:
    some_rides(database, resident(database))
    begun = clock.now() - timedelta(hours=4)
    days = {(begun + timedelta(hours=5 + hours)).date().isoformat() for hours in (0, 8)}  # whichever card-day it is
    found = []
    for day in sorted(days):
        answer = client.get(f"/api/transit/operators/nj-metro/journeys?on={day}", headers=headers)
        assert answer.status_code == 200
        found += answer.json["journeys"]
    whole = next(one for one in found if one["state"] == "complete")
    assert (whole["km"], whole["charged_minor"], whole["tariff"]) == ("19.2", 250, "nj-metro-2026")
    assert [step["amount_minor"] for step in whole["steps"]] == [500, -250]
    statement = client.get("/api/transit/operators/nj-metro/statement", headers=headers).json
    assert (statement["total_minor"], statement["ledger_minor"], statement["difference_minor"]) == (1250, 1250, 0)
    assert sum(one["amount_minor"] for one in statement["postings"]) == 1250


@pytest.mark.parametrize("what", ["journeys", "statement"])
def test_another_operators_records_are_not_its_to_read(client: FlaskClient, headers: dict[str, str], what: str) -> None:
    assert client.get(f"/api/transit/operators/nj-bus/{what}", headers=headers).status_code == 403
    assert client.get(f"/api/transit/operators/nj-metro/{what}").status_code == 401
