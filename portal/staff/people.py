"""``/staff/people``: look a resident up, for a purpose that the resident can read."""

from typing import Final

from flask import Blueprint, render_template, request

from app.kernel import clock
from app.kernel.errors import Refusal, msg
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import language, translate
from card import cards, ledger
from portal.kit import dates
from services import people, registries

blueprint = Blueprint("staff_people", __name__, url_prefix="/staff/people")

OFFICES: Final = {Role.SUPERVISOR: msg("Supervisor, city desk"), Role.OFFICER: msg("Officer, city desk")}
STATES: Final = {
    cards.Status.ISSUED: msg("Not activated yet"),
    cards.Status.ACTIVE: msg("Active"),
    cards.Status.BLOCKED: msg("Blocked"),
    cards.Status.REPLACED: msg("Replaced"),
    cards.Status.EXPIRED: msg("Expired"),
}
FACTS: Final = (*registries.BASIC_FACTS, msg("Cards and balance"))


def _office() -> str:
    """The post that the resident is told of."""
    return next((name for role, name in OFFICES.items() if role in principal().roles), msg("Administrator, city desk"))


def _page(errors: dict[str, str] | None = None, status: int = 200) -> tuple[str, int]:
    page = render_template(
        "staff/people/show.html",
        purposes=[(purpose.value, basis.label) for purpose, basis in registries.BASES.items()],
        values=request.form,
        errors={field: translate(text) for field, text in (errors or {}).items()},
    )
    return page, status


@blueprint.get("")
@allow(Role.OFFICER, Role.SUPERVISOR)
def show() -> tuple[str, int]:
    """The form. A number travels in a form's body, never in an address."""
    return _page()


@blueprint.post("")
@allow(Role.OFFICER, Role.SUPERVISOR)
def look_up() -> tuple[str, int] | str:
    """The person, with the look-up written into their log in the same transaction."""
    now = clock.now()
    try:
        with transaction() as session:
            person = registries.look_up(
                session,
                number=request.form.get("identity_number", ""),
                seen_by=principal().actor,
                office=_office(),
                purpose=request.form.get("purpose", ""),
                reference=request.form.get("reference", ""),
                facts=FACTS,
                now=now,
            )
            held = cards.cards_of(session, person.id)
            purse = ledger.open_account(session, ledger.chart.purse(person.id), now=now)
            balance = ledger.balance(session, purse)
    except registries.PurposeMissing as refusal:
        return _page(refusal.fields, refusal.status)
    except people.UnknownPerson as refusal:
        return _page({"identity_number": _sentence(refusal)}, refusal.status)
    return render_template(
        "staff/people/found.html",
        person=person,
        name=person.called(language()),
        cards=held,
        cards_rows=[
            (card.number, translate(STATES[card.status]), dates.civil_date(card.issued_at), dates.civil_date(card.expires_on))
            for card in held
        ],
        balance=balance,
    )


def _sentence(refusal: Refusal) -> str:
    return type(refusal).sentence
