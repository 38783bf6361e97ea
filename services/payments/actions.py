"""Starting, paying, settling and refunding."""

import json
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel import audit, clock, ids, outbox
from app.kernel.db import Database, Json
from app.kernel.errors import NotFound, msg
from card import ledger
from services import messages
from services.payments import gateway, queries, rules
from services.payments.models import Payment, Refund, StripeEvent
from services.payments.queries import PaymentView
from services.payments.rules import Intent, PaymentDeclined, Purpose, State

log = structlog.get_logger()


class UnknownEvent(NotFound):
    """No event of Stripe with this id was received."""

    code = "unknown-event"
    sentence = msg("No such event was received.")


def start(
    session: Session,
    *,
    purpose: str,
    subject: str,
    person_id: UUID,
    amount_minor: int,
    now: datetime,
    return_path: str = "",
) -> UUID:
    """An attempt to pay ``amount_minor`` fen for ``subject`` (the holder's id, or ``application:<id>``); its id.

    For a fee, an attempt that is still open is answered again, so that a page that is sent twice makes one payment.
    ``return_path`` is where the payer goes on afterwards. The page to send the payer to is ``/me/payments/<id>``. Raises
    ``AlreadyPaid`` where the fee is paid.
    """
    kind = Purpose(purpose)
    if kind is Purpose.SERVICE_FEE:
        if any(payment.state is State.SETTLED for payment in queries.of_subject(session, purpose=kind, subject=subject)):
            raise rules.AlreadyPaid(subject)
        waiting = queries.open_of_subject(session, purpose=kind, subject=subject)
        if waiting is not None and waiting.amount_minor == amount_minor:
            return waiting.id
    else:
        rules.acceptable_top_up(amount_minor)
    payment_id = ids.new_id()
    session.add(
        Payment(
            id=payment_id,
            purpose=kind.value,
            subject=subject,
            person_id=person_id,
            amount_minor=amount_minor,
            state=State.STARTED.value,
            return_path=return_path,
            created_at=now,
        )
    )
    session.flush()
    return payment_id


def again(session: Session, *, payment_id: UUID, person_id: UUID, now: datetime) -> UUID:
    """Another attempt at what failed or was cancelled; its id."""
    before = queries.get(session, payment_id, person_id=person_id)
    return start(
        session,
        purpose=before.purpose,
        subject=before.subject,
        person_id=before.person_id,
        amount_minor=before.amount_minor,
        now=now,
        return_path=before.return_path,
    )


def pay(database: Database, *, payment_id: UUID, person_id: UUID, token: str | None) -> PaymentView:
    """Charge a card for a payment that was started: outside any transaction, and as often as one likes.

    ``token`` comes from Stripe's script in the browser; none means the demonstration's test article. The answer is never
    ``SETTLED``: that is the webhook's to say. Raises ``StripeUnavailable``; a declined card makes the payment ``FAILED``.
    """
    at = gateway.account(database)
    with database.transaction() as session:
        payment = queries.get(session, payment_id, person_id=person_id)
    if payment.state is not State.STARTED:
        return payment
    intent_id = payment.intent_id
    try:
        if intent_id is None:
            made = gateway.create(
                at,
                payment_id=str(payment_id),
                amount_minor=payment.amount_minor,
                description=payment.purpose.value,
                token=token,
            )
            with database.transaction() as session:
                row = queries.row(session, payment_id, lock=True)
                row.intent_id = intent_id = row.intent_id or made.id
        intent = gateway.confirm(at, intent_id=intent_id, payment_id=str(payment_id))
    except PaymentDeclined as declined:
        with database.transaction() as session:
            return _failed(session, payment_id, declined.detail)
    except gateway.REFUSED_FOR_GOOD as error:  # a forged token, an intent that Stripe does not know
        log.warning("payment.refused", payment_id=str(payment_id), reason=str(error))
        with database.transaction() as session:
            return _failed(session, payment_id, "refused")
    with database.transaction() as session:
        return _observed(session, payment_id, intent)


