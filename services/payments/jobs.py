"""What the worker repeats for payments."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.dialects.postgresql import insert

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.settings import Settings
from services.payments import actions, gateway, queries, rules
from services.payments.models import Matching
from services.payments.rules import Seen, StripeUnavailable

log = structlog.get_logger()

LOOK_BACK: Final = timedelta(days=2)
TYPES: Final = ("payment_intent.payment_failed", "payment_intent.canceled", "payment_intent.succeeded")


def catch_up(database: Database, settings: Settings) -> None:
    """Fetch the events whose webhooks never came, and compare the day with Stripe."""
    if settings.is_hub:
        return
    now = clock.now()
    try:
        fetch_missing(database, now)
        match_day(database, now)
    except StripeUnavailable as error:
        log.info("payments.catch-up", error=error.detail)


def fetch_missing(database: Database, now: datetime) -> int:
    """Keep and apply what Stripe lists and we never received; how many there were. Raises ``StripeUnavailable``."""
    missing = 0
    for kind in TYPES:
        for event in gateway.events_since(gateway.account(database), now - LOOK_BACK, kind=kind):
            missing += actions.take_listed(database, event, now)
    return missing


def match_day(database: Database, now: datetime) -> list[rules.Break]:
    """Compare what Stripe took and what we settled on this civil day; keep and return the differences.

    An amount that Stripe took for a payment of another city (accounts may be shared) carries no payment of ours and is passed
    over. Raises ``StripeUnavailable``.
    """
    day = clock.civil_date(now)
    begins = datetime.combine(day, datetime.min.time(), clock.SHANGHAI)
    there = actions.taken_by_stripe(database, since=begins)
    with database.transaction() as session:
        here = queries.settled_between(session, begins, begins + timedelta(days=1))
        known = {seen.payment_id for seen in here}
        there = [seen for seen in there if seen.payment_id in known or actions.is_ours(session, seen.payment_id)]
        found = rules.match(here=here, there=there)
        facts = {
            "here_minor": _total(here),
            "there_minor": _total(there),
            "breaks": {"breaks": [asdict(item) for item in found]},
            "made_at": now,
        }
        session.execute(insert(Matching).values(day=day, **facts).on_conflict_do_update(index_elements=["day"], set_=facts))
    if found:
        log.warning("payments.breaks", day=day.isoformat(), count=len(found))
    return found


def _total(seen: list[Seen]) -> int:
    return sum(item.amount_minor for item in seen)
