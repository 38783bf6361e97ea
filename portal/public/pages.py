"""The start page, a page for each audience, and what the city says about itself."""

from dataclasses import dataclass
from typing import Final

from flask import Blueprint, Response, render_template

from app.kernel.errors import NotFound, msg
from app.web.auth import public
from app.web.db import settings, transaction
from app.web.i18n import DEFAULT, language, translate
from card import partners
from portal.kit import display, navigation

blueprint = Blueprint("public", __name__)


@dataclass(frozen=True, kw_only=True)
class Door:
    """One thing a visitor can do: its ``title`` and ``text`` (message ids) and the address that does it.

    Where this process has no such page, the door leads to ``otherwise``, an address that explains.
    """

    title: str
    text: str
    icon: str
    path: str
    otherwise: str

    @property
    def href(self) -> str:
        """Where the door leads."""
        return self.path if navigation.leads(self.path) else self.otherwise


DOORS: Final = (
    Door(
        title=msg("Apply for a service"),
        text=msg("Find out whether you qualify, apply, follow your case and get the decision."),
        icon="services",
        path="/services",
        otherwise="/for/residents#services",
    ),
    Door(
        title=msg("See your card and top it up"),
        text=msg("Show the code at a gate, see every fen that came and went, block a lost card."),
        icon="card",
        path="/me/card",
        otherwise="/for/residents#card",
    ),
    Door(
        title=msg("Use it in another city"),
        text=msg("Ride the metro and the bus there with the card you have here."),
        icon="places",
        path="/me/journeys",
        otherwise="/for/residents#elsewhere",
    ),
    Door(
        title=msg("See a doctor"),
        text=msg("Pay only your own part, here or in another city, and see who paid the rest."),
        icon="health",
        path="/me/health",
        otherwise="/for/residents#health",
    ),
    Door(
        title=msg("Pension and allowances"),
        text=msg("See how your pension was computed and when it reaches your card."),
        icon="pension",
        path="/me/benefits",
        otherwise="/for/residents#benefits",
    ),
    Door(
        title=msg("Check a certificate"),
        text=msg("Scan or type what is printed on a decision and see whether it is genuine."),
        icon="shield",
        path="/verify",
        otherwise="/for/residents",
    ),
)

AUDIENCES: Final = ("residents", "operators", "hospitals", "cities", "officers")


@blueprint.get("/")
@public
def start() -> str:
    """What can be done here, in five seconds. The hub has a start page of its own."""
    if settings().is_hub:
        return render_template("public/start/hub.html", cities=directory())
    return render_template("public/start/city.html", doors=DOORS, places=directory())


@dataclass(frozen=True, kw_only=True)
class Place:
    """A city where the card is good."""

    code: str
    name: str
    url: str


def directory() -> list[Place]:
    """The cities that have joined, with their names in the page's language."""
    with transaction() as session:
        return [
            Place(code=city.code, name=city.name_zh if language() == DEFAULT else city.name_en, url=city.url)
            for city in partners.cities(session)
        ]


@blueprint.get("/for/<who>")
@public
def audience(who: str) -> str:
    """What one audience does here and how it begins."""
    if who not in AUDIENCES:
        raise NotFound
    return render_template(f"public/for/{who}.html", who=who)


@blueprint.get("/accessibility")
@public
def accessibility() -> str:
    """How usable these pages are, and what to do where they are not."""
    return render_template("public/about/accessibility.html")


@blueprint.get("/privacy")
@public
def privacy() -> str:
    """What is kept about a person, why, and what they can do about it."""
    return render_template("public/about/privacy.html")


def _icon(size: int) -> dict[str, str]:
    return {"src": display.asset(f"kit/icon-{size}.png"), "sizes": f"{size}x{size}", "type": "image/png"}


@blueprint.get("/manifest.webmanifest")
@public
def manifest() -> Response:
    """What a phone needs to put the portal on its home screen."""
    return display.manifest(translate("Citizen Card"), start="/")
