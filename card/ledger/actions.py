"""Writing the ledger, in two lanes with one meaning.

The *fast lane* is one statement over a whole batch. It books only what is plainly right: every id is new, every account exists,
and every guarded account stays at or above its floor after every transfer in the order given. Then each transfer taken one
after another would be booked too, with the same running balances: that is the serial answer. Anything else goes through the
*exact lane*, where ``rules.decide`` takes one transfer after another and every refusal is written down with its reason.

Both lock the guarded accounts in id order first, then number the batch, so the batches of one account are numbered in the
order in which they were booked, and two batches cannot wait for each other.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.errors import CheckViolation, UniqueViolation
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.kernel.db import refuse_on_constraint
from card.ledger import queries, rules, shelf
from card.ledger.models import BATCH_NO, AccountBalance, AccountDelta, AccountRow, HoldRow, LedgerBatch, RefusedTransfer
from card.ledger.rules import (
    SHARD_BITS,
    AccountId,
    AccountSpec,
    Decision,
    Hold,
    HoldResolved,
    HoldState,
    InsufficientFunds,
    Known,
    Outcome,
    OutcomeStatus,
    Posting,
    Transfer,
    TransferCode,
    TransferConflict,
    UnknownHold,
    shard_of,
)

refuse_on_constraint("ck_account_balance_floor", InsufficientFunds)  # the database's own word, should a rule ever fail
refuse_on_constraint("pk_transfer", TransferConflict)

ATTEMPTS: Final = 5  # how often a batch is tried again when somebody else books one of its ids at the same moment

# The guarded accounts are locked in id order by a statement of its own, so that the next one sees what it waited for. (Locking
# inside the posting statement was tried: a row that moved meanwhile is read again there, but only in part, and the purse of
# ``test_concurrency`` went below its floor.)
LOCK: Final = """
SELECT FROM card.account_balance WHERE account_id = ANY(%(ids)s::bigint[]) AND shard = %(shard)s ORDER BY account_id FOR UPDATE
"""

# s: the rows whose accounts exist and mix.  leg: each guarded side.  held: the guarded accounts as they stand.  run: the booked
# balance after each leg, in order.  fine: the one question; what comes after it happens only where the answer is yes.
# (OFFSET 0 keeps the planner at one look-up a row: it would otherwise like to read all accounts of a city in order.)
FAST: Final = """
WITH stage AS MATERIALIZED (
  SELECT * FROM unnest(%(ids)s::uuid[], %(debits)s::bigint[], %(credits)s::bigint[], %(amounts)s::bigint[],
    %(codes)s::smallint[], %(events)s::timestamptz[], %(references)s::text[], %(details)s::text[], %(reverses)s::uuid[])
    WITH ORDINALITY AS t(id, debit, credit, amount, code, event_at, reference, details, reverses, ordinal)),
s AS MATERIALIZED (
  SELECT stage.*, d.guarded AS debit_guarded, c.guarded AS credit_guarded
  FROM stage
    CROSS JOIN LATERAL (
      SELECT guarded, ledger, currency FROM card.account WHERE id = stage.debit AND shard = %(shard)s OFFSET 0) d
    CROSS JOIN LATERAL (
      SELECT guarded, ledger, currency FROM card.account WHERE id = stage.credit AND shard = %(shard)s OFFSET 0) c
  WHERE d.ledger = c.ledger AND d.currency = c.currency),
leg AS MATERIALIZED (
  SELECT debit AS account_id, ordinal, true AS paying, -amount AS change FROM s WHERE debit_guarded
  UNION ALL SELECT credit, ordinal, false, amount FROM s WHERE credit_guarded),
total AS MATERIALIZED (SELECT account_id, sum(change)::bigint AS change, count(*) AS legs FROM leg GROUP BY account_id),
held AS MATERIALIZED (
  SELECT b.account_id, total.change, total.legs, b.posted_minor, b.held_minor + b.floor_minor AS reserve
  FROM total JOIN card.account_balance b ON b.account_id = total.account_id AND b.shard = %(shard)s),
run AS MATERIALIZED (
  SELECT leg.ordinal, leg.paying, held.reserve, held.posted_minor + leg.change AS after
  FROM leg JOIN held ON held.account_id = leg.account_id WHERE held.legs = 1
  UNION ALL
  SELECT leg.ordinal, leg.paying, held.reserve, held.posted_minor
    + (sum(leg.change) OVER (PARTITION BY leg.account_id ORDER BY leg.ordinal))::bigint
  FROM leg JOIN held ON held.account_id = leg.account_id WHERE held.legs > 1),
