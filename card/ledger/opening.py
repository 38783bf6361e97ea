"""Many at once: the ids of accounts, the rest opened in one statement; the holds of a batch, voided where there are any."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, bindparam, func, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.kernel import bulk
from app.kernel.db import Statements
from card.ledger.accounts import purse_key
from card.ledger.actions import void_hold
from card.ledger.models import AccountBalance, AccountRow, HoldRow
from card.ledger.rules import SHARD_BITS, AccountId, AccountSpec, HoldState, TransferCode


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
    wanted = bulk.quoted(keys)
    return dict(bulk.rows(session, "SELECT key, id FROM card.account WHERE key = ANY(%(keys)s::text[])", keys=wanted))


@cache
def _hold_of(holder: bytes) -> bytes:
    # That no hold has this id yet is for its primary key to say. A look for it beforehand would be planned while the table is
    # young and short, and read the whole of it ever after.
    hold = f"""
WITH debit AS (
    SELECT id, shard, ledger, currency FROM card.account
    WHERE key = {purse_key(holder.decode())} AND shard = %(shard)s AND guarded),
  credit AS (SELECT id, ledger, currency FROM card.account WHERE key = %(payee)s AND shard = %(shard)s),
  held AS (
    UPDATE card.account_balance b SET held_minor = b.held_minor + %(amount)s FROM debit d, credit c
    WHERE b.account_id = d.id AND b.shard = d.shard AND d.ledger = c.ledger AND d.currency = c.currency
      AND b.posted_minor - b.held_minor - b.floor_minor >= %(amount)s
    RETURNING d.id AS debit, c.id AS credit, d.shard)
INSERT INTO card.hold (id, shard, debit, credit, amount_minor, code, expires_at, reference, held_at, state)
SELECT %(id)s, shard, debit, credit, %(amount)s, %(code)s, %(until)s, %(reference)s, %(now)s, 'pending' FROM held
"""  # noqa: S608  ``holder`` is a constant of ours
    return hold.encode()


def hold_at_once(
    connection: Statements,
    holder: bytes,
    given: Mapping[str, object],
    payee: AccountSpec,
    *,
    hold_id: UUID,
    amount_minor: int,
    code: TransferCode,
    until: datetime,
    reference: str,
    now: datetime,
) -> bool:
    """Reserve ``amount_minor`` for ``payee`` on the purse of the holder that the query ``holder`` answers, in one statement.

    ``holder`` is SQL that is written once, with its parameters ``given``: whatever must be true now, so that the holder pays,
    stands in it. Where it answers nobody, an account is not open or the money is not there, the answer is no, nothing has
    changed, and :func:`hold` says why. Raises ``UniqueViolation`` where a hold has this id.
    """
    parameters = {
        **given,
        "shard": payee.shard,
        "payee": payee.key,
        "id": hold_id,
        "amount": amount_minor,
        "code": int(code),
        "until": until,
        "reference": reference,
        "now": now,
    }
    return bool(connection.execute(_hold_of(holder), parameters, prepare=True).rowcount)


def void_holds(session: Session, ids: Callable[[], Iterable[UUID]], *, now: datetime) -> int:
    """Give back those of ``ids`` that are pending holds; how many. ``ids`` is only called where any hold is pending at all."""
    pending = HoldRow.state == HoldState.PENDING.value
    if session.scalar(select(HoldRow.id).where(pending).limit(1)) is None:
        return 0
    wanted = bindparam(None, sorted(set(ids())), type_=ARRAY(Uuid()))
    found = session.scalars(select(HoldRow.id).where(HoldRow.id == any_(wanted), pending).order_by(HoldRow.debit, HoldRow.id))
    held = found.all()
    for hold_id in held:
        void_hold(session, hold_id=hold_id, now=now)
    return len(held)