def refresh(database: Database, *, payment_id: UUID, person_id: UUID) -> tuple[PaymentView, str]:
    """The payment, and the secret with which a browser answers the bank's question where it asks one."""
    with database.transaction() as session:
        payment = queries.get(session, payment_id, person_id=person_id)
    if payment.state is not State.ACTION or payment.intent_id is None:
        return payment, ""
    try:
        intent = gateway.retrieve(gateway.account(database), payment.intent_id)
    except gateway.REFUSED_FOR_GOOD:
        with database.transaction() as session:
            return _failed(session, payment_id, "refused"), ""
    with database.transaction() as session:
        return _observed(session, payment_id, intent), intent.client_secret


def _observed(session: Session, payment_id: UUID, intent: Intent) -> PaymentView:
    """Note what an answer of Stripe says, short of settling."""
    payment = queries.row(session, payment_id, lock=True)
    to = rules.STATE_OF_STATUS.get(intent.status, State.PROCESSING)
    if intent.status == "requires_payment_method" and intent.failure_code:
        return _failed(session, payment_id, intent.failure_code)
    if to in rules.MOVES[State(payment.state)]:
        payment.state = to.value
    return queries.view(payment)


def _failed(session: Session, payment_id: UUID, code: str) -> PaymentView:
    payment = queries.row(session, payment_id, lock=True)
    if State.FAILED in rules.MOVES[State(payment.state)]:
        payment.state, payment.failure_code = State.FAILED.value, code
    return queries.view(payment)


# --- Stripe's events ---


def receive(database: Database, *, body: bytes, signature: str, now: datetime) -> str:
    """A webhook: verified, kept as it came, then applied. The answer is what came of it.

    An event that came before is answered with its first outcome. It is kept in a transaction of its own, so that one that
    cannot be applied now is not lost: Stripe sends it again, and :func:`replay` can. Raises ``WebhookRefused``.
    """
    event = gateway.verified(gateway.account(database), body=body, signature=signature)
    with database.transaction() as session:
        _keep(session, event, now)
    with database.transaction() as session:
        return apply(session, event_id=event.id, now=now)


def _keep(session: Session, event: gateway.ListedEvent, now: datetime) -> bool:
    """Keep the event; whether it is new."""
    kept = session.execute(
        insert(StripeEvent)
        .values(id=event.id, type=event.type, body=event.body, received_at=now, outcome="")
        .on_conflict_do_nothing()
        .returning(StripeEvent.id)
    )
    return kept.one_or_none() is not None


def apply(session: Session, *, event_id: str, now: datetime, again: bool = False) -> str:
    """Do what a kept event says, once; ``again`` does it once more, which changes nothing that was done."""
    event = session.scalars(select(StripeEvent).where(StripeEvent.id == event_id).with_for_update()).one_or_none()
    if event is None:
        raise UnknownEvent(event_id)
    if event.applied_at is None or again:
        event.outcome = _act_on(session, event.type, json.loads(event.body), now)
        event.applied_at = now
    return event.outcome


def replay(session: Session, *, event_id: str, now: datetime) -> str:
    """Apply a kept event again. Raises :class:`UnknownEvent`."""
    return apply(session, event_id=event_id, now=now, again=True)


def _act_on(session: Session, kind: str, document: Json, now: datetime) -> str:
    if not kind.startswith("payment_intent."):
        return "ignored"
    intent = rules.intent_from(document["data"]["object"])
    payment = session.scalars(select(Payment).where(Payment.intent_id == intent.id).with_for_update()).one_or_none()
    if payment is None and intent.payment_id:
        payment = session.get(Payment, UUID(intent.payment_id), with_for_update=True)
        if payment is not None and payment.intent_id is None:
            payment.intent_id = intent.id  # the event overtook our own note of the intent
    if payment is None or payment.intent_id != intent.id:
        return "not-ours"
    if kind == "payment_intent.succeeded":
        return settle(session, payment, intent, now)
    if kind == "payment_intent.payment_failed":
        return _failed(session, payment.id, intent.failure_code or "card_declined").state.value
    if kind == "payment_intent.canceled" and State.CANCELLED in rules.MOVES[State(payment.state)]:
        payment.state = State.CANCELLED.value
    return payment.state


