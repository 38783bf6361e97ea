"""What is sealed can be proven to a stranger, and no old byte changes unnoticed."""

import base64
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from app.kernel import ids, signing
from app.kernel.db import Database
from app.kernel.settings import Settings
from app.kernel.signing import Key, Purpose
from card import ledger
from card.ledger import Transfer, TransferCode, auditing, chart, jobs, leaves, notes, proofs, receipts, tree, verify
from card.ledger.leaves import TransferLeaf

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


def every_receipt(books: Database) -> list[dict]:
    with books.transaction() as session:
        report = ledger.check_books(session)
        return [ledger.receipt(session, fare_id(number)) for number in range(report.transfers)]


def test_every_transfer_has_a_receipt_that_a_stranger_can_verify(books: Database, key: Key) -> None:
    vkey = proofs.verifier_key(CITY, key).text
    for number, receipt in enumerate(every_receipt(books)):
        said = verify.verify(json.loads(json.dumps(receipt)), key=vkey)
        assert said["transfer"] == str(fare_id(number))
        assert (said["out of"], said["into"], said["amount"]) == ("bank", "purse:p", f"1.{number:02d} CNY")
        assert (said["reference"], said["ledger"]) == (f"payment:{number}", "ledger.citizen-card/320100")


def test_the_verifier_is_a_program_of_its_own(books: Database, key: Key, tmp_path: Path) -> None:
    file, vkey = tmp_path / "receipt.json", proofs.verifier_key(CITY, key).text
    receipt = every_receipt(books)[3]
    bent = {**receipt, "transfer": {**receipt["transfer"], "index": 9}}
    for document, code, said in ((receipt, 0, "proven\n"), (bent, 1, "")):
        file.write_text(json.dumps(document))
        ran = subprocess.run(
            [sys.executable, "-m", "card.ledger.verify", str(file), "--key", vkey], capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stdout[:7]) == (code, said)
        assert ran.stderr == "" if code == 0 else "NOT proven" in ran.stderr


VERIFIER = (
    *(f"card/ledger/{name}.py" for name in ("__init__", "leaves", "notes", "receipts", "tree", "verification", "verify")),
    *("card/__init__.py", "app/__init__.py", "app/kernel/__init__.py", "app/kernel/sm2.py"),
)


def stranger(folder: Path) -> Path:
    """A folder with the files of the verifier, and of all that is installed only what ``cryptography`` needs."""
    root = Path(__file__).parents[3]
    for name in VERIFIER:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, folder / name)
    for name in ("cryptography", "cffi", "_cffi_backend"):
        found = find_spec(name)
        assert found is not None
        assert found.origin is not None
        origin = Path(found.origin)
        origin = origin.parent if origin.name == "__init__.py" else origin
        (folder / origin.name).symlink_to(origin)
    return folder


