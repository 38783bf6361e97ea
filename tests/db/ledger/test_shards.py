"""Past one database: every key and every join stays inside one shard, and money between two shards survives any crash."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlglot
from flask import Flask
from sqlalchemy import UniqueConstraint, create_engine, event, select, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from sqlglot import exp

from app.kernel import ids, outbox, signing
from app.kernel.db import Base, Database, psycopg_url
from app.kernel.signing import Purpose
from app.wiring import COURIERS, HANDLERS
from card import ledger
from card.ledger import AccountId, AccountKind, Hold, Transfer, TransferCode, chart, models, posting, proofs, shards, tree

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
OWN = {
    row.__tablename__: row
    for row in vars(models).values()
    if isinstance(row, type) and issubclass(row, Base) and row is not Base
}
SHARDED = {model.__tablename__ for model in shards.DISTRIBUTED}


# Keys


def test_every_table_of_posting_is_distributed_by_its_shard_and_the_rest_is_copied_to_all() -> None:
    copied = {model.__tablename__ for model in shards.REFERENCE}
    assert not SHARDED & copied
    assert {name for name, row in OWN.items() if "shard" in row.__table__.columns} == SHARDED
    planned = re.findall(r"create_(?:distributed|reference)_table\('card\.(\w+)'", " ".join(shards.plan()))
    assert sorted(planned) == sorted(SHARDED | copied)
    assert all("'shard'" in line for line in shards.plan() if "create_distributed" in line)
    first, *others = [line for line in shards.plan() if "create_distributed" in line]
    assert "colocate_with" not in first
    assert all("colocate_with => 'card.account'" in line for line in others)


@pytest.mark.parametrize("name", sorted(SHARDED))
def test_every_key_of_a_distributed_table_has_the_shard_in_it(name: str) -> None:
    table = OWN[name].__table__
    assert "shard" in table.primary_key.columns
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            assert "shard" in constraint.columns, constraint.name
    for key in table.foreign_key_constraints:
        if key.referred_table.name in SHARDED:
            assert ("shard", "shard") in [(own.parent.name, own.column.name) for own in key.elements], key.name
            order = [model.__tablename__ for model in shards.DISTRIBUTED]
            assert order.index(key.referred_table.name) < order.index(name)


# Statements


SCOPES = (exp.Select, exp.Update, exp.Delete, exp.Insert)


def tied(scope: exp.Expression, aliases: list[str]) -> dict[str, str]:
    """Alias → what its shard must equal: what was asked for, or another table's shard."""
    found = {}
    for comparison in scope.find_all(exp.EQ, exp.In):
        right = comparison.expression if isinstance(comparison, exp.EQ) else None
        for one, other in ((comparison.this, right), (right, comparison.this)):
            if isinstance(one, exp.Column) and one.name == "shard":
                column = isinstance(other, exp.Column) and other.name == "shard"
                found[one.table or aliases[0]] = other.table if column else "asked"
    return found


def crossing(statement: str) -> list[str]:
    """What of a statement is not tied to one shard: a join of two distributed tables, a change, a row without its shard."""
    tree = sqlglot.parse_one(re.sub(r"%\((\w+)\)[sb]", r":\1", statement), read="postgres")
    wrong = []
    for scope in tree.find_all(*SCOPES):
        tables = {
            found.alias_or_name: found.name
            for found in scope.find_all(exp.Table)
            if found.name in SHARDED and found.db == "card" and found.find_ancestor(*SCOPES) is scope
        }
        if isinstance(scope, exp.Insert):
            columns = [column.name for column in getattr(scope.this, "expressions", [])]
            wrong += [f"{name} is written without its shard" for name in tables.values() if "shard" not in columns]
            continue
        ties = tied(scope, list(tables)) if tables else {}
        loose = {alias for alias in tables if alias not in ties and alias not in ties.values()}
        if loose and (len(tables) > 1 or not isinstance(scope, exp.Select)):
            wrong.append(f"{sorted(tables.values())}: {sorted(loose)} not tied in {scope.sql()[:300]}")
    return wrong


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    """Every statement that is sent to the database, as it is sent."""
    sent: list[str] = []

    def note(connection, cursor, statement, *_) -> None:
        if "card." in statement:
            sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine, "before_cursor_execute", note)


