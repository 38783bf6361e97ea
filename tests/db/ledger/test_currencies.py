"""Several ledgers and currencies in one set of books: each sums to zero by itself, and none mixes with another."""

from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from app.kernel import ids
from app.kernel.db import Database
from card import ledger
from card.ledger import AccountsDoNotMix, AccountSpec, Transfer, TransferCode, chart

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
YUAN, DOLLARS, POINTS = ("CNY", 1), ("USD", 1), ("CNY", 2)


def specs(currency: str, number: int) -> tuple[AccountSpec, AccountSpec]:
    """A bank and a guarded purse of a ledger and currency."""
    facts = {"currency": currency, "ledger": number}
    bank, purse = chart.bank(), chart.purse("p")
    return (
        replace(bank, key=f"bank:{currency}{number}", **facts),
        replace(purse, key=f"purse:{currency}{number}", **facts),
    )


def move(debit: ledger.AccountId, credit: ledger.AccountId, minor: int) -> Transfer:
    return Transfer(id=ids.new_id(), debit=debit, credit=credit, amount_minor=minor, code=TransferCode.TOP_UP, event_at=NOW)


def test_every_ledger_and_currency_sums_to_zero_by_itself(database: Database) -> None:
    with database.transaction() as session:
        opened = {
            place: [ledger.open_account(session, spec, now=NOW) for spec in specs(*place)] for place in (YUAN, DOLLARS, POINTS)
        }
        batch = [
            move(bank, purse, minor + n)
            for minor, (bank, purse) in zip((1000, 70, 5), opened.values(), strict=True)
            for n in range(3)
        ]
        assert all(outcome.status.value == "posted" for outcome in ledger.post(session, batch, now=NOW))
        for here in opened:
            for there in opened:
                if here != there:
                    with pytest.raises(AccountsDoNotMix):
                        ledger.post_all(session, [move(opened[here][0], opened[there][1], 1)], now=NOW)
        trial = ledger.trial_balance(session)
        assert trial.sums == {(1, "CNY"): 0, (1, "USD"): 0, (2, "CNY"): 0}
        assert [ledger.balance(session, purse).posted_minor for _, purse in opened.values()] == [3003, 213, 18]
        assert ledger.check_books(session).right


def test_what_is_missing_in_one_currency_is_not_made_up_by_another(database: Database, database_url: str) -> None:
    with database.transaction() as session:
        for place in (YUAN, DOLLARS):
            bank, purse = (ledger.open_account(session, spec, now=NOW) for spec in specs(*place))
            ledger.post_all(session, [move(bank, purse, 100)], now=NOW)
    change = """UPDATE card.account_balance SET posted_minor = posted_minor + %s
                WHERE account_id IN (SELECT id FROM card.account WHERE currency = %s AND guarded)"""
    with psycopg.connect(database_url) as owner:  # one of the dollars becomes one of the yuan
        for by, currency in ((1, "CNY"), (-1, "USD")):
            owner.execute(change, (by, currency))
    with database.transaction() as session:
        report = ledger.check_books(session)
        found = {finding.subject for finding in report.findings if finding.kind is ledger.FindingKind.SUM}
    assert found == {"ledger:1 CNY", "ledger:1 USD"}
