"""What repeats: ask again for settlements without an answer, close filings whose last day is past."""

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.settings import Settings
from card.health import actions, desk


def resume_settlements(database: Database, _: Settings) -> None:
    """Put unanswered settlements again."""
    desk.resume(database, now=clock.now())


def expire_filings(database: Database, _: Settings) -> None:
    """Close filings whose last day is past."""
    with database.transaction() as session:
        actions.expire_filings(session, now=clock.now())
