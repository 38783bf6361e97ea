"""What the worker repeats for the catalogue."""

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.settings import Settings
from services.catalogue import actions


def load(database: Database, _: Settings) -> None:
    """Publish what the installed version of the product brings; quiet when nothing is new."""
    with database.transaction() as session:
        actions.load(session, now=clock.now())
