"""Payments against a Stripe server that really runs: money moves on the signed webhook, once, and comes back by refund."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from uuid import UUID

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, text

from app import wiring
from app.kernel import clock, outbox
from app.kernel.db import Database
from card import ledger
from services import messages, payments
from services.payments import jobs, rules
from services.payments.models import StripeEvent
from tests.cities import free_port
from tests.payments import SECRET, listening, localstripe, use
from tests.signing_in import resident

GOOD, DECLINED = "4242424242424242", "4000000000000341"


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with localstripe() as address:
        yield address


@pytest.fixture
def lin(app: Flask, database: Database, stripe: str) -> UUID:
    use(database, stripe)
    return resident(database)


def start(database: Database, person_id: UUID, amount_minor: int = 50_00, purpose: str = "top-up", subject: str = "") -> UUID:
    with database.transaction() as session:
        return payments.start(
            session,
            purpose=purpose,
            subject=subject or str(person_id),
            person_id=person_id,
            amount_minor=amount_minor,
            now=clock.now(),
        )


def token(stripe: str, number: str) -> str:
    """What Stripe's script in a browser makes of a card."""
    card = {"card[number]": number, "card[exp_month]": "12", "card[exp_year]": "2030", "card[cvc]": "123"}
    answer = httpx.post(f"{stripe}/v1/tokens", data={**card, "key": "pk_test_demo", "payment_user_agent": "a browser"})
    return str(answer.raise_for_status().json()["id"])


def state(database: Database, payment_id: UUID) -> payments.State:
    with database.transaction() as session:
        return payments.get(session, payment_id).state


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.1)


def deliver(database: Database) -> None:
    while outbox.deliver_one(database, wiring.HANDLERS, wiring.COURIERS, now=clock.now()):
        pass


def purse(database: Database, person_id: UUID) -> int:
    with database.transaction() as session:
        account = ledger.open_account(session, ledger.chart.purse(person_id), now=clock.now())
        return ledger.balance(session, account).posted_minor


