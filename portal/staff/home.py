"""``/staff``: where a city officer begins the day."""

from dataclasses import dataclass
from typing import Final

from flask import Blueprint, render_template, url_for

from app.kernel.errors import msg
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import language, translate
from card import ledger
from portal.kit import navigation
from services import messages, people

blueprint = Blueprint("staff_home", __name__, url_prefix="/staff")


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A place of work as its panel shows it; ``icon`` is a drawing of ``kit/icons.html``."""

    href: str
    label: str
    text: str
    icon: str


HERE: Final = "staff_home.show"
TEXTS: Final = {
    "cases.queue": (msg("What is due first stands on top"), "list"),
    "staff_payment_runs.show": (msg("Prepare, approve, pay onto the cards"), "pension"),
    "staff_filings.show": (msg("Filings of residents who are treated in another city"), "health"),
    "staff_cards.find": (msg("Find, block, replace"), "card"),
    "staff_people.show": (msg("By identity number, with a purpose. The resident sees it."), "search"),
    "staff_rides.index": (msg("Copied codes, debts, and who bears them"), "journey"),
    "staff_clearing.index": (msg("Files, differences and disputes with other cities"), "places"),
    "staff_ledger.chart": (msg("Accounts, transfers, trial balance"), "money"),
}

ROLE_NAMES: Final = {
    Role.OFFICER: msg("Officer"),
    Role.SUPERVISOR: msg("Supervisor"),
    Role.ADMINISTRATOR: msg("Administrator"),
    Role.AUDITOR: msg("Auditor"),
}


def open_desks() -> list[Desk]:
    """The places of the navigation that are open to whoever is signed in."""
    found = []
    for item in navigation.MENU[navigation.Audience.STAFF]:
        if item.endpoint == HERE or not navigation.admits(item.endpoint):
            continue
        text, icon = TEXTS.get(item.endpoint, ("", "building"))
        found.append(Desk(href=url_for(item.endpoint), label=translate(item.label), text=translate(text), icon=icon))
    return found


@blueprint.get("")
@allow(Role.OFFICER, Role.SUPERVISOR, Role.ADMINISTRATOR, Role.AUDITOR)
def show() -> str:
    """The desks, and what was written to this officer."""
    who = principal()
    with transaction() as session:
        person = people.get(session, who.person_id)
        standing = ledger.standing(session) if navigation.admits("staff_ledger.alarms") else 0
        latest = messages.inbox(session, who.person_id, language=language(), limit=3)
    return render_template(
        "staff/home/show.html",
        name=person.called(language()),
        posts=[name for role, name in ROLE_NAMES.items() if role in who.roles],
        desks=open_desks(),
        standing=standing,
        latest=latest,
    )
