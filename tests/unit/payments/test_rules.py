"""What a payment may do, and how Stripe's own sample objects are read."""

import json
from pathlib import Path

import pytest

from app.kernel.errors import IllegalMove, Invalid
from services.payments import rules
from services.payments.rules import Break, Seen, State


def test_stripes_own_sample_of_an_intent_is_read(shared_data: Path) -> None:
    sample = json.loads((shared_data / "stripe-fixtures3.json").read_text())["resources"]["payment_intent"]
    intent = rules.intent_from(sample)
    assert (intent.id, intent.amount_minor, intent.currency) == ("pi_1PgafyB7WZ01zgkWSjxsAJo3", 1099, "usd")
    assert (intent.status, intent.payment_id, intent.failure_code) == ("requires_payment_method", "", "")
    assert intent.client_secret.startswith(intent.id)
    assert rules.STATE_OF_STATUS[intent.status] is State.STARTED


@pytest.mark.parametrize(
    ("status", "amount", "received", "counts"),
    [
        ("succeeded", 1099, 1099, 1099),
        ("succeeded", 1099, 500, 500),
        ("succeeded", 1099, None, 1099),
        ("processing", 1099, 0, 1099),
    ],
)
def test_what_counts_is_what_stripe_received(status: str, amount: int, received: int | None, counts: int) -> None:
    document = {
        "id": "pi_1",
        "status": status,
        "amount": amount,
        "currency": "CNY",
        "created": 1,
        "metadata": {"payment_id": "p"},
    }
    if received is not None:
        document["amount_received"] = received
    intent = rules.intent_from(document)
    assert (intent.amount_minor, intent.currency, intent.payment_id) == (counts, "cny", "p")


@pytest.mark.parametrize(
    ("current", "to", "possible"),
    [
        (State.STARTED, State.SETTLED, True),
        (State.FAILED, State.SETTLED, True),
        (State.CANCELLED, State.SETTLED, True),
        (State.SETTLED, State.FAILED, False),
        (State.SETTLED, State.REFUNDED, True),
        (State.REFUNDED, State.SETTLED, False),
    ],
)
def test_money_that_stripe_has_is_settled_whatever_came_before(current: State, to: State, possible: bool) -> None:
    if possible:
        assert rules.move(current, to) is to
    else:
        with pytest.raises(IllegalMove):
            rules.move(current, to)


@pytest.mark.parametrize(
    ("amount", "allowed"), [(99, False), (100, True), (100_000, True), (100_001, False), (0, False), (-100, False)]
)
def test_a_top_up_has_its_limits(amount: int, allowed: bool) -> None:
    if allowed:
        assert rules.acceptable_top_up(amount) == amount
    else:
        with pytest.raises(Invalid) as refused:
            rules.acceptable_top_up(amount)
        assert list(refused.value.fields) == ["amount"]


def test_differences_with_stripe_are_named() -> None:
    here = [Seen(payment_id="a", amount_minor=1), Seen(payment_id="b", amount_minor=2), Seen(payment_id="c", amount_minor=3)]
    there = [Seen(payment_id="a", amount_minor=1), Seen(payment_id="b", amount_minor=5), Seen(payment_id="d", amount_minor=4)]
    assert rules.match(here=here, there=there) == [
        Break(kind="amount-differs", payment_id="b", here_minor=2, there_minor=5),
        Break(kind="missing-there", payment_id="c", here_minor=3, there_minor=0),
        Break(kind="missing-here", payment_id="d", here_minor=0, there_minor=4),
    ]
    assert rules.match(here=here, there=list(reversed(here))) == []