fine AS MATERIALIZED (
  SELECT nextval('card.ledger_batch_no') AS batch_no
  WHERE (SELECT count(*) FROM s) = %(count)s
    AND (SELECT count(*) FROM run) = (SELECT count(*) FROM leg)
    AND NOT EXISTS (SELECT FROM run WHERE paying AND after < reserve)
    AND NOT EXISTS (SELECT FROM card.transfer t WHERE t.id = ANY(%(ids)s::uuid[]) AND t.shard = %(shard)s)
    AND NOT EXISTS (SELECT FROM card.refused_transfer r WHERE r.id = ANY(%(ids)s::uuid[]) AND r.shard = %(shard)s)),
booked AS (
  INSERT INTO card.transfer (id, shard, place, debit, credit, amount_minor, code, event_at, debit_after_minor,
    credit_after_minor, reference, metadata, reverses)
  SELECT s.id, %(shard)s, fine.batch_no << 20 | s.ordinal - 1, s.debit, s.credit, s.amount, s.code, s.event_at, paid.after,
    got.after, s.reference, s.details::jsonb, s.reverses
  FROM fine CROSS JOIN s
    LEFT JOIN run paid ON paid.ordinal = s.ordinal AND paid.paying
    LEFT JOIN run got ON got.ordinal = s.ordinal AND NOT got.paying),
moved AS (
  UPDATE card.account_balance b SET posted_minor = b.posted_minor + held.change, batch_no = fine.batch_no
  FROM held, fine WHERE b.account_id = held.account_id AND b.shard = %(shard)s),
opened AS (
  INSERT INTO card.account_delta (account_id, shard, batch_no, debit_minor, credit_minor, transfers)
  SELECT account_id, %(shard)s, fine.batch_no, sum(debit), sum(credit), count(*)
  FROM fine CROSS JOIN (
    SELECT debit AS account_id, amount AS debit, 0 AS credit FROM s WHERE NOT debit_guarded
    UNION ALL SELECT credit, 0, amount FROM s WHERE NOT credit_guarded) AS side
  GROUP BY account_id, fine.batch_no),
noted AS (
  INSERT INTO card.ledger_batch (batch_no, shard, transfers, total_minor, posted_at)
  SELECT batch_no, %(shard)s, %(count)s, %(total)s, %(now)s FROM fine)
SELECT count(*) FROM fine
"""


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
                account_id=opened, shard=spec.shard, posted_minor=0, held_minor=0, floor_minor=spec.floor_minor
            )
        )
    return AccountId(opened)


def post(session: Session, transfers: Sequence[Transfer], *, now: datetime) -> list[Outcome]:
    """Book ``transfers`` one after another; each is answered for itself, in the order given.

    Joins the caller's transaction. A refusal is an outcome, not an exception, and is remembered: the same transfer gets the
    same answer for ever, so a new attempt carries a new id.
    """
    return post_groups(session, [[transfer] for transfer in transfers], now=now)


def post_groups(session: Session, groups: Sequence[Sequence[Transfer]], *, now: datetime) -> list[Outcome]:
    """Book linked groups one after another; of each group all transfers are booked, or none is.

    The outcomes are in the order given, flattened. Refusals are remembered, as in :func:`post`.
    """
    return _post(session, groups, now=now, remember=True)


def post_all(session: Session, transfers: Sequence[Transfer], *, now: datetime) -> None:
    """Book all of ``transfers`` or none; a repeat is quiet.

    Raises the refusal (:class:`InsufficientFunds`, :class:`TransferConflict`, …) before anything is written, and does not
    remember it: the same ids may be tried again once there is money.
    """
    outcomes = _post(session, [transfers], now=now, remember=False)
    refused = [outcome for outcome in outcomes if outcome.refused]
    if refused:
        culprit = next((outcome for outcome in refused if outcome.code != rules.LinkedRefused.code), refused[0])
        raise rules.REFUSALS[culprit.code](f"transfer {culprit.id}")


def _post(session: Session, groups: Sequence[Sequence[Transfer]], *, now: datetime, remember: bool) -> list[Outcome]:
    """Post ``groups``, shard by shard; a group belongs to the shard of its first debit side."""
    shards: dict[int, list[Sequence[Transfer]]] = {}
    for group in groups:
        if group:
            shards.setdefault(shard_of(group[0].debit), []).append(group)
    if len(shards) == 1:
        ((shard, own),) = shards.items()
        return _post_in_shard(session, own, shard=shard, now=now, remember=remember)
    answers = {
        shard: iter(_post_in_shard(session, own, shard=shard, now=now, remember=remember))
        for shard, own in sorted(shards.items())
    }
    return [next(answers[shard_of(group[0].debit)]) for group in groups for _ in group]


def _post_in_shard(
    session: Session, groups: Sequence[Sequence[Transfer]], *, shard: int, now: datetime, remember: bool
) -> list[Outcome]:
    transfers = [transfer for group in groups for transfer in group]
    for attempt in range(ATTEMPTS):
        try:
            with session.begin_nested():
                if attempt == 0 and post_fast(session, transfers, shard=shard, now=now):
                    return [Outcome(id=transfer.id, status=OutcomeStatus.POSTED) for transfer in transfers]
                return post_exact(session, groups, shard=shard, now=now, remember=remember)
        except IntegrityError as error:
            # An id of ours was booked by somebody else a moment ago, or its month is archived: now that is decided upon.
            if not _decidable(error) or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the loop returns or raises")


def _decidable(error: IntegrityError) -> bool:
    """Whether the exact lane has an answer to what the database just refused."""
    if isinstance(error.orig, CheckViolation):
        return (error.orig.diag.constraint_name or "").startswith(shelf.CONSTRAINT)
    return isinstance(error.orig, UniqueViolation)


def _driver(session: Session, statement: str, parameters: dict[str, Any]) -> Any:
    return session.connection().exec_driver_sql(statement, parameters)


def _array(values: Iterable[object]) -> str:
    """A PostgreSQL array literal of numbers, ids or instants: several times faster than the driver's careful dumper."""
    return "{" + ",".join(map(str, values)) + "}"


