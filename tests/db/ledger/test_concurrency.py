"""Many spend one purse at once: it never goes below its floor, and nothing is booked twice."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from app.kernel import ids
from app.kernel.db import Database
from card import ledger
from card.ledger import AccountId, Transfer, TransferCode, chart

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
THREADS = 8


def move(debit: AccountId, credit: AccountId, amount_minor: int, *cause: str) -> Transfer:
    return Transfer(
        id=ids.derived_id(NOW, *cause),
        debit=debit,
        credit=credit,
        amount_minor=amount_minor,
        code=TransferCode.FARE,
        event_at=NOW,
    )


def start(session: Session, purses: int, money: int) -> tuple[list[AccountId], list[AccountId]]:
    bank = ledger.open_account(session, chart.bank(), now=NOW)
    opened = [ledger.open_account(session, chart.purse(str(n)), now=NOW) for n in range(purses)]
    metros = [ledger.open_account(session, chart.operator(str(n)), now=NOW) for n in range(2)]
    ledger.post_all(session, [move(bank, purse, money, "opening", str(purse)) for purse in opened], now=NOW)
    return opened, metros


def test_one_purse_spent_by_many_threads_never_goes_below_its_floor(database: Database) -> None:
    with database.transaction() as session:
        [purse], metros = start(session, 1, 1000)

    def spend(thread: int) -> list[str]:
        found = []
        for n in range(40):
            name = str(n + 40 * (thread // 2))  # two threads try each id
            with database.transaction() as session:
                [outcome] = ledger.post(session, [move(purse, metros[0], 7, "spend", name)], now=NOW)
            found.append(outcome.status.value)
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        answers = [status for found in pool.map(spend, range(THREADS)) for status in found]

    assert answers.count("posted") == 1000 // 7
    with database.transaction() as session:
        assert ledger.balance(session, purse).posted_minor == 1000 % 7
        lines = ledger.statement(session, purse, limit=500)
        assert [line.balance_after_minor for line in lines] == [*range(1000 % 7, 1000, 7), 1000]
        assert ledger.check_books(session).findings == []


def test_transfers_of_one_id_between_open_accounts_race_and_one_wins(database: Database) -> None:
    with database.transaction() as session:
        _, metros = start(session, 1, 1)

    def pay(thread: int) -> list[str]:
        found = []
        for n in range(30):
            with database.transaction() as session:
                [outcome] = ledger.post(session, [move(metros[0], metros[1], 1 + thread % 2, "race", str(n))], now=NOW)
            found.append(outcome.code or outcome.status.value)
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        answers = [answer for found in pool.map(pay, range(THREADS)) for answer in found]

    assert answers.count("posted") == 30
    assert answers.count("repeated") == 30 * (THREADS // 2 - 1)
    assert answers.count("transfer-conflict") == 30 * (THREADS // 2)


def test_batches_and_holds_over_the_same_purses_do_not_wait_for_each_other_for_ever(database: Database) -> None:
    with database.transaction() as session:
        purses, metros = start(session, 6, 900)

    def work(thread: int) -> None:
        chance = random.Random(thread)
        for n in range(15):
            batch = []
            for m in range(6):
                debit, credit = chance.sample(purses, 2)
                credit = chance.choice([credit, *metros])
                batch.append(move(debit, credit, chance.randint(1, 20), "work", str(thread), str(n), str(m)))
            held = ledger.Hold(
                id=ids.new_id(),
                debit=chance.choice(purses),
                credit=metros[0],
                amount_minor=3,
                code=TransferCode.FARE,
                expires_at=NOW + timedelta(hours=1),
            )
            with database.transaction() as session:
                ledger.post(session, batch, now=NOW)
            try:
                with database.transaction() as session:
                    ledger.hold(session, held, now=NOW)
            except ledger.InsufficientFunds:
                continue
            with database.transaction() as session:
                ledger.post_hold(session, hold_id=held.id, transfer_id=ids.new_id(), amount_minor=2, now=NOW)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))

    with database.transaction() as session:
        report = ledger.check_books(session)
        assert report.findings == []
        assert report.transfers > THREADS * 15
        assert all(ledger.balance(session, purse).held_minor == 0 for purse in purses)
