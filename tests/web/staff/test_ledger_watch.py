"""Finding a transfer by what it says; an alarm that stands until somebody in charge says what was done."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from app.kernel import ids
from app.kernel.db import Database
from app.web.auth import Role
from card import ledger
from card.ledger import Transfer, TransferCode, chart
from tests.signing_in import sign_in_as
from tests.web.strictly import parse

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
TICKET = ids.derived_id(NOW, "ticket")
SEARCH, ALARMS = "/staff/ledger/search", "/staff/ledger/alarms"


@pytest.fixture
def books(database: Database) -> Database:
    """Three transfers on three days: two of one bill, one with an operator in its details."""
    with database.transaction() as session:
        bank = ledger.open_account(session, chart.bank(), now=NOW)
        metro = ledger.open_account(session, chart.operator("metro"), now=NOW)
        moves = (
            ("ticket", 350, TransferCode.FARE, "bill:7", {"operator": "metro", "stops": 4}),
            ("back", 100, TransferCode.CORRECTION, "bill:7", {}),
            ("other", 200, TransferCode.FARE, "bill:8", {"operator": "bus", "stops": 4}),
        )
        for day, (name, amount, code, reference, details) in enumerate(moves):
            at = NOW + timedelta(days=day)
            transfer = Transfer(
                id=ids.derived_id(NOW, name),
                debit=bank,
                credit=metro,
                amount_minor=amount,
                code=code,
                event_at=at,
                reference=reference,
                metadata=details,
            )
            ledger.post_all(session, [transfer], now=at)
    return database


def page(client: FlaskClient, address: str, **asked: str) -> str:
    answer = client.get(address, query_string={"lang": "en", **asked})
    assert answer.status_code == 200, answer.text
    parse(answer.text)
    return answer.text


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"reference": "bill:7"}, {"3.50", "1.00"}),
        ({"reference": "bill:7", "code": "fare"}, {"3.50"}),
        ({"reference": "bill:7", "since": "2026-11-21"}, {"1.00"}),
        ({"reference": "bill:7", "until": "2026-11-20"}, {"3.50"}),
        ({"detail": "operator", "value": "bus"}, {"2.00"}),
        ({"detail": "stops", "value": "4"}, {"3.50", "2.00"}),
        ({"reference": "bill:9"}, set()),
        ({"code": "fare"}, set()),  # alone, it would be half of the books
    ],
)
def test_transfers_are_found_by_reference_and_by_what_their_details_say(
    client: FlaskClient, books: Database, asked: dict[str, str], found: set[str]
) -> None:
    sign_in_as(client, books, Role.AUDITOR)
    text = page(client, SEARCH, **asked)
    assert {amount for amount in ("3.50", "1.00", "2.00") if f"¥{amount}" in text} == found
    assert (f"/staff/ledger/transfer/{TICKET}" in text) == ("3.50" in found)
    assert ("No transfer fits" in text) == (not found and "reference" in asked)


@pytest.mark.parametrize("role", [Role.RESIDENT, Role.OPERATOR])
def test_only_the_city_desk_searches_and_sees_alarms(client: FlaskClient, books: Database, role: Role) -> None:
    sign_in_as(client, books, role, organisation=None if role is Role.RESIDENT else "metro")
    assert client.get(SEARCH).status_code == client.get(ALARMS).status_code == 403


@pytest.fixture
def alarm_id(books: Database) -> UUID:
    """An alarm that stands."""
    with books.transaction() as session:
        subject = f"transfer:{TICKET}"
        assert ledger.raise_alarm(session, kind="proof", subject=subject, expected="aa11", found="bb22", now=NOW)
        assert not ledger.raise_alarm(session, kind="proof", subject=subject, expected="aa11", found="bb22", now=NOW)
        (alarm,) = ledger.alarms(session)
    return alarm.id


def test_an_alarm_stands_until_somebody_in_charge_says_what_was_done(
    client: FlaskClient, books: Database, alarm_id: UUID
) -> None:
    sign_in_as(client, books, Role.SUPERVISOR)
    assert "1 alarm of the books is not answered yet." in page(client, "/staff")
    text = page(client, f"{ALARMS}/{alarm_id}")
    for seen in ("Stands", f"transfer:{TICKET}", "aa11", "bb22", "Answer the alarm"):
        assert seen in text
    for reason in ("", "  ok  "):
        assert client.post(f"{ALARMS}/{alarm_id}/answer", data={"reason": reason}).status_code == 422
    assert "Stands" in page(client, f"{ALARMS}/{alarm_id}")
    done = "Restored from the copy of the night before; disk replaced."
    assert client.post(f"{ALARMS}/{alarm_id}/answer", data={"reason": done}).status_code == 303
    text = page(client, f"{ALARMS}/{alarm_id}")
    assert done in text
    assert "Answer the alarm" not in text
    assert "not answered yet" not in page(client, "/staff")
    assert client.post(f"{ALARMS}/{alarm_id}/answer", data={"reason": done}).status_code == 409


def test_an_alarm_says_amounts_as_money_and_names_the_account(client: FlaskClient, books: Database) -> None:
    with books.transaction() as session:
        ledger.raise_alarm(
            session, kind="balance", subject="account:operator:metro", expected="-35000", found="nothing", now=NOW
        )
        (raised,) = ledger.alarms(session)
    sign_in_as(client, books, Role.AUDITOR)
    text = page(client, f"{ALARMS}/{raised.id}")
    for seen in ("−¥350.00", "nothing", "Transit operators · metro", "account:operator:metro"):
        assert seen in text


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.OFFICER])
def test_an_auditor_sees_an_alarm_and_cannot_answer_it(
    client: FlaskClient, books: Database, alarm_id: UUID, role: Role
) -> None:
    sign_in_as(client, books, role)
    assert str(alarm_id) in page(client, ALARMS)
    text = page(client, f"{ALARMS}/{alarm_id}")
    assert "A supervisor or an administrator answers it." in text
    assert "<textarea" not in text
    assert client.post(f"{ALARMS}/{alarm_id}/answer", data={"reason": "I looked at it twice."}).status_code == 403
    with books.transaction() as session:
        assert ledger.standing(session) == 1
