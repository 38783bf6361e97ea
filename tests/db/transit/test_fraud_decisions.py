"""What officers decide about a copied code: one charge stays, the right one, and the operator is paid only by two."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from app.factory import create_app
from app.kernel.db import Database
from app.kernel.errors import FourEyes, Invalid
from card import ledger, transit
from card.transit import FraudState
from tests.conftest import make_settings
from tests.gates import account, books_are_right, gate, import_feed, minutes, phone, purse

NOW = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)


@pytest.fixture
def case(database: Database, database_url: str, tmp_path: Path) -> tuple[Database, UUID, UUID]:
    """A bus ride in Nanjing for 2.00, and its code copied onto another bus half a minute later: database, case, holder."""
    create_app(make_settings(database_url, tmp_path), database=database)
    with database.transaction() as session:
        import_feed(session, "320100", now=NOW)
        rider = phone(session, now=NOW, money_minor=1_000)
        mine = gate(session, "nj-bus", line="nj-bus-you2", mode="ride", now=NOW)
        metro = gate(session, "nj-metro", stop="nj-gulou", now=NOW)
        mine.send(session, [mine.tap(rider, "ride", NOW)], now=NOW + minutes(5))
        metro.send(session, [metro.tap(rider, "entry", NOW + minutes(0.5), counter=rider.counter)], now=NOW + minutes(6))
        (found,) = transit.fraud_cases(session)
    return database, found.id, rider.holder_id


def decide(database: Database, case_id: UUID, **changes: object) -> FraudState:
    with database.transaction() as session:
        found = transit.fraud_case(session, case_id)
        facts: dict = {
            "confirmed": True,
            "genuine": next(tap.key for tap in found.taps if tap.genuine),
            "covered_minor": 0,
            "answer": "seen on the camera",
            "by": "person:a",
            "now": NOW + minutes(60),
        }
        return transit.decide_fraud(session, case_id=case_id, **{**facts, **changes})


def test_the_operator_of_the_copier_is_paid_by_two_and_once(case: tuple[Database, UUID, UUID]) -> None:
    database, case_id, holder = case
    assert decide(database, case_id, covered_minor=1000) is FraudState.PREPARED
    with database.transaction() as session, pytest.raises(FourEyes):
        transit.approve_fraud(session, case_id=case_id, approved=True, by="person:a", now=NOW)
    with database.transaction() as session:
        transit.approve_fraud(session, case_id=case_id, approved=True, by="person:b", now=NOW)
        with pytest.raises(transit.FraudCaseDecided):
            transit.approve_fraud(session, case_id=case_id, approved=True, by="person:b", now=NOW)
        assert account(session, ledger.chart.losses(), now=NOW) == -1000
        assert account(session, ledger.chart.operator("nj-metro"), now=NOW) == 1000
        assert account(session, ledger.chart.operator("nj-bus"), now=NOW) == 200
        assert purse(session, holder) == 800, "the victim paid once"
    assert books_are_right(database)


def test_an_officer_may_find_the_other_tap_to_be_the_riders_own(case: tuple[Database, UUID, UUID]) -> None:
    database, case_id, holder = case
    with database.transaction() as session:
        other = next(tap.key for tap in transit.fraud_case(session, case_id).taps if not tap.genuine)
    assert decide(database, case_id, genuine=other) is FraudState.CONFIRMED
    with database.transaction() as session:
        (journey,) = transit.journeys_of_holder(session, holder)
        assert (journey.operator_id, journey.charged_minor) == ("nj-metro", 1000)
        assert purse(session, holder) == 0
        assert account(session, ledger.chart.operator("nj-bus"), now=NOW) == 0
    assert books_are_right(database)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"genuine": "x"}, "genuine"),
        ({"answer": " "}, "answer"),
        ({"covered_minor": 1001}, "covered"),
        ({"covered_minor": 1, "confirmed": False}, "covered"),
    ],
)
def test_a_decision_needs_a_tap_a_reason_and_no_more_than_the_loss(
    case: tuple[Database, UUID, UUID], changes: dict, field: str
) -> None:
    database, case_id, _ = case
    with pytest.raises(Invalid) as refused:
        decide(database, case_id, **changes)
    assert list(refused.value.fields) == [field]


def test_a_case_is_decided_once_and_seen_only_by_those_it_is_about(case: tuple[Database, UUID, UUID]) -> None:
    database, case_id, holder = case
    assert decide(database, case_id, confirmed=False) is FraudState.DISMISSED
    with pytest.raises(transit.FraudCaseDecided):
        decide(database, case_id)
    with database.transaction() as session:
        assert purse(session, holder) == 800
        assert transit.open_fraud_cases(session) == 0
        assert transit.fraud_cases(session, operator_id="sz-metro") == []
        with pytest.raises(transit.UnknownFraudCase):
            transit.fraud_case(session, case_id, operator_id="sz-metro")
