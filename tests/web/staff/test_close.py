"""A month's close report: on screen, on paper, as a table, and signed so that nobody need ask the city."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime

import pypdfium2
import pytest
import time_machine
from flask.testing import FlaskClient

from app.kernel import ids, signing
from app.kernel.db import Database
from app.kernel.settings import Settings
from app.kernel.signing import Purpose
from app.web.auth import Role
from card import ledger
from card.ledger import Transfer, TransferCode, chart, jobs
from tests.signing_in import sign_in_as

OCTOBER = datetime(2026, 10, 20, 6, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


@pytest.fixture
def october(database: Database, sealer: Database, settings: Settings) -> Iterator[None]:
    """50.00 yuan topped up and 3.50 ridden in October, 3.50 in November; all sealed."""
    with database.transaction() as session:
        bank, purse, metro = (
            ledger.open_account(session, spec, now=OCTOBER) for spec in (chart.bank(), chart.purse("p"), chart.operator("m"))
        )
        for debit, credit, amount, code, at in (
            (bank, purse, 5_000, TransferCode.TOP_UP, OCTOBER),
            (purse, metro, 350, TransferCode.FARE, OCTOBER),
            (purse, metro, 350, TransferCode.FARE, NOW),
        ):
            moved = Transfer(id=ids.new_id(), debit=debit, credit=credit, amount_minor=amount, code=code, event_at=at)
            ledger.post_all(session, [moved], now=at)
    with time_machine.travel(NOW, tick=False):
        jobs.seal(sealer, settings)
        yield


def test_staff_see_a_month_and_take_it_away_in_three_forms(
    client: FlaskClient, database: Database, october: None, settings: Settings
) -> None:
    sign_in_as(client, database, Role.AUDITOR)
    assert 'href="/staff/ledger/close"' in client.get("/staff/ledger").text
    page = client.get("/staff/ledger/close").text  # the month before this one
    assert 'value="2026-10"' in page
    assert "¥46.50" in page
    assert 'href="/staff/ledger/close/file?month=2026-10&amp;form=pdf"' in page
    found = {form: client.get(f"/staff/ledger/close/file?month=2026-10&form={form}") for form in ("csv", "pdf", "json")}
    assert {form: answer.status_code for form, answer in found.items()} == {"csv": 200, "pdf": 200, "json": 200}
    rows = list(csv.DictReader(io.StringIO(found["csv"].text)))
    assert [(row["what"], row["opening"], row["debits"], row["credits"], row["closing"]) for row in rows[:4]] == [
        ("bank", "0.00", "50.00", "0.00", "-50.00"),
        ("operator", "0.00", "0.00", "3.50", "3.50"),
        ("purse", "0.00", "3.50", "50.00", "46.50"),
        ("", "0.00", "53.50", "53.50", "0.00"),
    ]
    assert [(row["what"], row["transfers"]) for row in rows if row["section"] == "count"] == [
        ("transfers", "2"),
        ("batches", "2"),
        ("refusals", "0"),
    ]
    text = pypdfium2.PdfDocument(found["pdf"].data)[0].get_textpage().get_text_bounded()
    assert all(said in text for said in ("月结", "320100-2026-10", "46.50", "53.50"))


def test_the_signed_report_needs_only_the_citys_key(
    client: FlaskClient, database: Database, october: None, settings: Settings
) -> None:
    sign_in_as(client, database, Role.OFFICER)
    signed = client.get("/staff/ledger/close/file?month=2026-10&form=json").get_json()
    key = signing.load_or_create(settings.keys_dir, Purpose.ARCHIVE).public
    report = ledger.verify_close(signed, key)
    assert report["sums"] == [
        {"ledger": 1, "currency": "CNY", "opening": "0.00", "debits": "53.50", "credits": "53.50", "closing": "0.00"}
    ]
    assert [(line["code"], line["transfers"], line["amount"]) for line in report["movements"]] == [
        ("top-up", 1, "50.00"),
        ("fare", 1, "3.50"),
    ]
    other = signing.load_or_create(settings.keys_dir, Purpose.DOCUMENT).public
    for wrong, by in (({**signed, "report": {**report, "transfers": 3}}, key), (signed, other)):
        with pytest.raises(signing.BadSignature):
            ledger.verify_close(wrong, by)


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [("2026-11", 409, "month-not-over"), ("2026-12", 404, "unknown-month"), ("2026-13", 404, "unknown-month")],
)
def test_a_month_that_is_not_over_is_not_handed_out(
    client: FlaskClient, database: Database, october: None, asked: str, status: int, code: str
) -> None:
    sign_in_as(client, database, Role.OFFICER)
    answer = client.get(f"/staff/ledger/close/file?month={asked}", headers={"Accept": "application/problem+json"})
    assert answer.status_code == status
    if asked == "2026-11":
        page = client.get("/staff/ledger/close?month=2026-11&lang=en").text
        assert "close/file" not in page
        assert "2026-12" not in page  # there is no later month yet
    assert code in answer.text


def test_a_resident_does_not_see_the_close(client: FlaskClient, database: Database) -> None:
    sign_in_as(client, database, Role.RESIDENT)
    assert client.get("/staff/ledger/close").status_code == 403
