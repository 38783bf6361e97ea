"""``flask import-gtfs`` and ``flask export-gtfs``: feeds from a terminal window."""

from pathlib import Path
from typing import cast

import click
from flask import current_app
from flask.cli import with_appcontext

from app.kernel import clock
from app.kernel.db import Database
from card.fares import FeedRefused
from card.transit import network


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


COMMANDS = (import_gtfs, export_gtfs)
