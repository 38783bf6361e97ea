"""What a card's earlier days left is read folded, and says what the journeys say, whatever came when."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.db import Database
from card import fares, transit
from card.credentials import Tap
from card.transit import charging, network, past
from card.transit.models import FareCard, FarePosting, JourneyRow, TapRow
from tests.gates import Gate, books_are_right, gate, minutes, phone, purse, travelling

NOW = datetime(2026, 3, 5, 1, 0, tzinfo=UTC)  # nine in the morning in Suzhou
DAYS = 14  # over the end of no month, or of one
FUNDS = 100_000


@pytest.fixture
def suzhou(database: Database, database_url: str, tmp_path: Path) -> Database:
    """Suzhou with its feed."""
    return travelling(database, database_url, tmp_path, code="320500", now=NOW)


def folded_is_what_journeys_say(session: Session) -> bool:
    """Whether a past that is kept is the fares of the complete journeys it stands for."""
    session.expire_all()
    for row in session.scalars(select(FareCard)):
        if row.past is None or row.past_until is None:
            continue
        begins = past.first_day_back(row.past_until)
        rows = session.scalars(
            select(JourneyRow).where(
                JourneyRow.card_number == row.card_number,
                JourneyRow.state == "complete",
                JourneyRow.card_day >= begins,
                JourneyRow.card_day < row.past_until,
            )
        )
        told = sorted(fares.PastFare(one.started_at, one.operator_id, one.capped_minor) for one in rows)
        if sorted(past.unfold(row.past)) != told:
            return False
    return True


def owed_at_once(session: Session, number: str) -> int:
    """What the card owes if all its days are priced in order with everything that came before."""
    tariffs = network.tariffs_of(session, network.operator_ids(session))
    days: dict[date, list[fares.Tap]] = {}
    for row in session.scalars(select(TapRow).where(TapRow.card_number == number)):
        days.setdefault(row.card_day, []).append(charging.tap_of(row))
    meter = fares.Meter(tariffs, fares.Rider(issuer="320500"))
    return sum(meter.day(days[day]).total_minor for day in sorted(days))


@pytest.mark.parametrize(("begin", "seed"), [(NOW, 1), (NOW, 2), (NOW + timedelta(days=20), 3), (NOW + timedelta(days=20), 4)])
def test_two_weeks_in_any_order_are_priced_as_if_in_one(suzhou: Database, begin: datetime, seed: int) -> None:
    random = Random(seed)
    with suzhou.transaction() as session:
        rider = phone(session, now=begin, money_minor=FUNDS)
        gates = [gate(session, "sz-metro", stop=stop, now=begin) for stop in ("sz-mudu", "sz-nanshijie", "sz-leqiao")]
        bus = gate(session, "sz-bus", line="sz-bus-you1", mode="ride", now=begin)
    taps: list[tuple[Gate, Tap]] = []
    for day in range(DAYS):
        at = begin + timedelta(days=day)
        for ride in range(random.choice((0, 1, 2, 3, 4))):
            start = at + minutes(100 * ride)
            if random.random() < 0.3:
                taps.append((bus, bus.tap(rider, "ride", start)))
                continue
            enters, leaves = random.sample(gates, 2)
            taps.append((enters, enters.tap(rider, "entry", start)))
            if random.random() < 0.9:
                taps.append((leaves, leaves.tap(rider, "exit", start + minutes(45))))
    for place in range(len(taps)):  # mostly in order, some hours or days late
        if random.random() < 0.3:
            other = min(len(taps) - 1, place + random.randrange(1, 25))
            taps[place], taps[other] = taps[other], taps[place]
    for step, (where, tap) in enumerate(taps):
        with suzhou.transaction() as session:
            where.send(session, [tap], now=begin + timedelta(days=DAYS, minutes=step))
        with suzhou.transaction() as session:
            assert folded_is_what_journeys_say(session), step
    with suzhou.transaction() as session:
        owed = owed_at_once(session, rider.number)
        posted = sum(session.scalars(select(FarePosting.amount_minor)))
        charged = sum(one.charged_minor for one in transit.journeys_of_holder(session, rider.holder_id, limit=1000))
        assert (posted, charged, purse(session, rider.holder_id)) == (owed, owed, FUNDS - owed)
        kept = session.scalars(select(FareCard)).one()
        assert kept.past is not None
        assert past.unfold(kept.past)
    assert books_are_right(suzhou)
