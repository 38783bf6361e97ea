"""An online gate's question, decided in one statement: whatever has changed since the gate last asked is seen."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask
from sqlalchemy import text, update
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from app.kernel import clock
from app.kernel.db import Database
from card import cards, credentials, ledger, transit
from card.credentials import Entitlement
from card.ledger.accounts import purse_key
from card.transit.models import TariffRow, TerminalRow
from tests.gates import Gate, Phone, gate, import_feed, phone

PATH = "/api/transit/authorise"
FARE = 1000  # the dearest way from Gulou
Change = Callable[[Session, Gate, Phone], None]


def ask(app: Flask, where: Gate, qr: bytes) -> TestResponse:
    body = credentials.cbor.write({"qr": qr, "kind": "entry"})
    proof = credentials.prove(where.key, terminal_id=where.terminal_id, method="POST", path=PATH, body=body, at=clock.now())
    return app.test_client().post(PATH, data=body, headers={"Authorization": proof}, content_type="application/cbor")


def said(answer: TestResponse) -> dict[str, object]:
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = credentials.cbor.read(answer.data)
    return found


def held(database: Database, rider: Phone) -> int:
    with database.transaction() as session:
        return ledger.balance(session, ledger.account_id(session, ledger.chart.purse(rider.holder_id))).held_minor


@pytest.fixture
def rider(database: Database) -> Phone:
    with database.transaction() as session:
        import_feed(session, "320100", now=clock.now())
        return phone(session, now=clock.now(), money_minor=10 * FARE)


@pytest.fixture
def where(app: Flask, database: Database, rider: Phone) -> Gate:
    """A gate that this process knows: it has asked before."""
    with database.transaction() as session:
        found = gate(session, "nj-metro", stop="nj-gulou", now=clock.now())
    assert said(ask(app, found, rider.show(clock.now())[0]))["held_minor"] == FARE
    return found


@contextmanager
def one_statement(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No transaction is begun."""
    with monkeypatch.context() as patched:
        patched.setattr(database, "transaction", lambda: pytest.fail("a transaction was begun"))
        yield


