"""``flask payments …``: what Stripe told us, once more, and how we compare."""

from typing import cast

import click
from flask import current_app
from flask.cli import AppGroup

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.errors import Refusal
from app.kernel.money import major
from services.payments import actions, queries

group = AppGroup("payments", help="Stripe's events and the daily matching.")


def _database() -> Database:
    return cast("Database", current_app.extensions["database"])


@group.command("replay")
@click.argument("event_id")
def replay(event_id: str) -> None:
    """Apply a kept event of Stripe again; what was done is not done twice."""
    try:
        with _database().transaction() as session:
            outcome = actions.replay(session, event_id=event_id, now=clock.now())
    except Refusal as refusal:
        raise click.ClickException(type(refusal).sentence) from refusal
    click.echo(f"{event_id}: {outcome}")


@group.command("matching")
def matching() -> None:
    """The latest days: what Stripe took, what we settled, and every difference."""
    with _database().transaction() as session:
        for day in queries.matchings(session):
            click.echo(
                f"{day.day}\there {major(day.here_minor)}\tStripe {major(day.there_minor)}\t{len(day.breaks)} differences"
            )
            for found in day.breaks:
                click.echo(f"  {found['kind']}\t{found['payment_id']}\t{found['here_minor']}\t{found['there_minor']}")
