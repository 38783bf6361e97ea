"""Many accounts at once: the ids of those that are open in one statement, the rest opened one by one."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from card.ledger.actions import open_account
from card.ledger.models import AccountRow
from card.ledger.rules import AccountId, AccountSpec


def open_accounts(session: Session, specs: Iterable[AccountSpec], *, now: datetime) -> dict[str, AccountId]:
    """The id of every account that ``specs`` describe, by key; what is not open yet is opened."""
    wanted = {spec.key: spec for spec in specs}
    found: dict[str, AccountId] = {}
    if wanted:
        rows = session.execute(select(AccountRow.key, AccountRow.id).where(AccountRow.key.in_(sorted(wanted))))
        found = {row.key: AccountId(row.id) for row in rows}
    for key in sorted(wanted.keys() - found.keys()):
        found[key] = open_account(session, wanted[key], now=now)
    return found
