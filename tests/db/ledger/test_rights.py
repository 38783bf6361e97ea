"""What the application's role may not do to the books; and what the owner does behind our back is found."""

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import errors

from app import logins
from app.kernel import ids
from app.kernel.db import Database, Right
from card import ledger
from card.ledger import Transfer, TransferCode, chart, models

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
FARE = ids.derived_id(NOW, "fare")


@pytest.fixture
def books(database: Database) -> Database:
    """A top-up of 500, a fare of 350 and its partial reversal, a posted hold, a pending hold."""
    with database.transaction() as session:
        bank, purse, metro = (
            ledger.open_account(session, spec, now=NOW) for spec in (chart.bank(), chart.purse("p"), chart.operator("m"))
        )
        for cause, debit, credit, amount in (("opening", bank, purse, 500), ("fare", purse, metro, 350)):
            transfer = Transfer(
                id=ids.derived_id(NOW, cause),
                debit=debit,
                credit=credit,
                amount_minor=amount,
                code=TransferCode.FARE,
                event_at=NOW,
                reference=cause,
            )
            ledger.post_all(session, [transfer], now=NOW)
        ledger.reverse(session, original_id=FARE, reversal_id=ids.derived_id(NOW, "back"), amount_minor=50, now=NOW)
        for cause in ("held", "pending"):
            hold = ledger.Hold(
                id=ids.derived_id(NOW, cause),
                debit=purse,
                credit=metro,
                amount_minor=10,
                code=TransferCode.FARE,
                expires_at=datetime(2026, 11, 23, tzinfo=UTC),
            )
            ledger.hold(session, hold, now=NOW)
        ledger.post_hold(
            session, hold_id=ids.derived_id(NOW, "held"), transfer_id=ids.derived_id(NOW, "held-paid"), amount_minor=9, now=NOW
        )
        too_much = Transfer(id=ids.new_id(), debit=purse, credit=metro, amount_minor=9999, code=TransferCode.FARE, event_at=NOW)
        ledger.post(session, [too_much], now=NOW)
        assert ledger.check_books(session).right
    return database


@pytest.fixture
def application(books: Database, database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, options="-c role=city_app") as connection:
        yield connection


@pytest.fixture
def owner(books: Database, database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url) as connection:
        yield connection


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE card.transfer SET amount_minor = 1",
        "UPDATE card.transfer SET reference = ''",
        "DELETE FROM card.transfer",
        "TRUNCATE card.transfer",
        "UPDATE card.account SET floor_minor = -1000",
        "DELETE FROM card.account",
        "TRUNCATE card.account CASCADE",
        "UPDATE card.account_balance SET floor_minor = -1000",
        "UPDATE card.account_balance SET account_id = 0",
        "DELETE FROM card.account_balance",
        "TRUNCATE card.account_balance",
        "UPDATE card.account_delta SET credit_minor = 0",
        "DELETE FROM card.account_delta",
        "TRUNCATE card.account_delta",
        "UPDATE card.ledger_batch SET posted_at = now()",
        "DELETE FROM card.ledger_batch",
        "TRUNCATE card.ledger_batch",
        "UPDATE card.refused_transfer SET refusal = ''",
        "DELETE FROM card.refused_transfer",
        "TRUNCATE card.refused_transfer",
        "UPDATE card.hold SET amount_minor = 1",
        "UPDATE card.hold SET state = 'pending', transfer_id = NULL, posted_minor = NULL, resolved_at = NULL",
        "DELETE FROM card.hold",
        "TRUNCATE card.hold",
        "SELECT * FROM ledger_months.transfer_other",
        "INSERT INTO ledger_months.transfer_2026_11 SELECT * FROM card.transfer",
        "ALTER TABLE card.transfer DISABLE TRIGGER append_only",
        "ALTER TABLE card.transfer DETACH PARTITION ledger_months.transfer_other",
        "DROP TABLE card.transfer",
        "CREATE TRIGGER sly AFTER INSERT ON card.transfer EXECUTE FUNCTION card.refuse_change()",
        "SELECT setval('card.ledger_batch_no', 1)",
    ],
)
def test_the_application_may_not(application: psycopg.Connection, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        application.execute(statement)


@pytest.mark.parametrize("table", ["transfer", "account", "ledger_batch", "account_delta", "refused_transfer"])
@pytest.mark.parametrize("statement", ["DELETE FROM card.{}", "TRUNCATE card.{} CASCADE"])
def test_even_the_owner_is_stopped_by_the_trigger(owner: psycopg.Connection, table: str, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        owner.execute(statement.format(table))


BOOKS = sorted(name for row in vars(models).values() if isinstance(name := getattr(row, "__tablename__", None), str))
PROOFS = ("ledger_seal", "ledger_record", "ledger_node", "ledger_checkpoint")
MARKS = ("ledger_mark", "account_mark", "turnover_mark")
ARCHIVE = ("ledger_archive", "archived_batch", "archived_run")  # written by the owner alone


@pytest.fixture(params=list(Right))
def anyone(request: pytest.FixtureRequest, books: Database, database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, options=f"-c role={request.param.value}", autocommit=True) as connection:
        yield connection


def test_everyone_reads_the_books_and_nobody_empties_them(anyone: psycopg.Connection) -> None:
    for table in BOOKS:
        anyone.execute(f"SELECT * FROM card.{table} LIMIT 1")
        for statement in (f"DELETE FROM card.{table}", f"TRUNCATE card.{table} CASCADE", f"DROP TABLE card.{table}"):
            with pytest.raises(errors.InsufficientPrivilege):
                anyone.execute(statement)


def test_who_may_write_what(anyone: psycopg.Connection) -> None:
    (role,) = anyone.execute("SELECT current_user").fetchone() or ("",)
    appended = {
        Right.APPLICATION: [table for table in BOOKS if table not in PROOFS + MARKS + ARCHIVE],
        Right.SEALER: [table for table in BOOKS if table in PROOFS + MARKS],
        Right.REPORTS: [],
    }
    query = "SELECT has_table_privilege(%(t)s, 'INSERT'), has_table_privilege(%(t)s, 'UPDATE')"
    rights = {table: anyone.execute(query, {"t": f"card.{table}"}).fetchone() for table in BOOKS}
    assert [table for table, (inserts, _) in rights.items() if inserts] == appended[Right(role)]
    assert [table for table, (_, updates) in rights.items() if updates] == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM services.person",
        "SELECT * FROM app.audit",
        "INSERT INTO card.transfer SELECT * FROM card.transfer",
        "INSERT INTO card.account_delta SELECT * FROM card.account_delta",
        "UPDATE card.account_balance SET posted_minor = posted_minor + 1",
        "UPDATE card.hold SET state = 'voided', resolved_at = now()",
        "SELECT card.make_ledger_months('2031-02-11', 1)",
        "SELECT nextval('card.ledger_batch_no')",
        "CREATE TABLE card.mine (id int)",
    ],
)
@pytest.mark.parametrize("right", [Right.SEALER, Right.REPORTS])
def test_the_sealer_and_the_reports_may_not(books: Database, database_url: str, right: Right, statement: str) -> None:
    options = f"-c role={right.value}"
    with psycopg.connect(database_url, options=options) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement)


