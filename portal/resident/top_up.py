"""``/me/card/top-up``: how much."""

from decimal import Decimal, InvalidOperation

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from app.kernel import clock
from app.kernel.errors import Invalid
from app.kernel.money import half_up_minor
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import translate
from card import ledger
from services import payments

blueprint = Blueprint("top_up", __name__, url_prefix="/me/card/top-up")


def _page(chosen: str = "", other: str = "", error: str = "", status: int = 200) -> tuple[str, int]:
    person_id = principal().person_id
    with transaction() as session:
        purse = ledger.open_account(session, ledger.chart.purse(person_id), now=clock.now())
        balance = ledger.balance(session, purse)
    page = render_template(
        "resident/top_up/show.html",
        balance=balance,
        choices=payments.TOP_UP_CHOICES_MINOR,
        chosen=chosen or str(payments.TOP_UP_CHOICES_MINOR[1]),
        other=other,
        errors={"amount": error} if error else {},
    )
    return page, status


def _amount_minor(chosen: str, other: str) -> int:
    """The amount in fen, or nought for what is not an amount (which the rule then refuses)."""
    if chosen != "other":
        return int(chosen) if chosen.isascii() and chosen.isdigit() else 0
    try:
        amount = Decimal(other.strip().lstrip("¥￥").replace(",", ""))
        return half_up_minor(amount) if amount.is_finite() and abs(amount) < payments.TOP_UP_MINOR_MAX else 0
    except InvalidOperation:
        return 0


@blueprint.get("")
@allow(Role.RESIDENT)
def show() -> tuple[str, int]:
    """Choose an amount."""
    return _page()


@blueprint.post("")
@allow(Role.RESIDENT)
def submit() -> tuple[str, int] | AnyResponse:
    """Begin a payment of this amount and go to pay it."""
    chosen, other = request.form.get("amount", ""), request.form.get("other", "")
    person_id = principal().person_id
    try:
        with transaction() as session:
            payment_id = payments.start(
                session,
                purpose=payments.Purpose.TOP_UP,
                subject=str(person_id),
                person_id=person_id,
                amount_minor=_amount_minor(chosen, other),
                now=clock.now(),
                return_path="/me/card",
            )
    except Invalid as refusal:
        return _page(chosen, other, translate(refusal.fields["amount"]), refusal.status)
    return redirect(url_for("payments.show", payment_id=payment_id), 303)
