"""``/hospital``: look a patient up by card, enter the bill, pre-settle, settle, hand over the receipt, reverse."""

from decimal import Decimal, InvalidOperation
from typing import Final
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from app.kernel import clock
from app.kernel.errors import Forbidden, Invalid, Refusal, msg
from app.web.auth import Role, allow, principal
from app.web.db import database, settings, transaction
from app.web.i18n import translate
from card import credentials, health, partners
from card.health import LineAsked
from portal.kit import care

blueprint = Blueprint("hospital_desk", __name__, url_prefix="/hospital")

LINES: Final = 6
EXAMPLE: Final = ("A-SURGERY", "B-ANTIBIOTIC", "B-JOINT", "C-ROOM")  # what the form holds at first in a demonstration
REFUSED: Final = {
    "filing-required": msg(
        "The patient has not filed for treatment here on that day. They can file with their own city at once."
    ),
    "not-covered": msg("This person has no health coverage in the insured city on that day."),
    "card-not-active": msg("The card cannot be used now. The patient can see why on their card page."),
    "unknown-card": msg("The city that the number names has not issued this card."),
}


def _hospital_id() -> str:
    organisation = principal().organisation
    if organisation is None:
        raise Forbidden("this account belongs to no hospital")
    return organisation


def _words(refusal: Refusal) -> str:
    """A refusal as the desk can use it; another city's refusal by its own code."""
    code = refusal.answer_code if isinstance(refusal, partners.PartnerRefused) else refusal.code
    return translate(REFUSED[code]) if code in REFUSED else translate(type(refusal).sentence, **refusal.params)


def _number(shown: str) -> str:
    """The card number in what was typed, or in a code that was scanned into the field and verifies now."""
    text = shown.strip()
    if not text.startswith(credentials.PREFIX):
        return text
    with transaction() as session:
        keys = partners.issuer_keys(session)
    uses = frozenset(credentials.Use)
    return credentials.verify(text, issuer_keys=keys, now=clock.now(), uses=uses).number


def _desk(errors: dict[str, str] | None = None, status: int = 200) -> tuple[str, int]:
    hospital_id = _hospital_id()
    with transaction() as session:
        hospital = health.hospital(session, hospital_id)
        claims = health.claims(session, hospital_id=hospital_id, limit=30)
        regions = care.region_names(session)
    page = render_template(
        "hospital/desk/show.html",
        hospital=hospital,
        level=translate(care.LEVELS[hospital.level]),
        claims=[(claim, *care.labelled(_states(), claim.state.value)) for claim in claims],
        regions=regions,
        today=clock.civil_date(clock.now()),
        entered=request.form,
        errors={field: translate(text) for field, text in (errors or {}).items()},
    )
    return page, status


def _states() -> dict[str, tuple[str, str]]:
    return {state.value: words for state, words in care.CLAIM_STATES.items()}


@blueprint.get("")
@allow(Role.HOSPITAL)
def show() -> tuple[str, int]:
    """The desk: whose card, and the claims of late."""
    return _desk()


@blueprint.post("/claims")
@allow(Role.HOSPITAL)
def register() -> tuple[str, int] | Response:
    """Look the patient up and open a claim for them."""
    now = clock.now()
    admitted_on = care.day(request.form.get("admitted_on", ""))
    if admitted_on is None:
        return _desk({"admitted_on": msg("Enter the day of admission.")}, 422)
    try:
        number = _number(request.form.get("card_number", ""))
        _, found = health.check(database(), card_number=number, on=admitted_on, now=now)
        if not found.in_force:
            return _desk({"card_number": REFUSED["not-covered"]}, 409)
        with transaction() as session:
            claim_id = health.register(
                session,
                hospital_id=_hospital_id(),
                card_number=number,
                admitted_on=admitted_on,
                by=principal().actor,
                now=now,
            )
    except Invalid as refusal:
        return _desk(refusal.fields or {"card_number": type(refusal).sentence}, refusal.status)
    except Refusal as refusal:
        return _desk({"card_number": _words(refusal)}, type(refusal).status)
    return redirect(url_for("hospital_desk.claim", claim_id=claim_id))


def _own(claim_id: UUID) -> health.ClaimView:
    with transaction() as session:
        return health.claim(session, claim_id, hospital_id=_hospital_id())


def _entered(found: health.ClaimView) -> list[dict[str, str]]:
    """The rows of the bill's form: what was just sent, what was saved, the demonstration's example, or empty ones."""
    if request.method == "POST":
        rows = [
            {name: request.form.get(f"{name}-{number}", "") for name in ("code", "quantity", "price")}
            for number in range(1, LINES + 1)
        ]
    elif found.lines:
        rows = [{"code": line.code, "quantity": "1", "price": f"{line.amount:.2f}"} for line in found.lines]
    elif settings().demonstration:
        rows = [{"code": code, "quantity": "1", "price": ""} for code in EXAMPLE]
    else:
        rows = []
    return rows + [{"code": "", "quantity": "1", "price": ""}] * max(0, LINES - len(rows))


