"""``flask import-gtfs`` and ``flask export-gtfs``: feeds from a terminal window."""

from datetime import datetime
from pathlib import Path
from typing import cast

import click
from flask import current_app
from flask.cli import with_appcontext

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.money import major
from card.fares import FeedRefused
from card.transit import network
from card.transit.what_if import what_if


def _database() -> Database:
    return cast("Database", current_app.extensions["database"])


@click.command("import-gtfs")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--feed", "feed_id", help="The feed's name; without it, the file's or folder's.")
@with_appcontext
def import_gtfs(source: Path, feed_id: str | None) -> None:
    """Take a GTFS feed (folder or ZIP file) in: all of it or nothing."""
    try:
        with _database().transaction() as session:
            done = network.import_feed(session, source, feed_id=feed_id or source.stem, by="system", now=clock.now())
    except FeedRefused as refusal:
        for problem in refusal.problems:
            click.echo(f"{problem.file}, line {problem.line}, field {problem.field or '-'}: {problem.reason} ({problem.value})")
        raise click.ClickException("nothing was changed") from refusal
    if done.repeated:
        click.echo(f"{done.feed_id}: the same files were imported before; nothing to do")
        return
    click.echo(
        f"{done.feed_id}: {', '.join(done.operators)}; {done.stops} stops, {done.lines} lines, tariffs {list(done.tariffs)}"
    )
    for file, columns in done.unknown_columns.items():
        click.echo(f"kept though not understood: {file}: {', '.join(columns)}")


@click.command("export-gtfs")
@click.argument("feed_id")
@click.argument("target", type=click.Path(path_type=Path))
@with_appcontext
def export_gtfs(feed_id: str, target: Path) -> None:
    """Write the newest import of a feed to a ZIP file, byte for byte what came in."""
    with _database().transaction() as session:
        target.write_bytes(network.export_feed(session, feed_id).as_zip())
    click.echo(f"{feed_id} is in {target}")


@click.command("what-if")
@click.argument("draft", type=click.Path(exists=True, path_type=Path))
@click.option("--operator", "operator_id", required=True, help="Whose taps.")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), required=True, help="First card-day.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), required=True, help="Last card-day, included.")
@with_appcontext
def what_if_command(draft: Path, operator_id: str, first: datetime, last: datetime) -> None:
    """Price past taps under a draft feed and compare by rider group; nothing is changed."""
    with _database().transaction() as session:
        found = what_if(
            session,
            draft=draft,
            operator_id=operator_id,
            first=first.date(),
            last=last.date(),
            progress=lambda done, cards: click.echo(f"{done} of {cards} cards", err=True),
        )
    click.echo(f"{'group':<16}{'cards':>8}{'journeys':>10}{'now':>14}{'draft':>14}{'dearer':>8}{'cheaper':>9}")
    for name, group in [*sorted(found.groups.items()), ("all", found.total)]:
        now, then = f"{major(group.now_minor):,.2f}", f"{major(group.draft_minor):,.2f}"
        click.echo(f"{name:<16}{group.cards:>8}{group.journeys:>10}{now:>14}{then:>14}{group.dearer:>8}{group.cheaper:>9}")


COMMANDS = (import_gtfs, export_gtfs, what_if_command)
