"""A tariff of two operators: each day is divided to the fen, again after a correction, and the books stay right."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.factory import create_app
from app.kernel.db import Database
from card import ledger, transit
from tests.conftest import make_settings
from tests.gates import FEEDS, account, books_are_right, gate, minutes, phone

NOW = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)
SHARES = b"tariff_id,agency_id,percent\nnj-metro-2026,nj-metro,66.7\nnj-metro-2026,nj-bus,33.3\n"


@pytest.fixture
def nanjing(database: Database, database_url: str, tmp_path: Path) -> Database:
    """Nanjing, where a third of the metro's fares is the bus operator's by rule."""
    create_app(make_settings(database_url, tmp_path), database=database)
    files = {path.name: path.read_bytes() for path in (FEEDS / "320100").iterdir()}
    with database.transaction() as session:
        transit.import_feed(session, {**files, "apportionment_rules.txt": SHARES}, feed_id="320100", by="system", now=NOW)
    return database


def test_a_day_is_divided_by_rule_once_and_a_correction_divides_the_difference(nanjing: Database) -> None:
    day = NOW.date()
    with nanjing.transaction() as session:
        rider = phone(session, now=NOW, money_minor=5_000)
        a, b = (gate(session, "nj-metro", stop=stop, now=NOW) for stop in ("nj-gulou", "nj-xianlin"))
        b.send(session, [b.tap(rider, "exit", NOW + minutes(40))], now=NOW + minutes(50))
    with nanjing.transaction() as session:
        assert transit.apportion_day(session, "nj-metro", on=day, now=NOW + minutes(60)) == 1
        assert transit.apportion_day(session, "nj-metro", on=day, now=NOW + minutes(61)) == 0, "once"
        assert account(session, ledger.chart.operator("nj-metro"), now=NOW) == 667
        assert account(session, ledger.chart.operator("nj-bus"), now=NOW) == 333
    with nanjing.transaction() as session:  # the entry comes late: 10.00 becomes 5.00
        a.send(session, [a.tap(rider, "entry", NOW)], now=NOW + minutes(70))
        assert transit.apportion_day(session, "nj-metro", on=day, now=NOW + minutes(80)) == 1
        (line,) = transit.shares(session, "nj-metro")
        assert (line.total_minor, line.revision, line.to_operator) == (167, 2, "nj-bus")
        assert transit.shares(session, "nj-bus") == [line]
        assert account(session, ledger.chart.operator("nj-metro"), now=NOW) == 333
        assert account(session, ledger.chart.operator("nj-bus"), now=NOW) == 167
        ((tariff, parts),) = transit.sharing_rules(session, "nj-metro")
        assert (tariff.id, [operator for operator, _ in parts]) == ("nj-metro-2026", ["nj-metro", "nj-bus"])
        assert transit.apportion_day(session, "nj-bus", on=day, now=NOW + minutes(90)) == 0
    assert books_are_right(nanjing)
