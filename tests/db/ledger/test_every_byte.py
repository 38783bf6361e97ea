"""Whatever the database's owner changes in an old row behind our back is found, and the row is named."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.kernel import ids, signing
from app.kernel.db import Database, psycopg_url
from app.kernel.signing import Key, Purpose
from card import ledger
from card.ledger import Transfer, TransferCode, chart, proofs

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
TABLES = (
    "account",
    "transfer",
    "account_delta",
    "ledger_batch",
    "refused_transfer",
    "ledger_seal",
    "ledger_record",
    "ledger_node",
    "ledger_checkpoint",
)
# Which row is changed, where not any one will do.
ROWS = {
    "transfer": ["reference = 'payment:1:1'"],
    "ledger_record": ["account IS NOT NULL", "refusal IS NOT NULL"],
    "ledger_node": ["level = 1"],
}
# A change of each type of column. Values stay plausible: nothing that the type itself would refuse.
CHANGES = {
    "bigint": "{} + 1000",
    "integer": "{} + 1000",
    "smallint": "{} + 100",
    "boolean": "NOT {}",
    "uuid": (
        "coalesce(overlay({0}::text placing translate(right({0}::text, 1), '0123456789abcdef', '123456789abcdef0') from 36),"
        " '019a0000-0000-7000-8000-000000000001')::uuid"
    ),
    "timestamp with time zone": "{} + interval '1 microsecond'",
    "text": "{} || 'x'",
    "jsonb": "coalesce({}, '{{}}') || '{{\"x\": 1}}'",
    "bytea": "{} || '\\x00'",
}


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return signing.load_or_create(tmp_path / "keys", Purpose.CHECKPOINT)


@pytest.fixture
def owner(database: Database, sealer: Database, database_url: str, key: Key) -> Iterator[Session]:
    """Three sealings of four batches, with a refusal and a reversal; the owner's own session, its triggers asleep."""
    with database.transaction() as session:
        bank, purse, metro = (
            ledger.open_account(session, spec, now=NOW) for spec in (chart.bank(), chart.purse("p"), chart.operator("m"))
        )
    for turn in range(4):
        with database.transaction() as session:
            fares = [
                Transfer(
                    id=ids.derived_id(NOW, "byte", str(turn), str(n)),
                    debit=bank if n % 2 == 0 else purse,
                    credit=purse if n % 2 == 0 else metro,
                    amount_minor=100 - n,
                    code=TransferCode.TOP_UP,
                    event_at=NOW,
                    reference=f"payment:{turn}:{n}",
                    metadata={"n": n},
                )
                for n in range(3)
            ]
            ledger.post(session, fares, now=NOW)
            too_much = Transfer(id=uuid4(), debit=purse, credit=metro, amount_minor=10**9, code=TransferCode.FARE, event_at=NOW)
            ledger.post(session, [too_much], now=NOW)
        if turn:
            with sealer.transaction() as session:
                proofs.seal(session, key=key, city_code="320100", now=NOW + timedelta(seconds=turn))
    engine = create_engine(psycopg_url(database_url))
    with Session(engine) as session:
        yield session
    engine.dispose()


def found(session: Session, key: Key) -> set[str]:
    findings = ledger.check_books(session).findings
    findings += ledger.check_proofs(session, key=proofs.verifier_key("320100", key))
    return {finding.subject for finding in findings}


def expected(table: str, row: dict[str, object], changed: str) -> set[str]:
    """How a finding may name the row; any of them will do. Where the row's key was changed, its batch or its place names it."""
    batch = f"batch:{row.get('batch_no', int(str(row.get('place', 0))) >> 20)}"
    names = {
        "account": {f"account:{row.get('id')}"},
        "transfer": {f"transfer:{row.get('id')}"} | ({batch} if changed in {"id", "place"} else set()),
        "account_delta": {batch},
        "ledger_batch": {batch},
        "refused_transfer": {f"refusal:{row.get('id')}"},
        "ledger_seal": {f"seal:{row.get('position')}"} | ({batch} if changed in {"root", "batch_no", "records"} else set()),
        "ledger_record": {f"account:{row.get('account')}", f"refusal:{row.get('refusal')}", f"seal:{row.get('position')}"},
        "ledger_node": {f"node:{row.get('level')}/{row.get('index')}"},
        "ledger_checkpoint": {f"checkpoint:{row.get('size')}"},
    }
    by_its_new_key = {
        ("transfer", "id"): "transfer",
        ("ledger_record", "account"): "account",
        ("ledger_record", "refusal"): "refusal",
        ("ledger_checkpoint", "size"): "checkpoint",
    }.get((table, changed))
    return names[table] | ({by_its_new_key} if by_its_new_key else set())


def unguard(owner: Session, table: str) -> None:
    """Take away all that stops the owner, until the transaction ends: triggers, checks, foreign keys from and to the table."""
    owner.execute(text(f"ALTER TABLE card.{table} DISABLE TRIGGER USER"))
    for holder, name in owner.execute(
        text(
            "SELECT conrelid::regclass, conname FROM pg_constraint WHERE conparentid = 0 AND"
            " (conrelid = CAST(:t AS regclass) AND contype = 'c'"
            " OR CAST(:t AS regclass) IN (conrelid, confrelid) AND contype = 'f')"
        ),
        {"t": f"card.{table}"},
    ).all():
        owner.execute(text(f"ALTER TABLE {holder} DROP CONSTRAINT {name}"))


def test_every_column_of_every_row_is_guarded(owner: Session, key: Key) -> None:
    assert found(owner, key) == set()
    owner.rollback()
    missed = []
    for table in TABLES:
        columns = owner.execute(
            text(
                "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'card' AND table_name = :t"
            ),
            {"t": table},
        ).all()
        assert columns
        for (column, kind), sealed in product(columns, ROWS.get(table, ["true"])):
            unguard(owner, table)
            before = dict(owner.execute(text(f"SELECT * FROM card.{table} WHERE {sealed} LIMIT 1")).mappings().one())
            where = f"ctid = (SELECT ctid FROM card.{table} WHERE {sealed} LIMIT 1) AND {sealed}"
            change = CHANGES[kind].format(f'"{column}"')
            if before[column] is None and kind != "jsonb":
                change = {"bigint": "1000000", "uuid": "gen_random_uuid()"}[kind]
            changed = owner.execute(text(f'UPDATE card.{table} SET "{column}" = {change} WHERE {where}'))
            assert changed.rowcount == 1, (table, column)
            subjects = found(owner, key)
            names = expected(table, before, column)
            if not any(one == name or one.startswith((f"{name} ", f"{name}:")) for name in names for one in subjects):
                missed.append((table, column, before[column], sorted(subjects)))
            owner.rollback()
    assert missed == []


def test_a_row_that_is_gone_is_missed_too(owner: Session, key: Key) -> None:
    missed = []
    for table in TABLES:
        unguard(owner, table)
        where = f"SELECT ctid FROM card.{table} WHERE {'place >= 0' if table == 'transfer' else 'true'} LIMIT 1"
        assert owner.execute(text(f"DELETE FROM card.{table} WHERE ctid = ({where})")).rowcount >= 1
        if not found(owner, key):
            missed.append(table)
        owner.rollback()
    assert missed == []
