"""What each audience finds in its navigation.

Add a screen by adding one ``Item`` to its audience. An item shows where its view exists in this process (the hub has pages
of its own) and its access declaration admits the person who is signed in, so nobody is shown a door that is locked to them.
A test holds that every endpoint named here exists.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from flask import current_app, request, url_for
from werkzeug.exceptions import HTTPException

from app.kernel.errors import msg
from app.web.auth import Caller, Role, access_of, principal_or_none
from app.web.i18n import translate


class Audience(StrEnum):
    """Whose navigation a page carries."""

    PUBLIC = "public"
    RESIDENT = "resident"
    STAFF = "staff"
    OPERATOR = "operator"
    HOSPITAL = "hospital"
    PARTNER = "partner"
    HUB = "hub"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One entry: the ``endpoint`` it opens (without arguments), its ``label`` (a message id), and what else lies under it."""

    endpoint: str
    label: str
    under: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Link:
    """An entry as the page shows it."""

    href: str
    text: str
    current: bool


MENU: Final[dict[Audience, list[Item]]] = {
    Audience.PUBLIC: [
        Item(endpoint="public.start", label=msg("Start")),
        Item(endpoint="services.show", label=msg("Services")),
        Item(endpoint="verify.start", label=msg("Check a certificate")),
    ],
    Audience.RESIDENT: [
        Item(endpoint="home.show", label=msg("My page")),
        Item(endpoint="card.show", label=msg("My card"), under=("/me/receipts",)),
        Item(endpoint="journeys.index", label=msg("Journeys")),
        Item(endpoint="applications.show_all", label=msg("My applications")),
        Item(endpoint="wallet.show", label=msg("My documents")),
        Item(endpoint="resident_health.show", label=msg("Health")),
        Item(endpoint="resident_benefits.show", label=msg("Pension and allowances")),
        Item(endpoint="resident_bills.show", label=msg("Bills to pay")),
        Item(endpoint="messages.index", label=msg("Messages")),
        Item(endpoint="data.show", label=msg("Who saw my data")),
        Item(endpoint="security.show", label=msg("Sign-in and security")),
    ],
    Audience.STAFF: [
        Item(endpoint="staff_home.show", label=msg("City desk")),
        Item(endpoint="cases.queue", label=msg("Cases")),
        Item(endpoint="staff_payment_runs.show", label=msg("Payment runs")),
        Item(endpoint="staff_filings.show", label=msg("Treatment elsewhere")),
        Item(endpoint="staff_people.show", label=msg("Look a resident up")),
        Item(endpoint="staff_cards.find", label=msg("Cards")),
        Item(endpoint="staff_rides.index", label=msg("Unpaid rides")),
        Item(endpoint="staff_clearing.index", label=msg("Clearing")),
        Item(endpoint="staff_ledger.chart", label=msg("The books")),
    ],
    Audience.OPERATOR: [
        Item(endpoint="operator.start", label=msg("Today")),
        Item(endpoint="operator.terminals", label=msg("Terminals"), under=("/operator/keys",)),
        Item(endpoint="operator_taps.show", label=msg("Taps")),
        Item(endpoint="inspect.show", label=msg("Check a card")),
        Item(endpoint="operator_watch.alarms", label=msg("Alarms")),
        Item(endpoint="operator.journeys", label=msg("Journeys")),
        Item(endpoint="operator_books.revenue", label=msg("Revenue")),
        Item(endpoint="operator.statement", label=msg("Daily statement"), under=("/operator/shares",)),
        Item(endpoint="operator.questions", label=msg("Questions")),
        Item(endpoint="operator.tariffs", label=msg("Fares and lines")),
    ],
    Audience.HOSPITAL: [
        Item(endpoint="hospital_desk.show", label=msg("Hospital desk")),
    ],
    Audience.PARTNER: [Item(endpoint="partner_clearing.index", label=msg("Clearing"))],
    Audience.HUB: [
        Item(endpoint="hub.index", label=msg("Positions")),
        Item(endpoint="hub.directory", label=msg("Cities")),
    ],
}

PLACES: Final = {
    "/me": Audience.RESIDENT,
    "/staff": Audience.STAFF,
    "/operator": Audience.OPERATOR,
    "/hospital": Audience.HOSPITAL,
    "/partner": Audience.PARTNER,
    "/hub": Audience.HUB,
}

NAMES: Final = {
    Audience.RESIDENT: msg("My page"),
    Audience.STAFF: msg("City desk"),
    Audience.OPERATOR: msg("Operator console"),
    Audience.HOSPITAL: msg("Hospital desk"),
    Audience.PARTNER: msg("Partner city desk"),
    Audience.HUB: msg("Province hub"),
}

HOMES: Final = {
    Role.RESIDENT: Audience.RESIDENT,
    Role.OFFICER: Audience.STAFF,
    Role.SUPERVISOR: Audience.STAFF,
    Role.ADMINISTRATOR: Audience.STAFF,
    Role.AUDITOR: Audience.STAFF,
    Role.OPERATOR: Audience.OPERATOR,
    Role.HOSPITAL: Audience.HOSPITAL,
    Role.PARTNER: Audience.PARTNER,
}


HUB_STAFF: Final = (Role.OFFICER, Role.SUPERVISOR, Role.ADMINISTRATOR)  # where this process is the hub


def audience() -> Audience:
    """Whose page this is, by its address: ``/me/card`` is a resident's."""
    first = "/" + request.path.split("/", 2)[1]
    return PLACES.get(first, Audience.PUBLIC)


def exists(endpoint: str) -> bool:
    """Whether this process has the view."""
    return endpoint in current_app.view_functions


def leads(path: str) -> bool:
    """Whether this process has a page at the address ``path``."""
    try:
        current_app.url_map.bind("").match(path, method="GET")
    except HTTPException:
        return False
    return True


def admits(endpoint: str) -> bool:
    """Whether the view exists and lets in whoever is looking at this page."""
    access = access_of(current_app.view_functions.get(endpoint))
    if access is None:
        return False
    if access.caller is Caller.ANYONE:
        return True
    who = principal_or_none()
    return access.caller is Caller.PERSON and who is not None and (not access.roles or bool(access.roles & who.roles))


def links(of: Audience) -> list[Link]:
    """The entries of an audience that are open to whoever is looking, with the present one marked."""
    doors = [(item, url_for(item.endpoint)) for item in MENU[of] if admits(item.endpoint)]
    here = _closest([address for item, href in doors for address in (href, *item.under)])
    return [Link(href=href, text=translate(item.label), current=here in (href, *item.under)) for item, href in doors]


def _closest(addresses: list[str]) -> str:
    """The address that the present page lies at or under; the longest where several fit."""
    fitting = [
        address
        for address in addresses
        if request.path == address or (len(address) > 1 and request.path.startswith(address.rstrip("/") + "/"))
    ]
    return max(fitting, key=len, default="")


def homes() -> list[Link]:
    """The desks of the person who is signed in: the first open page of each audience their roles give them."""
    who = principal_or_none()
    if who is None:
        return []
    found: dict[Audience, Link] = {}
    for role, place in (*HOMES.items(), *((role, Audience.HUB) for role in HUB_STAFF)):
        if role in who.roles and place not in found:
            first = next(iter(links(place)), None)
            if first:
                found[place] = Link(href=first.href, text=translate(NAMES[place]), current=audience() is place)
    return list(found.values())
