"""What a payment may do. Pure.

A payment is one attempt: its id is the idempotency key towards Stripe, and a second attempt is another payment. Money moves in
the ledger when Stripe's signed webhook says that it has it, never because a browser came back.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from app.kernel.db import Json
from app.kernel.errors import Conflict, IllegalMove, Invalid, NotFound, Unavailable, msg

TOP_UP_CHOICES_MINOR: Final = (20_00, 50_00, 100_00, 200_00)
TOP_UP_MINOR_MIN: Final = 1_00
TOP_UP_MINOR_MAX: Final = 1000_00


class Purpose(StrEnum):
    """What a payment is for."""

    TOP_UP = "top-up"
    SERVICE_FEE = "service-fee"


class State(StrEnum):
    """Where an attempt stands."""

    STARTED = "started"
    ACTION = "requires-action"  # the bank asks the payer to confirm (3-D Secure)
    PROCESSING = "processing"  # Stripe accepted it; the webhook has not come yet
    SETTLED = "settled"  # the webhook came and the ledger has it
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"  # all of it was given back


MOVES: Final[dict[State, frozenset[State]]] = {
    State.STARTED: frozenset({State.ACTION, State.PROCESSING, State.SETTLED, State.FAILED, State.CANCELLED}),
    State.ACTION: frozenset({State.PROCESSING, State.SETTLED, State.FAILED, State.CANCELLED}),
    State.PROCESSING: frozenset({State.ACTION, State.SETTLED, State.FAILED, State.CANCELLED}),
    # Webhooks come in any order: whatever we believed, money that Stripe has is settled.
    State.FAILED: frozenset({State.SETTLED, State.ACTION, State.PROCESSING}),
    State.CANCELLED: frozenset({State.SETTLED}),
    State.SETTLED: frozenset({State.REFUNDED}),
    State.REFUNDED: frozenset(),
}
OPEN: Final = frozenset({State.STARTED, State.ACTION, State.PROCESSING})
PAID: Final = frozenset({State.SETTLED, State.REFUNDED})


class UnknownPayment(NotFound):
    """No such payment, or it is somebody else's."""

    code = "unknown-payment"
    sentence = msg("We could not find this payment.")


class AlreadyPaid(Conflict):
    """The fee of this subject is paid."""

    code = "already-paid"
    sentence = msg("This is paid already. Nothing was charged again.")


class PaymentDeclined(Conflict):
    """The bank refused the card."""

    code = "payment-declined"
    sentence = msg("Your bank did not accept the payment. Nothing was charged. You can try again with another card.")


class StripeUnavailable(Unavailable):
    """Stripe does not answer; the same payment may be tried again without being charged twice."""

    code = "stripe-unavailable"
    sentence = msg("The payment service does not answer. Nothing was charged twice; try again in a moment.")


class WebhookRefused(Invalid):
    """A webhook whose signature or age does not verify."""

    code = "webhook-refused"
    sentence = msg("The signature of this event does not verify.")
    status = 400


class RefundExceedsPayment(Conflict):
    """More would be given back than was paid."""

    code = "refund-exceeds-payment"
    sentence = msg("At most %(left_minor)s fen can be refunded.")


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What we read of a Stripe PaymentIntent. ``payment_id`` is the id of ours that its metadata names, if any."""

    id: str
    status: str
    amount_minor: int
    currency: str
    payment_id: str
    client_secret: str
    failure_code: str
    created_at: datetime


def intent_from(document: Json) -> Intent:
    """A PaymentIntent as Stripe sends it (also the sample object of its own fixtures).

    ``amount_minor`` is what was received where Stripe says so, which is what settles.
    """
    status = str(document["status"])
    received = document.get("amount_received")
    return Intent(
        id=str(document["id"]),
        status=status,
        amount_minor=int(received if status == "succeeded" and received is not None else document["amount"]),
        currency=str(document["currency"]).lower(),
        payment_id=str((document.get("metadata") or {}).get("payment_id") or ""),
        client_secret=str(document.get("client_secret") or ""),
        failure_code=str((document.get("last_payment_error") or {}).get("code") or ""),
        created_at=datetime.fromtimestamp(int(document["created"]), UTC),
    )


STATE_OF_STATUS: Final[dict[str, State]] = {
    "requires_payment_method": State.STARTED,
    "requires_confirmation": State.STARTED,
    "requires_action": State.ACTION,
    "processing": State.PROCESSING,
    "requires_capture": State.PROCESSING,
    "succeeded": State.PROCESSING,  # believed only when the signed event says it
    "canceled": State.CANCELLED,
}


def move(current: State, to: State) -> State:
    """``to`` where the table allows it. Raises ``IllegalMove``."""
    if to not in MOVES[current]:
        raise IllegalMove(f"{current} -> {to}", state=current.value)
    return to


def acceptable_top_up(amount_minor: int) -> int:
    """``amount_minor`` fen where one may top up by it. Raises ``Invalid`` naming ``amount``."""
    if not TOP_UP_MINOR_MIN <= amount_minor <= TOP_UP_MINOR_MAX:
        raise Invalid("amount", fields={"amount": msg("Choose an amount between ¥1 and ¥1,000.")})
    return amount_minor


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One paid amount as one side sees it: ours by payment id, Stripe's by the id in its metadata."""

    payment_id: str
    amount_minor: int


@dataclass(frozen=True, kw_only=True)
class Break:
    """A difference between Stripe and us. ``kind``: ``missing-here``, ``missing-there``, ``amount-differs``."""

    kind: str
    payment_id: str
    here_minor: int
    there_minor: int


def match(*, here: list[Seen], there: list[Seen]) -> list[Break]:
    """The differences between what we settled and what Stripe took, in order of payment id."""
    ours = {seen.payment_id: seen.amount_minor for seen in here}
    theirs = {seen.payment_id: seen.amount_minor for seen in there}
    found = []
    for payment_id in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(payment_id), theirs.get(payment_id)
        if mine == other:
            continue
        kind = "missing-here" if mine is None else "missing-there" if other is None else "amount-differs"
        found.append(Break(kind=kind, payment_id=payment_id, here_minor=mine or 0, there_minor=other or 0))
    return found