def settle(session: Session, payment: Payment, intent: Intent, now: datetime) -> str:
    """Book money that Stripe has: Stripe's clearing account pays the purse, or the fees of the city. Repeats are quiet."""
    if State(payment.state) in rules.PAID:
        return "repeated"
    if (intent.amount_minor, intent.currency) != (payment.amount_minor, gateway.CURRENCY):
        log.error("payment.mismatch", payment_id=str(payment.id), intent_id=intent.id, amount_minor=intent.amount_minor)
        audit.record(
            session,
            actor="system",
            action="payment.mismatch",
            subject=f"payment:{payment.id}",
            at=now,
            details={
                "expected_minor": payment.amount_minor,
                "received_minor": intent.amount_minor,
                "currency": intent.currency,
            },
        )
        return "amount-differs"
    payment.state = rules.move(State(payment.state), State.SETTLED).value
    payment.settled_at = now
    payment.failure_code = ""
    ledger.post_all(session, [_transfer(session, payment, now)], now=now)
    outbox.emit(
        session,
        "payment.settled",
        {
            "payment_id": str(payment.id),
            "purpose": payment.purpose,
            "subject": payment.subject,
            "person_id": str(payment.person_id),
            "amount_minor": payment.amount_minor,
            "at": now.isoformat(),
        },
        at=now,
    )
    return "settled"


def _other_side(payment: Payment) -> ledger.AccountSpec:
    is_top_up = payment.purpose == Purpose.TOP_UP.value
    return ledger.chart.purse(payment.person_id) if is_top_up else ledger.chart.fees()


def _transfer(session: Session, payment: Payment, now: datetime) -> ledger.Transfer:
    is_top_up = payment.purpose == Purpose.TOP_UP.value
    return ledger.Transfer(
        id=ids.derived_id(payment.created_at, "payment", str(payment.id)),
        debit=ledger.open_account(session, ledger.chart.stripe_clearing(), now=now),
        credit=ledger.open_account(session, _other_side(payment), now=now),
        amount_minor=payment.amount_minor,
        code=ledger.TransferCode.TOP_UP if is_top_up else ledger.TransferCode.SERVICE_FEE,
        event_at=now,
        reference=f"payment:{payment.id}",
    )


def on_settled(session: Session, payload: Json) -> None:
    """The handler of ``payment.settled``: tell the payer."""
    is_top_up = payload["purpose"] == Purpose.TOP_UP.value
    messages.send(
        session,
        person_id=UUID(payload["person_id"]),
        template="top-up-received" if is_top_up else "fee-received",
        params={
            "amount_minor": payload["amount_minor"],
            "settled_at": payload["at"],
            "payment_id": payload["payment_id"],
        },
        at=datetime.fromisoformat(payload["at"]),
    )


# --- giving back ---


