"""What runs by itself: holds expire, months are made ahead, and an administrator proves the books."""

from datetime import UTC, datetime, timedelta

import psycopg
from flask import Flask
from sqlalchemy import text

from app.kernel import clock, ids
from app.kernel.db import Database
from app.kernel.settings import Settings
from card import ledger
from card.ledger import Transfer, TransferCode, chart, jobs


def test_holds_whose_time_has_passed_are_given_back(database: Database, settings: Settings) -> None:
    past = clock.now() - timedelta(hours=1)
    with database.transaction() as session:
        bank = ledger.open_account(session, chart.bank(), now=past)
        purse = ledger.open_account(session, chart.purse("p"), now=past)
        opening = Transfer(
            id=ids.new_id(), debit=bank, credit=purse, amount_minor=100, code=TransferCode.OPENING, event_at=past
        )
        ledger.post_all(session, [opening], now=past)
        for expires_at in (past, clock.now() + timedelta(hours=1)):
            hold = ledger.Hold(
                id=ids.new_id(), debit=purse, credit=bank, amount_minor=40, code=TransferCode.FARE, expires_at=expires_at
            )
            ledger.hold(session, hold, now=past)
    jobs.expire_holds(database, settings)
    with database.transaction() as session:
        assert ledger.balance(session, purse) == ledger.Balance(posted_minor=100, held_minor=40, available_minor=60)
        assert [amount for _, amount, _ in ledger.pending_holds(session, purse)] == [40]


def test_the_coming_months_have_their_partitions_and_a_stray_id_has_a_place(database: Database, settings: Settings) -> None:
    jobs.make_months(database, settings)
    jobs.make_months(database, settings)
    with database.transaction() as session:
        bank = ledger.open_account(session, chart.bank(), now=clock.now())
        metro = ledger.open_account(session, chart.operator("m"), now=clock.now())
        for at in (clock.now(), clock.now() + timedelta(days=85), datetime(2003, 5, 1, tzinfo=UTC)):
            paid = Transfer(
                id=ids.derived_id(at, "month"), debit=bank, credit=metro, amount_minor=1, code=TransferCode.FARE, event_at=at
            )
            ledger.post_all(session, [paid], now=clock.now())
        places = session.scalars(text("SELECT tableoid::regclass::text FROM card.transfer ORDER BY id")).all()
        later = clock.now() + timedelta(days=85)
        assert places == [
            "ledger_months.transfer_other",
            f"ledger_months.transfer_{clock.now():%Y_%m}",
            f"ledger_months.transfer_{later:%Y_%m}",
        ]


def test_check_books_says_right_or_names_what_is_wrong(app: Flask, database: Database, database_url: str) -> None:
    now = clock.now()
    with database.transaction() as session:
        bank = ledger.open_account(session, chart.bank(), now=now)
        purse = ledger.open_account(session, chart.purse("p"), now=now)
        opening = Transfer(id=ids.new_id(), debit=bank, credit=purse, amount_minor=100, code=TransferCode.OPENING, event_at=now)
        ledger.post_all(session, [opening], now=now)
    right = app.test_cli_runner().invoke(args=["check-books"])
    assert right.exit_code == 0
    assert "the books of 320100 are right: 2 accounts, 1 transfers in 1 batches" in right.output
    with psycopg.connect(database_url) as owner:
        owner.execute("UPDATE card.account_balance SET posted_minor = 99")
    wrong = app.test_cli_runner().invoke(args=["check-books"])
    assert wrong.exit_code == 1
    assert "balance: account:purse:p: expected 100, found 99" in wrong.output
