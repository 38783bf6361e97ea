"""``flask import-gtfs``, ``export-gtfs``, ``what-if`` and ``what-if-run``: feeds and drafts from a terminal window."""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import cast
from uuid import UUID

import click
from flask import current_app
from flask.cli import with_appcontext

from app.kernel import clock
from app.kernel.city import city_of
from app.kernel.db import Database
from app.kernel.money import major
from app.kernel.settings import Settings
from card import fares
from card.fares import FeedRefused
from card.transit import drafts, network
from card.transit.repricing import Group, Plan, WhatIf, bounds, each_part, plan, write_part


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


def _price(made: Plan, ends: list[str], parts: list[int], *, processes: int) -> Iterator[tuple[int, dict[str, Group], int]]:
    settings = cast("Settings", current_app.extensions["settings"])
    begun, read = time.monotonic(), 0
    url = settings.database_application_url or settings.database_url
    for done, found in enumerate(each_part(made, ends, parts, url=url, processes=processes), start=1):
        yield found
        read += found[2]
        rate = read / (time.monotonic() - begun)
        click.echo(f"{done} of {len(parts)} parts, {read:,} taps, {rate:,.0f} a second", err=True)


def _show(found: WhatIf) -> None:
    click.echo(f"{'group':<16}{'cards':>9}{'journeys':>11}{'now':>16}{'draft':>16}{'dearer':>9}{'cheaper':>9}")
    for name, group in [*sorted(found.groups.items()), ("all", found.total)]:
        now, then = f"{major(group.now_minor):,.2f}", f"{major(group.draft_minor):,.2f}"
        click.echo(f"{name:<16}{group.cards:>9}{group.journeys:>11}{now:>16}{then:>16}{group.dearer:>9}{group.cheaper:>9}")


@click.command("what-if")
@click.argument("draft", type=click.Path(exists=True, path_type=Path))
@click.option("--operator", "operator_id", required=True, help="Whose taps.")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), required=True, help="First card-day.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), required=True, help="Last card-day, included.")
@click.option("--processes", default=2, show_default=True, help="How many processes price at once.")
@with_appcontext
def what_if_command(draft: Path, operator_id: str, first: datetime, last: datetime, processes: int) -> None:
    """Price past taps under a draft feed and compare by rider group; nothing is changed."""
    with _database().transaction() as session:
        tariffs = fares.publish(fares.read_feed(draft), city=city_of(session).code).tariffs
        drafted = max((one for one in tariffs if one.operator == operator_id), key=lambda one: one.effective_from, default=None)
        if drafted is None:
            raise click.ClickException(f"{operator_id} is not in the draft")
        made = plan(session, drafted=drafted, first=first.date(), last=last.date())
        ends, _ = bounds(session, operator_id=operator_id, first=first.date(), last=last.date())
    found = WhatIf(operator_id=operator_id, first=first.date(), last=last.date())
    for _, groups, _ in _price(made, ends, list(range(len(ends))), processes=processes):
        found.count(groups)
    _show(found)


@click.command("what-if-run")
@click.argument("run_id", type=click.UUID)
@click.option("--processes", default=2, show_default=True, help="How many processes price at once.")
@with_appcontext
def what_if_run_command(run_id: UUID, processes: int) -> None:
    """Price what is left of a run that was asked for on the operator's pages, as fast as this machine can."""
    with _database().transaction() as session:
        made = drafts.begin_run(session, run_id, now=clock.now())
    with _database().transaction() as session:
        left = drafts.parts_left(session, run_id)
        ends = drafts.bounds_of(session, run_id)
    for part, groups, taps in _price(made, ends, left, processes=processes):
        with _database().transaction() as session:
            write_part(session, run_id, part, groups, taps, now=clock.now())
    with _database().transaction() as session:
        drafts.end_run(session, run_id, now=clock.now())
        _show(drafts.what_if_run(session, run_id, operator_id=made.operator_id).found)


COMMANDS = (import_gtfs, export_gtfs, what_if_command, what_if_run_command)
