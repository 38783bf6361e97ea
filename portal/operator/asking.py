"""Whose console this is and which day was asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta

from flask import request
from sqlalchemy.orm import Session

from app.kernel import clock
from app.kernel.errors import Forbidden
from app.web.auth import principal
from app.web.db import transaction
from card.fares import card_day


def own_operator() -> str:
    """The operator whose staff is looking: the only one whose records the console shows."""
    organisation = principal().organisation
    if organisation is None:
        raise Forbidden("no organisation")
    return organisation


def asked_day(name: str = "on") -> date:
    """The day that was asked for, or today in Shanghai."""
    try:
        return date.fromisoformat(request.args.get(name, ""))
    except ValueError:
        return clock.civil_date(clock.now())


def asked_card_day(name: str = "on") -> date:
    """The card-day that was asked for, or the present one: until three in the morning it is still yesterday's."""
    return asked_day(name) if request.args.get(name) else card_day(clock.now())


def civil_day(on: date) -> tuple[datetime, datetime]:
    """The instants at which the civil day ``on`` begins and ends in Asia/Shanghai."""
    begin = datetime(on.year, on.month, on.day, tzinfo=clock.SHANGHAI)
    return begin, begin + timedelta(days=1)


@contextmanager
def one_instant() -> Iterator[Session]:
    """A transaction whose every statement sees the same instant: sums and lines of a day that still goes on add up."""
    with transaction() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        yield session
