"""``/me/bills``: what utilities and shops ask, paid from the card with one confirmation."""

from typing import Final
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from app.kernel import clock
from app.kernel.errors import Refusal, Unavailable, msg
from app.web.auth import Role, allow, principal
from app.web.db import database, transaction
from app.web.i18n import translate
from card import ledger, purchases
from card.purchases import BillState
from portal.kit import care

blueprint = Blueprint("resident_bills", __name__, url_prefix="/me/bills")

STATES: Final[dict[str, tuple[str, str]]] = {
    BillState.OPEN.value: (msg("To be paid"), "wait"),
    BillState.PAID.value: (msg("Paid"), "good"),
    BillState.REFUNDED.value: (msg("Refunded"), "info"),
    BillState.CANCELLED.value: (msg("Cancelled"), "neutral"),
}


@blueprint.get("")
@allow(Role.RESIDENT)
def show() -> str:
    """The resident's bills."""
    with transaction() as session:
        bills = purchases.bills_of(session, principal().person_id)
    return render_template(
        "resident/bills/list.html", bills=[(bill, *care.labelled(STATES, bill.state.value)) for bill in bills]
    )


@blueprint.get("/<uuid:bill_id>")
@allow(Role.RESIDENT)
def bill(bill_id: UUID) -> str:
    """One bill, and what is on the card."""
    holder_id, now = principal().person_id, clock.now()
    with transaction() as session:
        found = purchases.bill(session, bill_id, holder_id=holder_id)
        try:
            available = ledger.balance(session, ledger.account_id(session, ledger.chart.purse(holder_id))).available_minor
        except ledger.UnknownAccount:
            available = 0
    return render_template(
        "resident/bills/show.html",
        bill=found,
        state=care.labelled(STATES, found.state.value),
        payable=found.payable(now),
        available_minor=available,
        enough=available >= found.amount_minor,
    )


@blueprint.post("/<uuid:bill_id>/pay")
@allow(Role.RESIDENT)
def pay(bill_id: UUID) -> Response:
    """Pay from the card."""
    try:
        purchases.pay(database(), bill_id=bill_id, holder_id=principal().person_id, by=principal().actor, now=clock.now())
        flash(gettext("Paid from your card."), "success")
    except Unavailable:
        raise  # 503, and when to come again: nothing is wrong with the bill
    except Refusal as refusal:
        flash(translate(type(refusal).sentence, **refusal.params), "error")
    return redirect(url_for("resident_bills.bill", bill_id=bill_id))