def refund(session: Session, *, payment_id: UUID, reason: str, by: str, now: datetime, amount_minor: int | None = None) -> UUID:
    """Give back all that is left of a payment, or ``amount_minor`` of it; the refund's id.

    The money leaves the ledger here and now, so that it cannot be spent meanwhile; a courier tells Stripe. Raises
    ``RefundExceedsPayment``, and ``InsufficientFunds`` where a top-up was spent.
    """
    payment = queries.row(session, payment_id, lock=True)
    left = queries.view(payment).refundable_minor
    wanted = left if amount_minor is None else amount_minor
    if not 0 < wanted <= left:
        raise rules.RefundExceedsPayment(str(payment_id), left_minor=left)
    refund_id = ids.new_id()
    is_top_up = payment.purpose == Purpose.TOP_UP.value
    code = ledger.TransferCode.TOP_UP_REFUND if is_top_up else ledger.TransferCode.SERVICE_FEE_REFUND
    transfer = ledger.Transfer(
        id=ids.derived_id(now, "refund", str(refund_id)),
        debit=ledger.open_account(session, _other_side(payment), now=now),
        credit=ledger.open_account(session, ledger.chart.stripe_clearing(), now=now),
        amount_minor=wanted,
        code=code,
        event_at=now,
        reference=f"payment:{payment.id}",
    )
    ledger.post_all(session, [transfer], now=now)
    payment.refunded_minor += wanted
    if payment.refunded_minor == payment.amount_minor:
        payment.state = rules.move(State(payment.state), State.REFUNDED).value
    session.add(Refund(id=refund_id, payment_id=payment_id, amount_minor=wanted, reason=reason, by=by, created_at=now))
    audit.record(
        session,
        actor=by,
        action="payment.refund",
        subject=f"payment:{payment_id}",
        at=now,
        details={"amount_minor": wanted, "reason": reason},
    )
    outbox.emit(session, "refund.requested", {"refund_id": str(refund_id)}, at=now)
    return refund_id


def send_refund(database: Database, payload: Json) -> None:
    """The courier of ``refund.requested``: tell Stripe, then the payer. What Stripe refuses for good is booked back."""
    refund_id = UUID(payload["refund_id"])
    with database.transaction() as session:
        found = session.get_one(Refund, refund_id)
        intent_id = queries.row(session, found.payment_id).intent_id
    if found.done_at is not None or found.refused_at is not None:
        return
    assert intent_id is not None, "only a settled payment is refunded"
    try:
        stripe_id = gateway.refund(
            gateway.account(database), intent_id=intent_id, amount_minor=found.amount_minor, refund_id=str(refund_id)
        )
    except gateway.REFUSED_FOR_GOOD as error:
        log.warning("refund.refused", refund_id=str(refund_id), reason=str(error))
        with database.transaction() as session:
            _book_back(session, refund_id, clock.now())
        return
    with database.transaction() as session:
        done = session.get_one(Refund, refund_id, with_for_update=True)
        if done.done_at is not None:
            return
        done.stripe_id, done.done_at = stripe_id, clock.now()
        messages.send(
            session,
            person_id=queries.row(session, done.payment_id).person_id,
            template="payment-refunded",
            params={"amount_minor": done.amount_minor, "payment_id": str(done.payment_id)},
            at=clock.now(),
        )


def _book_back(session: Session, refund_id: UUID, now: datetime) -> None:
    refused = session.get_one(Refund, refund_id, with_for_update=True)
    if refused.refused_at is not None:
        return
    payment = queries.row(session, refused.payment_id, lock=True)
    ledger.reverse(
        session,
        original_id=ids.derived_id(refused.created_at, "refund", str(refund_id)),
        reversal_id=ids.derived_id(refused.created_at, "refund-refused", str(refund_id)),
        now=now,
        reference=f"payment:{payment.id}",
    )
    refused.refused_at = now
    payment.refunded_minor -= refused.amount_minor
    payment.state = State.SETTLED.value


# --- catching up ---


def take_listed(database: Database, event: gateway.ListedEvent, now: datetime) -> bool:
    """Apply an event that Stripe lists, where its webhook never came; whether it was new."""
    with database.transaction() as session:
        fresh = _keep(session, event, now)
        apply(session, event_id=event.id, now=now)
    return fresh


def taken_by_stripe(database: Database, *, since: datetime) -> list[rules.Seen]:
    """What Stripe says it took since then. Raises ``StripeUnavailable``."""
    events = gateway.events_since(gateway.account(database), since, kind="payment_intent.succeeded")
    intents = [rules.intent_from(json.loads(event.body)["data"]["object"]) for event in events]
    return [rules.Seen(payment_id=intent.payment_id, amount_minor=intent.amount_minor) for intent in intents]


def is_ours(session: Session, payment_id: str) -> bool:
    """Whether a payment id that Stripe carries is one of this city's."""
    try:
        return session.get(Payment, UUID(payment_id)) is not None
    except ValueError:
        return False
