"""``/me/payments/<id>``: pay what was started, and see what became of it. Coming back here moves no money."""

from typing import Final
from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from app.kernel import clock
from app.kernel.errors import Invalid, Refusal, msg
from app.web.auth import principal, signed_in
from app.web.db import database, settings, transaction
from app.web.i18n import translate
from app.web.security import limiter
from card import ledger
from services import payments

blueprint = Blueprint("payments", __name__, url_prefix="/me/payments")

WAIT_SECONDS: Final = 2
TITLES: Final = {
    payments.Purpose.TOP_UP: msg("Top up your card"),
    payments.Purpose.SERVICE_FEE: msg("Pay the fee"),
}
STATES: Final = {
    payments.State.STARTED: msg("Not paid yet"),
    payments.State.ACTION: msg("Waiting for your bank"),
    payments.State.PROCESSING: msg("On its way"),
    payments.State.SETTLED: msg("Paid"),
    payments.State.FAILED: msg("Not accepted"),
    payments.State.CANCELLED: msg("Cancelled"),
    payments.State.REFUNDED: msg("Refunded"),
}
TONES: Final = {
    payments.State.SETTLED: "good",
    payments.State.FAILED: "bad",
    payments.State.PROCESSING: "wait",
    payments.State.ACTION: "wait",
}


def _page(payment: payments.PaymentView, secret: str = "", trouble: Refusal | None = None) -> Response:
    balance = None
    if payment.is_paid and payment.purpose is payments.Purpose.TOP_UP:
        with transaction() as session:
            purse = ledger.open_account(session, ledger.chart.purse(payment.person_id), now=clock.now())
            balance = ledger.balance(session, purse)
    account = payments.account(database())
    page = render_template(
        "resident/payments/show.html",
        payment=payment,
        title=TITLES[payment.purpose],
        state=STATES[payment.state],
        tone=TONES.get(payment.state, "neutral"),
        step=payment.state.value,
        secret=secret,
        balance=balance,
        trouble=translate(type(trouble).sentence, **trouble.params) if trouble else "",
        script=account.script,
        publishable_key=account.publishable_key,
        can_test=settings().demonstration,
        wait_seconds=WAIT_SECONDS,
    )
    response = make_response(page, type(trouble).status if trouble else 200)
    if payment.state is payments.State.PROCESSING:
        response.headers["Refresh"] = str(WAIT_SECONDS)  # works without JavaScript; the page only reads
    return response


@blueprint.get("")
@signed_in
def index() -> str:
    """Every payment of this person, newest first."""
    with transaction() as session:
        found = payments.of_person(session, principal().person_id)
    return render_template("resident/payments/index.html", payments=found, titles=TITLES, states=STATES, tones=TONES)


@blueprint.get("/<uuid:payment_id>")
@signed_in
def show(payment_id: UUID) -> Response:
    """The form to pay with, or where the payment stands."""
    payment, secret = payments.refresh(database(), payment_id=payment_id, person_id=principal().person_id)
    return _page(payment, secret)


@blueprint.post("/<uuid:payment_id>")
@signed_in
@limiter.limit("20 per minute")
def submit(payment_id: UUID) -> AnyResponse:
    """Pay: with what Stripe's script made of the card, or in a demonstration with its test card."""
    person_id = principal().person_id
    token = request.form.get("token", "")
    if not token and not settings().demonstration:
        raise Invalid("token", fields={"token": msg("Enter your card.")})
    try:
        payments.pay(database(), payment_id=payment_id, person_id=person_id, token=token or None)
    except payments.StripeUnavailable as trouble:
        with transaction() as session:
            payment = payments.get(session, payment_id, person_id=person_id)
        return _page(payment, trouble=trouble)
    return redirect(url_for("payments.show", payment_id=payment_id), 303)


@blueprint.post("/<uuid:payment_id>/again")
@signed_in
def again(payment_id: UUID) -> AnyResponse:
    """Another attempt."""
    with transaction() as session:
        fresh = payments.again(session, payment_id=payment_id, person_id=principal().person_id, now=clock.now())
    return redirect(url_for("payments.show", payment_id=fresh), 303)
