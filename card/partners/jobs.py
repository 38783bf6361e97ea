"""What the worker repeats for the federation."""

import structlog

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.settings import Settings
from card.partners import actions, gateway, queries, witness
from card.partners.rules import PartnerRefused, PartnerUnavailable

log = structlog.get_logger()


def witness_ledgers(database: Database, settings: Settings) -> None:
    """Look at the books of the other cities, and cosign what continues."""
    if not settings.is_hub:
        witness.look_at_all(database)


def keep_directory(database: Database, settings: Settings) -> None:
    """Ask to join where we have not, refresh the directory along the chain, forget old nonces."""
    now = clock.now()
    with database.transaction() as session:
        actions.forget_nonces(session, now=now)
    try:
        if not settings.is_hub:
            with database.transaction() as session:
                joined = any(entry.state == "admitted" for entry in queries.directory(session))
            if not joined:
                gateway.ask_to_join(database, now=now)
        gateway.refresh(database, now=now)
    except (PartnerUnavailable, PartnerRefused) as error:
        log.info("partners.directory", error=str(error))
