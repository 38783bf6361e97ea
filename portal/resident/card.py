"""``/me/card``: the card in the hand: its code, its money, what it entitles to; block and replace it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from flask import Blueprint, Response, flash, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from app.kernel import clock
from app.kernel.errors import Invalid, msg
from app.web.auth import Role, allow, principal
from app.web.db import settings, transaction
from app.web.i18n import DEFAULT, language, translate
from card import cards, ledger, partners, purchases
from card.credentials import Use
from portal.kit import cards as shown
from portal.kit import qr
from services import people

blueprint = Blueprint("card", __name__, url_prefix="/me/card")

RENEW_SECONDS: Final = 15
RECENT: Final = 6
PAGE: Final = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeView:
    """The QR of this moment."""

    text: str
    drawing: qr.Drawing
    made_at: datetime
    good_until: datetime


def _live(session: Session) -> cards.Card:
    """The resident's card on the phone. Raises ``UnknownCard``."""
    found = cards.live_card(session, principal().person_id)
    if found is None:
        raise cards.UnknownCard
    return found


def _own(session: Session, card_id: UUID) -> cards.Card:
    """A card of the resident; another's is unknown here."""
    found = cards.get(session, card_id)
    if found.holder_id != principal().person_id:
        raise cards.UnknownCard
    return found


def _code(session: Session, card: cards.Card) -> CodeView:
    code = cards.show_code(session, card_id=card.id, now=clock.now())
    return CodeView(text=code.text, drawing=qr.draw(code.text), made_at=code.made_at, good_until=code.good_until)


def _purse(session: Session, holder_id: UUID) -> tuple[int, ledger.AccountId | None]:
    """The balance in fen and the account; nothing was ever booked where there is no account."""
    try:
        account = ledger.account_id(session, ledger.chart.purse(holder_id))
    except ledger.UnknownAccount:
        return 0, None
    return ledger.balance(session, account).available_minor, account


def _cities(session: Session) -> dict[str, str]:
    found = {city.code: city.name_zh if language() == DEFAULT else city.name_en for city in partners.cities(session)}
    own = settings().city_name_zh if language() == DEFAULT else settings().city_name_en
    return {**found, settings().city_code: own}


@blueprint.get("")
@allow(Role.RESIDENT)
def show() -> str:
    """The card, its code, its money."""
    holder_id = principal().person_id
    with transaction() as session:
        found = cards.live_card(session, holder_id)
        balance_minor, account = _purse(session, holder_id)
        lines = ledger.statement(session, account, limit=RECENT) if account is not None else []
        held = cards.entitlements_of(session, holder_id, clock.civil_date(clock.now()))
        names = _cities(session)
        code = _code(session, found) if found is not None and found.status is cards.Status.ACTIVE else None
        name = people.get(session, holder_id).called(language())
        purses = _purses(session, holder_id)
        others = [card for card in cards.cards_of(session, holder_id) if found is None or card.id != found.id]
        phones = (
            [one for one in cards.devices_of(session, found.id) if not one.kept_here and not one.chip]
            if found is not None
            else []
        )
    return render_template(
        "resident/card/show.html",
        card=shown.face(found) if found else None,
        code=code,
        holder=name,
        balance_minor=balance_minor,
        movements=shown.movements(lines),
        purses=[one for one in purses if not one.over],
        entitlements=[shown.entitlement(one, names) for one in held],
        others=[shown.face(card) for card in others],
        phones=[one for one in phones if one.ended_at is None],
        renew_seconds=RENEW_SECONDS,
    )


def _purses(session: Session, holder_id: UUID, *, closed: bool = False) -> list[shown.PurseView]:
    held = ledger.purses_of(session, holder_id, closed=closed)
    shops = {key for one in held for key in one.payees if key.startswith("merchant:")}
    names = {f"merchant:{id_}": name for id_, name in purchases.merchants(session).items()} if shops else {}
    payees = {key: name.get(language()) or name["en"] for key, name in names.items()}
    return [shown.purse(one, payees, now=clock.now()) for one in held]


@blueprint.get("/purses/<uuid:purse_id>")
@allow(Role.RESIDENT)
def purse(purse_id: UUID) -> str:
    """An earmarked purse: what it is for, until when, and every movement of it."""
    holder_id = principal().person_id
    before = request.args.get("before")
    with transaction() as session:
        found = next((one for one in _purses(session, holder_id, closed=True) if one.id == str(purse_id)), None)
        if found is None:
            raise ledger.UnknownAccount(str(purse_id))
        account = ledger.account_id(session, ledger.chart.earmarked(holder_id, purse_id))
        lines = ledger.statement(session, account, before=before, limit=PAGE + 1)
    older = url_for("card.purse", purse_id=purse_id, before=lines[PAGE - 1].cursor) if len(lines) > PAGE else None
    return render_template(
        "resident/card/purse.html",
        purse=found,
        movements=shown.movements(lines[:PAGE]),
        newer=url_for("card.purse", purse_id=purse_id) if before else None,
        older=older,
    )