def _page(claim_id: UUID, errors: dict[str, str] | None = None, status: int = 200) -> tuple[str, int]:
    found = _own(claim_id)
    eligibility, eligibility_problem = None, ""
    if care.is_open(found):
        try:
            _, eligibility = health.check(database(), card_number=found.card_number, on=found.admitted_on, now=clock.now())
        except Refusal as refusal:
            eligibility_problem = _words(refusal)
    with transaction() as session:
        regions = care.region_names(session)
        catalogue = health.catalogue(session, on=found.admitted_on)
    page = render_template(
        "hospital/desk/claim.html",
        claim=found,
        number=credentials.card_number.spaced(found.card_number),
        state=care.labelled(_states(), found.state.value),
        insured=regions.get(found.insured_region, found.insured_region),
        eligibility=eligibility,
        eligibility_problem=eligibility_problem,
        scheme=translate(care.SCHEMES[eligibility.scheme]) if eligibility and eligibility.scheme else "",
        person_status=translate(care.STATUSES[eligibility.status]) if eligibility and eligibility.status else "",
        filing=translate(care.KINDS[eligibility.filing]) if eligibility and eligibility.filing else "",
        catalogue=catalogue,
        classes={item: translate(text) for item, text in care.CLASSES.items()},
        open=care.is_open(found),
        rows=_entered(found),
        lines=[(line, translate(care.CLASSES[line.item_class]), [care.told(s) for s in line.steps]) for line in found.lines],
        pieces=care.pieces(found.split) if found.split else [],
        steps=[care.told(step) for step in found.split.steps] if found.split else [],
        cash_minor=found.split.paid_by(health.Payer.CASH) if found.split else 0,
        errors={field: translate(text) for field, text in (errors or {}).items()},
    )
    return page, status


@blueprint.get("/claims/<uuid:claim_id>")
@allow(Role.HOSPITAL)
def claim(claim_id: UUID) -> tuple[str, int]:
    """One claim: the patient's coverage, the bill, the split, the receipt."""
    return _page(claim_id)


@blueprint.post("/claims/<uuid:claim_id>/bill")
@allow(Role.HOSPITAL)
def bill(claim_id: UUID) -> tuple[str, int] | Response:
    """Save the bill and have the split foreseen. No money moves."""
    _own(claim_id)
    try:
        lines = _lines()
        with transaction() as session:
            health.set_lines(session, claim_id=claim_id, lines=lines)
        health.pre_settle(database(), claim_id=claim_id, now=clock.now())
    except Invalid as refusal:
        return _page(claim_id, refusal.fields or {"code-1": type(refusal).sentence}, refusal.status)
    except Refusal as refusal:
        return _page(claim_id, {"code-1": _words(refusal)}, type(refusal).status)
    return redirect(url_for("hospital_desk.claim", claim_id=claim_id) + "#split")


def _lines() -> list[LineAsked]:
    lines: list[LineAsked] = []
    fields: dict[str, str] = {}
    for number in range(1, LINES + 1):
        code = request.form.get(f"code-{number}", "").strip()
        if not code:
            continue
        quantity = _decimal(request.form.get(f"quantity-{number}", "1"))
        typed = request.form.get(f"price-{number}", "").strip()
        price = _decimal(typed) if typed else None
        if quantity is None or quantity <= 0:
            fields[f"quantity-{number}"] = msg("The quantity must be more than zero.")
        elif typed and (price is None or price < 0):
            fields[f"price-{number}"] = msg("Enter the price in yuan, such as 35.00.")
        else:
            lines.append(LineAsked(code=code, quantity=quantity, unit_price_minor=None if price is None else int(price * 100)))
    if not lines and not fields:
        fields["code-1"] = msg("A claim needs at least one line.")
    if fields:
        raise Invalid(fields=fields)
    return lines


def _decimal(text: str) -> Decimal | None:
    try:
        found = Decimal(text.replace(",", "").strip())
    except InvalidOperation:
        return None
    return found if found.is_finite() and found < 10_000_000 else None  # noqa: PLR2004  more than any bill


@blueprint.post("/claims/<uuid:claim_id>/settle")
@allow(Role.HOSPITAL)
def settle(claim_id: UUID) -> Response:
    """Settle: funds and accounts pay at once, the rest is paid here."""
    _own(claim_id)
    try:
        health.settle(database(), claim_id=claim_id, by=principal().actor, now=clock.now())
        flash(gettext("Settled. Take the rest at the desk and hand over the receipt."), "success")
    except Refusal as refusal:
        flash(_words(refusal), "error")
    return redirect(url_for("hospital_desk.claim", claim_id=claim_id))


@blueprint.post("/claims/<uuid:claim_id>/reverse")
@allow(Role.HOSPITAL)
def reverse(claim_id: UUID) -> Response:
    """Take a settlement back on both sides."""
    _own(claim_id)
    try:
        health.reverse(
            database(), claim_id=claim_id, reason=request.form.get("reason", ""), by=principal().actor, now=clock.now()
        )
        flash(gettext("Reversed. Give back what was paid at the desk."), "success")
    except Invalid as refusal:
        flash(" ".join(translate(text) for text in refusal.fields.values()), "error")
    except Refusal as refusal:
        flash(_words(refusal), "error")
    return redirect(url_for("hospital_desk.claim", claim_id=claim_id))
