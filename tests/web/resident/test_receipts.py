"""A resident's receipt: one's own transfers only, and its proof read by a program that was given the public key alone."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from app.kernel import ids
from app.kernel.db import Database
from app.kernel.settings import Settings
from app.web.auth import Role
from card import ledger
from card.ledger import Transfer, TransferCode, chart, jobs
from tests import signing_in
from tests.web.strictly import parse

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
FARE, OTHER = ids.derived_id(NOW, "fare"), ids.derived_id(NOW, "of somebody else")
ADDRESS = f"/me/receipts/{FARE}"


@pytest.fixture
def holder(client: FlaskClient, database: Database) -> UUID:
    """A resident with 50.00 yuan and a fare of 3.50; somebody else with the same."""
    stranger = signing_in.new_person(database)
    own = signing_in.sign_in_as(client, database, Role.RESIDENT)
    with database.transaction() as session:
        bank = ledger.open_account(session, chart.stripe_clearing(), now=NOW)
        metro = ledger.open_account(session, chart.operator("metro"), now=NOW)
        for person, fare in ((own, FARE), (stranger, OTHER)):
            purse = ledger.open_account(session, chart.purse(person), now=NOW)
            moves = (
                (ids.new_id(), bank, purse, 5000, TransferCode.TOP_UP),
                (fare, purse, metro, 350, TransferCode.FARE),
            )
            for id_, debit, credit, amount, code in moves:
                transfer = Transfer(id=id_, debit=debit, credit=credit, amount_minor=amount, code=code, event_at=NOW)
                ledger.post_all(session, [transfer], now=NOW)
    return own


def page(client: FlaskClient, address: str, language: str = "en") -> str:
    answer = client.get(address, query_string={"lang": language})
    assert answer.status_code == 200, answer.text
    parse(answer.text)
    return answer.text


def test_a_receipt_is_calm_while_its_proof_is_being_sealed(client: FlaskClient, holder: UUID) -> None:
    text = page(client, ADDRESS)
    for seen in ("Your card purse", "¥3.50", "The proof is being sealed", "Look again"):
        assert seen in text
    assert "Receipt as PDF" not in text
    assert client.get(f"{ADDRESS}/receipt.json").status_code == 503


def test_the_statement_leads_to_the_receipt_which_shows_both_sides_and_the_proof(
    client: FlaskClient, holder: UUID, sealer: Database, settings: Settings
) -> None:
    jobs.seal(sealer, settings)
    for address in ("/me/card/statement",):
        assert f'href="{ADDRESS}"' in page(client, address)
    text = page(client, ADDRESS)
    for seen in ("Your card purse", "metro", "¥3.50", "Proven", "Receipt as PDF", 'class="card-code__qr"'):
        assert seen in text
    assert "证明" in page(client, ADDRESS, "zh_Hans_CN")


@pytest.mark.parametrize("form", ["", "/receipt.json", "/receipt.png", "/receipt.pdf"])
def test_nobody_sees_the_receipt_of_somebody_else(
    client: FlaskClient, holder: UUID, sealer: Database, settings: Settings, form: str
) -> None:
    jobs.seal(sealer, settings)
    assert client.get(f"/me/receipts/{OTHER}{form}").status_code == 404
    assert client.get(f"/me/receipts/{ids.new_id()}{form}").status_code == 404
    assert client.get(f"{ADDRESS}{form}").status_code == 200


@pytest.mark.parametrize(
    ("form", "media_type"), [("json", "application/json"), ("png", "image/png"), ("pdf", "application/pdf")]
)
def test_each_form_proves_the_transfer_to_a_stranger(
    client: FlaskClient, holder: UUID, sealer: Database, settings: Settings, tmp_path: Path, form: str, media_type: str
) -> None:
    jobs.seal(sealer, settings)
    answer = client.get(f"{ADDRESS}/receipt.{form}")
    assert (answer.status_code, answer.mimetype) == (200, media_type)
    file, key = tmp_path / f"receipt.{form}", client.get("/api/ledger/key").text.strip()
    file.write_bytes(answer.data)
    ran = subprocess.run(
        [sys.executable, "-m", "card.ledger.verify", str(file), "--key", key, "--language", "en"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    for said in ("proven\n", str(FARE), f"purse:{holder}", "operator:metro", "3.50 CNY"):
        assert said in ran.stdout
