"""What is sealed can be proven to a stranger, and no old byte changes unnoticed."""

import base64
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from app.kernel import ids, signing
from app.kernel.db import Database
from app.kernel.settings import Settings
from app.kernel.signing import Key, Purpose
from card import ledger
from card.ledger import Transfer, TransferCode, chart, jobs, notes, proofs, tree, verify

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
CITY = "320100"


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return signing.load_or_create(tmp_path / "keys", Purpose.CHECKPOINT)


@pytest.fixture
def books(database: Database, sealer: Database, key: Key) -> Database:
    """Seven batches of one to four fares, sealed in three turns."""
    number = 0
    with database.transaction() as session:
        bank = ledger.open_account(session, chart.bank(), now=NOW)
        purse = ledger.open_account(session, chart.purse("p"), now=NOW)
    for turn in (1, 2, 4):
        for _ in range(turn):
            with database.transaction() as session:
                batch = [fare(bank, purse, number + n) for n in range(1 + number % 4)]
                ledger.post(session, batch, now=NOW)
                number += len(batch)
        with sealer.transaction() as session:
            assert proofs.seal(session, key=key, city_code=CITY, now=NOW) == turn
            assert proofs.seal(session, key=key, city_code=CITY, now=NOW) == 0
    return database


def fare(debit: ledger.AccountId, credit: ledger.AccountId, number: int) -> Transfer:
    return Transfer(
        id=fare_id(number),
        debit=debit,
        credit=credit,
        amount_minor=100 + number,
        code=TransferCode.TOP_UP,
        event_at=NOW + timedelta(seconds=number),
        reference=f"payment:{number}",
        metadata={"渠道": "app", "n": number},
    )


def fare_id(number: int) -> UUID:
    return ids.derived_id(NOW, "proof", str(number))


def receipts(books: Database) -> list[dict]:
    with books.transaction() as session:
        report = ledger.check_books(session)
        return [ledger.receipt(session, fare_id(number)) for number in range(report.transfers)]


def test_every_transfer_has_a_receipt_that_a_stranger_can_verify(books: Database, key: Key) -> None:
    vkey = proofs.verifier_key(CITY, key).text
    for number, receipt in enumerate(receipts(books)):
        said = verify.verify(json.loads(json.dumps(receipt)), key=vkey)
        assert said["transfer"] == str(fare_id(number))
        assert (said["out of"], said["into"], said["amount"]) == ("bank", "purse:p", f"1.{number:02d} CNY")
        assert (said["reference"], said["ledger"]) == (f"payment:{number}", "ledger.citizen-card/320100")


def test_the_verifier_is_a_program_of_its_own(books: Database, key: Key, tmp_path: Path) -> None:
    file, vkey = tmp_path / "receipt.json", proofs.verifier_key(CITY, key).text
    receipt = receipts(books)[3]
    for document, code, said in ((receipt, 0, "proven\n"), ({**receipt, "batch_index": 1}, 1, "")):
        file.write_text(json.dumps(document))
        ran = subprocess.run(
            [sys.executable, "-m", "card.ledger.verify", str(file), "--key", vkey], capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stdout[:7]) == (code, said)
        assert ran.stderr == "" if code == 0 else "NOT proven" in ran.stderr


def test_a_receipt_with_any_part_changed_proves_nothing(books: Database, key: Key) -> None:
    vkey = proofs.verifier_key(CITY, key).text
    found = receipts(books)
    receipt, other = found[4], found[9]

    def bent(text: str) -> str:
        raw = bytearray(base64.b64decode(text))
        raw[-1] ^= 1
        return base64.b64encode(raw).decode()

    changes: list[dict] = [{name: bent(receipt[name])} for name in ("transfer", "batch")]
    changes += [{name: receipt[name] + 1} for name in ("transfer_index", "batch_index")]
    changes += [{name: [bent(one) for one in receipt[name]]} for name in ("transfer_path", "batch_path")]
    changes += [{name: receipt[name][:-1]} for name in ("transfer_path", "batch_path")]
    changes += [{name: other[name]} for name in ("transfer", "batch", "batch_path")]
    changes += [
        {"checkpoint": receipt["checkpoint"].replace("\n7\n", "\n6\n")},
        {"format": "x"},
        {"transfer": "?"},
        {"batch": ""},
    ]
    for change in changes:
        with pytest.raises(tree.BadProof):
            verify.verify({**receipt, **change}, key=vkey)


def test_each_checkpoint_begins_with_the_one_before(books: Database, key: Key) -> None:
    with books.transaction() as session:
        rows = session.connection().exec_driver_sql("SELECT note FROM card.ledger_checkpoint ORDER BY size").scalars().all()
        seen = [notes.read_note(note, key=proofs.verifier_key(CITY, key)) for note in rows]
        assert [checkpoint.size for checkpoint in seen] == [1, 3, 7]
        for old, new in ((seen[0], seen[1]), (seen[0], seen[2]), (seen[1], seen[2])):
            proof = ledger.consistency_proof(session, old=old.size, size=new.size)
            tree.check_consistency(old=old.size, size=new.size, old_root=old.root, new_root=new.root, proof=proof)
        assert ledger.newest_checkpoint(session) == rows[-1]
        with pytest.raises(ledger.NotSealed):
            ledger.consistency_proof(session, old=3, size=6)


