"""``flask …``: what an administrator does from a terminal."""

import signal
import time
from threading import Event
from typing import cast

import click
import structlog
from alembic import command
from flask import Flask, current_app
from flask.cli import with_appcontext

from app import logins, migrate, reference, wiring
from app.kernel import city, clock, garbage, outbox
from app.kernel.db import CLOCK_AHEAD, Database, Right
from app.kernel.settings import Settings
from app.web.oauth.cli import group as clients
from card import ledger
from card.cards.cli import group as cards
from card.ledger.cli import group as books
from card.partners.cli import federation
from card.transit.cli import COMMANDS as TRANSIT_COMMANDS
from services.payments.cli import group as payments

log = structlog.get_logger()


@click.command("migrate")
@click.option("--to", default="head", help="Revision to go to.")
def migrate_command(to: str) -> None:
    """Bring the database to the newest revision."""
    settings = cast("Settings", current_app.extensions["settings"])
    command.upgrade(migrate.configuration(settings.database_url), to)
    click.echo(f"database of {settings.city_code} is at {to}")


@click.command("worker")
@click.option("--once", is_flag=True, help="Deliver what is due and run every job once, then stop.")
def worker_command(once: bool) -> None:
    """Deliver events and run the scheduled jobs until told to stop."""
    database = cast("Database", current_app.extensions["database"])
    settings = cast("Settings", current_app.extensions["settings"])
    seen_as = {Right.APPLICATION: database, Right.SEALER: Database.of(settings, Right.SEALER)}
    stop = Event()
    if not once:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    due = dict.fromkeys((job.name for job in wiring.JOBS), 0.0)  # by the machine's ticks: a clock that steps delays no job
    garbage.settle()
    while not stop.is_set():
        busy = _deliver(database, stop)
        for job in wiring.JOBS:
            if due[job.name] <= time.monotonic():
                due[job.name] = time.monotonic() + job.every_seconds
                _run(job, seen_as[job.right], settings)
        if once:
            return
        if not busy:
            stop.wait(0.2)


@click.command("check-books")
@with_appcontext
def check_books_command() -> None:
    """Prove that every balance is the sum of its entries and that everything sums to zero; fail with what is wrong."""
    settings = cast("Settings", current_app.extensions["settings"])
    database = Database.of(settings, Right.REPORTS)
    with database.transaction() as session:
        report = ledger.check_books(session)
        report.findings.extend(ledger.check_proofs(session, key=ledger.checkpoint_verifier(settings)))
        report.findings.extend(ledger.check_archive(session, city.city_from(settings)))
    database.close()
    for finding in report.findings:
        click.echo(f"{finding.kind.value}: {finding.subject}: expected {finding.expected}, found {finding.found}", err=True)
    scope = f"{report.accounts} accounts, {report.transfers} transfers in {report.batches} batches"
    if not report.right:
        raise click.ClickException(f"the books of {settings.city_code} are WRONG: {len(report.findings)} findings in {scope}")
    click.echo(f"the books of {settings.city_code} are right: {scope}, {report.took.total_seconds():.2f} s")


@click.command("logins")
@with_appcontext
def logins_command() -> None:
    """Make a database login for the application, the sealer and the reports, and print their settings; run as the owner."""
    settings = cast("Settings", current_app.extensions["settings"])
    for setting, url in logins.make(settings.database_url, city_code=settings.city_code).items():
        click.echo(f"{setting}={url}")


@click.command("reference")
@with_appcontext
def reference_command() -> None:
    """Write docs/reference from what the code declares."""
    changed = reference.write(current_app)
    click.echo(f"docs/reference: {', '.join(changed) if changed else 'nothing changed'}")


def _deliver(database: Database, stop: Event) -> bool:
    """Deliver what is due; whether there was anything."""
    busy = False
    try:
        while not stop.is_set() and outbox.deliver_one(database, wiring.HANDLERS, wiring.COURIERS, now=clock.now()):
            busy = True
    except Exception as error:
        log.warning("worker.delivery", exc_info=error)
        stop.wait(1)
    return busy


def _run(job: wiring.Job, database: Database, settings: Settings) -> None:
    try:
        if job.by_the_clock and abs(skew := database.skew(clock.now())) > CLOCK_AHEAD:
            log.error("worker.clock", job=job.name, skew_seconds=skew.total_seconds())
            return
        job.run(database, settings)
    except Exception as error:
        log.warning("worker.job", job=job.name, exc_info=error)


def install(app: Flask) -> None:
    """Add the commands to ``flask``."""
    app.cli.add_command(migrate_command)
    app.cli.add_command(worker_command)
    app.cli.add_command(clients)
    app.cli.add_command(payments)
    app.cli.add_command(check_books_command)
    app.cli.add_command(logins_command)
    app.cli.add_command(reference_command)
    app.cli.add_command(books)
    app.cli.add_command(federation)
    app.cli.add_command(cards)
    for transit_command in TRANSIT_COMMANDS:
        app.cli.add_command(transit_command)
