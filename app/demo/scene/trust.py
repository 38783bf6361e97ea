"""How the cities of the demonstration come to trust each other: through the province, as real ones do."""

from datetime import datetime

from flask import Flask

from app.demo.cities import HUB, City
from app.kernel.db import Database
from app.kernel.settings import Settings
from card import partners


def pin_anchor(settings: dict[City, Settings]) -> None:
    """Give each city the province's public key: the one thing that is carried by hand."""
    for city, own in settings.items():
        if city is not HUB:
            partners.install_anchor(own, hub_keys=settings[HUB].keys_dir)


def admit(database: Database, settings: dict[City, Settings], *, now: datetime) -> None:
    """Let the province admit the cities of the demonstration, as an officer there would."""
    for city, own in settings.items():
        if city is HUB:
            continue
        configuration = partners.own_configuration(partners.of_settings(own), now=now)
        with database.transaction() as session:
            partners.request_join(session, configuration=configuration, now=now)
            partners.admit(session, code=city.code, by="system", now=now)


def meet(app: Flask, *, now: datetime) -> None:
    """Let a city resolve its peers along the chain, now rather than at the worker's next turn."""
    partners.refresh(app.extensions["database"], now=now)
