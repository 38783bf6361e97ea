"""``flask clients …``: the systems that may ask for tokens."""

import json
from typing import TextIO, cast

import click
from flask import current_app
from flask.cli import AppGroup

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.errors import Invalid, Refusal
from app.web.oauth import clients

group = AppGroup("clients", help="Systems of operators, hospitals and others that may ask for access tokens.")


def _database() -> Database:
    return cast("Database", current_app.extensions["database"])


@group.command("add")
@click.argument("client_id")
@click.option("--name", required=True, help="What people call it.")
@click.option("--organisation", default=None, help="Operator id, hospital id or city code that it works for.")
@click.option("--scope", "scopes", multiple=True, required=True, help="A scope it may ask for; repeat for more.")
@click.option("--jwks", "file", type=click.File("r"), required=True, help="File with its public JSON Web Key Set.")
def add(client_id: str, name: str, organisation: str | None, scopes: tuple[str, ...], file: TextIO) -> None:
    """Register a client by its public keys."""
    try:
        jwks = json.loads(file.read())
        with _database().transaction() as session:
            clients.register(
                session,
                client_id=client_id,
                name=name,
                organisation=organisation,
                scopes=frozenset(scopes),
                jwks=jwks,
                now=clock.now(),
                by="system",
            )
    except json.JSONDecodeError as error:
        raise click.ClickException(f"The file of keys is not JSON: {error}") from error
    except Invalid as refusal:
        raise click.ClickException("; ".join(f"{field}: {text}" for field, text in refusal.fields.items())) from refusal
    except Refusal as refusal:
        raise click.ClickException(type(refusal).sentence) from refusal
    click.echo(f"{client_id} may ask for: {' '.join(sorted(scopes))}")


@group.command("list")
def list_command() -> None:
    """Every client that is not closed."""
    with _database().transaction() as session:
        for client in clients.listed(session):
            click.echo(f"{client.client_id}\t{client.name}\t{client.organisation or '-'}\t{' '.join(sorted(client.scopes))}")


@group.command("close")
@click.argument("client_id")
def close_command(client_id: str) -> None:
    """End a client; its tokens stop counting at once."""
    try:
        with _database().transaction() as session:
            clients.close(session, client_id=client_id, now=clock.now())
    except Refusal as refusal:
        raise click.ClickException(type(refusal).sentence) from refusal
    click.echo(f"{client_id} is closed")
