"""Reading the ledger: accounts, balances, statements, what is remembered of an id."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.orm import Session

from card.ledger import marks, shelf
from card.ledger.models import AccountBalance, AccountRow, HoldRow, LedgerBatch, RefusedTransfer, TransferRow
from card.ledger.rules import (
    REFUSALS,
    Account,
    AccountId,
    AccountKind,
    AccountSpec,
    Balance,
    Booking,
    Known,
    Position,
    RefusedBooking,
    Transfer,
    TransferCode,
    UnknownAccount,
    UnknownTransfer,
    batch_of,
    leaf_of,
    place_of,
    shard_of,
)


def _account(row: AccountRow) -> Account:
    return Account(
        id=AccountId(row.id),
        key=row.key,
        kind=AccountKind(row.kind),
        guarded=row.guarded,
        floor_minor=row.floor_minor,
        currency=row.currency,
        ledger=row.ledger,
        opened_at=row.opened_at,
    )


def account_id(session: Session, key_or_spec: str | AccountSpec) -> AccountId:
    """The id of an opened account, by its key (in shard 0) or its place in the chart. Raises :class:`UnknownAccount`."""
    key, shard = (key_or_spec, 0) if isinstance(key_or_spec, str) else (key_or_spec.key, key_or_spec.shard)
    found = session.scalar(select(AccountRow.id).where(AccountRow.key == key, AccountRow.shard == shard))
    if found is None:
        raise UnknownAccount(key)
    return AccountId(found)


def account(session: Session, account_id: AccountId) -> Account:
    """An opened account. Raises :class:`UnknownAccount`."""
    row = session.get(AccountRow, (account_id, shard_of(account_id)))
    if row is None:
        raise UnknownAccount(str(account_id))
    return _account(row)


def accounts(session: Session, ids: Iterable[AccountId]) -> dict[AccountId, Account]:
    """Those of ``ids`` that exist."""
    wanted = set(ids)
    shards = {shard_of(id_) for id_ in wanted}
    rows = session.scalars(select(AccountRow).where(AccountRow.id.in_(wanted), AccountRow.shard.in_(shards)))
    return {AccountId(row.id): _account(row) for row in rows}


def accounts_of_kind(session: Session, kind: AccountKind, *, after: AccountId | None = None, limit: int = 100) -> list[Account]:
    """The accounts of one kind in the order in which they were opened, from ``after`` on."""
    query = select(AccountRow).where(AccountRow.kind == kind.value).order_by(AccountRow.id).limit(limit)
    if after is not None:
        query = query.where(AccountRow.id > after)
    return [_account(row) for row in session.scalars(query)]


def lock_positions(session: Session, ids: Iterable[AccountId]) -> dict[AccountId, Position]:
    """The positions of the guarded accounts among ``ids``, locked in id order until the transaction ends."""
    wanted = set(ids)
    rows = session.execute(
        select(AccountBalance.account_id, AccountBalance.posted_minor, AccountBalance.held_minor, AccountBalance.floor_minor)
        .where(AccountBalance.account_id.in_(wanted), AccountBalance.shard.in_({shard_of(id_) for id_ in wanted}))
        .order_by(AccountBalance.account_id)
        .with_for_update()
    )
    return {
        AccountId(row.account_id): Position(
            posted_minor=row.posted_minor, held_minor=row.held_minor, floor_minor=row.floor_minor
        )
        for row in rows
    }


def as_transfer(row: TransferRow | RefusedTransfer) -> Transfer:
    """A stored transfer as the rules know it."""
    return Transfer(
        id=row.id,
        debit=AccountId(row.debit),
        credit=AccountId(row.credit),
        amount_minor=row.amount_minor,
        code=TransferCode(row.code),
        event_at=row.event_at,
        reference=row.reference,
        metadata=row.details or {},
        reverses=row.reverses,
    )


def known(session: Session, ids: Iterable[UUID]) -> dict[UUID, Known]:
    """What the ledger remembers of ``ids``: transfers booked and transfers refused."""
    wanted = list(set(ids))
    refused = session.scalars(select(RefusedTransfer).where(RefusedTransfer.id.in_(wanted)))
    found = {row.id: Known(transfer=as_transfer(row), refusal=row.refusal) for row in refused}
    booked = session.scalars(select(TransferRow).where(TransferRow.id.in_(wanted)))
    found.update((row.id, Known(transfer=as_transfer(row))) for row in booked)
    archived = shelf.find(session, (id_ for id_ in wanted if id_ not in found))
    found.update((id_, Known(transfer=_archived(row))) for id_, row in archived.items())
    return found


def _archived(row: dict[str, Any]) -> Transfer:
    """A transfer as the archive keeps it."""
    return Transfer(
        id=UUID(row["id"]),
        debit=AccountId(row["debit"]),
        credit=AccountId(row["credit"]),
        amount_minor=row["amount_minor"],
        code=TransferCode(row["code"]),
        event_at=shelf.instant(row["event_at"]),
        reference=row["reference"] or "",
        metadata=shelf.details(row["metadata"]) or {},
        reverses=UUID(row["reverses"]) if row["reverses"] else None,
    )


def transfer(session: Session, transfer_id: UUID) -> Transfer:
    """A booked transfer. Raises :class:`UnknownTransfer`."""
    row = session.scalars(select(TransferRow).where(TransferRow.id == transfer_id)).one_or_none()
    if row is not None:
        return as_transfer(row)
    archived = shelf.find(session, [transfer_id])
    if not archived:
        raise UnknownTransfer(str(transfer_id))
    return _archived(archived[transfer_id])


def booking(session: Session, transfer_id: UUID) -> Booking:
    """A booked transfer with its place in the books. Raises :class:`UnknownTransfer`."""
    found = session.execute(
        select(TransferRow, LedgerBatch.posted_at)
        .join(LedgerBatch, and_(LedgerBatch.batch_no == TransferRow.batch_no, LedgerBatch.shard == TransferRow.shard))
        .where(TransferRow.id == transfer_id)
    ).one_or_none()
    if found is None:
        archived = shelf.find(session, [transfer_id]).get(transfer_id)
        if archived is None:
            raise UnknownTransfer(str(transfer_id))
        return Booking(
            transfer=_archived(archived),
            batch_no=batch_of(archived["place"]),
            leaf=leaf_of(archived["place"]),
            posted_at=shelf.instant(archived["posted_at"]),
            debit_after_minor=archived["debit_after_minor"],
            credit_after_minor=archived["credit_after_minor"],
        )
    row, posted_at = found
    return Booking(
        transfer=as_transfer(row),
        batch_no=row.batch_no,
        leaf=row.leaf,
        posted_at=posted_at,
        debit_after_minor=row.debit_after_minor,
        credit_after_minor=row.credit_after_minor,
    )


def refused_booking(session: Session, transfer_id: UUID) -> RefusedBooking:
    """A transfer that was refused, and why. Raises :class:`UnknownTransfer`, also where it was booked."""
    row = session.scalars(select(RefusedTransfer).where(RefusedTransfer.id == transfer_id)).first()
    if row is None:
        raise UnknownTransfer(str(transfer_id))
    sentence = REFUSALS[row.refusal].sentence if row.refusal in REFUSALS else ""
    return RefusedBooking(transfer=as_transfer(row), refusal=row.refusal, sentence=sentence, refused_at=row.refused_at)


def transfers_by_reference(session: Session, reference: str) -> list[Transfer]:
    """Every booked transfer of the business thing ``reference``, in the order of booking."""
    rows = session.scalars(
        select(TransferRow).where(TransferRow.reference == reference, TransferRow.reference != "").order_by(TransferRow.place)
    )
    return [as_transfer(row) for row in rows]


def reversals_of(session: Session, transfer_id: UUID) -> list[Transfer]:
    """The booked transfers that give back all or part of ``transfer_id``."""
    rows = session.scalars(select(TransferRow).where(TransferRow.reverses == transfer_id).order_by(TransferRow.place))
    return [*map(_archived, shelf.reversals(session, transfer_id)), *map(as_transfer, rows)]


def balance(session: Session, account_id: AccountId) -> Balance:
    """The balance of an account now. An open account holds nothing back. Raises :class:`UnknownAccount`."""
    row = session.execute(
        select(AccountBalance.posted_minor, AccountBalance.held_minor, AccountBalance.floor_minor).where(
            AccountBalance.account_id == account_id, AccountBalance.shard == shard_of(account_id)
        )
    ).one_or_none()
    if row is not None:
        return Balance(
            posted_minor=row.posted_minor,
            held_minor=row.held_minor,
            available_minor=row.posted_minor - row.held_minor - row.floor_minor,
        )
    account(session, account_id)
    posted = marks.open_balances(session, [account_id]).get(account_id, 0)
    return Balance(posted_minor=posted, held_minor=0, available_minor=posted)


def balances(session: Session, ids: Iterable[AccountId]) -> dict[AccountId, int]:
    """The booked balance of each of ``ids`` in fen; an account that never moved has none of its own and is left out."""
    wanted = set(ids)
    rows = session.execute(
        select(AccountBalance.account_id, AccountBalance.posted_minor).where(
            AccountBalance.account_id.in_(wanted), AccountBalance.shard.in_({shard_of(id_) for id_ in wanted})
        )
    )
    guarded = {AccountId(row.account_id): int(row.posted_minor) for row in rows}
    return guarded | marks.open_balances(session, wanted - set(guarded))


def pending_holds(session: Session, account_id: AccountId) -> list[tuple[UUID, int, datetime]]:
    """The pending holds on an account: id, amount, expiry."""
    rows = session.execute(
        select(HoldRow.id, HoldRow.amount_minor, HoldRow.expires_at)
        .where(HoldRow.debit == account_id, HoldRow.state == "pending")
        .order_by(HoldRow.expires_at, HoldRow.id)
    )
    return [(row.id, row.amount_minor, row.expires_at) for row in rows]


def booked(
    session: Session, account_id: AccountId, *, codes: Iterable[TransferCode], beginning: datetime, ending: datetime
) -> int:
    """What transfers with ``codes`` booked from ``beginning`` to before ``ending`` brought to an account, less what they took.

    Minor units; one statement over the range of batches, whatever their number.
    """
    first = marks.batch_at(session, beginning, inclusive=False)
    last = max(first, marks.batch_at(session, ending, inclusive=False))
    shard = shard_of(account_id)
    total = session.scalar(
        select(
            func.coalesce(
                func.sum(case((TransferRow.credit == account_id, TransferRow.amount_minor), else_=-TransferRow.amount_minor)), 0
            )
        ).where(
            TransferRow.place >= place_of(first + 1, 0),
            TransferRow.place < place_of(last + 1, 0),
            TransferRow.shard == shard,
            or_(TransferRow.debit == account_id, TransferRow.credit == account_id),
            TransferRow.code.in_([int(code) for code in codes]),
        )
    )
    return int(total or 0)