def pay(debit: AccountId, credit: AccountId, amount: int) -> Transfer:
    return Transfer(
        id=ids.new_id(), debit=debit, credit=credit, amount_minor=amount, code=TransferCode.FARE, event_at=NOW, reference="r"
    )


def test_no_statement_of_the_ledger_joins_two_shards(
    database: Database, sealer: Database, statements: list[str], tmp_path: Path
) -> None:
    with database.transaction() as session:
        bank, purse, metro = (
            ledger.open_account(session, spec, now=NOW) for spec in (chart.bank(), chart.purse("p"), chart.operator("m"))
        )
        top_up, fare = pay(bank, purse, 500), pay(purse, metro, 100)
        assert posting.post_fast(session, [top_up, fare], now=NOW)
        ledger.post(session, [top_up, pay(purse, metro, 10_000), pay(purse, metro, 1)], now=NOW)
        ledger.reverse(session, original_id=fare.id, reversal_id=ids.new_id(), now=NOW)
        for resolve in ("post", "void", "expire"):
            held = Hold(
                id=ids.new_id(),
                debit=purse,
                credit=metro,
                amount_minor=5,
                code=TransferCode.FARE,
                expires_at=NOW + timedelta(minutes=1),
            )
            ledger.hold(session, held, now=NOW)
            if resolve == "post":
                ledger.post_hold(session, hold_id=held.id, transfer_id=ids.new_id(), now=NOW)
            elif resolve == "void":
                ledger.void_hold(session, hold_id=held.id, now=NOW)
        ledger.expire_holds(session, now=NOW + timedelta(hours=1))
        for account in (purse, metro):
            ledger.balance(session, account)
            ledger.balance_at(session, account, NOW)
            ledger.statement(session, account)
            ledger.statement(session, account, before="1.1", limit=1)
            ledger.statement(session, account, after="0.0", limit=1)
            ledger.statement(session, account, until=NOW)
            list(ledger.period(session, account, beginning=NOW, ending=NOW + timedelta(days=1)).lines)
            ledger.pending_holds(session, account)
        ledger.balances(session, [purse, metro])
        ledger.booking(session, fare.id)
        ledger.transfer(session, fare.id)
        ledger.transfers_by_reference(session, "r")
        ledger.reversals_of(session, fare.id)
        ledger.trial_balance(session, at=NOW)
        ledger.day_balance(session, beginning=NOW, ending=NOW + timedelta(days=1))
        ledger.chart_balances(session)
        with pytest.raises(ledger.NotSealed):
            ledger.receipt(session, fare.id)
    with sealer.transaction() as session:
        key = signing.load_or_create(tmp_path, Purpose.CHECKPOINT)
        assert proofs.seal(session, key=key, city_code="320100", now=NOW)
    so_far = len(set(statements))
    with database.transaction() as session:
        assert ledger.receipt(session, fare.id)
    assert len(set(statements)) > so_far
    assert len(set(statements)) > 30
    sealing = [proofs.UNSEALED, proofs.SEALED, *(make(tree.INTERNATIONAL) for make in proofs.SEALING)]
    assert {found for statement in {*statements, *sealing} for found in crossing(statement)} == set()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 FROM card.transfer t JOIN card.account a ON a.id = t.debit",
        "SELECT 1 FROM card.transfer t JOIN card.account a ON a.id = t.debit AND a.shard = 0",
        "UPDATE card.account_balance SET held_minor = 0 WHERE account_id = 7",
        "INSERT INTO card.account_delta (account_id, batch_no) VALUES (1, 2)",
    ],
)
def test_a_statement_that_joins_two_shards_is_recognised(statement: str) -> None:
    assert crossing(statement)


# One command


def test_a_server_without_citus_is_left_as_it_is(app: Flask, database_url: str) -> None:
    with Session(create_engine(psycopg_url(database_url), poolclass=NullPool)) as session:
        assert session.scalar(text("SELECT 1 FROM pg_available_extensions WHERE name = 'citus'")) is None
        with pytest.raises(ledger.CitusMissing):
            shards.distribute(session)
    told = app.test_cli_runner().invoke(args=["ledger", "distribute"])
    assert told.exit_code == 1
    assert "[citus-missing]" in told.output
    shown = app.test_cli_runner().invoke(args=["ledger", "distribute", "--show"])
    assert shown.output.strip().rstrip(";").split(";\n") == shards.plan()


# Money between two shards


