"""``flask ledger …``: what the owner of the database does with the books over the years."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app.kernel import city, clock
from app.kernel.db import Database, Right, psycopg_url
from app.kernel.errors import Refusal
from app.kernel.settings import Settings
from card.ledger import archive, jobs, shards
from card.ledger.shelf import Month, folder_of


@click.group("ledger")
def group() -> None:
    """Archive old months; distribute the tables over many machines."""


def _settings() -> Settings:
    return cast("Settings", current_app.extensions["settings"])


@contextmanager
def _owner() -> Iterator[Session]:
    """A transaction as the owner of the database; a refusal ends the command with its sentence and code."""
    settings = _settings()
    try:
        with Session(create_engine(psycopg_url(settings.database_url), poolclass=NullPool)) as session, session.begin():
            session.info[city.INFO] = city.city_from(settings)
            yield session
    except Refusal as refusal:
        detail = f" ({refusal})" if str(refusal) else ""
        raise click.ClickException(f"{refusal.sentence} [{refusal.code}]{detail}") from refusal


@group.command("archive")
@click.option("--month", required=True, help="The month to take out, as 2026-01.")
@click.option("--keep-table", is_flag=True, help="Leave the detached table in the database.")
@with_appcontext
def archive_command(month: str, *, keep_table: bool) -> None:
    """Write a month to files, verify them, take it out of the books' table, verify again, drop it."""
    settings = _settings()
    here = city.city_from(settings)
    jobs.fold_settled(Database.of(settings, Right.SEALER), all_of_it=True)
    with _owner() as session:
        asked = Month.parse(month)
        manifest = archive.write(session, here, asked, now=clock.now())
    click.echo(f"{asked.name}: {manifest['transfers']} transfers of {manifest['batches']} batches in {folder_of(here, asked)}")
    with _owner() as session:
        archive.detach(session, here, asked, now=clock.now())
    click.echo(f"{asked.name}: detached")
    if not keep_table:
        with _owner() as session:
            archive.drop(session, here, asked)
        click.echo(f"{asked.name}: verified again and dropped")


@group.command("distribute")
@click.option("--show", is_flag=True, help="Only print what would be run.")
@with_appcontext
def distribute_command(*, show: bool) -> None:
    """Spread the ledger's tables over the machines of a Citus cluster, by their shard."""
    if show:
        click.echo(";\n".join(shards.plan()) + ";")
        return
    with _owner() as session:
        run = shards.distribute(session)
    click.echo(f"{len(run)} statements run: the ledger is distributed")