def test_what_is_booked_a_moment_ago_says_that_its_proof_is_being_made(
    books: Database, sealer: Database, settings: Settings
) -> None:
    with books.transaction() as session:
        bank, purse = ledger.account_id(session, "bank"), ledger.account_id(session, "purse:p")
        ledger.post(session, [fare(bank, purse, 99)], now=NOW)
        with pytest.raises(ledger.NotSealed):
            ledger.receipt(session, fare_id(99))
    jobs.seal(sealer, settings)
    jobs.seal_stragglers(sealer, settings)
    with books.transaction() as session:
        assert ledger.receipt(session, fare_id(99))["batch_index"] == 7
        assert ledger.check_proofs(session) == []


@pytest.mark.parametrize(
    "change",
    [
        "code = 10",
        "event_at = event_at + interval '1 microsecond'",
        "reference = reference || ' '",
        "metadata = '{}'",
        "amount_minor = amount_minor + 1",
        "credit_after_minor = credit_after_minor + 1",
        "reverses = id",
    ],
)
def test_any_change_of_an_old_row_is_found_and_named(books: Database, database_url: str, change: str) -> None:
    with psycopg.connect(database_url) as owner:
        owner.execute("ALTER TABLE card.transfer DISABLE TRIGGER USER")
        assert owner.execute(f"UPDATE card.transfer SET {change} WHERE id = %s", [fare_id(5)]).rowcount == 1
    with books.transaction() as session:
        assert [(f.kind.value, f.subject) for f in ledger.check_proofs(session)] == [("proof", f"transfer:{fare_id(5)}")]


@pytest.mark.parametrize(
    ("table", "change", "subject"),
    [
        ("transfer", "DELETE FROM card.transfer WHERE reference = 'payment:5'", "batch:"),
        ("ledger_batch", "UPDATE card.ledger_batch SET posted_at = posted_at + interval '1 s' WHERE batch_no = 3", "batch:3"),
        ("ledger_batch", "DELETE FROM card.ledger_batch WHERE batch_no = 3", "batch:3"),
        ("ledger_node", "UPDATE card.ledger_node SET hash = '' WHERE level = 0 AND index = 2", "batch:3"),
        ("ledger_checkpoint", "UPDATE card.ledger_checkpoint SET root = '' WHERE size = 3", "checkpoint:3"),
        ("ledger_seal", "DELETE FROM card.ledger_seal WHERE position = 6", "checkpoint:7"),
    ],
)
def test_a_missing_or_changed_batch_or_proof_is_found(
    books: Database, database_url: str, table: str, change: str, subject: str
) -> None:
    with psycopg.connect(database_url) as owner:
        owner.execute(f"ALTER TABLE card.{table} DISABLE TRIGGER USER")
        assert owner.execute(change).rowcount == 1
    with books.transaction() as session:
        found = [finding.subject for finding in ledger.check_proofs(session)]
    assert any(name.startswith(subject) for name in found), found


@pytest.mark.parametrize("table", ["ledger_seal", "ledger_node", "ledger_checkpoint"])
@pytest.mark.parametrize("statement", ["DELETE FROM card.{}", "TRUNCATE card.{}"])
def test_proofs_are_append_only(books: Database, database_url: str, table: str, statement: str) -> None:
    for options in ("", "-c role=city_app"):
        with psycopg.connect(database_url, options=options) as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement.format(table))


def test_a_city_may_seal_with_sm3_and_sm2_and_does_not_change_its_mind(
    database: Database, sealer: Database, key: Key, tmp_path: Path
) -> None:
    national = signing.load_or_create_sm2(tmp_path / "keys", Purpose.CHECKPOINT)
    assert signing.load_or_create_sm2(tmp_path / "keys", Purpose.CHECKPOINT) == national
    vkey = proofs.verifier_key(CITY, national)
    with database.transaction() as session:
        bank, purse = (ledger.open_account(session, spec, now=NOW) for spec in (chart.bank(), chart.purse("p")))
    for number in range(3):
        with database.transaction() as session:
            ledger.post(session, [fare(bank, purse, number)], now=NOW)
        with sealer.transaction() as session:
            proofs.seal(session, key=national, city_code=CITY, now=NOW)
    with database.transaction() as session:
        ledger.post(session, [fare(bank, purse, 3)], now=NOW)
    with pytest.raises(ledger.SuiteChanged), sealer.transaction() as session:
        proofs.seal(session, key=key, city_code=CITY, now=NOW)
    with database.transaction() as session:
        assert ledger.check_proofs(session, key=vkey) == []
        document = ledger.receipt(session, fare_id(1))
    said = verify.verify(document, key=vkey.text)
    assert (said["suite"], said["transfer"]) == ("SM3 and SM2", str(fare_id(1)))
    with pytest.raises(tree.BadProof, match="another suite"):
        verify.verify(document, key=proofs.verifier_key(CITY, key).text)
    other = signing.load_or_create_sm2(tmp_path / "other", Purpose.CHECKPOINT)
    with pytest.raises(tree.BadProof, match="did not sign"):
        verify.verify(document, key=proofs.verifier_key(CITY, other).text)
