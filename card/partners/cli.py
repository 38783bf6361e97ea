"""``flask federation …``: install trust, ask to join, admit, look."""

import json
from typing import cast

import click
from flask import current_app

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.signing import Purpose
from card.partners import actions, gateway, identity, queries


def _database() -> Database:
    return cast("Database", current_app.extensions["database"])


@click.group("federation")
def federation() -> None:
    """Trust between cities."""


@federation.command("anchor")
def anchor() -> None:
    """Print our public federation key as a JWK set. The hub's is what every city installs as HUB_JWKS_FILE."""
    key = identity.of_database(_database()).key(Purpose.FEDERATION)
    click.echo(json.dumps({"keys": [key.jwk]}, indent=2))


@federation.command("join")
def join() -> None:
    """Hand our entity configuration to the hub."""
    click.echo(gateway.ask_to_join(_database(), now=clock.now()))


@federation.command("admit")
@click.argument("code")
def admit(code: str) -> None:
    """On the hub: admit the city whose request waits."""
    with _database().transaction() as session:
        actions.admit(session, code=code, by="system", now=clock.now())
    click.echo(f"{code} is admitted")


@federation.command("suspend")
@click.argument("code")
def suspend(code: str) -> None:
    """On the hub: stop believing a city, until it is admitted again."""
    with _database().transaction() as session:
        actions.suspend(session, code=code, by="system", now=clock.now())
    click.echo(f"{code} is suspended")


@federation.command("withdraw")
@click.argument("code")
def withdraw(code: str) -> None:
    """On the hub: take a city out, until it asks to join again (with other keys, where it lost its own)."""
    with _database().transaction() as session:
        actions.withdraw(session, code=code, by="system", now=clock.now())
    click.echo(f"{code} is withdrawn")


@federation.command("refresh")
def refresh() -> None:
    """Resolve every partner along the chain now."""
    click.echo(f"{gateway.refresh(_database(), now=clock.now())} partners hold")


@federation.command("list")
def show() -> None:
    """Print the directory."""
    with _database().transaction() as session:
        for entry in queries.directory(session):
            click.echo(f"{entry.city.code} {entry.state:<10} {entry.city.name_en:<12} {entry.city.url}")
