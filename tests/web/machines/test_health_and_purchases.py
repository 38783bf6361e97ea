"""Hospitals and merchants as machines: national field names, idempotent by their own ids, each sees only its own."""

from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.demo.scene import health as scene
from app.kernel import clock
from app.kernel.db import Database
from app.web.auth import Caller, Principal, register_authenticator
from card import cards, ledger, purchases


def machine(app: Flask, organisation: str, scope: str) -> None:
    found = Principal(caller=Caller.MACHINE, id="demo", organisation=organisation, scopes=frozenset({scope}))
    register_authenticator(app, Caller.MACHINE, lambda: found)


@pytest.fixture
def patient(database: Database) -> tuple[UUID, str]:
    holder_id, now = uuid4(), clock.now()
    with database.transaction() as session:
        scene.hospital_of(session, "320100", now=now)
        card = cards.issue(session, holder_id=holder_id, kind=cards.Kind.PHONE, now=now)
        scene.worked_claimant(session, holder_id=holder_id, now=now)
    return holder_id, card.number


def test_a_hospital_settles_under_the_national_field_names(app: Flask, client: FlaskClient, patient: tuple[UUID, str]) -> None:
    machine(app, "nj-first", "health.claims")
    asked = {"card_no": patient[1], "begndate": "2026-11-10"}
    assert client.post("/api/health/eligibility", json=asked).json["psn_type"] == "in-service"
    visit = str(uuid4())
    bill = asked | {
        "mdtrt_id": visit,
        "feedetail": [{"med_list_codg": code, "cnt": "1"} for code in ("A-SURGERY", "B-ANTIBIOTIC", "B-JOINT", "C-ROOM")],
    }
    foreseen = client.post("/api/health/claims", json=bill).json
    assert (foreseen["state"], foreseen["medfee_sumamt"], foreseen["hifp_pay"]) == ("pre-settled", "32000.00", "21296.00")
    assert client.post("/api/health/claims", json=bill).json == foreseen, "sent again, it is the same claim"
    settled = client.post(f"/api/health/claims/{visit}/settlement").json
    assert settled == foreseen | {"state": "settled"}
    assert client.post(f"/api/health/claims/{visit}/settlement").json == settled
    assert client.get(f"/api/health/claims/{visit}").json == settled
    back = client.post(f"/api/health/claims/{visit}/reversal", json={"reason": "entered twice"}).json
    assert back["state"] == "reversed"
    machine(app, "nj-second", "health.claims")
    assert client.get(f"/api/health/claims/{visit}").status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"feedetail": []}, "feedetail"),
        ({"mdtrt_id": "1"}, "mdtrt_id"),
        ({"begndate": "soon"}, "begndate"),
        ({"feedetail": [{"med_list_codg": "A-VISIT", "cnt": "0"}]}, "feedetail.0.cnt"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(
    app: Flask, client: FlaskClient, patient: tuple[UUID, str], change: dict[str, object], field: str
) -> None:
    machine(app, "nj-first", "health.claims")
    bill: dict[str, object] = {
        "card_no": patient[1],
        "begndate": "2026-11-10",
        "mdtrt_id": str(uuid4()),
        "feedetail": [{"med_list_codg": "A-VISIT", "cnt": "1"}],
    }
    answer = client.post("/api/health/claims", json=bill | change)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]


def test_a_token_without_the_scope_is_refused(app: Flask, client: FlaskClient) -> None:
    machine(app, "nj-first", "purchases.bills")
    answer = client.get(f"/api/health/claims/{uuid4()}")
    assert (answer.status_code, answer.json["code"]) == (403, "missing-scope")


def test_a_merchant_presents_a_bill_learns_that_it_was_paid_and_refunds(
    app: Flask, client: FlaskClient, database: Database
) -> None:
    holder_id, now = uuid4(), clock.now()
    with database.transaction() as session:
        name = {"en": "Demo Shop", "zh_Hans_CN": "演示·小店"}
        purchases.open_merchant(session, merchant_id="shop", name=name, kind=purchases.MerchantKind.SHOP, now=now)
        bank = ledger.open_account(session, ledger.chart.bank(), now=now)
        purse = ledger.open_account(session, ledger.chart.purse(holder_id), now=now)
        scene.endow(session, bank=bank, account=purse, key="purse", amount_minor=1_000, now=now)
    machine(app, "shop", "purchases.bills")
    body = {"reference": "t-1", "amount_minor": 880, "description_en": "Tea", "description_zh": "茶"}
    bill = client.post("/api/purchases/bills", json=body).json
    assert client.post("/api/purchases/bills", json=body).json == bill
    assert bill["pay_url"].endswith(f"/me/bills/{bill['bill_id']}")
    purchases.pay(database, bill_id=UUID(bill["bill_id"]), holder_id=holder_id, by="person:x", now=clock.now())
    assert client.get(f"/api/purchases/bills/{bill['bill_id']}").json["state"] == "paid"
    refund = {"refund_id": str(uuid4()), "amount_minor": 80}
    for _ in range(2):
        answer = client.post(f"/api/purchases/bills/{bill['bill_id']}/refunds", json=refund).json
        assert (answer["state"], answer["refunded_minor"]) == ("paid", 80)
