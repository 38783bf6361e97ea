"""The only room that speaks to Stripe (or localstripe): PaymentIntents, refunds, events."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

import stripe
from sqlalchemy.orm import Session
from stripe import SignatureVerificationError, StripeClient, StripeError, StripeObject, Webhook
from stripe.params import PaymentIntentCreateParams

from app.kernel.db import Database, Json
from app.kernel.settings import Settings
from services.payments.rules import Intent, PaymentDeclined, StripeUnavailable, WebhookRefused, intent_from

INFO: Final = "stripe"
STRIPE_JS: Final = "https://js.stripe.com"
CURRENCY: Final = "cny"
DEMONSTRATION_METHOD: Final = "pm_card_visa"  # Stripe's own test article; it takes no money
API_VERSION: Final = "2024-06-20"  # pinned: what we send and read does not change when the library is upgraded
RETRIES: Final = 2
WEBHOOK_TOLERANCE_SECONDS: Final = 300


@dataclass(frozen=True, kw_only=True)
class Account:
    """The city's account at Stripe."""

    api_base: str
    public_base: str
    secret_key: str
    publishable_key: str
    webhook_secret: str

    def __repr__(self) -> str:
        return f"Account({self.api_base})"

    @property
    def script(self) -> str:
        """Address of the script that turns a card into a token in the browser, so that its number never reaches us."""
        return f"{self.public_base}/v3/" if self.public_base == STRIPE_JS else f"{self.public_base}/js.stripe.com/v3/"

    def client(self) -> StripeClient:
        """Stripe's own client for this account."""
        return StripeClient(
            self.secret_key, base_addresses={"api": self.api_base}, max_network_retries=RETRIES, stripe_version=API_VERSION
        )


@dataclass(frozen=True, kw_only=True)
class ListedEvent:
    """An event as Stripe's list gives it."""

    id: str
    type: str
    body: str


def equip(database: Database, settings: Settings) -> None:
    """Let every session of ``database`` know the city's account at Stripe."""
    database.info[INFO] = Account(
        api_base=settings.stripe_api_base,
        public_base=settings.stripe_public_base,
        secret_key=settings.stripe_secret_key.get_secret_value(),
        publishable_key=settings.stripe_publishable_key,
        webhook_secret=settings.stripe_webhook_secret.get_secret_value(),
    )


def account(of: Database | Session) -> Account:
    """The account that this database was equipped with."""
    found = of.info.get(INFO)
    assert isinstance(found, Account), "this database was never told its account at Stripe"
    return found


@contextmanager
def _refusals() -> Iterator[None]:
    """Stripe's errors as ours.

    A declined card is the payer's. What Stripe will never do (``REFUSED_FOR_GOOD``) passes. Everything else may be tried again.
    """
    try:
        yield
    except stripe.CardError as error:
        raise PaymentDeclined(error.code or "card_declined") from error
    except stripe.InvalidRequestError:
        raise
    except StripeError as error:
        raise StripeUnavailable(type(error).__name__) from error


def _document(found: StripeObject) -> Json:
    document = json.loads(str(found))
    assert isinstance(document, dict)
    return document


def create(at: Account, *, payment_id: str, amount_minor: int, description: str, token: str | None) -> Intent:
    """A PaymentIntent for our payment, not confirmed yet: a crash after this costs nobody anything.

    ``token`` is what Stripe's script made of the card in the browser; without one the demonstration's test article pays.
    Raises ``PaymentDeclined``, ``StripeUnavailable``.
    """
    with _refusals():
        client = at.client()
        params: Json = {
            "amount": amount_minor,
            "currency": CURRENCY,
            "metadata": {"payment_id": payment_id, "purpose": description},
            "payment_method": DEMONSTRATION_METHOD,
            "payment_method_types": ["card"],
        }
        if token is not None:
            customer = client.v1.customers.create(
                {"source": token, "metadata": {"payment_id": payment_id}}, {"idempotency_key": f"customer:{payment_id}"}
            )
            params["customer"] = customer.id
            params["payment_method"] = str(customer.default_source)
        found = client.v1.payment_intents.create(
            cast("PaymentIntentCreateParams", params), {"idempotency_key": f"intent:{payment_id}"}
        )
    return intent_from(_document(found))


def confirm(at: Account, *, intent_id: str, payment_id: str) -> Intent:
    """Charge it; an intent that is confirmed already is answered as it is.

    Raises ``PaymentDeclined``, ``StripeUnavailable``.
    """
    with _refusals():
        client = at.client()
        found = client.v1.payment_intents.retrieve(intent_id)
        if found.status == "requires_confirmation":
            found = client.v1.payment_intents.confirm(intent_id, options={"idempotency_key": f"confirm:{payment_id}"})
    return intent_from(_document(found))


def retrieve(at: Account, intent_id: str) -> Intent:
    """The intent as it stands. Raises ``StripeUnavailable``."""
    with _refusals():
        return intent_from(_document(at.client().v1.payment_intents.retrieve(intent_id)))


def refund(at: Account, *, intent_id: str, amount_minor: int, refund_id: str) -> str:
    """Give money back; Stripe's id of the refund. The same ``refund_id`` never gives back twice: it is looked for first.

    Raises ``StripeUnavailable``; ``stripe.InvalidRequestError`` where Stripe refuses for good.
    """
    with _refusals():
        client = at.client()
        for known in client.v1.refunds.list({"payment_intent": intent_id, "limit": 100}).auto_paging_iter():
            if (_document(known).get("metadata") or {}).get("refund_id") == refund_id:
                return str(known.id)
        made = client.v1.refunds.create(
            {"payment_intent": intent_id, "amount": amount_minor, "metadata": {"refund_id": refund_id}},
            {"idempotency_key": f"refund:{refund_id}"},
        )
    return str(made.id)


def events_since(at: Account, since: datetime, *, kind: str) -> list[ListedEvent]:
    """Stripe's events of one type since then, oldest first. Raises ``StripeUnavailable``."""
    with _refusals():
        page = at.client().v1.events.list({"type": kind, "created": {"gte": int(since.timestamp())}, "limit": 100})
        found = [_document(event) for event in page.auto_paging_iter()]
    found.sort(key=lambda document: (int(document["created"]), str(document["id"])))
    return [ListedEvent(id=str(document["id"]), type=str(document["type"]), body=json.dumps(document)) for document in found]


def verified(at: Account, *, body: bytes, signature: str) -> ListedEvent:
    """A webhook's event, once its signature and age verify (HMAC-SHA-256 over ``t.body``). Raises ``WebhookRefused``."""
    try:
        Webhook.construct_event(body, signature, at.webhook_secret, tolerance=WEBHOOK_TOLERANCE_SECONDS)
        document = json.loads(body)
        return ListedEvent(id=str(document["id"]), type=str(document["type"]), body=body.decode())
    except (SignatureVerificationError, ValueError, KeyError, TypeError) as error:
        raise WebhookRefused(type(error).__name__) from error


REFUSED_FOR_GOOD: Final[type[StripeError]] = stripe.InvalidRequestError
