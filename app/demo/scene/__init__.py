"""What the demonstration shows: its people, operators, hospitals, and how the cities come to trust each other.

``prepare`` runs at every start, before the servers; ``meet`` runs when they answer. Repeating them changes nothing.
"""

from datetime import datetime
from uuid import UUID

from flask import Flask
from sqlalchemy.orm import Session

from app.demo.cities import CITIES, HUB, NANJING, City, Place
from app.demo.scene import benefits, health, holders, people, transit, trust
from app.factory import create_app
from app.kernel import clock
from app.kernel.db import Database
from app.kernel.settings import Settings
from card.benefits import Category


def prepare(settings: dict[City, Settings]) -> dict[City, Flask]:
    """Put the scene in place; the answer is every city as an application that is ready to be asked."""
    now = clock.now()
    trust.pin_anchor(settings)
    apps: dict[City, Flask] = {city: create_app(own) for city, own in settings.items()}
    for city, app in apps.items():
        database: Database = app.extensions["database"]
        with database.transaction() as session:
            everybody = people.settle_in(session, city, now=now)
            transit.open_lines(session, city, now=now)
            holders.hand_out(session, everybody, now=now)
            insure(session, city, everybody, now=now)
    trust.admit(apps[HUB].extensions["database"], settings, now=now)
    return apps


def insure(session: Session, city: City, everybody: dict[str, UUID], *, now: datetime) -> None:
    """Hospitals and funds in both cities; Zhou's insurance, Qin's pension and the run's other payees in Nanjing."""
    if city is HUB:
        return
    health.hospital_of(session, city.code, now=now)
    benefits.endow_funds(session, now=now)
    if city is NANJING:
        health.worked_claimant(session, holder_id=everybody["zhou"], now=now)
        benefits.working_life(session, holder_id=everybody["zhou"], category=Category.MAN, now=now)
        benefits.worked_purses(session, holder_id=everybody["zhou"], now=now)
        payees = {"A": "qin", "B": "payee-b", "C": "payee-c", "D": "payee-d", "E": "payee-e"}
        benefits.worked_run(
            session,
            holders={letter: everybody[username] for letter, username in payees.items()},
            birth_of_a=people.QIN.born,
            now=now,
        )


def meet(apps: dict[City, Flask]) -> None:
    """When the servers answer: let the cities come to know each other."""
    for city, app in apps.items():
        if city is not HUB:
            trust.meet(app, now=clock.now())
        app.extensions["database"].close()


def table(place: Place) -> str:
    """Addresses and accounts, and what to try first."""
    lines = ["", "  Ready. Everybody's password is  " + people.PASSWORD, ""]
    for city in CITIES:
        lines.append(f"  {city.name_zh} {city.name_en}  →  {place.url(city)}")
        for someone in people.everybody_of(city):
            if someone.why:
                lines.append(f"      {someone.username:<11} {someone.name_latin:<20} {someone.why}")
        lines.append("")
    lines += [
        "  Try first:  sign in at Nanjing as lin and apply for a citizen card;",
        "              then as officer and as supervisor decide on it.",
        "  Or in another window:  make day   (plays a whole day in two cities and shows what everybody owes)",
        "",
        "  Ctrl-C stops everything.",
    ]
    return "\n".join(lines)
