"""The ledger's tables were made again once (migration 0019): every row is carried over, up and down, and goes on working."""

from datetime import UTC, datetime, timedelta

import psycopg
from alembic import command
from psycopg import sql

from app import migrate
from app.kernel import ids
from app.kernel.db import Database
from card import ledger
from card.ledger import Hold, Transfer, TransferCode, chart
from tests.conftest import with_database

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
BEFORE, AFTER = "0018", "head"


def fresh(server_url: str, name: str) -> str:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return with_database(server_url, name)


def write_a_day(database: Database, *, now: datetime) -> None:
    """A top-up, a fare, its partial reversal, a posted hold, a pending one, a refusal."""

    def transfer(cause: str, debit: int, credit: int, amount: int) -> Transfer:
        return Transfer(
            id=ids.derived_id(now, cause),
            debit=ledger.AccountId(debit),
            credit=ledger.AccountId(credit),
            amount_minor=amount,
            code=TransferCode.FARE,
            event_at=now,
            reference=cause,
            metadata={"cause": cause},
        )

    with database.transaction() as session:
        bank, purse, metro = (
            ledger.open_account(session, spec, now=now) for spec in (chart.bank(), chart.purse("p"), chart.operator("m"))
        )
        ledger.post_all(session, [transfer("top-up", bank, purse, 500), transfer("fare", purse, metro, 350)], now=now)
        ledger.reverse(
            session, original_id=ids.derived_id(now, "fare"), reversal_id=ids.derived_id(now, "back"), amount_minor=50, now=now
        )
        ledger.post(session, [transfer("too-much", purse, metro, 10**9)], now=now)
        for cause in ("held", "pending"):
            hold = Hold(
                id=ids.derived_id(now, cause),
                debit=purse,
                credit=metro,
                amount_minor=10,
                code=TransferCode.FARE,
                expires_at=now + timedelta(days=1),
            )
            ledger.hold(session, hold, now=now)
        ledger.post_hold(
            session, hold_id=ids.derived_id(now, "held"), transfer_id=ids.derived_id(now, "paid"), amount_minor=9, now=now
        )


def seen(database: Database) -> tuple[object, ...]:
    """All that the doors show of the books."""
    with database.transaction() as session:
        accounts = [ledger.account_id(session, spec) for spec in (chart.bank(), chart.purse("p"), chart.operator("m"))]
        report = ledger.check_books(session)
        assert report.findings == []
        return (
            [(ledger.balance(session, id_), ledger.pending_holds(session, id_)) for id_ in accounts],
            [ledger.statement(session, id_) for id_ in accounts],
            [line.transfer_id for id_ in accounts for line in ledger.statement(session, id_, before="3.0", limit=2)],
            ledger.outcome_of(session, ids.derived_id(NOW, "too-much")),
            ledger.trial_balance(session),
            report.transfers,
        )


def test_every_row_is_carried_over(server_url: str, worker_id: str) -> None:
    url = fresh(server_url, f"layout_{worker_id}")
    config = migrate.configuration(url)
    command.upgrade(config, AFTER)
    database = Database(url, pool_size=1)
    write_a_day(database, now=NOW)
    first = seen(database)
    database.close()
    with psycopg.connect(url) as owner:
        rows = owner.execute("SELECT account_id, posted_minor, ledger, currency FROM card.account_balance").fetchall()

    command.downgrade(config, BEFORE)
    with psycopg.connect(url) as owner:
        assert owner.execute("SELECT array_agg(DISTINCT leaf) FROM card.transfer").fetchone() == ([0, 1],)
    command.upgrade(config, AFTER)

    assert seen(database) == first
    database.close()
    with psycopg.connect(url) as owner:
        assert owner.execute("SELECT account_id, posted_minor, ledger, currency FROM card.account_balance").fetchall() == rows
        dropped = owner.execute(
            "SELECT count(*) FROM pg_attribute WHERE attisdropped AND attrelid = 'card.transfer'::regclass"
        ).fetchone()
        assert dropped == (0,)
        assert owner.execute("SELECT to_regnamespace('ledger_before')").fetchone() == (None,)
    write_a_day(database, now=NOW + timedelta(hours=1))
    assert seen(database) != first
    database.close()


def test_an_account_says_its_shard_and_pays_only_within_it(database: Database) -> None:
    specs = [chart.bank(), ledger.AccountSpec(key="bank", kind=ledger.AccountKind.BANK, shard=7)]
    specs.append(ledger.AccountSpec(key="purse:p", kind=ledger.AccountKind.PURSE, guarded=True, shard=7))
    with database.transaction() as session:
        here, there, purse = (ledger.open_account(session, spec, now=NOW) for spec in specs)
        assert [ledger.shard_of(id_) for id_ in (here, there, purse)] == [0, 7, 7]
        assert here == ledger.account_id(session, "bank")
        assert there == ledger.account_id(session, specs[1])

        def top_up(bank: ledger.AccountId) -> Transfer:
            return Transfer(id=ids.new_id(), debit=bank, credit=purse, amount_minor=5, code=TransferCode.TOP_UP, event_at=NOW)

        outcomes = ledger.post(session, [top_up(there), top_up(here), top_up(there)], now=NOW)
        assert [outcome.code for outcome in outcomes] == ["", "unknown-account", ""]
        assert ledger.balance(session, purse).posted_minor == 10
        assert len(ledger.statement(session, there)) == 2
        assert ledger.check_books(session).findings == []
