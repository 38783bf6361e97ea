"""Writing the ledger beside posting: accounts, holds, reversals. The posting itself is in ``posting.py``."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from card.ledger import queries, rules
from card.ledger.models import AccountBalance, AccountRow, HoldRow
from card.ledger.posting import post_all, post_exact
from card.ledger.rules import (
    SHARD_BITS,
    AccountId,
    AccountSpec,
    Hold,
    HoldResolved,
    HoldState,
    OutcomeStatus,
    Transfer,
    TransferCode,
    TransferConflict,
    UnknownHold,
    shard_of,
)


def open_account(session: Session, spec: AccountSpec, *, now: datetime) -> AccountId:
    """Open the account that ``spec`` describes, or answer the id it already has."""
    found = session.scalar(select(AccountRow.id).where(AccountRow.key == spec.key, AccountRow.shard == spec.shard))
    if found is not None:
        return AccountId(found)
    opened = session.execute(
        postgresql.insert(AccountRow)
        .values(
            id=func.nextval("card.account_id_seq") + (spec.shard << SHARD_BITS),
            shard=spec.shard,
            key=spec.key,
            kind=spec.kind.value,
            guarded=spec.guarded,
            floor_minor=spec.floor_minor,
            currency=spec.currency,
            ledger=spec.ledger,
            opened_at=now,
        )
        .on_conflict_do_nothing(index_elements=[AccountRow.key, AccountRow.shard])
        .returning(AccountRow.id)
    ).scalar_one_or_none()
    if opened is None:  # somebody else opened it between the two statements
        return queries.account_id(session, spec)
    if spec.guarded:
        session.execute(
            insert(AccountBalance).values(
                account_id=opened,
                shard=spec.shard,
                posted_minor=0,
                held_minor=0,
                floor_minor=spec.floor_minor,
                ledger=spec.ledger,
                currency=spec.currency,
            )
        )
    return AccountId(opened)


def hold(session: Session, hold: Hold, *, now: datetime) -> None:
    """Reserve the amount of ``hold`` on its debit side until it is posted, voided or expires. A repeat is quiet.

    Raises :class:`InsufficientFunds`, :class:`TransferConflict` (the id stands for another hold), ``UnknownAccount``,
    ``AccountsDoNotMix``.
    """
    positions = queries.lock_positions(session, [hold.debit])
    found = queries.accounts(session, [hold.debit, hold.credit])
    shard = shard_of(hold.debit)
    before = session.scalars(select(HoldRow).where(HoldRow.id == hold.id, HoldRow.shard == shard)).one_or_none()
    if before is not None:
        if _content(before) != hold:
            raise TransferConflict(f"hold {hold.id}")
        return
    for id_ in (hold.debit, hold.credit):
        if id_ not in found:
            raise rules.UnknownAccount(str(id_))
    debit, credit = found[hold.debit], found[hold.credit]
    if (debit.ledger, debit.currency) != (credit.ledger, credit.currency):
        raise rules.AccountsDoNotMix(f"hold {hold.id}")
    position = rules.decide_hold(positions.get(hold.debit), hold)
    if position is not None:
        _set_held(session, hold.debit, position.held_minor)
    session.add(
        HoldRow(
            id=hold.id,
            shard=shard,
            debit=hold.debit,
            credit=hold.credit,
            amount_minor=hold.amount_minor,
            code=int(hold.code),
            expires_at=hold.expires_at,
            reference=hold.reference,
            held_at=now,
            state=HoldState.PENDING.value,
            posted_minor=None,
            transfer_id=None,
            resolved_at=None,
        )
    )
    session.flush()


def _content(row: HoldRow) -> Hold:
    return Hold(
        id=row.id,
        debit=AccountId(row.debit),
        credit=AccountId(row.credit),
        amount_minor=row.amount_minor,
        code=TransferCode(row.code),
        expires_at=row.expires_at,
        reference=row.reference,
    )


def _set_held(session: Session, account_id: AccountId, held_minor: int) -> None:
    session.execute(
        update(AccountBalance)
        .where(AccountBalance.account_id == account_id, AccountBalance.shard == shard_of(account_id))
        .values(held_minor=held_minor),
        execution_options={"synchronize_session": False},
    )


def _locked(session: Session, hold_id: UUID) -> HoldRow:
    shard = session.scalar(select(HoldRow.shard).where(HoldRow.id == hold_id))
    if shard is None:
        raise UnknownHold(str(hold_id))
    return session.scalars(
        select(HoldRow)
        .where(HoldRow.id == hold_id, HoldRow.shard == shard)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def _release(session: Session, row: HoldRow, to: HoldState, *, now: datetime) -> None:
    """Take ``row`` out of ``pending`` and give back what it reserved."""
    rules.hold_move(HoldState(row.state), to)
    debit = AccountId(row.debit)
    position = queries.lock_positions(session, [debit]).get(debit)
    if position is not None:
        _set_held(session, debit, position.held_minor - row.amount_minor)
    row.state, row.resolved_at = to.value, now


def post_hold(
    session: Session, *, hold_id: UUID, transfer_id: UUID, amount_minor: int | None = None, now: datetime
) -> Transfer:
    """Book a pending hold, all of it or ``amount_minor``; the rest is free again. A repeat answers the same transfer.

    Raises :class:`UnknownHold`, :class:`HoldResolved` (also once ``expires_at`` has passed), :class:`HoldExceeded`,
    :class:`TransferConflict`.
    """
    row = _locked(session, hold_id)
    amount = row.amount_minor if amount_minor is None else amount_minor
    if row.state == HoldState.POSTED.value and (row.transfer_id, row.posted_minor) == (transfer_id, amount):
        return queries.transfer(session, transfer_id)
    rules.hold_move(HoldState(row.state), HoldState.POSTED)
    if row.expires_at <= now:
        raise HoldResolved(f"hold {hold_id} expired at {row.expires_at}", state=HoldState.EXPIRED.value)
    if amount > row.amount_minor:
        raise rules.HoldExceeded(f"hold {hold_id}: {row.amount_minor} held, {amount} asked")
    transfer = Transfer(
        id=transfer_id,
        debit=AccountId(row.debit),
        credit=AccountId(row.credit),
        amount_minor=amount,
        code=TransferCode(row.code),
        event_at=now,
        reference=row.reference,
        metadata={"hold": str(hold_id)},
    )
    with session.begin_nested():
        _release(session, row, HoldState.POSTED, now=now)
        row.transfer_id, row.posted_minor = transfer_id, amount
        session.flush()
        outcome = post_exact(session, [[transfer]], shard=row.shard, now=now, forget=(transfer_id,))[0]
        if outcome.status is not OutcomeStatus.POSTED:
            raise TransferConflict(f"transfer {transfer_id} is not hold {hold_id}")
    return transfer


def void_hold(session: Session, *, hold_id: UUID, now: datetime) -> None:
    """Give a pending hold back. A repeat is quiet. Raises :class:`UnknownHold`, :class:`HoldResolved`."""
    row = _locked(session, hold_id)
    if row.state == HoldState.VOIDED.value:
        return
    _release(session, row, HoldState.VOIDED, now=now)
    session.flush()


def expire_holds(session: Session, *, now: datetime, limit: int = 500) -> int:
    """Give back the holds whose time has passed (at most ``limit`` of them); how many."""
    rows = session.scalars(
        select(HoldRow)
        .where(HoldRow.state == HoldState.PENDING.value, HoldRow.expires_at <= now)
        .order_by(HoldRow.debit, HoldRow.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for row in rows:
        _release(session, row, HoldState.EXPIRED, now=now)
    session.flush()
    return len(rows)


def reverse(
    session: Session,
    *,
    original_id: UUID,
    reversal_id: UUID,
    amount_minor: int | None = None,
    now: datetime,
    reference: str = "",
    code: TransferCode = TransferCode.REVERSAL,
) -> Transfer:
    """Give back all that is left of a transfer, or ``amount_minor`` of it, from its credit side to its debit side.

    The reversals of a transfer never add up to more than it. A repeat of ``reversal_id`` answers the first reversal.
    Raises ``UnknownTransfer``, :class:`ReversalExceedsOriginal`, :class:`InsufficientFunds`, :class:`TransferConflict`.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:id, 0))"), {"id": f"reverse:{original_id}"})
    original = queries.transfer(session, original_id)
    before = queries.known(session, [reversal_id]).get(reversal_id)
    if before is not None:
        same = before.transfer.reverses == original_id and amount_minor in (None, before.transfer.amount_minor)
        if not same or before.refusal:
            raise TransferConflict(f"transfer {reversal_id} is not this reversal of {original_id}")
        return before.transfer
    amount = rules.reversal_amount(
        original_minor=original.amount_minor,
        reversed_minor=sum(reversal.amount_minor for reversal in queries.reversals_of(session, original_id)),
        asked_minor=amount_minor,
    )
    reversal = Transfer(
        id=reversal_id,
        debit=original.credit,
        credit=original.debit,
        amount_minor=amount,
        code=code,
        event_at=now,
        reference=reference or original.reference,
        reverses=original_id,
    )
    post_all(session, [reversal], now=now)
    return reversal