@blueprint.get("/qr.json")
@allow(Role.RESIDENT)
def code_json() -> Response:
    """A fresh code of one's own card: the text for a scanner and the drawing for the screen.

    ``{text, number, counter, made_at, good_until, good_for_s, renew_after_s, drawing: {size, path}}``. Raises ``UnknownCard``,
    and ``CardNotActive`` where it cannot be shown now.
    """
    now = clock.now()
    with transaction() as session:
        card = _live(session)
        code = cards.show_code(session, card_id=card.id, now=now)
    drawing = qr.draw(code.text)
    return jsonify(
        text=code.text,
        number=code.number,
        counter=code.counter,
        made_at=code.made_at.isoformat(),
        good_until=code.good_until.isoformat(),
        good_for_s=int((code.good_until - now).total_seconds()),
        renew_after_s=RENEW_SECONDS,
        drawing={"size": drawing.size, "path": drawing.path},
    )


@blueprint.get("/statement")
@allow(Role.RESIDENT)
def statement() -> str:
    """Every movement of the purse with the balance after it, to the fen."""
    before = request.args.get("before")
    with transaction() as session:
        balance_minor, account = _purse(session, principal().person_id)
        lines = ledger.statement(session, account, before=before, limit=PAGE + 1) if account is not None else []
    older = url_for("card.statement", before=lines[PAGE - 1].cursor) if len(lines) > PAGE else None
    return render_template(
        "resident/card/statement.html",
        balance_minor=balance_minor,
        movements=shown.movements(lines[:PAGE]),
        newer=url_for("card.statement") if before else None,
        older=older,
    )


def _block_page(card: cards.Card, errors: dict[str, str] | None = None, status: int = 200) -> tuple[str, int]:
    page = render_template(
        "resident/card/block.html",
        card=shown.face(card),
        reasons=[(reason.value, translate(shown.REASONS[reason])) for reason in cards.RESIDENT_REASONS],
        errors={field: translate(text) for field, text in (errors or {}).items()},
    )
    return page, status


@blueprint.get("/<uuid:card_id>/block")
@allow(Role.RESIDENT)
def ask_block(card_id: UUID) -> tuple[str, int]:
    """What blocking does, and why it is asked."""
    with transaction() as session:
        return _block_page(_own(session, card_id))


@blueprint.post("/<uuid:card_id>/block")
@allow(Role.RESIDENT)
def block(card_id: UUID) -> tuple[str, int] | AnyResponse:
    """Block the card."""
    reason = request.form.get("reason", "")
    with transaction() as session:
        card = _own(session, card_id)
        if reason not in [one.value for one in cards.RESIDENT_REASONS]:
            return _block_page(card, {"reason": msg("Choose what happened.")}, Invalid.status)
        cards.block(session, card_id=card.id, reason=reason, by=principal().actor, now=clock.now())
    flash(gettext("Your card is blocked. Gates refuse it from their next update; your money is safe."), "success")
    return redirect(url_for("card.show"), 303)


@blueprint.post("/<uuid:card_id>/found")
@allow(Role.RESIDENT)
def found(card_id: UUID) -> AnyResponse:
    """It was found again."""
    with transaction() as session:
        cards.unblock(session, card_id=_own(session, card_id).id, by=principal().actor, now=clock.now())
    flash(gettext("Your card works again. A gate that is offline may need a while to know."), "success")
    return redirect(url_for("card.show"), 303)


@blueprint.get("/<uuid:card_id>/replace")
@allow(Role.RESIDENT)
def ask_replace(card_id: UUID) -> str:
    """What replacing does."""
    with transaction() as session:
        return render_template("resident/card/replace.html", card=shown.face(_own(session, card_id)))


@blueprint.post("/<uuid:card_id>/replace")
@allow(Role.RESIDENT)
def replace(card_id: UUID) -> AnyResponse:
    """A new card in place of this one."""
    with transaction() as session:
        cards.replace(session, card_id=_own(session, card_id).id, by=principal().actor, now=clock.now())
    flash(gettext("You have a new card with a new number. Your money and your entitlements came along."), "success")
    return redirect(url_for("card.show"), 303)


@blueprint.post("/<uuid:card_id>/phones/<uuid:device_id>/block")
@allow(Role.RESIDENT)
def block_phone(card_id: UUID, device_id: UUID) -> AnyResponse:
    """A phone was lost: its codes are denied, the card stays good."""
    with transaction() as session:
        card = _own(session, card_id)
        if device_id not in [one.id for one in cards.devices_of(session, card.id)]:
            raise cards.UnknownCard
        cards.block_device(session, device_id=device_id, by=principal().actor, now=clock.now())
    flash(gettext("That phone is blocked. Your card stays good: use it on another phone."), "success")
    return redirect(url_for("card.show"), 303)


@blueprint.get("/<uuid:card_id>/print")
@allow(Role.RESIDENT)
def printed(card_id: UUID) -> str:
    """A sheet for desks and inspectors: it says who the card stands for and opens no gate."""
    now = clock.now()
    with transaction() as session:
        card = _own(session, card_id)
        text = cards.one_layer(session, card_id=card.id, use=Use.PRINTED, now=now)
        name = people.get(session, card.holder_id).called(language())
    return render_template(
        "resident/card/print.html", card=shown.face(card), drawing=qr.draw(text), holder=name, until=now + cards.PRINTED_LIFE
    )


@blueprint.post("/<uuid:card_id>/activate")
@allow(Role.RESIDENT)
def activate(card_id: UUID) -> AnyResponse:
    """The plastic card arrived."""
    with transaction() as session:
        cards.activate(session, card_id=_own(session, card_id).id, by=principal().actor, now=clock.now())
    flash(gettext("Your card is active."), "success")
    return redirect(url_for("card.show"), 303)
