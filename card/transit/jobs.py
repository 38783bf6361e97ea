"""What the worker repeats for transit."""

import time
from typing import Final

import structlog

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.errors import Refusal
from app.kernel.settings import Settings
from card import partners
from card.transit import debts, drafts, terminals
from card.transit.completion import complete_all as complete_from_habit
from card.transit.revenue import apportion_days

__all__ = ["apportion_days", "complete_from_habit", "fetch_partner_lists", "price_what_ifs", "recover_debts"]

log = structlog.get_logger()
SLICE_SECONDS: Final = 2.0
DENY_LIST_PATH = "/api/federation/deny-list"


def recover_debts(database: Database, settings: Settings) -> None:
    """Recover what riders owe from purses that can pay again, however the money came in."""
    del settings
    with database.transaction() as session:
        holders = debts.indebted_holders(session)
    for holder_id in holders:
        try:
            with database.transaction() as session:
                debts.recover_debts(session, holder_id=holder_id, now=clock.now())
        except Refusal as refusal:  # the purse paid something else at this moment; the next turn looks again
            log.info("transit.recovery", holder=str(holder_id), code=refusal.code)


def fetch_partner_lists(database: Database, settings: Settings) -> None:
    """Fetch every partner's deny list, so that our gates refuse its blocked cards; one that is away is asked again later."""
    if settings.is_hub:
        return
    with database.transaction() as session:
        cities = [city.code for city in partners.cities(session) if city.code != settings.city_code]
    for city in cities:
        try:
            document = partners.send(database, city, "GET", DENY_LIST_PATH)
            with database.transaction() as session:
                terminals.keep_partner_list(session, city=city, document=document, now=clock.now())
        except Refusal as refusal:
            log.warning("transit.partner-list", partner=city, code=refusal.code)


def price_what_ifs(database: Database, settings: Settings) -> None:
    """Price what-if runs a slice at a time, so that nothing else waits; a run goes on where it was left."""
    del settings
    until = time.monotonic() + SLICE_SECONDS
    with database.transaction() as session:
        runs = drafts.unfinished_runs(session)
    for run_id in runs:
        try:
            with database.transaction() as session:
                made = drafts.begin_run(session, run_id, now=clock.now())
            with database.transaction() as session:
                left = drafts.parts_left(session, run_id)
            for part in left:
                if time.monotonic() > until:
                    return
                drafts.price_one_part(database, run_id, made, part, now=clock.now())
            with database.transaction() as session:
                drafts.end_run(session, run_id, now=clock.now())
        except Refusal as refusal:
            log.warning("transit.what-if", run=str(run_id), code=refusal.code)
            with database.transaction() as session:
                drafts.end_run(session, run_id, now=clock.now(), refusal=refusal)
