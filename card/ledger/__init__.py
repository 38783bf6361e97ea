"""Accounts, transfers, holds, balances, statements: every movement of money, once, for ever.

An account's balance is its credits minus its debits; paying debits the purse. ``post`` answers each transfer for itself,
``post_all`` books all or raises. Both join the caller's transaction.

    debit = ledger.open_account(session, ledger.chart.purse(holder_id), now=now)
    credit = ledger.open_account(session, ledger.chart.operator(operator_id), now=now)
    ledger.post_all(session, [ledger.Transfer(id=ids.derived_id(at, "fare", journey_id), debit=debit, credit=credit,
                    amount_minor=350, code=ledger.TransferCode.FARE, event_at=at, reference=f"journey:{journey_id}")], now=now)
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from card.ledger.door import *  # noqa: F403  the door says what there is
else:

    def __getattr__(name: str) -> object:
        """Open the door for whoever asks for something behind it (PEP 562).

        Whoever only wants a room that is pure passes by: ``python -m card.ledger.verify`` must load with nothing installed
        but ``cryptography``.
        """
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(importlib.import_module("card.ledger.door"), name)
        globals()[name] = found
        return found
