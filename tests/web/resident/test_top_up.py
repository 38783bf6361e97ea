"""Topping up without JavaScript, as a resident of the demonstration does it."""

import time
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import wiring
from app.kernel import clock, outbox
from app.kernel.db import Database
from services import payments
from tests.payments import listening, localstripe, use
from tests.signing_in import resident, sign_in_as


@pytest.mark.parametrize(
    ("amount", "other", "minor"),
    [
        ("2000", "", 20_00),
        ("10000", "", 100_00),
        ("other", "12.34", 12_34),
        ("other", "￥1,000", 1000_00),
        ("other", " 1 ", 1_00),
    ],
)
def test_an_amount_is_chosen_or_typed(client: FlaskClient, database: Database, amount: str, other: str, minor: int) -> None:
    person_id = sign_in_as(client, database)
    answer = client.post("/me/card/top-up", data={"amount": amount, "other": other})
    assert answer.status_code == 303
    with database.transaction() as session:
        (payment,) = payments.of_person(session, person_id)
    assert (payment.amount_minor, payment.state) == (minor, payments.State.STARTED)
    assert answer.location == f"/me/payments/{payment.id}"


@pytest.mark.parametrize(
    ("amount", "other"),
    [
        ("", ""),
        ("99", ""),
        ("other", ""),
        ("other", "0.5"),
        ("other", "1000.01"),
        ("other", "NaN"),
        ("other", "-5"),
        ("other", "1e99"),
        ("x", ""),
    ],
)
def test_an_amount_out_of_bounds_is_refused_on_the_page(
    client: FlaskClient, database: Database, amount: str, other: str
) -> None:
    sign_in_as(client, database)
    answer = client.post("/me/card/top-up?lang=en", data={"amount": amount, "other": other})
    assert answer.status_code == 422
    assert "Choose an amount between ¥1 and ¥1,000." in answer.text


def test_a_top_up_from_the_form_to_the_purse(app: Flask, client: FlaskClient, database: Database) -> None:
    with localstripe() as stripe, listening(app, stripe):
        use(database, stripe)
        person_id = sign_in_as(client, database)
        page = client.post("/me/card/top-up?lang=en", data={"amount": "5000"}, follow_redirects=True)
        assert "Pay ¥50.00 with the test card" in page.text
        address = page.request.path
        waiting = client.post(address, follow_redirects=True)
        assert "Your payment is on its way." in waiting.text
        assert waiting.headers["Refresh"] == "2"
        end = time.monotonic() + 15
        while "¥50.00 is paid" not in (done := client.get(address)).text:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert "You have ¥50.00 on your card now." in done.text
    while outbox.deliver_one(database, wiring.HANDLERS, wiring.COURIERS, now=clock.now()):
        pass
    home = client.get("/me?lang=en").text
    assert "¥50.00 is on your card" in home
    assert "+¥50.00" in home
    with database.transaction() as session:
        assert payments.get(session, UUID(address.rsplit("/", 1)[1])).person_id == person_id


def test_a_payment_is_its_payers_alone(client: FlaskClient, database: Database) -> None:
    other = resident(database)
    with database.transaction() as session:
        payment_id = payments.start(
            session, purpose="top-up", subject=str(other), person_id=other, amount_minor=100, now=clock.now()
        )
    sign_in_as(client, database)
    for answer in (
        client.get(f"/me/payments/{payment_id}"),
        client.post(f"/me/payments/{payment_id}"),
        client.post(f"/me/payments/{payment_id}/again"),
    ):
        assert answer.status_code == 404
