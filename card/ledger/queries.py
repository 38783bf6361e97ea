"""Reading the ledger: accounts, balances, statements, what is remembered of an id."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Subquery, and_, case, false, func, literal, null, or_, select, union_all
from sqlalchemy.orm import Session

from app.kernel.errors import NotFound, msg
from card.ledger.models import (
    AccountBalance,
    AccountDelta,
    AccountRow,
    HoldRow,
    LedgerBatch,
    RefusedTransfer,
    TransferRow,
    batch_in_sql,
)
from card.ledger.rules import (
    Account,
    AccountId,
    AccountKind,
    AccountSpec,
    Balance,
    Booking,
    DayLine,
    Known,
    Position,
    StatementLine,
    Transfer,
    TransferCode,
    TrialBalance,
    TrialLine,
    UnknownAccount,
    UnknownTransfer,
    batch_of,
    leaf_of,
    place_of,
    shard_of,
)

PAGE_MAX: Final = 500
CURSOR_MAX: Final = 20  # characters: two numbers and a point
BATCH_NO_MAX: Final = 12  # digits of a batch's number, so that a place never outgrows 64 bits


class BadCursor(NotFound):
    """A statement cursor that this ledger did not give out."""

    code = "bad-cursor"
    sentence = msg("This part of the statement does not exist.")


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


def _transfer(row: TransferRow | RefusedTransfer) -> Transfer:
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
    found = {row.id: Known(transfer=_transfer(row), refusal=row.refusal) for row in refused}
    booked = session.scalars(select(TransferRow).where(TransferRow.id.in_(wanted)))
    found.update((row.id, Known(transfer=_transfer(row))) for row in booked)
    return found


def transfer(session: Session, transfer_id: UUID) -> Transfer:
    """A booked transfer. Raises :class:`UnknownTransfer`."""
    row = session.scalars(select(TransferRow).where(TransferRow.id == transfer_id)).one_or_none()
    if row is None:
        raise UnknownTransfer(str(transfer_id))
    return _transfer(row)


def booking(session: Session, transfer_id: UUID) -> Booking:
    """A booked transfer with its place in the books. Raises :class:`UnknownTransfer`."""
    found = session.execute(
        select(TransferRow, LedgerBatch.posted_at)
        .join(LedgerBatch, and_(LedgerBatch.batch_no == TransferRow.batch_no, LedgerBatch.shard == TransferRow.shard))
        .where(TransferRow.id == transfer_id)
    ).one_or_none()
    if found is None:
        raise UnknownTransfer(str(transfer_id))
    row, posted_at = found
    return Booking(
        transfer=_transfer(row),
        batch_no=row.batch_no,
        leaf=row.leaf,
        posted_at=posted_at,
        debit_after_minor=row.debit_after_minor,
        credit_after_minor=row.credit_after_minor,
    )


def transfers_by_reference(session: Session, reference: str) -> list[Transfer]:
    """Every booked transfer of the business thing ``reference``, in the order of booking."""
    rows = session.scalars(
        select(TransferRow).where(TransferRow.reference == reference, TransferRow.reference != "").order_by(TransferRow.place)
    )
    return [_transfer(row) for row in rows]


def reversals_of(session: Session, transfer_id: UUID) -> list[Transfer]:
    """The booked transfers that give back all or part of ``transfer_id``."""
    rows = session.scalars(select(TransferRow).where(TransferRow.reverses == transfer_id).order_by(TransferRow.place))
    return [_transfer(row) for row in rows]


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
    posted = _open_balance(session, account_id)
    return Balance(posted_minor=posted, held_minor=0, available_minor=posted)


def balance_at(session: Session, account_id: AccountId, instant: datetime) -> int:
    """The booked balance of an account when everything up to ``instant`` (inclusive) was booked, in fen.

    A guarded account's is read beside its last transfer by index, however long its history; an open account's is the sum of
    its deltas up to then. Raises :class:`UnknownAccount`.
    """
    owner = account(session, account_id)
    last = session.scalar(
        select(LedgerBatch.batch_no)
        .where(LedgerBatch.posted_at <= instant)
        .order_by(LedgerBatch.posted_at.desc(), LedgerBatch.batch_no.desc())
        .limit(1)
    )
    if last is None:
        return 0
    if not owner.guarded:
        return _open_balance(session, account_id, before_batch=last + 1)
    newest = _lines(session, owner, place_of(last + 1, 0), 1)
    return int(newest[0].after_minor) if newest else 0


def balances(session: Session, ids: Iterable[AccountId]) -> dict[AccountId, int]:
    """The booked balance of each of ``ids`` in fen; an account that never moved has none of its own and is left out."""
    wanted = list(set(ids))
    guarded = session.execute(
        select(AccountBalance.account_id, AccountBalance.posted_minor).where(AccountBalance.account_id.in_(wanted))
    )
    found = {AccountId(row.account_id): int(row.posted_minor) for row in guarded}
    opened = session.execute(
        select(AccountDelta.account_id, func.sum(AccountDelta.credit_minor - AccountDelta.debit_minor).label("posted_minor"))
        .where(AccountDelta.account_id.in_(wanted))
        .group_by(AccountDelta.account_id)
    )
    found.update((AccountId(row.account_id), int(row.posted_minor)) for row in opened)
    return found


def _open_balance(session: Session, account_id: AccountId, *, before_batch: int | None = None) -> int:
    """Credits minus debits of an open account, over all batches or those before ``before_batch``."""
    query = select(func.coalesce(func.sum(AccountDelta.credit_minor - AccountDelta.debit_minor), 0)).where(
        AccountDelta.account_id == account_id, AccountDelta.shard == shard_of(account_id)
    )
    if before_batch is not None:
        query = query.where(AccountDelta.batch_no < before_batch)
    return int(session.execute(query).scalar_one())


def pending_holds(session: Session, account_id: AccountId) -> list[tuple[UUID, int, datetime]]:
    """The pending holds on an account: id, amount, expiry."""
    rows = session.execute(
        select(HoldRow.id, HoldRow.amount_minor, HoldRow.expires_at)
        .where(HoldRow.debit == account_id, HoldRow.state == "pending")
        .order_by(HoldRow.expires_at, HoldRow.id)
    )
    return [(row.id, row.amount_minor, row.expires_at) for row in rows]


def _read_cursor(cursor: str) -> int:
    batch_no, _, leaf = cursor.partition(".")
    if len(cursor) > CURSOR_MAX or not (batch_no.isdecimal() and leaf.isdecimal()) or len(batch_no) > BATCH_NO_MAX:
        raise BadCursor(cursor)
    return place_of(int(batch_no), int(leaf))


def statement(session: Session, account_id: AccountId, *, before: str | None = None, limit: int = 50) -> list[StatementLine]:
    """The newest ``limit`` transfers of an account (of those before the cursor ``before``), newest first.

    Each line carries the booked balance after it. Raises :class:`UnknownAccount`.
    """
    owner = account(session, account_id)
    limit = max(1, min(limit, PAGE_MAX))
    rows = _lines(session, owner, _read_cursor(before) if before else None, limit)
    if not rows:
        return []
    keys = {found.id: found.key for found in accounts(session, {AccountId(row.counter) for row in rows}).values()}
    after = [int(row.after_minor) for row in rows] if owner.guarded else _running(session, account_id, rows)
    return [
        StatementLine(
            transfer_id=row.id,
            event_at=row.event_at,
            posted_at=row.posted_at,
            code=TransferCode(row.code),
            reference=row.reference,
            counter_key=keys.get(AccountId(row.counter), f"#{row.counter}"),
            amount_minor=row.amount,
            balance_after_minor=balance_after,
            metadata=row.details or {},
            cursor=f"{batch_of(row.place)}.{leaf_of(row.place)}",
        )
        for row, balance_after in zip(rows, after, strict=True)
    ]


LINE: Final = (
    TransferRow.id,
    TransferRow.event_at,
    TransferRow.code,
    TransferRow.reference,
    TransferRow.details.label("details"),
    TransferRow.place,
)


def _lines(session: Session, owner: Account, before: int | None, limit: int) -> list[Row[Any]]:
    """The newest ``limit`` transfers of ``owner`` before the place ``before``, newest first."""
    sides = _guarded_sides(owner, before, limit) if owner.guarded else _open_sides(session, owner, before, limit)
    query = (
        select(sides, LedgerBatch.posted_at)
        .join(LedgerBatch, LedgerBatch.batch_no == batch_in_sql(sides.c.place))
        .where(LedgerBatch.shard == shard_of(owner.id))
        .order_by(sides.c.place.desc())
        .limit(limit)
    )
    return list(session.execute(query))


def _guarded_sides(owner: Account, before: int | None, limit: int) -> Subquery:
    """By the indexes of the guarded sides: as quick at the end of a long history as at its beginning."""
    sides = []
    for own, other, after, sign in (
        (TransferRow.debit, TransferRow.credit, TransferRow.debit_after_minor, -1),
        (TransferRow.credit, TransferRow.debit, TransferRow.credit_after_minor, 1),
    ):
        side = select(
            *LINE, other.label("counter"), (TransferRow.amount_minor * sign).label("amount"), after.label("after_minor")
        )
        side = side.where(own == owner.id, TransferRow.shard == shard_of(owner.id), after.is_not(None))
        if before is not None:
            side = side.where(TransferRow.place < before)
        sides.append(side.order_by(TransferRow.place.desc()).limit(limit).subquery())
    return union_all(*(select(side) for side in sides)).subquery()


def _open_sides(session: Session, owner: Account, before: int | None, limit: int) -> Subquery:
    """By the deltas, which say in what batches the newest transfers are: a batch is a range of places."""
    deltas = select(AccountDelta.batch_no, AccountDelta.transfers).where(
        AccountDelta.account_id == owner.id, AccountDelta.shard == shard_of(owner.id)
    )
    if before is not None:
        deltas = deltas.where(AccountDelta.batch_no <= batch_of(before))
    ranges, left = [], limit
    for delta in session.execute(deltas.order_by(AccountDelta.batch_no.desc()).limit(limit + 1)):
        ending = place_of(delta.batch_no + 1, 0) if before is None else min(place_of(delta.batch_no + 1, 0), before)
        ranges.append(and_(TransferRow.place >= place_of(delta.batch_no, 0), TransferRow.place < ending))
        if ending != before:  # how many of the batch that the cursor divides are left, nobody knows
            left -= delta.transfers
        if left <= 0:
            break
    paying = TransferRow.debit == owner.id
    return (
        select(
            *LINE,
            case((paying, TransferRow.credit), else_=TransferRow.debit).label("counter"),
            case((paying, -TransferRow.amount_minor), else_=TransferRow.amount_minor).label("amount"),
            null().label("after_minor"),
        )
        .where(
            or_(false(), *ranges),
            or_(paying, TransferRow.credit == owner.id),
            TransferRow.shard == shard_of(owner.id),
        )
        .order_by(TransferRow.place.desc())
        .limit(limit)
        .subquery()
    )


def _running(session: Session, account_id: AccountId, rows: list[Row[Any]]) -> list[int]:
    """The balances of an open account after each of ``rows`` (newest first), counted back from its deltas."""
    newest = rows[0]
    batch_no = batch_of(newest.place)
    later_in_batch = session.execute(
        select(
            func.coalesce(func.sum(TransferRow.amount_minor).filter(TransferRow.credit == account_id), 0)
            - func.coalesce(func.sum(TransferRow.amount_minor).filter(TransferRow.debit == account_id), 0)
        ).where(
            TransferRow.place > newest.place,
            TransferRow.place < place_of(batch_no + 1, 0),
            TransferRow.shard == shard_of(account_id),
            or_(TransferRow.debit == account_id, TransferRow.credit == account_id),
        )
    ).scalar_one()
    present = _open_balance(session, account_id, before_batch=batch_no + 1) - int(later_in_batch)
    found = []
    for row in rows:
        found.append(present)
        present -= row.amount
    return found


def trial_balance(session: Session) -> TrialBalance:
    """What every account that moved was debited and credited, and what it comes to."""
    legs = union_all(
        select(TransferRow.debit.label("account_id"), TransferRow.amount_minor.label("debit"), literal(0).label("credit")),
        select(TransferRow.credit, literal(0), TransferRow.amount_minor),
    ).subquery()
    query = (
        select(
            AccountRow,
            func.sum(legs.c.debit).label("debit"),
            func.sum(legs.c.credit).label("credit"),
            func.count().label("transfers"),
        )
        .join(legs, legs.c.account_id == AccountRow.id)
        .group_by(AccountRow.id, AccountRow.shard)
        .order_by(AccountRow.kind, AccountRow.id)
    )
    return TrialBalance(
        lines=[
            TrialLine(account=_account(row), debit_minor=int(debit), credit_minor=int(credit), transfers=transfers)
            for row, debit, credit, transfers in session.execute(query)
        ]
    )


def day_balance(session: Session, *, beginning: datetime, ending: datetime) -> list[DayLine]:
    """The trial balance of the transfers booked from ``beginning`` to before ``ending``, by kind of account."""
    legs = union_all(
        select(
            TransferRow.debit.label("account_id"),
            TransferRow.batch_no.label("batch_no"),
            TransferRow.amount_minor.label("debit"),
            literal(0).label("credit"),
        ),
        select(TransferRow.credit, TransferRow.batch_no, literal(0), TransferRow.amount_minor),
    ).subquery()
    within = LedgerBatch.posted_at >= beginning
    query = (
        select(
            AccountRow.kind,
            func.coalesce(func.sum(legs.c.credit - legs.c.debit).filter(~within), 0).label("opening"),
            func.coalesce(func.sum(legs.c.debit).filter(within), 0).label("debit"),
            func.coalesce(func.sum(legs.c.credit).filter(within), 0).label("credit"),
        )
        .select_from(legs)
        .join(AccountRow, AccountRow.id == legs.c.account_id)
        .join(LedgerBatch, LedgerBatch.batch_no == legs.c.batch_no)
        .where(LedgerBatch.posted_at < ending)
        .group_by(AccountRow.kind)
    )
    return [
        DayLine(
            kind=AccountKind(row.kind),
            opening_minor=int(row.opening),
            debit_minor=int(row.debit),
            credit_minor=int(row.credit),
        )
        for row in session.execute(query)
    ]


def chart_balances(session: Session) -> Mapping[AccountKind, tuple[int, int]]:
    """By kind of account: how many are open, and the sum of their balances in fen."""
    open_sums = (
        select(
            AccountDelta.account_id.label("account_id"),
            func.sum(AccountDelta.credit_minor - AccountDelta.debit_minor).label("posted"),
        )
        .group_by(AccountDelta.account_id)
        .subquery()
    )
    query = (
        select(
            AccountRow.kind,
            func.count(),
            func.coalesce(func.sum(func.coalesce(AccountBalance.posted_minor, open_sums.c.posted, 0)), 0),
        )
        .outerjoin(AccountBalance, AccountBalance.account_id == AccountRow.id)
        .outerjoin(open_sums, open_sums.c.account_id == AccountRow.id)
        .group_by(AccountRow.kind)
    )
    return {AccountKind(kind): (count, int(total)) for kind, count, total in session.execute(query)}


def booked(
    session: Session, account_id: AccountId, *, codes: Iterable[TransferCode], beginning: datetime, ending: datetime
) -> int:
    """What transfers with ``codes`` booked from ``beginning`` to before ``ending`` brought to an account, less what they took.

    Minor units; one statement over the range of batches, whatever their number.
    """
    within = and_(LedgerBatch.posted_at >= beginning, LedgerBatch.posted_at < ending)
    first, last = session.execute(select(func.min(LedgerBatch.batch_no), func.max(LedgerBatch.batch_no)).where(within)).one()
    if first is None:
        return 0
    shard = shard_of(account_id)
    total = session.scalar(
        select(
            func.coalesce(
                func.sum(case((TransferRow.credit == account_id, TransferRow.amount_minor), else_=-TransferRow.amount_minor)), 0
            )
        )
        .join(LedgerBatch, and_(LedgerBatch.batch_no == TransferRow.batch_no, LedgerBatch.shard == TransferRow.shard))
        .where(
            within,
            TransferRow.place >= place_of(first, 0),
            TransferRow.place < place_of(last + 1, 0),
            TransferRow.shard == shard,
            or_(TransferRow.debit == account_id, TransferRow.credit == account_id),
            TransferRow.code.in_([int(code) for code in codes]),
        )
    )
    return int(total or 0)
