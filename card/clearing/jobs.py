"""What the worker repeats for clearing."""

from datetime import timedelta

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.settings import Settings
from card.clearing import actions, dispute_moves, queries, rules


def close_day(database: Database, settings: Settings) -> None:
    """After the grace of a window (06:00 of the next civil day) cut its last file, once; let silence lose in disputes."""
    now = clock.now()
    with database.transaction() as session:
        dispute_moves.expire(session, now=now)
    if settings.is_hub:
        return
    local = clock.local(now)
    window = local.date() - timedelta(days=1)
    if local.hour < rules.GRACE_HOUR:
        return
    with database.transaction() as session:
        if not queries.closed_by_clock(session, window):
            actions.close_window(session, window=window, by="system", now=now)
