"""The work of a load: a pure function of seed, name and number, so that a killed load goes on where it was."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from app.kernel import ids
from app.kernel.db import Database
from card import ledger
from card.ledger import AccountId, Transfer, TransferCode

PURSES = 40
OPERATORS = 3
OPENING_MINOR = 20_000


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """The accounts that loads move money between."""

    bank: AccountId
    purses: tuple[AccountId, ...]
    operators: tuple[AccountId, ...]

    @classmethod
    def open(cls, database: Database, *, now: datetime, opening_minor: int = OPENING_MINOR) -> "Accounts":
        """Open them, or find them; the bank has given each purse ``opening_minor``."""
        with database.transaction() as session:
            bank = ledger.open_account(session, ledger.chart.bank(), now=now)
            purses = [ledger.open_account(session, ledger.chart.purse(f"chaos-{n}"), now=now) for n in range(PURSES)]
            operators = [ledger.open_account(session, ledger.chart.operator(f"chaos-{n}"), now=now) for n in range(OPERATORS)]
            ledger.post_all(
                session,
                [
                    Transfer(
                        id=ids.derived_id(now, "chaos", "opening", str(purse)),
                        debit=bank,
                        credit=purse,
                        amount_minor=opening_minor,
                        code=TransferCode.OPENING,
                        event_at=now,
                        reference="chaos:opening",
                    )
                    for purse in purses
                ],
                now=now,
            )
        return cls(bank=bank, purses=tuple(purses), operators=tuple(operators))

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Accounts":
        """From what :func:`dataclasses.asdict` made and a file kept."""
        return cls(bank=facts["bank"], purses=tuple(facts["purses"]), operators=tuple(facts["operators"]))


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one load does, group by group."""

    seed: int
    name: str
    begins: datetime
    accounts: Accounts

    def id(self, number: int, part: int) -> UUID:
        """The id of a transfer."""
        return ids.derived_id(
            self.begins + timedelta(milliseconds=number), "chaos", str(self.seed), self.name, f"{number}.{part}"
        )

    def group(self, number: int) -> list[Transfer]:
        """One linked group: mostly a fare; sometimes a top-up, a fare with its fee, or more than any purse has."""
        random = Random(f"{self.seed}/{self.name}/{number}")
        purse, other = random.sample(self.accounts.purses, 2)
        operator = random.choice(self.accounts.operators)
        kind = random.random()
        if kind < 0.70:
            sides = [(purse, operator, random.randint(1, 900), TransferCode.FARE)]
        elif kind < 0.85:
            sides = [(self.accounts.bank, purse, random.randint(1, 900), TransferCode.TOP_UP)]
        elif kind < 0.95:
            amount = random.randint(1, 500)
            sides = [(purse, operator, amount, TransferCode.FARE), (operator, other, amount // 2 + 1, TransferCode.REFUND)]
        else:
            sides = [(purse, operator, 10**12, TransferCode.PURCHASE)]
        return [
            Transfer(
                id=self.id(number, part),
                debit=debit,
                credit=credit,
                amount_minor=amount,
                code=code,
                event_at=self.begins + timedelta(milliseconds=number),
                reference=f"chaos:{self.name}:{number}",
            )
            for part, (debit, credit, amount, code) in enumerate(sides)
        ]
