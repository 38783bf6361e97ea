"""A sender whose answer did not come asks by id, and gets the truth."""

from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.kernel import clock
from app.kernel.db import Database
from app.web.auth import Caller, Principal, register_authenticator
from card import ledger
from card.ledger import Transfer, TransferCode, chart


def machine(app: Flask, scope: str) -> None:
    found = Principal(caller=Caller.MACHINE, id="demo", organisation="m", scopes=frozenset({scope}))
    register_authenticator(app, Caller.MACHINE, lambda: found)


@pytest.fixture
def sent(database: Database) -> dict[str, UUID]:
    """A transfer that was posted, one that was refused, and one that never came."""
    now = clock.now()
    with database.transaction() as session:
        bank, purse = (ledger.open_account(session, spec, now=now) for spec in (chart.bank(), chart.purse("p")))
        facts = {"debit": bank, "credit": purse, "amount_minor": 5, "code": TransferCode.OPENING, "event_at": now}
        there = Transfer(id=uuid4(), **facts)
        back = Transfer(id=uuid4(), **facts | {"debit": purse, "credit": bank, "amount_minor": 6})
        ledger.post(session, [there, back], now=now)
    return {"posted": there.id, "refused": back.id, "lost": uuid4()}


@pytest.mark.parametrize(
    ("which", "status", "code"), [("posted", "posted", None), ("refused", "refused", "insufficient-funds")]
)
def test_asking_by_id_tells_what_became_of_a_transfer(
    app: Flask, client: FlaskClient, sent: dict[str, UUID], which: str, status: str, code: str | None
) -> None:
    machine(app, "ledger.outcomes")
    answer = client.get(f"/api/ledger/transfers/{sent[which]}/outcome")
    assert answer.status_code == 200
    assert answer.json == {"id": str(sent[which]), "status": status, "code": code}


def test_what_never_came_is_unknown(app: Flask, client: FlaskClient, sent: dict[str, UUID]) -> None:
    machine(app, "ledger.outcomes")
    answer = client.get(f"/api/ledger/transfers/{sent['lost']}/outcome")
    assert (answer.status_code, answer.json["code"]) == (404, "unknown-transfer")


def test_a_token_without_the_scope_is_refused(app: Flask, client: FlaskClient, sent: dict[str, UUID]) -> None:
    machine(app, "purchases.bills")
    answer = client.get(f"/api/ledger/transfers/{sent['posted']}/outcome")
    assert (answer.status_code, answer.json["code"]) == (403, "missing-scope")
