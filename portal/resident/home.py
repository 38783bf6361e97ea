"""``/me``: the card, the money, what is going on."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from flask import Blueprint, render_template
from sqlalchemy.orm import Session

from app.kernel import clock
from app.kernel.errors import msg
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import language
from card import cards, ledger
from services import applications, catalogue, messages, people

blueprint = Blueprint("home", __name__, url_prefix="/me")

RECENT: Final = 5
LATEST_MESSAGES: Final = 3

CARD_STATES: Final = {
    cards.Status.ISSUED: msg("Not activated yet"),
    cards.Status.ACTIVE: msg("Active"),
    cards.Status.BLOCKED: msg("Blocked"),
}

CODES: Final = {
    ledger.TransferCode.TOP_UP: msg("Top-up"),
    ledger.TransferCode.TOP_UP_REFUND: msg("Top-up refunded"),
    ledger.TransferCode.FARE: msg("Journey"),
    ledger.TransferCode.FOREIGN_FARE: msg("Journey in another city"),
    ledger.TransferCode.FARE_CORRECTION: msg("Fare corrected"),
    ledger.TransferCode.FOREIGN_FARE_CORRECTION: msg("Fare corrected"),
    ledger.TransferCode.DEBT_RECOVERY: msg("Earlier fare"),
    ledger.TransferCode.PENSION: msg("Pension"),
    ledger.TransferCode.ALLOWANCE: msg("Allowance"),
    ledger.TransferCode.PURCHASE: msg("Purchase"),
    ledger.TransferCode.REFUND: msg("Refund"),
    ledger.TransferCode.REVERSAL: msg("Given back"),
    ledger.TransferCode.BILL: msg("Bill"),
    ledger.TransferCode.OPENING: msg("Opening balance"),
    ledger.TransferCode.CORRECTION: msg("Correction"),
    ledger.TransferCode.HEALTH_CASH: msg("Share of a medical bill"),
}


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """A way to something one does often. ``icon`` is a drawing of ``kit/icons.html``."""

    path: str
    label: str
    text: str
    icon: str


SHORTCUTS: Final = (
    Shortcut(path="/services", label=msg("Find a service"), text=msg("Apply, renew, change, register"), icon="services"),
    Shortcut(path="/me/applications", label=msg("My applications"), text=msg("Where each one stands"), icon="list"),
    Shortcut(path="/me/health", label=msg("Health"), text=msg("Medical bills, line by line"), icon="health"),
    Shortcut(path="/me/journeys", label=msg("Journeys"), text=msg("Every fare and why it was charged"), icon="journey"),
    Shortcut(path="/me/data", label=msg("Who saw my data"), text=msg("Every look, its purpose and its law"), icon="shield"),
    Shortcut(path="/me/security", label=msg("Sign-in and security"), text=msg("Passkeys, codes, password"), icon="key"),
)


WORDS: Final = {
    applications.State.DRAFT: (msg("Not handed in yet"), "neutral"),
    applications.State.FEE_DUE: (msg("The fee is due"), "wait"),
    applications.State.SUBMITTED: (msg("Handed in"), "info"),
    applications.State.IN_REVIEW: (msg("Being handled"), "info"),
    applications.State.CORRECTION: (msg("Waiting for you"), "wait"),
    applications.State.PREPARED: (msg("Being handled"), "info"),
}


@dataclass(frozen=True, kw_only=True)
class Going:
    """An application that is not finished. ``state`` is a message id."""

    path: str
    service: str
    reference: str
    state: str
    tone: str


def _going_on(session: Session, person_id: UUID) -> list[Going]:
    found = []
    for case in applications.of_person(session, person_id):
        if case.state not in WORDS:
            continue
        state, tone = WORDS[case.state]
        item = catalogue.item(session, case.item_code, case.item_version)
        found.append(
            Going(
                path=f"/me/applications/{case.id}",
                service=item.name.said(language()),
                reference=case.reference,
                state=state,
                tone=tone,
            )
        )
    return found


@blueprint.get("")
@allow(Role.RESIDENT)
def show() -> str:
    """The resident's own page."""
    person_id = principal().person_id
    now = clock.now()
    with transaction() as session:
        person = people.get(session, person_id)
        card = cards.live_card(session, person_id)
        purse = ledger.open_account(session, ledger.chart.purse(person_id), now=now)
        balance = ledger.balance(session, purse)
        lines = ledger.statement(session, purse, limit=RECENT)
        latest = messages.inbox(session, person_id, language=language(), limit=LATEST_MESSAGES)
        unread = messages.unread_count(session, person_id)
        going = _going_on(session, person_id)
    return render_template(
        "resident/home/show.html",
        name=person.called(language()),
        card=card,
        card_state=CARD_STATES.get(card.status, "") if card else "",
        balance=balance,
        lines=[(line, CODES.get(line.code, msg("Transfer"))) for line in lines],
        latest=latest,
        applications=going,
        unread=unread,
        shortcuts=SHORTCUTS,
    )
