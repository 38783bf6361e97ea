"""``/staff/cards``: find a card by its number or its holder; block, release and replace it for them."""

from contextlib import suppress
from typing import Final
from uuid import UUID

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, url_for
from flask_babel import gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from app.kernel import clock
from app.kernel.errors import Invalid, msg
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import language, translate
from card import cards
from card.credentials import Use
from portal.kit import cards as shown
from portal.kit import qr
from services import people

blueprint = Blueprint("staff_cards", __name__, url_prefix="/staff/cards")

DESK: Final = (Role.OFFICER, Role.SUPERVISOR, Role.ADMINISTRATOR)
CARD_DIGITS: Final = 19
PEOPLE_MAX: Final = 20


@blueprint.get("")
@allow(*DESK)
def find() -> str | AnyResponse:
    """Look a card up: 19 digits are a card's number, 18 characters an identity number, anything else a name."""
    asked = request.args.get("q", "").strip()
    digits = "".join(asked.split())
    if digits.isdigit() and len(digits) == CARD_DIGITS:
        with transaction() as session, suppress(cards.UnknownCard):
            return redirect(url_for("staff_cards.show", card_id=cards.by_number(session, digits).id), 303)
    rows = []
    if asked:
        with transaction() as session:
            rows = [
                (holder.called(language()), shown.face(card))
                for holder in _holders(session, asked)
                for card in cards.cards_of(session, holder.id)
            ]
    return render_template("staff/cards/find.html", asked=asked, rows=rows)


def _holders(session: Session, asked: str) -> list[people.PersonView]:
    """Whoever has this identity number, else whose name begins so."""
    try:
        return [people.find_by_identity_number(session, asked)]
    except people.UnknownPerson:
        return people.search_by_name(session, asked, limit=PEOPLE_MAX)


@blueprint.get("/<uuid:card_id>")
@allow(*DESK)
def show(card_id: UUID) -> tuple[str, int]:
    """One card: its state, its holder, its phones, what it entitles to."""
    return _page(card_id)


def _page(card_id: UUID, errors: dict[str, str] | None = None, status: int = 200) -> tuple[str, int]:
    with transaction() as session:
        card = cards.get(session, card_id)
        holder = people.get(session, card.holder_id)
        devices = cards.devices_of(session, card_id)
        held = cards.entitlements_of(session, card.holder_id, clock.civil_date(clock.now()))
        denied = cards.deny_current(session)
    page = render_template(
        "staff/cards/show.html",
        card=shown.face(card),
        holder=holder.called(language()),
        devices=[(device, device.status_index in denied) for device in devices],
        entitlements=[shown.entitlement(one, {}) for one in held],
        reasons=[(reason.value, translate(text)) for reason, text in shown.STAFF_REASONS.items()],
        errors={field: translate(text) for field, text in (errors or {}).items()},
        list_seq=denied.seq,
        on_list=card.status_index in denied,
    )
    return page, status


@blueprint.post("/<uuid:card_id>/block")
@allow(*DESK)
def block(card_id: UUID) -> tuple[str, int] | AnyResponse:
    """Block it."""
    reason = request.form.get("reason", "")
    if reason not in [one.value for one in cards.BlockReason]:
        return _page(card_id, {"reason": msg("Choose a reason.")}, Invalid.status)
    with transaction() as session:
        cards.block(session, card_id=card_id, reason=reason, by=principal().actor, now=clock.now())
    flash(gettext("The card is blocked. Gates refuse it from their next update."), "success")
    return redirect(url_for("staff_cards.show", card_id=card_id), 303)


@blueprint.post("/<uuid:card_id>/release")
@allow(*DESK)
def release(card_id: UUID) -> AnyResponse:
    """Lift the block."""
    with transaction() as session:
        cards.unblock(session, card_id=card_id, by=principal().actor, now=clock.now())
    flash(gettext("The block is lifted."), "success")
    return redirect(url_for("staff_cards.show", card_id=card_id), 303)


@blueprint.post("/<uuid:card_id>/replace")
@allow(*DESK)
def replace(card_id: UUID) -> AnyResponse:
    """A new card in its place."""
    with transaction() as session:
        fresh = cards.replace(session, card_id=card_id, by=principal().actor, now=clock.now())
    flash(gettext("This is the new card. The old one is denied for good."), "success")
    return redirect(url_for("staff_cards.show", card_id=fresh.id), 303)


@blueprint.post("/<uuid:card_id>/ticket")
@allow(*DESK)
def ticket(card_id: UUID) -> Response:
    """A code on paper for a holder without a phone: five minutes, each gate once. It is on record who made it."""
    now = clock.now()
    with transaction() as session:
        card = cards.get(session, card_id)
        text = cards.one_layer(session, card_id=card_id, use=Use.KIOSK, now=now, by=principal().actor)
        holder = people.get(session, card.holder_id).called(language())
    page = render_template(
        "staff/cards/ticket.html", card=shown.face(card), holder=holder, drawing=qr.draw(text), until=now + cards.KIOSK_LIFE
    )
    answer = make_response(page)
    answer.headers["Cache-Control"] = "no-store"
    return answer