def ask(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the verifier where nothing else can be imported: no environment's packages, no project."""
    return subprocess.run(
        [sys.executable, "-S", "-m", "card.ledger.verify", *arguments, "--language", "en"],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("suite", [1, 2])
def test_the_verifier_needs_python_and_cryptography_alone(
    books: Database, database: Database, sealer: Database, key: Key, tmp_path: Path, suite: int
) -> None:
    vkey = proofs.verifier_key(CITY, key)
    if suite == 2:
        national = signing.load_or_create_sm2(tmp_path / "keys", Purpose.CHECKPOINT)
        vkey = proofs.verifier_key(CITY, national)
        with psycopg.connect(str(database.engine.url.set(drivername="postgresql"))) as owner:
            for table in ("ledger_seal", "ledger_record", "ledger_node", "ledger_checkpoint"):
                owner.execute(f"ALTER TABLE card.{table} DISABLE TRIGGER USER")
                owner.execute(f"DELETE FROM card.{table}")
        with sealer.transaction() as session:
            proofs.seal(session, key=national, city_code=CITY, now=NOW)
    receipt = every_receipt(books)[3]
    folder = stranger(tmp_path / "elsewhere")
    file, codes = folder / "receipt.json", receipts.codes(receipt)
    file.write_text(json.dumps(receipt))
    for given in ([str(file)], codes):
        ran = ask(folder, *given, "--key", vkey.text)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout.startswith("proven\n")
        assert f"transfer: {fare_id(3)}" in ran.stdout
    file.write_text(json.dumps({**receipt, "accounts": receipt["accounts"][::-1], "checkpoint": "x"}))
    assert ask(folder, str(file), "--key", vkey.text).returncode == 1
    (folder / "receipt.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    ran = ask(folder, str(folder / "receipt.png"), "--key", vkey.text)
    assert (ran.returncode, "need zxing-cpp" in ran.stderr) == (2, True)


def test_two_receipts_are_not_taken_for_one(books: Database, key: Key, tmp_path: Path) -> None:
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for file, receipt in zip(files, every_receipt(books), strict=False):
        file.write_text(json.dumps(receipt))
    assert verify.main([*map(str, files), "--key", proofs.verifier_key(CITY, key).text]) == verify.NOT_READ


ROWS = {
    "a plain transfer": {},
    "with details in two languages": {"metadata": {"渠道": "app", "n": 1.50, "deep": {"b": [None, True], "a": ""}}},
    "that gives something back": {"reverses": uuid4()},
    "with all of it": {"reverses": uuid4(), "metadata": {"x": "\\u0000 is only written so"}, "reference": "é\n\t 参考"},
    "without a reference": {"reference": ""},
}


@pytest.mark.parametrize("suite", [tree.INTERNATIONAL, tree.NATIONAL])
def test_the_database_writes_what_anybody_reads(database: Database, suite: tree.Suite) -> None:
    with database.transaction() as session:
        accounts = [
            ledger.open_account(session, spec, now=NOW) for spec in (chart.bank(), chart.purse("p"), chart.operator("m"))
        ]
        sides, plain = [(0, 1), (1, 2), (0, 2)], {"metadata": {}}  # guarded on either side, or on none
        batch = [
            replace(
                fare(accounts[debit], accounts[credit], 10 * number + n), **(plain | {"amount_minor": 100 - number} | change)
            )
            for number, (debit, credit) in enumerate(sides)
            for n, change in enumerate(ROWS.values())
        ]
        ledger.post(session, batch, now=NOW)
    asked = (
        f"SELECT t.*, t.metadata::text AS details, {leaves.transfer_sql(suite)} AS leaf FROM card.transfer t ORDER BY t.place"
    )
    with database.transaction() as session:
        rows = session.connection().exec_driver_sql(asked).all()
        assert len(rows) == len(batch)
        for row in rows:
            written = TransferLeaf(
                id=row.id,
                debit=row.debit,
                credit=row.credit,
                amount_minor=row.amount_minor,
                code=row.code,
                event_us=leaves.instant_us(row.event_at),
                debit_after_minor=row.debit_after_minor,
                credit_after_minor=row.credit_after_minor,
                reference=row.reference,
                metadata=row.details,
                reverses=row.reverses,
            )
            assert written.write(suite) == row.leaf
            assert TransferLeaf.read(row.leaf) == written
        hashed = leaves.hashed_sql(leaves.transfer_sql, tree.INTERNATIONAL)
        hashes = session.connection().exec_driver_sql(f"SELECT {hashed} AS leaf FROM card.transfer t ORDER BY t.place")
        if suite is tree.INTERNATIONAL:
            assert [row.leaf for row in hashes] == [tree.leaf_hash(row.leaf) for row in rows]


def test_a_name_is_sealed_before_the_money_that_it_explains(
    books: Database, database: Database, sealer: Database, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proofs, "RECORDS", 2)  # so that names come faster than they can be sealed at once
    with database.transaction() as session:
        bank = ledger.account_id(session, "bank")
        purses = [ledger.open_account(session, replace(chart.purse(str(n)), shard=n % 2), now=NOW) for n in range(6)]
    for number, purse in enumerate(purses):
        with database.transaction() as session:
            source = bank if number % 2 == 0 else ledger.open_account(session, replace(chart.bank(), shard=1), now=NOW)
            ledger.post(session, [fare(source, purse, 50 + number)], now=NOW)
    with sealer.transaction() as session:
        assert [proofs.seal(session, key=key, city_code=CITY, now=NOW) for _ in range(5)] == [1, 1, 1, 3, 0]
    vkey = proofs.verifier_key(CITY, key)
    late = []
    with database.transaction() as session:
        assert ledger.check_proofs(session, key=vkey) == []
        for number in range(6):
            said = verify.verify(ledger.receipt(session, fare_id(50 + number)), key=vkey.text)
            assert said["into"] == f"purse:{number}"
            late += [said[name] for name in said if name.startswith("named only afterwards")]
    assert late == ["bank"]  # the second shard's, which came last of all; and so its first receipt says


def test_a_transfer_whose_account_is_not_sealed_waits_for_it(books: Database, database_url: str) -> None:
    with psycopg.connect(database_url) as owner:
        owner.execute("ALTER TABLE card.ledger_record DISABLE TRIGGER USER")
        owner.execute("DELETE FROM card.ledger_record WHERE leaf = 0")
    with books.transaction() as session, pytest.raises(ledger.NotSealed):
        ledger.receipt(session, fare_id(0))


def test_a_transfer_that_moved_within_its_batch_is_found_although_its_bytes_are_the_same(
    books: Database, database_url: str
) -> None:
    with psycopg.connect(database_url) as owner:
        owner.execute("ALTER TABLE card.transfer DISABLE TRIGGER USER")
        row = owner.execute("SELECT id FROM card.transfer WHERE place = (SELECT max(place) FROM card.transfer)").fetchone()
        assert row is not None
        owner.execute("UPDATE card.transfer SET place = place + 7 WHERE id = %s", row)
    with books.transaction() as session:
        assert [finding.subject for finding in ledger.check_proofs(session)] == [f"transfer:{row[0]}"]


def test_what_is_sealed_while_the_check_reads_is_left_to_the_next(books: Database) -> None:
    with books.transaction() as session:
        for size in range(8):
            assert list(auditing.check_sealed(session, tree.INTERNATIONAL, size=size)) == []
        for behind in range(-1, 6):
            assert list(auditing.check_sealed(session, tree.INTERNATIONAL, size=7, behind=behind)) == []


def test_a_receipt_with_any_part_changed_proves_nothing(books: Database, key: Key) -> None:
    vkey = proofs.verifier_key(CITY, key).text
    found = every_receipt(books)
    receipt, other = found[4], found[9]

    def bent(value: object) -> object:
        if isinstance(value, int):
            return value + 1
        if isinstance(value, list):
            return [bent(one) for one in value]
        raw = bytearray(base64.b64decode(str(value)))
        raw[-1] ^= 1
        return base64.b64encode(raw).decode()

    parts = [("transfer", None), *(("accounts", n) for n in range(2)), *(("batches", n) for n in range(2))]
    assert [len(receipt[name]) for name in ("accounts", "batches")] == [2, 2]
    changes: list[dict] = []
    for name, n in parts:
        part = receipt[name] if n is None else receipt[name][n]
        different: list[dict] = [{**part, field: bent(part[field])} for field in part if part[field] != []]
        different += [{**part, "path": part["path"][:-1]}] if part["path"] else []
        different += [{**part, "path": [*part["path"], part["path"][0]]}] if part["path"] else []
        different += [{**part, field: value} for field, value in (("data", "?"), ("data", ""), ("index", -1), ("index", "x"))]
        different += [{field: part[field] for field in part if field != "data"}]
        for one in different:
            changes.append({name: one if n is None else [one if at == n else kept for at, kept in enumerate(receipt[name])]})
    for name in ("transfer", "batches"):
        changes.append({name: other[name]})
    changes += [
        {"accounts": receipt["accounts"][:1]},
        {"accounts": receipt["accounts"][:1] * 2},
        {"accounts": [*receipt["accounts"], receipt["accounts"][0]]},
        {"accounts": [{**receipt["transfer"], "size": 2}, receipt["accounts"][1]]},
        {"accounts": None},
        {"batches": receipt["batches"][:1]},
        {"batches": []},
        {"checkpoint": receipt["checkpoint"].replace("\n7\n", "\n6\n")},
        {"format": "x"},
        {"transfer": "?"},
        {"transfer": receipt["batches"][0]},
    ]
    for change in changes:
        with pytest.raises(tree.BadProof):
            verify.verify({**receipt, **change}, key=vkey)
    assert verify.verify(receipt, key=vkey)


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
        assert ledger.receipt(session, fare_id(99))["batches"][0]["index"] == 7
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