def move(session: Session, transfer: Transfer) -> None:
    ledger.transfer_between_shards(session, transfer, now=NOW)


def balances(database: Database, *accounts: AccountId) -> list[int]:
    with database.transaction() as session:
        report = ledger.check_books(session)
        assert report.findings == []
        assert ledger.trial_balance(session).balanced
        return [ledger.balance(session, id_).posted_minor for id_ in accounts]


def deliver(database: Database) -> bool:
    return outbox.deliver_one(database, HANDLERS, COURIERS, now=NOW + timedelta(days=1))


@pytest.fixture
def two(database: Database) -> tuple[AccountId, AccountId, AccountId, AccountId]:
    """A purse with ¥5 and its way out in shard 1, a purse and its way in in shard 2."""
    with database.transaction() as session:
        bank, payer, payee = (
            ledger.open_account(session, spec, now=NOW)
            for spec in (
                replace(chart.bank(), shard=1),
                replace(chart.purse("payer"), shard=1),
                replace(chart.purse("payee"), shard=2),
            )
        )
        ledger.post_all(session, [pay(bank, payer, 500)], now=NOW)
        out = ledger.open_account(session, chart.between_shards(2, kept_in=1), now=NOW)
        into = ledger.open_account(session, chart.between_shards(1, kept_in=2), now=NOW)
    return payer, out, into, payee


def test_money_moves_between_shards_in_two_local_transfers(database: Database, two: tuple[AccountId, ...]) -> None:
    payer, out, into, payee = two
    assert [ledger.shard_of(id_) for id_ in two] == [1, 1, 2, 2]
    moved = pay(payer, payee, 300)
    with database.transaction() as session:
        move(session, moved)
    assert balances(database, *two) == [200, 300, 0, 0]  # left, and not arrived: the books balance all the same
    assert deliver(database)
    assert balances(database, *two) == [200, 300, -300, 300]
    with database.transaction() as session:
        halves = ledger.transfers_by_reference(session, "r")[-2:]
        assert [(half.debit, half.credit) for half in halves] == [(payer, out), (into, payee)]
        move(session, moved)  # a repeat is quiet …
    assert deliver(database)  # … however often it is delivered
    assert balances(database, *two) == [200, 300, -300, 300]
    with database.transaction() as session, pytest.raises(ledger.TransferConflict):
        move(session, replace(moved, amount_minor=1))
    with database.transaction() as session, pytest.raises(ledger.InsufficientFunds):
        move(session, pay(payer, payee, 201))
    assert not deliver(database)


def test_a_crash_between_the_halves_delays_the_money_and_never_loses_or_doubles_it(
    database: Database, two: tuple[AccountId, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    payer, _, _, payee = two

    class Crash(Exception):
        pass

    def dies_before() -> None:
        with database.transaction() as session:
            move(session, pay(payer, payee, 100))
            raise Crash

    with pytest.raises(Crash):  # before the first half commits: nothing happened
        dies_before()
    assert not deliver(database)
    assert balances(database, *two) == [500, 0, 0, 0]
    with database.transaction() as session:
        move(session, pay(payer, payee, 100))
    post_all = posting.post_all

    def dies_after(*arguments: object, **named: object) -> None:  # after the second half was written, before it commits
        post_all(*arguments, **named)  # type: ignore[arg-type]
        raise Crash

    monkeypatch.setattr(posting, "post_all", dies_after)
    assert deliver(database)  # fails, is kept
    assert balances(database, *two) == [400, 100, 0, 0]
    monkeypatch.setattr(posting, "post_all", post_all)
    assert outbox.deliver_one(database, HANDLERS, COURIERS, now=NOW + timedelta(days=2))
    assert balances(database, *two) == [400, 100, -100, 100]
    assert not deliver(database)
    with database.transaction() as session:
        waiting = session.scalars(select(outbox.OutboxEvent).where(outbox.OutboxEvent.done_at.is_(None))).all()
        assert list(waiting) == []


def test_within_one_shard_it_is_an_ordinary_transfer(database: Database, two: tuple[AccountId, ...]) -> None:
    payer, *_ = two
    with database.transaction() as session:
        other = ledger.open_account(session, replace(chart.operator("m"), shard=1), now=NOW)
        move(session, pay(payer, other, 100))
        assert ledger.balance(session, other).posted_minor == 100
        assert ledger.account(session, other).kind is AccountKind.OPERATOR
    assert not deliver(database)