def _text(value: str | None) -> str:
    return "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _texts(values: Iterable[str | None]) -> str:
    """A PostgreSQL array literal of texts."""
    return "{" + ",".join(map(_text, values)) + "}"


def _columns(transfers: Sequence[Transfer]) -> dict[str, object]:
    """The columns of ``transfers`` as array literals, in one order."""
    return {
        "ids": _array(transfer.id for transfer in transfers),
        "debits": _array(transfer.debit for transfer in transfers),
        "credits": _array(transfer.credit for transfer in transfers),
        "amounts": _array(transfer.amount_minor for transfer in transfers),
        "codes": _array(int(transfer.code) for transfer in transfers),
        "events": _array(transfer.event_at.isoformat() for transfer in transfers),
        "references": _texts(transfer.reference for transfer in transfers),
        "details": _texts(
            json.dumps(transfer.metadata, ensure_ascii=False) if transfer.metadata else None for transfer in transfers
        ),
        "reverses": _array(transfer.reverses or "NULL" for transfer in transfers),
    }


def post_fast(session: Session, transfers: Sequence[Transfer], *, shard: int = 0, now: datetime) -> bool:
    """The fast lane: book the whole batch if it is plainly right, else write nothing. Whether it was booked."""
    if len({transfer.id for transfer in transfers}) < len(transfers):
        return False
    _driver(session, LOCK, {"ids": _array({t.debit for t in transfers} | {t.credit for t in transfers}), "shard": shard})
    fine = _driver(
        session,
        FAST,
        {
            **_columns(transfers),
            "shard": shard,
            "count": len(transfers),
            "total": sum(transfer.amount_minor for transfer in transfers),
            "now": now,
        },
    ).scalar_one()
    return bool(fine)


def post_exact(
    session: Session, groups: Sequence[Sequence[Transfer]], *, shard: int = 0, now: datetime, remember: bool = True
) -> list[Outcome]:
    """The exact lane: decide each group in turn and write what was decided, refusals too if ``remember``.

    An account of another shard is unknown in this one.
    """
    transfers = [transfer for group in groups for transfer in group]
    ids = {transfer.debit for transfer in transfers} | {transfer.credit for transfer in transfers}
    ids = {id_ for id_ in ids if shard_of(id_) == shard}
    positions = queries.lock_positions(session, ids)
    accounts = queries.accounts(session, ids)
    known = queries.known(session, (transfer.id for transfer in transfers))
    known |= _too_late(session, [transfer for transfer in transfers if transfer.id not in known])
    decision = rules.decide(accounts, positions, known, groups)
    _book(session, decision, shard=shard, now=now)
    if remember and decision.refusals:
        session.execute(
            insert(RefusedTransfer),
            [
                {
                    "id": refused.transfer.id,
                    "shard": shard,
                    "debit": refused.transfer.debit,
                    "credit": refused.transfer.credit,
                    "amount_minor": refused.transfer.amount_minor,
                    "code": int(refused.transfer.code),
                    "event_at": refused.transfer.event_at,
                    "reference": refused.transfer.reference,
                    "details": refused.transfer.metadata or None,
                    "reverses": refused.transfer.reverses,
                    "refusal": refused.refusal,
                    "refused_at": now,
                }
                for refused in decision.refusals
            ],
        )
    return decision.outcomes


