"""A terminal over HTTP: enrols once, proves every request, fetches its bundle, uploads taps."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.factory import create_app
from app.kernel import clock
from app.kernel.db import Database
from app.web.security import limiter
from card import credentials, ledger, transit
from card.credentials import DenyList, Receipt
from card.transit.models import PartnerDenyList, TerminalRow
from tests.conftest import make_settings
from tests.gates import Gate, gate, import_feed, minutes, phone, purse


def enrol(client: FlaskClient, database: Database, *, stop: str = "nj-gulou") -> tuple[Gate, credentials.Certificate]:
    with database.transaction() as session:
        import_feed(session, "320100", now=clock.now())
        token = transit.create_enrolment(
            session, operator_id="nj-metro", stop_id=stop, mode="both", by="person:test", now=clock.now()
        ).token
    key = Ed25519PrivateKey.generate()
    public = credentials.to_base64url(credentials.raw_public(key.public_key()))
    answer = client.post("/api/transit/terminals/enrol", json={"token": token, "public_key": public, "software": "test 1"})
    assert answer.status_code == 201, answer.text
    assert (answer.json["operator_id"], answer.json["stop_id"], answer.json["line"]) == ("nj-metro", stop, "nj-1")
    certificate = credentials.read_certificate(credentials.from_base64url(answer.json["certificate"]))
    return Gate(terminal_id=answer.json["terminal_id"], key=key), certificate


def call(client: FlaskClient, gate: Gate, method: str, path: str, body: bytes = b"") -> TestResponse:
    proof = prove(gate, method=method, path=path, body=body)
    return client.open(path, method=method, data=body, headers={"Authorization": proof})


def prove(gate: Gate, **changes: object) -> str:
    facts: dict = {
        "terminal_id": gate.terminal_id,
        "method": "GET",
        "path": "/api/transit/bundle",
        "body": b"",
        "at": clock.now(),
    }
    return credentials.prove(gate.key, **{**facts, **changes})


def test_a_terminal_enrols_once_and_gets_a_certificate_for_ninety_days(client: FlaskClient, database: Database) -> None:
    gate, certificate = enrol(client, database)
    assert (certificate.terminal_id, certificate.stop_id) == (gate.terminal_id, "nj-gulou")
    assert certificate.expires_at - certificate.issued_at == timedelta(days=90)
    again = client.post("/api/transit/terminals/enrol", json={"token": "never-given-out", "public_key": "AAAA"})
    assert (again.status_code, again.json["code"]) == (401, "enrolment-refused")


def test_the_bundle_is_signed_and_has_all_a_gate_needs(client: FlaskClient, database: Database) -> None:
    gate, certificate = enrol(client, database)
    answer = call(client, gate, "GET", "/api/transit/bundle")
    assert (answer.status_code, answer.content_type) == (200, "application/cbor")
    bundle = credentials.read_bundle(answer.data, [credentials.public_from_raw(certificate.bundle_key)])
    assert (bundle.city, bundle.tariff_version) == ("320100", "nj-metro-2026")
    assert bundle.terminal == {"stop_id": "nj-gulou", "line": "nj-1", "mode": "both"}
    assert ["nj-gulou", "Gulou", "鼓楼"] in bundle.stops
    assert list(bundle.issuer_keys) == ["320100"]
    assert bundle.not_after - bundle.made_at == timedelta(hours=72)
    assert isinstance(credentials.denials.take("320100", None, bundle.deny), DenyList)
    assert call(client, gate, "GET", "/api/transit/bundle?since=0").status_code == 200
    with database.transaction() as session:
        (seen,) = transit.terminals_of(session, "nj-metro", now=clock.now())
    assert seen.freshness is transit.Freshness.FRESH


def test_taps_come_in_over_http_and_cost_the_rider(client: FlaskClient, database: Database) -> None:
    gate, _ = enrol(client, database)
    now = clock.now()
    with database.transaction() as session:
        rider = phone(session, now=now - timedelta(minutes=5), money_minor=5000)
    body = credentials.encode_batch(gate.terminal_id, [gate.tap(rider, "entry", now)])
    answer = call(client, gate, "POST", "/api/transit/taps", body)
    assert answer.status_code == 200, answer.text
    receipt: Receipt = credentials.receipt_from(answer.data)
    assert receipt.contiguous == {gate.boot_id: 1}
    with database.transaction() as session:
        assert purse(session, rider.holder_id) == 4000


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"method": "POST"}, "terminal-proof-refused"),
        ({"path": "/api/transit/taps"}, "terminal-proof-refused"),
        ({"body": b"other"}, "terminal-proof-refused"),
        ({"terminal_id": "00000000-0000-7000-8000-000000000000"}, "unknown-terminal"),
        ({"at": clock.now() - timedelta(minutes=6)}, "terminal-proof-refused"),
    ],
)
def test_a_proof_for_anything_else_is_refused(client: FlaskClient, database: Database, changes: dict, code: str) -> None:
    gate, _ = enrol(client, database)
    answer = client.get("/api/transit/bundle", headers={"Authorization": prove(gate, **changes)})
    assert answer.status_code == 401
    assert answer.json["code"] == code


def test_a_request_is_taken_once_and_a_revoked_terminal_not_at_all(client: FlaskClient, database: Database) -> None:
    gate, _ = enrol(client, database)
    proof = prove(gate)
    answers = [client.get("/api/transit/bundle", headers={"Authorization": proof}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 409]
    assert answers[1].json["code"] == "proof-replayed"
    with database.transaction() as session:
        (seen,) = transit.terminals_of(session, "nj-metro", now=clock.now())
        transit.revoke(session, terminal_id=seen.id, operator_id="nj-metro", by="person:test", now=clock.now())
    assert call(client, gate, "GET", "/api/transit/bundle").json["code"] == "unknown-terminal"


def test_a_batch_of_another_terminal_is_refused(client: FlaskClient, database: Database) -> None:
    gate, _ = enrol(client, database)
    body = credentials.encode_batch("00000000-0000-7000-8000-000000000000", [])
    assert call(client, gate, "POST", "/api/transit/taps", body).json["code"] == "other-terminal"
    assert call(client, gate, "POST", "/api/transit/taps", b"not cbor").json["code"] == "credential-refused"


def test_feeds_come_in_from_the_command_line(app: Flask, tmp_path: object) -> None:
    runner = app.test_cli_runner()
    done = runner.invoke(args=["import-gtfs", "app/demo/feeds/320100"])
    assert "nj-metro, nj-bus" in done.output, done.output
    assert "nothing to do" in runner.invoke(args=["import-gtfs", "app/demo/feeds/320100"]).output
    assert runner.invoke(args=["export-gtfs", "320100", f"{tmp_path}/feed.zip"]).exit_code == 0
    wrong = runner.invoke(args=["import-gtfs", "tests"])
    assert wrong.exit_code == 1
    assert "stops.txt, line 0" in wrong.output


@pytest.mark.parametrize("header", ["", "Bearer x", "COSE", "COSE %%%", "COSE AAAA", "COSE 0oRDoQEn", "COSE " + "A" * 2000])
@pytest.mark.parametrize(("method", "path"), [("GET", "/api/transit/bundle"), ("POST", "/api/transit/taps")])
def test_a_proof_that_cannot_be_read_is_401_with_a_code(client: FlaskClient, header: str, method: str, path: str) -> None:
    answer = client.open(path, method=method, headers={"Authorization": header})
    assert (answer.status_code, answer.json["code"]) == (401, "terminal-proof-refused")
    assert answer.json["params"] == {"reason": "malformed"}


def ask_renewal(client: FlaskClient, gate: Gate, fresh: Ed25519PrivateKey, *, proved_by: Ed25519PrivateKey) -> TestResponse:
    current = credentials.raw_public(gate.key.public_key())
    body = credentials.cbor.write(
        {
            "public_key": credentials.raw_public(fresh.public_key()),
            "proof": credentials.renewal_proof(proved_by, terminal_id=gate.terminal_id, current=current),
            "software": "test 2",
        }
    )
    return call(client, gate, "POST", "/api/transit/terminals/renew", body)


def test_a_terminal_renews_its_certificate_and_the_old_key_goes_once_the_fresh_one_was_used(
    client: FlaskClient, database: Database
) -> None:
    gate, before = enrol(client, database)
    fresh = Ed25519PrivateKey.generate()
    assert ask_renewal(client, gate, fresh, proved_by=gate.key).json["code"] == "credential-refused"  # not shown to hold it
    lost = ask_renewal(client, gate, fresh, proved_by=fresh)
    again = ask_renewal(client, gate, fresh, proved_by=fresh)  # the first answer was lost: the old key asks once more
    assert (lost.status_code, again.status_code, lost.data) == (200, 200, again.data)
    trusted = credentials.public_from_raw(before.bundle_key)
    renewed = credentials.read_certificate(credentials.cbor.read(again.data)["certificate"], trusted=trusted)
    assert renewed.terminal_id == gate.terminal_id
    assert renewed.key == credentials.raw_public(fresh.public_key())
    assert renewed.expires_at - renewed.issued_at == timedelta(days=90)
    assert call(client, gate, "GET", "/api/transit/bundle").status_code == 200
    old, gate.key = gate.key, fresh
    assert call(client, gate, "GET", "/api/transit/bundle").status_code == 200
    gate.key = old
    assert call(client, gate, "GET", "/api/transit/bundle").status_code == 401


def test_a_certificate_that_ran_out_says_so(client: FlaskClient, database: Database) -> None:
    gate, _ = enrol(client, database)
    with database.transaction() as session:
        row = session.get_one(TerminalRow, UUID(gate.terminal_id))
        row.certificate_until = clock.now()
    answer = call(client, gate, "GET", "/api/transit/bundle")
    assert (answer.status_code, answer.json["code"]) == (401, "terminal-certificate-expired")


def test_a_partners_list_that_has_not_changed_is_not_sent_again(client: FlaskClient, database: Database) -> None:
    gate, certificate = enrol(client, database)
    theirs = DenyList.empty("320500").apply(
        credentials.Delta.make(city="320500", seq=1, prev_digest=bytes(32), adds=[7], removes=[])
    )
    with database.transaction() as session:
        session.add(PartnerDenyList(city="320500", seq=1, digest=theirs.digest, denied=theirs.base(), fetched_at=clock.now()))
    trusted = [credentials.public_from_raw(certificate.bundle_key)]
    for path, sent in (("", True), ("?held=320500:0", True), ("?held=320500:1", False), ("?since=0&held=320500:1", False)):
        bundle = credentials.read_bundle(call(client, gate, "GET", f"/api/transit/bundle{path}").data, trusted)
        assert bool(bundle.deny_of["320500"]["base"]) is sent, path


def test_a_gate_that_is_online_asks_first_and_its_tap_gives_the_hold_back(client: FlaskClient, database: Database) -> None:
    now = clock.now()
    with database.transaction() as session:
        import_feed(session, "320100", now=now)
        rich, poor = phone(session, now=now, money_minor=1_200), phone(session, now=now)
        where = gate(session, "nj-metro", stop="nj-gulou", now=now)
    path = "/api/transit/authorise"

    def ask(qr: bytes) -> dict[str, object]:
        body = credentials.cbor.write({"qr": qr, "kind": "entry"})
        proof = credentials.prove(where.key, terminal_id=where.terminal_id, method="POST", path=path, body=body, at=now)
        answer = client.post(path, data=body, headers={"Authorization": proof}, content_type="application/cbor")
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = credentials.cbor.read(answer.data)
        return found

    tap = where.tap(rich, "entry", now)
    first = ask(tap.qr)
    assert (first["approved"], first["held_minor"]) == (True, 1000)
    assert ask(tap.qr) == first, "asked again, answered the same, held once"
    assert ask(poor.show(now)[0]) == {"approved": False, "code": "insufficient-funds", "held_minor": 0, "until": 0}
    assert ask(rich.show(now - minutes(5))[0])["code"] == "code-too-old"
    with database.transaction() as session:
        account = ledger.account_id(session, ledger.chart.purse(rich.holder_id))
        assert ledger.balance(session, account).available_minor == 200
        where.send(session, [tap], now=now)
        found = ledger.balance(session, account)
        assert (found.posted_minor, found.held_minor) == (200, 0), "charged once, and nothing is held any more"

    with database.transaction() as session:
        transit.revoke(session, terminal_id=UUID(where.terminal_id), operator_id="nj-metro", by="system", now=now)
    body = credentials.cbor.write({"qr": rich.show(now)[0], "kind": "entry"})
    proof = credentials.prove(where.key, terminal_id=where.terminal_id, method="POST", path=path, body=body, at=now)
    answer = client.post(path, data=body, headers={"Authorization": proof}, content_type="application/cbor")
    assert answer.status_code == 401, "a terminal that was remembered and then revoked"


@pytest.mark.parametrize(("changes", "allowed"), [({}, 30), ({"enrolments_per_minute": 3}, 3)])
def test_an_address_enrols_so_many_terminals_a_minute_and_no_more(
    database: Database, database_url: str, tmp_path: Path, changes: dict[str, int], allowed: int
) -> None:
    app = create_app(make_settings(database_url, tmp_path, **changes), database=database)
    client = app.test_client()
    limiter.enabled = True
    try:
        answers = [
            client.post("/api/transit/terminals/enrol", json={"token": "never-given-out", "public_key": "AAAA"})
            for _ in range(allowed + 1)
        ]
        other = client.post(
            "/api/transit/terminals/enrol",
            json={"token": "never-given-out", "public_key": "AAAA"},
            environ_base={"REMOTE_ADDR": "192.0.2.7"},
        )
    finally:
        limiter.enabled = False
        limiter.reset()
    assert [one.status_code for one in answers] == [401] * allowed + [429]
    assert (answers[-1].json["code"], other.status_code) == ("too-many-requests", 401)


def test_the_gates_of_a_station_that_share_an_address_renew_each_by_its_own_count(
    client: FlaskClient, database: Database
) -> None:
    gates = [enrol(client, database, stop=stop)[0] for stop in ("nj-gulou", "nj-nanjingnanzhan")]
    limiter.enabled = True
    try:
        codes = [
            [call(client, one, "POST", "/api/transit/terminals/renew", b"x").status_code for _ in range(11)] for one in gates
        ]
    finally:
        limiter.enabled = False
        limiter.reset()
    assert [[code == 429 for code in one] for one in codes] == [[False] * 10 + [True]] * 2
