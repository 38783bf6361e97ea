"""Statements to take away, of a resident's own purse and of any account for staff, in three forms that say the same."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pypdfium2
import pytest
import time_machine
from flask.testing import FlaskClient
from pyiso20022.camt.camt_053_001_08 import Document
from xsdata.formats.dataclass.parsers import XmlParser

from app.kernel import ids
from app.kernel.db import Database
from app.web.auth import Role
from card import ledger
from card.ledger import AccountId, Transfer, TransferCode, chart
from portal.kit import statements
from tests.signing_in import sign_in_as

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


def paid(database: Database, debit: AccountId, credit: AccountId, amount: int, at: datetime) -> None:
    with database.transaction() as session:
        moved = Transfer(
            id=ids.new_id(),
            debit=debit,
            credit=credit,
            amount_minor=amount,
            code=TransferCode.FARE,
            event_at=at,
            reference="=x",
        )
        ledger.post_all(session, [moved], now=at)


def purse_of(database: Database, holder: object) -> tuple[AccountId, AccountId]:
    with database.transaction() as session:
        purse = ledger.open_account(session, chart.purse(str(holder)), now=NOW)
        bank = ledger.open_account(session, chart.bank(), now=NOW)
    paid(database, bank, purse, 5_000, NOW - timedelta(days=2))
    for day in (1, 0):
        paid(database, purse, bank, 350, NOW - timedelta(days=day))
    return purse, bank


def test_a_resident_takes_the_same_statement_away_in_three_forms(client: FlaskClient, database: Database) -> None:
    with time_machine.travel(NOW, tick=False):
        purse_of(database, sign_in_as(client, database, Role.RESIDENT))
        page = client.get("/me/card/statement").text
        assert 'action="/me/card/statement/file"' in page
        asked = {"from": "2026-11-21", "to": "2026-11-22"}
        found = {
            form: client.get("/me/card/statement/file", query_string={**asked, "form": form}, buffered=True)
            for form in ("csv", "camt", "pdf")
        }
    assert {form: answer.status_code for form, answer in found.items()} == {"csv": 200, "camt": 200, "pdf": 200}
    rows = list(csv.DictReader(io.StringIO(found["csv"].text)))
    assert [row["balance_after"] for row in rows] == ["50.00", "46.50", "43.00", "43.00"]
    (statement,) = XmlParser().from_bytes(found["camt"].data, Document).bk_to_cstmr_stmt.stmt
    assert [str(balance.amt.value) for balance in statement.bal] == ["50.00", "43.00"]
    assert [(str(entry.amt.value), entry.cdt_dbt_ind.value) for entry in statement.ntry] == [("3.50", "DBIT")] * 2
    text = pypdfium2.PdfDocument(found["pdf"].data)[0].get_textpage().get_text_bounded()
    assert "¥50.00" in text
    assert "¥43.00" in text
    assert "对账单" in text
    assert found["pdf"].headers["Content-Disposition"].endswith('.pdf"')


def test_staff_take_away_the_statement_of_an_open_account(client: FlaskClient, database: Database) -> None:
    with time_machine.travel(NOW, tick=False):
        _, bank = purse_of(database, "p")
        sign_in_as(client, database, Role.OFFICER)
        assert f'action="/staff/ledger/account/{bank}/statement/file"' in client.get(f"/staff/ledger/account/{bank}").text
        answer = client.get(f"/staff/ledger/account/{bank}/statement/file?form=csv", buffered=True)
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["balance_after"] for row in rows] == ["0.00", "-50.00", "-46.50", "-43.00", "-43.00"]


@pytest.mark.parametrize(
    ("asked", "code"), [("from=2026-02-30", "bad-period"), ("from=2026-11-22&to=2026-11-21", "bad-period")]
)
def test_wrong_days_are_refused(client: FlaskClient, database: Database, asked: str, code: str) -> None:
    sign_in_as(client, database, Role.RESIDENT)
    answer = client.get(f"/me/card/statement/file?{asked}", headers={"Accept": "application/problem+json"})
    assert answer.status_code in (400, 422)
    assert statements.BadPeriod.code == code


def test_a_pdf_nobody_would_read_is_refused(client: FlaskClient, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "PRINTED_MAX", 2)
    with time_machine.travel(NOW, tick=False):
        purse_of(database, sign_in_as(client, database, Role.RESIDENT))
        assert client.get("/me/card/statement/file?form=pdf").status_code == 409
        assert len(client.get("/me/card/statement/file?form=csv", buffered=True).data) > 100
