"""The books on screen: what staff see of accounts and transfers, and who may not see them."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from app.kernel import ids
from app.kernel.db import Database
from app.kernel.settings import Settings
from app.web.auth import Role
from card import ledger
from card.ledger import StatementLine, Transfer, TransferCode, chart, jobs, verify
from portal.staff.ledger import balance_line
from tests.gates import import_feed
from tests.signing_in import sign_in_as

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
HOLDER = UUID("019a9000-0000-7000-8000-000000000001")
FARE = ids.derived_id(NOW, "fare")


@pytest.fixture
def books(database: Database) -> Database:
    """A top-up of 50.00 yuan, a fare of 3.50 with a hold of 1.00 beside it, 1.00 of the fare given back."""
    with database.transaction() as session:
        stripe = ledger.open_account(session, chart.stripe_clearing(), now=NOW)
        purse = ledger.open_account(session, chart.purse(HOLDER), now=NOW)
        metro = ledger.open_account(session, chart.operator("nanjing-metro"), now=NOW)
        top_up = Transfer(
            id=ids.derived_id(NOW, "top-up"),
            debit=stripe,
            credit=purse,
            amount_minor=5000,
            code=TransferCode.TOP_UP,
            event_at=NOW,
            reference="payment:1",
        )
        fare = Transfer(
            id=FARE,
            debit=purse,
            credit=metro,
            amount_minor=350,
            code=TransferCode.FARE,
            event_at=NOW,
            reference="journey:1",
            metadata={"line": "S1"},
        )
        ledger.post_all(session, [top_up], now=NOW)
        ledger.post_all(session, [fare], now=NOW + timedelta(minutes=5))
        ledger.reverse(
            session, original_id=FARE, reversal_id=ids.derived_id(NOW, "b"), amount_minor=100, now=NOW + timedelta(minutes=9)
        )
        hold = ledger.Hold(
            id=ids.new_id(),
            debit=purse,
            credit=metro,
            amount_minor=100,
            code=TransferCode.FARE,
            expires_at=NOW + timedelta(hours=1),
        )
        ledger.hold(session, hold, now=NOW)
    return database


@pytest.fixture
def officer(client: FlaskClient, books: Database) -> FlaskClient:
    sign_in_as(client, books, Role.OFFICER)
    return client


def page(client: FlaskClient, address: str) -> str:
    answer = client.get(address, headers={"Accept-Language": "en"}, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    assert answer.text.count("<h1") == 1
    return answer.text


def test_the_chart_shows_every_kind_of_account_and_that_all_is_zero(officer: FlaskClient) -> None:
    text = page(officer, "/staff/ledger")
    for seen in ("Card purses", "¥47.50", "Transit operators", "¥2.50", "−¥50.00", "The books are balanced."):
        assert seen in text


def test_an_account_shows_its_statement_its_line_and_its_holds(officer: FlaskClient) -> None:
    assert f"purse:{HOLDER}" in page(officer, "/staff/ledger/accounts/purse")
    text = page(officer, f"/staff/ledger/find?q=purse:{HOLDER}")
    for seen in ("+¥50.00", "−¥3.50", "+¥1.00", "¥46.50", "Reversal", "<svg", "¥1.00 until 22 November 2026, 15:00"):
        assert seen in text


def test_a_statement_downloads_as_csv(officer: FlaskClient, books: Database) -> None:
    with books.transaction() as session:
        purse = ledger.account_id(session, f"purse:{HOLDER}")
        metro = ledger.account_id(session, "operator:nanjing-metro")
        sly = Transfer(
            id=ids.new_id(),
            debit=metro,
            credit=purse,
            amount_minor=5,
            code=TransferCode.CORRECTION,
            event_at=NOW,
            reference="=1+1",
        )
        ledger.post_all(session, [sly], now=NOW + timedelta(hours=1))
    answer = officer.get(f"/staff/ledger/account/{purse}/statement.csv")
    assert answer.content_type == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["code"], row["reference"], row["amount"], row["balance_after"]) for row in rows] == [
        ("correction", "'=1+1", "0.05", "47.55"),
        ("reversal", "journey:1", "1.00", "47.50"),
        ("fare", "journey:1", "-3.50", "46.50"),
        ("top-up", "payment:1", "50.00", "50.00"),
    ]


@pytest.mark.parametrize("asked", [str(FARE), str(FARE).upper(), f" {FARE} "])
def test_a_transfer_is_found_by_its_number_and_shows_both_sides(officer: FlaskClient, asked: str) -> None:
    text = page(officer, f"/staff/ledger/find?q={asked}")
    for seen in ("Out of", "Into", "¥3.50", "Transit operators · nanjing-metro", "Given back by", "S1", "journey:1", "fare"):
        assert seen in text


def test_transfers_are_found_by_reference_and_nothing_is_said_plainly(officer: FlaskClient) -> None:
    assert "Reversal" in page(officer, "/staff/ledger/find?q=journey:1")
    assert "Nothing in the books has this name" in page(officer, "/staff/ledger/find?q=journey:2")


@pytest.mark.parametrize(
    ("day", "seen"),
    [
        ("2026-11-21", ("Nothing was booked up to this day",)),
        ("2026-11-22", ("Balanced", "¥54.50", "−¥50.00")),
        ("2026-11-23", ("Balanced", "¥47.50")),
        ("nonsense", ("Trial balance",)),
    ],
)
def test_the_trial_balance_of_a_day(officer: FlaskClient, day: str, seen: tuple[str, ...]) -> None:
    text = page(officer, f"/staff/ledger/trial-balance?day={day}")
    for one in seen:
        assert one in text


@pytest.mark.parametrize(
    "address", ["/staff/ledger/account/999", f"/staff/ledger/transfer/{HOLDER}", "/staff/ledger/accounts/x"]
)
def test_what_is_not_there_is_not_found(officer: FlaskClient, address: str) -> None:
    assert officer.get(address).status_code == 404


@pytest.mark.parametrize("role", [Role.RESIDENT, Role.OPERATOR, Role.HOSPITAL, Role.PARTNER])
def test_only_the_city_desk_sees_the_books(client: FlaskClient, books: Database, role: Role) -> None:
    sign_in_as(client, books, role, organisation=None if role is Role.RESIDENT else "320500")
    assert client.get("/staff/ledger").status_code == 403


def test_a_receipt_proves_the_transfer_with_the_public_key_alone(
    officer: FlaskClient, sealer: Database, settings: Settings
) -> None:
    assert officer.get(f"/staff/ledger/transfer/{FARE}/receipt.json").status_code == 503
    assert officer.get("/api/ledger/checkpoint").status_code == 503
    jobs.seal(sealer, settings)
    receipt = officer.get(f"/staff/ledger/transfer/{FARE}/receipt.json")
    key = officer.get("/api/ledger/key").text
    said = verify.verify(receipt.json, key=key)
    assert (said["transfer"], said["amount"], said["reference"]) == (str(FARE), "3.50 CNY", "journey:1")
    assert officer.get("/api/ledger/checkpoint").text == receipt.json["checkpoint"]
    assert officer.get("/api/ledger/consistency?old=3&size=3").json == {"old": 3, "size": 3, "proof": []}
    assert officer.get("/api/ledger/consistency?old=2&size=4").status_code == 503


def line(minutes: int, amount: int, after: int) -> StatementLine:
    return StatementLine(
        transfer_id=ids.new_id(),
        event_at=NOW,
        posted_at=NOW + timedelta(minutes=minutes),
        code=TransferCode.FARE,
        reference="",
        counter_key="bank",
        amount_minor=amount,
        balance_after_minor=after,
        metadata={},
        cursor="1.0",
    )


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ([line(0, 100, 100)], "M8 172.0H712.0V8.0"),
        ([line(10, -50, 50), line(0, 100, 100)], "M8 172.0H8.0V8.0H712.0V90.0"),
        ([line(0, -150, -50), line(0, 100, 100)], "M8 117.3H360.0V8.0H712.0V172.0"),
    ],
)
def test_the_balance_line_steps_through_every_balance(lines: list[StatementLine], path: str) -> None:
    drawn = balance_line(lines)
    assert drawn is not None
    assert drawn.path == path
    assert balance_line([]) is None


def test_an_account_carries_the_name_of_its_operator_where_one_is_known(officer: FlaskClient, books: Database) -> None:
    ride = ids.new_id()
    with books.transaction() as session:
        import_feed(session, "320100", now=NOW)
        purse = ledger.account_id(session, f"purse:{HOLDER}")
        metro = ledger.open_account(session, chart.operator("nj-metro"), now=NOW)
        fare = Transfer(
            id=ride, debit=purse, credit=metro, amount_minor=200, code=TransferCode.FARE, event_at=NOW, reference="r"
        )
        ledger.post_all(session, [fare], now=NOW + timedelta(hours=1))
    listed = page(officer, "/staff/ledger/accounts/operator")
    for seen in ("Demo Nanjing Metro", "operator:nj-metro", "operator:nanjing-metro"):
        assert seen in listed
    for address in (f"/staff/ledger/account/{purse}", f"/staff/ledger/transfer/{ride}"):
        assert "Transit operators · Demo Nanjing Metro" in page(officer, address)
    assert "Transit operators · nanjing-metro" in page(officer, f"/staff/ledger/account/{purse}"), "nobody knows its name"
    shown = officer.get(f"/staff/ledger/account/{metro}", headers={"Accept-Language": "zh-CN"}).text
    assert ">演示·南京地铁</h1>" in shown


def test_a_trial_balance_is_shown_for_the_day_that_is_asked_for(officer: FlaskClient) -> None:
    text = page(officer, "/staff/ledger/trial-balance?day=2026-11-22")
    assert 'type="date" value="2026-11-22"' in text
    assert "22 November 2026" in text


def test_a_refused_transfer_is_found_and_says_why_nothing_moved(officer: FlaskClient, books: Database) -> None:
    asked = ids.new_id()
    with books.transaction() as session:
        purse, metro = (ledger.account_id(session, key) for key in (f"purse:{HOLDER}", "operator:nanjing-metro"))
        dear = Transfer(
            id=asked,
            debit=purse,
            credit=metro,
            amount_minor=999900,
            code=TransferCode.FARE,
            event_at=NOW,
            reference="journey:9",
        )
        (outcome,) = ledger.post(session, [dear], now=NOW + timedelta(hours=1))
        assert outcome.refused
    text = page(officer, f"/staff/ledger/find?q={asked}")
    for seen in ("Refused transfer", "There is not enough money in the account.", "¥9,999.00", "journey:9", str(asked)):
        assert seen in text


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        ("2026-11-22T14:04", "¥50.00"),
        ("2026-11-22T14:05", "¥46.50"),
        ("2026-11-22T05:00", "¥0.00"),
        ("x", ""),
        ("9999-12-31T23:59-14:00", ""),
        ("0001-01-01T00:00", ""),
    ],
)
def test_an_account_says_what_it_held_at_an_earlier_moment(officer: FlaskClient, books: Database, at: str, shown: str) -> None:
    with books.transaction() as session:
        purse = ledger.account_id(session, f"purse:{HOLDER}")
    text = page(officer, f"/staff/ledger/account/{purse}?at={at}")
    said = re.search(r"Balance on 22 November 2026, [0-9:]+</dt>\s*<dd[^>]*>(¥[0-9.,]+)", text)
    assert (said.group(1) if said else "") == shown