def signed(body: bytes, *, at: int | None = None, secret: str = SECRET) -> dict[str, str]:
    moment = int(time.time()) if at is None else at
    mac = hmac.new(secret.encode(), b"%d.%s" % (moment, body), hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={moment},v1={mac}", "Content-Type": "application/json"}


def succeeded(payment_id: UUID, *, amount_minor: int = 50_00, event_id: str = "evt_1", intent_id: str = "pi_1") -> bytes:
    intent = {
        "id": intent_id,
        "object": "payment_intent",
        "status": "succeeded",
        "amount": amount_minor,
        "amount_received": amount_minor,
        "currency": "cny",
        "created": 1,
        "metadata": {"payment_id": str(payment_id)},
    }
    return json.dumps(
        {"id": event_id, "object": "event", "type": "payment_intent.succeeded", "data": {"object": intent}}
    ).encode()


@pytest.mark.parametrize("paying_with", ["a card in the browser", "the demonstration's test card"])
def test_a_top_up_is_on_the_card_when_the_webhook_has_come(
    app: Flask, database: Database, stripe: str, lin: UUID, paying_with: str
) -> None:
    with listening(app, stripe):
        payment_id = start(database, lin)
        with_token = token(stripe, GOOD) if paying_with == "a card in the browser" else None
        paid = payments.pay(database, payment_id=payment_id, person_id=lin, token=with_token)
        assert paid.state is payments.State.PROCESSING
        assert purse(database, lin) == 0, "the browser's return moves nothing"
        assert payments.pay(database, payment_id=payment_id, person_id=lin, token=None).intent_id == paid.intent_id
        wait_for(lambda: state(database, payment_id) is payments.State.SETTLED)
    assert purse(database, lin) == 50_00
    deliver(database)
    with database.transaction() as session:
        assert ledger.check_books(session).findings == []
        assert [message.subject for message in messages.inbox(session, lin, language="en")] == ["¥50.00 is on your card"]
    assert jobs.match_day(database, clock.now()) == []


def test_a_declined_card_costs_nothing_and_another_attempt_is_another_payment(
    app: Flask, database: Database, stripe: str, lin: UUID
) -> None:
    payment_id = start(database, lin)
    answer = payments.pay(database, payment_id=payment_id, person_id=lin, token=token(stripe, DECLINED))
    assert (answer.state, answer.failure_code) == (payments.State.FAILED, "card_declined")
    with database.transaction() as session:
        second = payments.again(session, payment_id=payment_id, person_id=lin, now=clock.now())
    assert second != payment_id
    assert payments.pay(database, payment_id=second, person_id=lin, token=None).state is payments.State.PROCESSING
    assert purse(database, lin) == 0


@pytest.mark.parametrize("lost", ["a token that Stripe never made", "an intent that Stripe forgot"])
def test_what_stripe_does_not_know_fails_the_attempt_and_not_the_page(
    app: Flask, database: Database, stripe: str, lin: UUID, lost: str
) -> None:
    payment_id = start(database, lin)
    if lost == "an intent that Stripe forgot":
        with database.transaction() as session:
            session.execute(text("UPDATE services.payment SET intent_id = 'pi_forgotten'"))
    answer = payments.pay(database, payment_id=payment_id, person_id=lin, token="tok_forged")
    assert (answer.state, answer.failure_code) == (payments.State.FAILED, "refused")


def test_a_lost_webhook_is_caught_up_from_stripes_list(app: Flask, database: Database, stripe: str, lin: UUID) -> None:
    payment_id = start(database, lin)
    payments.pay(database, payment_id=payment_id, person_id=lin, token=None)
    assert state(database, payment_id) is payments.State.PROCESSING
    assert [found.kind for found in jobs.match_day(database, clock.now())] == ["missing-here"]
    assert jobs.fetch_missing(database, clock.now()) >= 1
    assert jobs.fetch_missing(database, clock.now()) == 0
    assert (state(database, payment_id), purse(database, lin)) == (payments.State.SETTLED, 50_00)
    assert jobs.match_day(database, clock.now()) == []


def test_stripe_being_away_charges_nobody_twice(app: Flask, database: Database, stripe: str, lin: UUID) -> None:
    payment_id = start(database, lin)
    use(database, f"http://localhost:{free_port()}")
    with pytest.raises(payments.StripeUnavailable):
        payments.pay(database, payment_id=payment_id, person_id=lin, token=None)
    use(database, stripe)
    assert payments.pay(database, payment_id=payment_id, person_id=lin, token=None).state is payments.State.PROCESSING


def test_an_event_moves_money_once_however_often_it_comes(client: FlaskClient, database: Database, lin: UUID) -> None:
    payment_id = start(database, lin)
    body = succeeded(payment_id)
    for _ in range(3):
        answer = client.post("/webhooks/stripe", data=body, headers=signed(body))
        assert answer.json == {"outcome": "settled"}
    other = succeeded(payment_id, event_id="evt_2")
    assert client.post("/webhooks/stripe", data=other, headers=signed(other)).json == {"outcome": "repeated"}
    with database.transaction() as session:
        assert payments.replay(session, event_id="evt_1", now=clock.now()) == "repeated"
        kept = session.scalars(select(StripeEvent).where(StripeEvent.id == "evt_1")).one()
        assert kept.body.encode() == body, "kept byte for byte"
        with pytest.raises(payments.UnknownEvent):
            payments.replay(session, event_id="evt_9", now=clock.now())
    assert purse(database, lin) == 50_00


def test_an_event_is_replayed_and_the_days_are_compared_from_a_terminal(
    app: Flask, client: FlaskClient, database: Database, stripe: str, lin: UUID
) -> None:
    body = succeeded(start(database, lin))
    client.post("/webhooks/stripe", data=body, headers=signed(body))
    runner = app.test_cli_runner()
    assert runner.invoke(args=["payments", "replay", "evt_1"]).output == "evt_1: repeated\n"
    unknown = runner.invoke(args=["payments", "replay", "evt_9"])
    assert (unknown.exit_code, unknown.output) == (1, "Error: No such event was received.\n")
    jobs.match_day(database, clock.now())
    told = runner.invoke(args=["payments", "matching"]).output
    assert "here 50.00\tStripe 0.00\t1 differences\n  missing-there" in told


@pytest.mark.parametrize("wrong", ["secret", "age", "body", "header"])
def test_an_event_that_does_not_verify_is_refused_and_not_kept(
    client: FlaskClient, database: Database, lin: UUID, wrong: str
) -> None:
    body = succeeded(start(database, lin))
    headers = {
        "secret": signed(body, secret="whsec_other"),
        "age": signed(body, at=int(time.time()) - 301),
        "body": signed(body),
        "header": {},
    }[wrong]
    sent = body.replace(b"5000", b"9000") if wrong == "body" else body
    answer = client.post("/webhooks/stripe", data=sent, headers={**headers, "Accept": "application/json"})
    assert (answer.status_code, answer.json["code"]) == (400, "webhook-refused")
    with database.transaction() as session:
        assert session.scalars(select(StripeEvent)).all() == []
    assert purse(database, lin) == 0


@pytest.mark.parametrize(
    ("amount", "currency", "outcome"),
    [(50_00, "cny", "settled"), (49_99, "cny", "amount-differs"), (50_00, "usd", "amount-differs")],
)
def test_only_the_whole_amount_in_yuan_settles(
    client: FlaskClient, database: Database, lin: UUID, amount: int, currency: str, outcome: str
) -> None:
    body = succeeded(start(database, lin), amount_minor=amount).replace(b'"cny"', f'"{currency}"'.encode())
    assert client.post("/webhooks/stripe", data=body, headers=signed(body)).json == {"outcome": outcome}
    assert purse(database, lin) == (50_00 if outcome == "settled" else 0)


def test_an_event_of_somebody_elses_payment_is_kept_and_passed_over(client: FlaskClient, database: Database, lin: UUID) -> None:
    body = succeeded(lin)
    assert client.post("/webhooks/stripe", data=body, headers=signed(body)).json == {"outcome": "not-ours"}


def settled(client: FlaskClient, database: Database, person_id: UUID, **of: str) -> UUID:
    payment_id = start(database, person_id, **of)
    body = succeeded(payment_id, event_id=f"evt_{payment_id}", intent_id=f"pi_{payment_id}")
    client.post("/webhooks/stripe", data=body, headers=signed(body))
    return payment_id


def test_a_fee_is_paid_once(client: FlaskClient, database: Database, lin: UUID) -> None:
    fee = {"purpose": "service-fee", "subject": "application:1"}
    first = start(database, lin, **fee)
    assert start(database, lin, **fee) == first, "an open attempt is answered again"
    body = succeeded(first)
    client.post("/webhooks/stripe", data=body, headers=signed(body))
    with pytest.raises(payments.AlreadyPaid):
        start(database, lin, **fee)
    with database.transaction() as session:
        fees = ledger.open_account(session, ledger.chart.fees(), now=clock.now())
        assert ledger.balance(session, fees).posted_minor == 50_00


def test_a_refund_leaves_the_purse_at_once_and_never_exceeds_the_payment(
    app: Flask, client: FlaskClient, database: Database, stripe: str, lin: UUID
) -> None:
    payment_id = start(database, lin)
    payments.pay(database, payment_id=payment_id, person_id=lin, token=None)
    jobs.fetch_missing(database, clock.now())
    with database.transaction() as session:
        payments.refund(session, payment_id=payment_id, amount_minor=20_00, reason="asked", by="person:staff", now=clock.now())
    assert purse(database, lin) == 30_00
    deliver(database)
    with pytest.raises(payments.RefundExceedsPayment), database.transaction() as session:
        payments.refund(session, payment_id=payment_id, amount_minor=30_01, reason="asked", by="x", now=clock.now())
    with database.transaction() as session:
        payments.refund(session, payment_id=payment_id, reason="the rest", by="x", now=clock.now())
    deliver(database)
    intent_id = None
    with database.transaction() as session:
        found = payments.get(session, payment_id)
        intent_id = found.intent_id
        assert (found.state, found.refunded_minor) == (rules.State.REFUNDED, 50_00)
        subjects = [message.subject for message in messages.inbox(session, lin, language="en")]
        assert subjects[:2] == ["¥30.00 is on its way back to you", "¥20.00 is on its way back to you"]
        assert ledger.check_books(session).findings == []
    given = httpx.get(f"{stripe}/v1/refunds?payment_intent={intent_id}", auth=("sk_test_demo", "")).json()["data"]
    assert sorted(refund["amount"] for refund in given) == [20_00, 30_00]


def test_what_was_spent_cannot_be_refunded(client: FlaskClient, database: Database, lin: UUID) -> None:
    payment_id = settled(client, database, lin)
    with database.transaction() as session:
        now = clock.now()
        ledger.post_all(
            session,
            [
                ledger.Transfer(
                    id=payment_id,
                    debit=ledger.open_account(session, ledger.chart.purse(lin), now=now),
                    credit=ledger.open_account(session, ledger.chart.operator("metro"), now=now),
                    amount_minor=1,
                    code=ledger.TransferCode.FARE,
                    event_at=now,
                )
            ],
            now=now,
        )
    with pytest.raises(ledger.InsufficientFunds), database.transaction() as session:
        payments.refund(session, payment_id=payment_id, reason="asked", by="x", now=clock.now())


def test_a_refund_that_stripe_refuses_for_good_is_booked_back(
    app: Flask, client: FlaskClient, database: Database, lin: UUID
) -> None:
    payment_id = settled(client, database, lin)  # Stripe knows no such intent
    with database.transaction() as session:
        payments.refund(session, payment_id=payment_id, reason="asked", by="x", now=clock.now())
    assert purse(database, lin) == 0
    deliver(database)
    assert purse(database, lin) == 50_00
    with database.transaction() as session:
        found = payments.get(session, payment_id)
    assert (found.state, found.refundable_minor) == (rules.State.SETTLED, 50_00)
