"""What the worker repeats for cards."""

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.settings import Settings
from card.cards import actions


def keep(database: Database, settings: Settings) -> None:
    """Let cards expire and publish every change of the deny list that still waits."""
    del settings
    with database.transaction() as session:
        actions.expire(session, now=clock.now())
    with database.transaction() as session:
        actions.publish_deny_list(session, now=clock.now())