def _too_late(session: Session, transfers: Sequence[Transfer]) -> dict[UUID, Known]:
    """Those new transfers whose month is archived, as if they had been refused for it before."""
    archived = shelf.months(session)
    return {
        transfer.id: Known(transfer=transfer, refusal=rules.MonthArchived.code)
        for transfer in transfers
        if shelf.is_archived(archived, transfer.id)
    }


BOOK: Final = """
INSERT INTO card.transfer (id, shard, place, debit, credit, amount_minor, code, event_at, debit_after_minor,
  credit_after_minor, reference, metadata, reverses)
SELECT id, %(shard)s, %(batch_no)s::bigint << 20 | ordinal - 1, debit, credit, amount, code, event_at, debit_after,
  credit_after, reference, details::jsonb, reverses
FROM unnest(%(ids)s::uuid[], %(debits)s::bigint[], %(credits)s::bigint[], %(amounts)s::bigint[], %(codes)s::smallint[],
  %(events)s::timestamptz[], %(debit_afters)s::bigint[], %(credit_afters)s::bigint[], %(references)s::text[],
  %(details)s::text[], %(reverses)s::uuid[])
  WITH ORDINALITY AS t(id, debit, credit, amount, code, event_at, debit_after, credit_after, reference, details, reverses,
    ordinal)
"""

MOVE: Final = """
UPDATE card.account_balance b SET posted_minor = t.posted, batch_no = %(batch_no)s
FROM unnest(%(ids)s::bigint[], %(posted)s::bigint[]) AS t(id, posted) WHERE b.account_id = t.id AND b.shard = %(shard)s
"""


def _book(session: Session, decision: Decision, *, shard: int, now: datetime) -> None:
    """Write the postings of ``decision`` as one batch: the rows, the guarded balances, the deltas of open accounts."""
    postings = decision.postings
    if not postings:
        return
    batch_no = session.execute(select(BATCH_NO.next_value())).scalar_one()
    _driver(
        session,
        BOOK,
        {
            **_columns([posting.transfer for posting in postings]),
            "shard": shard,
            "batch_no": batch_no,
            "debit_afters": [posting.debit_after_minor for posting in postings],
            "credit_afters": [posting.credit_after_minor for posting in postings],
        },
    )
    moved, opened = _effects(postings)
    if moved:
        posted = [decision.positions[id_].posted_minor for id_ in moved]
        _driver(session, MOVE, {"ids": list(moved), "posted": posted, "batch_no": batch_no, "shard": shard})
    if opened:
        session.execute(
            insert(AccountDelta),
            [
                {
                    "account_id": id_,
                    "shard": shard,
                    "batch_no": batch_no,
                    "debit_minor": debit,
                    "credit_minor": credit,
                    "transfers": count,
                }
                for id_, (debit, credit, count) in sorted(opened.items())
            ],
        )
    session.execute(
        insert(LedgerBatch).values(
            batch_no=batch_no,
            shard=shard,
            transfers=len(postings),
            total_minor=sum(posting.transfer.amount_minor for posting in postings),
            posted_at=now,
        )
    )


def _effects(postings: Sequence[Posting]) -> tuple[set[AccountId], dict[AccountId, tuple[int, int, int]]]:
    """The guarded accounts that moved, and for each open one its debits, credits and number of transfers."""
    moved: set[AccountId] = set()
    opened: dict[AccountId, tuple[int, int, int]] = {}
    for posting in postings:
        amount = posting.transfer.amount_minor
        for id_, after, debited, credited in (
            (posting.transfer.debit, posting.debit_after_minor, amount, 0),
            (posting.transfer.credit, posting.credit_after_minor, 0, amount),
        ):
            if after is not None:
                moved.add(id_)
            else:
                debit, credit, count = opened.get(id_, (0, 0, 0))
                opened[id_] = (debit + debited, credit + credited, count + 1)
    return moved, opened


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
        outcome = post_exact(session, [[transfer]], shard=row.shard, now=now, remember=False)[0]
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
