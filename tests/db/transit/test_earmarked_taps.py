"""A tap that money for a purpose pays: it goes first, one's own pays the rest, and what is given back comes back in reverse."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.kernel import ids
from app.kernel.db import Database
from card import ledger, transit
from card.ledger import TransferCode, chart
from tests.gates import account, books_are_right, gate, minutes, phone, purse, travelling

NOW = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)  # 08:00 in Suzhou
RIDES = ids.derived_id(NOW, "rides")


@pytest.fixture
def suzhou(database: Database, database_url: str, tmp_path: Path) -> Database:
    """Suzhou with its feed."""
    return travelling(database, database_url, tmp_path, code="320500", now=NOW)


@pytest.mark.parametrize(
    ("granted", "for_codes", "own_after", "left"),
    [
        (5000, [TransferCode.FARE], 10_000, 4430),
        (400, [TransferCode.FARE], 10_000 - 170, 0),
        (5000, [TransferCode.PURCHASE], 10_000 - 570, 5000),
    ],
)
def test_a_tap_is_paid_from_the_earmarked_purse_first(
    suzhou: Database, granted: int, for_codes: list[TransferCode], own_after: int, left: int
) -> None:
    with suzhou.transaction() as session:
        rider = phone(session, now=NOW, money_minor=10_000)
        ledger.grant_purse(
            session,
            purse_id=RIDES,
            holder_id=rider.holder_id,
            name={"en": "Rides", "zh_Hans_CN": "乘车"},
            codes=for_codes,
            payees=(),
            fund=chart.allowance_fund(),
            amount_minor=granted,
            expires_at=NOW + minutes(60 * 24 * 30),
            now=NOW,
        )
        a, b = (gate(session, "sz-metro", stop=stop, now=NOW) for stop in ("sz-mudu", "sz-nanshijie"))
    a_tap, b_tap = a.tap(rider, "entry", NOW), b.tap(rider, "exit", NOW + minutes(40))
    for step, (where, tap) in enumerate(((b, b_tap), (a, a_tap))):  # the exit first: 10.00 at most, then 4.30 of it back
        with suzhou.transaction() as session:
            where.send(session, [tap], now=NOW + minutes(50 + step))
    with suzhou.transaction() as session:
        (journey,) = transit.journeys_of_holder(session, rider.holder_id)
        assert journey.charged_minor == 570
        assert account(session, chart.operator("sz-metro"), now=NOW) == 570
        assert account(session, chart.earmarked(rider.holder_id, RIDES), now=NOW) == left
        assert purse(session, rider.holder_id) == own_after
    assert books_are_right(suzhou)