def test_a_login_of_its_own_cannot_become_another(books: Database, database_url: str) -> None:
    made = logins.make(database_url, city_code="990099")
    assert logins.make(database_url, city_code="990099").keys() == made.keys() == set(logins.SETTING.values())
    for right, setting in logins.SETTING.items():
        with psycopg.connect(made[setting], options=f"-c role={right.value}", autocommit=True) as connection:
            found = connection.execute("SELECT session_user::text, current_user::text").fetchone()
            assert found == (f"{right.value}_990099", right.value)
            connection.execute("SELECT count(*) FROM card.transfer")
            with psycopg.connect(database_url) as owner:
                names = [right.value for right in Right] + [owner.info.user]
            for name in {*names} - {right.value}:
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(f"SET ROLE {name}")
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(f"SET SESSION AUTHORIZATION {name}")
            connection.execute("RESET ROLE")
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute("DELETE FROM card.transfer")


def test_the_application_may_not_overdraw_a_balance_by_hand(application: psycopg.Connection) -> None:
    with pytest.raises(errors.CheckViolation):
        application.execute("UPDATE card.account_balance SET posted_minor = -1")


def test_the_application_makes_months_and_only_months(application: psycopg.Connection) -> None:
    assert application.execute("SELECT card.make_ledger_months('2031-02-11', 3)").fetchone() == (3,)
    assert application.execute("SELECT card.make_ledger_months('2031-02-11', 4)").fetchone() == (1,)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE card.transfer SET amount_minor = 349 WHERE reference = 'fare'", "running-balance"),
        ("UPDATE card.transfer SET debit_after_minor = 151 WHERE reference = 'fare'", "running-balance"),
        ("UPDATE card.transfer SET debit = credit, credit = debit WHERE reference = 'opening'", "balance"),
        ("UPDATE card.transfer SET credit = 4711 WHERE reference = 'fare' AND reverses IS NULL", "account"),
        ("DELETE FROM card.transfer WHERE reference = 'opening'", "batch"),
        ("UPDATE card.transfer SET amount_minor = 351 WHERE reverses IS NOT NULL", "reversal"),
        ("UPDATE card.account_balance SET posted_minor = posted_minor + 1", "balance"),
        ("UPDATE card.account_balance SET posted_minor = posted_minor + 1", "sum"),
        ("UPDATE card.account_balance SET held_minor = held_minor + 1", "held"),
        ("UPDATE card.account_balance SET floor_minor = -1", "floor"),
        ("UPDATE card.account_delta SET credit_minor = credit_minor + 1 WHERE credit_minor > 0", "delta"),
        ("UPDATE card.ledger_batch SET total_minor = total_minor + 1", "batch"),
        ("UPDATE card.hold SET posted_minor = 8 WHERE state = 'posted'", "hold"),
    ],
)
def test_what_the_owner_changes_is_found_and_named(books: Database, owner: psycopg.Connection, change: str, found: str) -> None:
    for table in ("transfer", "ledger_batch", "account_delta", "hold"):
        owner.execute(f"ALTER TABLE card.{table} DISABLE TRIGGER USER")
    assert owner.execute(change).rowcount > 0
    owner.commit()
    with books.transaction() as session:
        report = ledger.check_books(session)
    assert not report.right
    assert found in {finding.kind.value for finding in report.findings}


def test_a_changed_fare_is_named(books: Database, owner: psycopg.Connection) -> None:
    owner.execute("ALTER TABLE card.transfer DISABLE TRIGGER USER")
    owner.execute("UPDATE card.transfer SET amount_minor = 349 WHERE id = %s", [FARE])
    owner.commit()
    with books.transaction() as session:
        named = {finding.subject for finding in ledger.check_books(session).findings}
    assert f"transfer:{FARE}" in named
