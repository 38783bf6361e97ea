"""Many accounts at once: the ids of those that are open in one statement, the rest opened in another."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import ARRAY, Text, any_, bindparam, func, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from card.ledger.models import AccountBalance, AccountRow
from card.ledger.rules import SHARD_BITS, AccountId, AccountSpec


def open_accounts(session: Session, specs: Iterable[AccountSpec], *, now: datetime) -> dict[str, AccountId]:
    """The id of every account that ``specs`` describe, by key; what is not open yet is opened."""
    wanted = {spec.key: spec for spec in specs}
    found = _open(session, wanted)
    missing = [wanted[key] for key in sorted(wanted.keys() - found.keys())]
    if not missing:
        return found
    opened = session.execute(
        postgresql.insert(AccountRow)
        .values(id=func.nextval("card.account_id_seq") + bindparam("upper"))
        .on_conflict_do_nothing(index_elements=[AccountRow.key, AccountRow.shard])
        .returning(AccountRow.key, AccountRow.id),
        [
            {
                "upper": spec.shard << SHARD_BITS,
                "shard": spec.shard,
                "key": spec.key,
                "kind": spec.kind.value,
                "guarded": spec.guarded,
                "floor_minor": spec.floor_minor,
                "currency": spec.currency,
                "ledger": spec.ledger,
                "opened_at": now,
            }
            for spec in missing
        ],
    )
    made = {row.key: AccountId(row.id) for row in opened}
    balances = [
        {
            "account_id": id_,
            "shard": wanted[key].shard,
            "posted_minor": 0,
            "held_minor": 0,
            "floor_minor": wanted[key].floor_minor,
            "ledger": wanted[key].ledger,
            "currency": wanted[key].currency,
        }
        for key, id_ in made.items()
        if wanted[key].guarded
    ]
    if balances:
        session.execute(insert(AccountBalance), balances)
    found |= made
    if len(found) < len(wanted):  # somebody else opened them between the two statements
        found |= _open(session, wanted.keys() - found.keys())
    return found


def _open(session: Session, keys: Iterable[str]) -> dict[str, AccountId]:
    wanted = bindparam(None, sorted(keys), type_=ARRAY(Text()))
    rows = session.execute(select(AccountRow.key, AccountRow.id).where(AccountRow.key == any_(wanted)))
    return {row.key: AccountId(row.id) for row in rows}