def test_a_gate_that_is_known_is_answered_in_one_statement(
    app: Flask, where: Gate, rider: Phone, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with one_statement(database, monkeypatch):
        answer = said(ask(app, where, rider.show(clock.now())[0]))
    assert (answer["approved"], answer["held_minor"]) == (True, FARE)
    assert held(database, rider) == 2 * FARE


def test_who_rides_free_is_let_in_by_one_statement_and_nothing_is_held(
    app: Flask, where: Gate, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now()
    free = Entitlement(code="senior-70", scope_city="320100", expires_on=now.date() + timedelta(days=400))
    with database.transaction() as session:
        old = phone(session, now=now, entitlements=(free,))
        lost = phone(session, now=now, entitlements=(free,))
        cards.block(session, card_id=lost.card_id, reason="lost", by="person:test", now=now)
    with one_statement(database, monkeypatch):
        assert said(ask(app, where, old.show(now)[0])) == {"approved": True, "code": "", "held_minor": 0, "until": 0}
    assert said(ask(app, where, lost.show(now)[0]))["code"] == "card-blocked"


def blocked(session: Session, where: Gate, rider: Phone) -> None:
    cards.block(session, card_id=rider.card_id, reason="lost", by="person:test", now=clock.now())


def phone_lost(session: Session, where: Gate, rider: Phone) -> None:
    (device,) = cards.devices_of(session, rider.card_id)
    cards.block_device(session, device_id=device.id, by="person:test", now=clock.now())
    cards.publish_deny_list(session, now=clock.now())


def spent(session: Session, where: Gate, rider: Phone) -> None:
    accounts = ledger.open_accounts(
        session, [ledger.chart.purse(rider.holder_id), ledger.chart.operator("nj-metro")], now=clock.now()
    )
    purse, operator = (accounts[spec.key] for spec in (ledger.chart.purse(rider.holder_id), ledger.chart.operator("nj-metro")))
    paid = ledger.Transfer(
        id=UUID(int=7),
        debit=purse,
        credit=operator,
        amount_minor=8 * FARE + 1,
        code=ledger.TransferCode.FARE,
        event_at=clock.now(),
    )
    ledger.post_all(session, [paid], now=clock.now())


@pytest.mark.parametrize(
    ("change", "code"), [(blocked, "card-blocked"), (phone_lost, "card-blocked"), (spent, "insufficient-funds")]
)
def test_what_became_of_the_card_since_it_was_last_asked_for_counts(
    app: Flask, where: Gate, rider: Phone, database: Database, change: Change, code: str
) -> None:
    with database.transaction() as session:
        change(session, where, rider)
    answer = said(ask(app, where, rider.show(clock.now())[0]))
    assert (answer["approved"], answer["code"]) == (False, code)
    assert held(database, rider) == FARE, "what the first question held, and no more"


def revoked(session: Session, where: Gate, rider: Phone) -> None:
    transit.revoke(session, terminal_id=UUID(where.terminal_id), operator_id="nj-metro", by="system", now=clock.now())


def ran_out(session: Session, where: Gate, rider: Phone) -> None:
    session.get_one(TerminalRow, UUID(where.terminal_id)).certificate_until = clock.now()


def other_key(session: Session, where: Gate, rider: Phone) -> None:
    fresh = Ed25519PrivateKey.generate()
    session.get_one(TerminalRow, UUID(where.terminal_id)).public_key = credentials.raw_public(fresh.public_key())


@pytest.mark.parametrize(
    ("change", "code"),
    [(revoked, "unknown-terminal"), (ran_out, "terminal-certificate-expired"), (other_key, "unknown-terminal")],
)
def test_what_became_of_the_gate_since_it_last_asked_counts(
    app: Flask, where: Gate, rider: Phone, database: Database, change: Change, code: str
) -> None:
    with database.transaction() as session:
        change(session, where, rider)
    answer = ask(app, where, rider.show(clock.now())[0])
    assert (answer.status_code, answer.json["code"]) == (401, code)
    assert held(database, rider) == FARE


def moved(session: Session, where: Gate, rider: Phone) -> None:
    session.get_one(TerminalRow, UUID(where.terminal_id)).stop_id = "nj-xinjiekou"


def no_tariff(session: Session, where: Gate, rider: Phone) -> None:
    session.execute(update(TariffRow).where(TariffRow.operator_id == "nj-metro").values(operator_id="nj-bus"))


@pytest.mark.parametrize(("change", "knows"), [(moved, "nj-xinjiekou"), (no_tariff, "")])
def test_a_gate_that_was_moved_or_has_another_tariff_is_asked_about_once_and_then_known_again(
    app: Flask, where: Gate, rider: Phone, database: Database, monkeypatch: pytest.MonkeyPatch, change: Change, knows: str
) -> None:
    with database.transaction() as session:
        change(session, where, rider)
    (known,) = app.extensions["transit.known-terminals"].values()
    ask(app, where, rider.show(clock.now())[0])
    (fresh,) = app.extensions["transit.known-terminals"].values()
    assert fresh.standing != known.standing
    assert knows in (fresh.standing.stop_id, fresh.standing.tariffs)


def test_the_same_question_again_or_many_times_at_once_holds_once(
    app: Flask, where: Gate, rider: Phone, database: Database
) -> None:
    qr = rider.show(clock.now())[0]
    with ThreadPoolExecutor(4) as pool:
        answers = [said(answer) for answer in pool.map(lambda _: ask(app, where, qr), range(8))]
    assert all(answer == answers[0] for answer in answers)
    assert (answers[0]["approved"], held(database, rider)) == (True, 2 * FARE)


def test_a_connection_that_died_in_the_meantime_costs_nobody_an_answer(
    app: Flask, where: Gate, rider: Phone, database: Database, database_url: str
) -> None:
    assert said(ask(app, where, rider.show(clock.now())[0]))["approved"]
    with psycopg.connect(database_url, autocommit=True) as owner:
        others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        owner.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")
    assert said(ask(app, where, rider.show(clock.now())[0]))["approved"]
    assert held(database, rider) == 3 * FARE


def test_single_statements_commit_by_themselves_and_leave_nothing_to_a_transaction(database: Database) -> None:
    with database.statements() as connection:
        first = connection.info.backend_pid
        connection.execute("CREATE TEMPORARY TABLE mark ()")
    with database.statements() as connection:
        assert connection.info.backend_pid == first, "the same connection is taken again"
        with pytest.raises(psycopg.errors.DuplicateTable):
            connection.execute("CREATE TEMPORARY TABLE mark ()")
    with database.statements() as connection:
        assert connection.info.backend_pid == first, "a statement that failed has ended"
        connection.execute("BEGIN")
    with database.statements() as connection:
        assert connection.info.backend_pid != first, "one that is left in a transaction is not taken again"
    with database.transaction() as session:
        assert session.execute(text("SELECT pg_backend_pid()")).scalar_one() != first


def test_the_key_of_a_purse_is_the_same_in_sql(session: Session, rider: Phone) -> None:
    asked = text(f"SELECT {purse_key('CAST(:holder AS uuid)')}")
    found = session.execute(asked, {"holder": rider.holder_id}).scalar_one()
    assert found == ledger.chart.purse(rider.holder_id).key
