"""Posting transfers, in two lanes with one meaning.

The *fast lane* moves every guarded balance of a batch at once, and then looks: is each account known, does no two-ledger pair
occur, and did every guarded account stay at or above its floor after every transfer in the order given? Then each transfer
taken one after another would be booked too, with the same running balances: that is the serial answer, and it stands. Where
anything is in doubt, or an id is not new, all of it is undone, and the *exact lane* lets ``rules.decide`` take one transfer
after another and writes every refusal down with its reason.

A batch lies in one shard, and so does everything that a statement here touches. Both lanes take the guarded accounts' rows in
id order and only then draw the batch's number, so the batches of one account are numbered in the order in which they were
booked, and two batches do not wait for each other in a ring. The rows themselves go in by ``COPY``.
"""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg.errors import CheckViolation, DeadlockDetected, UniqueViolation
from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.kernel.db import refuse_on_constraint
from app.kernel.errors import Refusal
from card.ledger import binary, queries, rules, shelf
from card.ledger.models import RefusedTransfer
from card.ledger.rules import (
    LEAF_BITS,
    AccountId,
    InsufficientFunds,
    Known,
    Outcome,
    OutcomeStatus,
    Position,
    Side,
    Transfer,
    TransferConflict,
    place_of,
    shard_of,
)

refuse_on_constraint("ck_account_balance_floor", InsufficientFunds)  # the database's own word, should a rule ever fail
refuse_on_constraint("pk_transfer", TransferConflict)

ATTEMPTS: Final = 5  # how often a batch is tried again when somebody else books one of its ids at the same moment
LEAVES: Final = 1 << LEAF_BITS  # transfers a batch may have

# Move the guarded accounts among the ids, in id order; what they moved to; and the batch's number, drawn when all are held.
# (Migration 0019 has the function and says why it is one.)
MOVE: Final = "SELECT * FROM card.move_balances(%(ids)b, %(changes)b, %(shard)s::smallint)"

# The open accounts among the ids.
OPEN: Final = """
SELECT id, guarded, ledger, currency FROM card.account WHERE id = ANY(%(ids)b::bigint[]) AND shard = %(shard)s
"""

# The guarded accounts among the ids as they stand, theirs until the transaction ends.
LOCK: Final = """
SELECT account_id, posted_minor, held_minor, floor_minor, ledger, currency FROM card.account_balance
WHERE account_id = ANY(%(ids)b::bigint[]) AND shard = %(shard)s ORDER BY account_id FOR UPDATE
"""

# Those of the ids that are not new.
SEEN: Final = """
SELECT id FROM card.transfer WHERE id = ANY(%(ids)b::uuid[]) AND shard = %(shard)s
UNION ALL SELECT id FROM card.refused_transfer WHERE id = ANY(%(ids)b::uuid[]) AND shard = %(shard)s
"""

REFUSED: Final = """
SELECT EXISTS (SELECT FROM card.refused_transfer WHERE id = ANY(%(ids)b::uuid[]) AND shard = %(shard)s)
"""

BOOK: Final = f"COPY card.transfer ({binary.TRANSFER_COLUMNS}) FROM STDIN (FORMAT binary)"

# The batch, and what it moved on each open account. It is dated by its caller's clock, but where a process of a city books it
# never much later than the database's own clock says: days end with the first batch of a later day. (LEAST leaves out nothing.)
NOTE: Final = """
WITH noted AS (
  INSERT INTO card.ledger_batch (batch_no, shard, transfers, total_minor, posted_at)
  VALUES (%(batch_no)s, %(shard)s, %(count)s, %(total)s,
    least(%(now)s, clock_timestamp() + current_setting('city.clock_ahead', true)::interval)))
INSERT INTO card.account_delta (account_id, batch_no, shard, debit_minor, credit_minor, transfers)
SELECT id, %(batch_no)s, %(shard)s, debit, credit, transfers
FROM unnest(%(ids)b::bigint[], %(debits)b::bigint[], %(credits)b::bigint[], %(counts)b::bigint[])
  AS t(id, debit, credit, transfers)
"""


class Every:
    """Whatever is asked for is in it."""

    def __contains__(self, _: object) -> bool:
        """It is."""
        return True


EVERY: Final = Every()


def post(session: Session, transfers: Sequence[Transfer], *, now: datetime) -> list[Outcome]:
    """Book ``transfers`` one after another; each is answered for itself, in the order given.

    Joins the caller's transaction. A refusal is an outcome, not an exception, and is remembered: the same transfer gets the
    same answer for ever, so a new attempt carries a new id.
    """
    return post_groups(session, [(transfer,) for transfer in transfers], now=now)


def post_groups(
    session: Session, groups: Sequence[Sequence[Transfer]], *, now: datetime, forget: Container[UUID] = ()
) -> list[Outcome]:
    """Book linked groups one after another; of each group all transfers are booked, or none is.

    The outcomes are in the order given, flattened. Refusals are remembered, as in :func:`post`, but for the ids in ``forget``,
    which may be tried again.
    """
    return _post(session, groups, now=now, forget=forget)


def post_all(session: Session, transfers: Sequence[Transfer], *, now: datetime) -> None:
    """Book all of ``transfers`` or none; a repeat is quiet.

    Raises the refusal (:class:`InsufficientFunds`, :class:`TransferConflict`, …) before anything is written, and does not
    remember it: the same ids may be tried again once there is money.
    """
    refusal = refusal_in(_post(session, [transfers], now=now, forget=EVERY))
    if refusal is not None:
        raise refusal


def refusal_in(outcomes: Sequence[Outcome]) -> Refusal | None:
    """Why a linked group was refused: the culprit's refusal, ready to be raised; none if all of it is booked."""
    refused = [outcome for outcome in outcomes if outcome.refused]
    if not refused:
        return None
    culprit = next((outcome for outcome in refused if outcome.code != rules.LinkedRefused.code), refused[0])
    return rules.REFUSALS[culprit.code](f"transfer {culprit.id}")


def _post(session: Session, groups: Sequence[Sequence[Transfer]], *, now: datetime, forget: Container[UUID]) -> list[Outcome]:
    """Post ``groups``, shard by shard; a group belongs to the shard of its first debit side."""
    shards: dict[int, list[Sequence[Transfer]]] = {}
    for group in groups:
        if group:
            shards.setdefault(shard_of(group[0].debit), []).append(group)
    answers = {
        shard: _post_in_shard(session, own, shard=shard, now=now, forget=forget) for shard, own in sorted(shards.items())
    }
    if len(answers) == 1:
        return next(iter(answers.values()))
    following = {shard: iter(outcomes) for shard, outcomes in answers.items()}
    return [next(following[shard_of(group[0].debit)]) for group in groups for _ in group]


def _post_in_shard(
    session: Session, groups: Sequence[Sequence[Transfer]], *, shard: int, now: datetime, forget: Container[UUID]
) -> list[Outcome]:
    transfers = list(chain.from_iterable(groups))
    assert len(transfers) <= LEAVES, "a batch has at most 2^20 transfers"
    if post_fast(session, transfers, shard=shard, now=now):
        return [Outcome(transfer.id, OutcomeStatus.POSTED) for transfer in transfers]
    for attempt in range(ATTEMPTS):
        try:
            with session.begin_nested():
                return post_exact(session, groups, shard=shard, now=now, forget=forget)
        except (UniqueViolation, CheckViolation, DeadlockDetected) as error:
            # An id of ours was booked by somebody else a moment ago, or its month is archived: now that is decided upon.
            if not _decidable(error) or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the loop returns or raises")


def _decidable(error: psycopg.Error) -> bool:
    """Whether the exact lane has an answer to what the database just refused."""
    if isinstance(error, CheckViolation):
        return (error.diag.constraint_name or "").startswith(shelf.CONSTRAINT)
    return True


def _cursor(session: Session) -> psycopg.Cursor[Any]:
    """The driver's own cursor on the session's transaction, for binary answers and ``COPY``."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection.cursor(binary=True)


def _ask(cursor: psycopg.Cursor[Any], statement: str, parameters: dict[str, object]) -> psycopg.Cursor[Any]:
    return cursor.execute(statement, parameters, prepare=True)


class Kind(NamedTuple):
    """A :class:`rules.Side`: shared by all accounts that are alike."""

    guarded: bool
    ledger: int
    currency: str


def post_fast(session: Session, transfers: Sequence[Transfer], *, shard: int = 0, now: datetime) -> bool:
    """The fast lane: book the whole batch if it is plainly right, else write nothing. Whether it was booked."""
    with session.begin_nested() as savepoint:
        try:
            fine = _fast(_cursor(session), transfers, shard, now)
        except (UniqueViolation, CheckViolation, DeadlockDetected):
            fine = False  # an id is not new; a balance would end below its floor
        if not fine:
            savepoint.rollback()
    return fine


def _fast(cursor: psycopg.Cursor[Any], transfers: Sequence[Transfer], shard: int, now: datetime) -> bool:
    changes: dict[int, int] = {}
    for transfer in transfers:
        debit, credit, amount = transfer.debit, transfer.credit, transfer.amount_minor
        changes[debit] = changes.get(debit, 0) - amount
        changes[credit] = changes.get(credit, 0) + amount
    ids = [transfer.id for transfer in transfers]
    if _ask(cursor, REFUSED, {"ids": binary.uuids(ids), "shard": shard}).fetchone() != (False,):
        return False
    batch_no, after, reserves, kinds = _move(cursor, changes, shard)
    opened = {id_: [0, 0, 0] for id_ in changes if id_ not in after}
    if opened:
        found = _ask(cursor, OPEN, {"ids": binary.bigints(opened), "shard": shard}).fetchall()
        kinds.update((ledger, currency) for _, guarded, ledger, currency in found if not guarded)
        if sum(not guarded for _, guarded, _, _ in found) < len(opened):
            return False
    if len(kinds) > 1:
        return False
    for id_ in after:
        after[id_] -= changes[id_]
    rows = _run(transfers, batch_no, after, reserves=reserves, opened=opened)
    if rows is None:
        return False
    _book(cursor, rows, batch_no=batch_no, shard=shard, opened=opened, total=sum(t.amount_minor for t in transfers), now=now)
    return True


def _move(
    cursor: psycopg.Cursor[Any], changes: Mapping[int, int], shard: int
) -> tuple[int, dict[int, int], dict[int, int], set[tuple[int, str]]]:
    """Move the guarded balances: the batch's number, each one's balance after it and its reserve, their kinds."""
    ids = sorted(changes)
    parameters = {"ids": binary.bigints(ids), "changes": binary.bigints([changes[id_] for id_ in ids]), "shard": shard}
    row = _ask(cursor, MOVE, parameters).fetchone()
    assert row is not None
    batch_no, guarded, posted, reserves, *ledgers = row
    if guarded is None:
        return batch_no, {}, {}, set()
    least, most, first, last = ledgers
    return (
        batch_no,
        dict(zip(guarded, posted, strict=True)),
        dict(zip(guarded, reserves, strict=True)),
        {(least, first), (most, last)},
    )


def _run(
    transfers: Sequence[Transfer],
    batch_no: int,
    balances: dict[int, int],
    *,
    reserves: Mapping[int, int],
    opened: Mapping[int, list[int]],
) -> list[bytes] | None:
    """The rows of the batch with their running balances; none if a guarded account would fall below its reserve on the way."""
    rows, place, shard = [], place_of(batch_no, 0), shard_of(transfers[0].debit)
    for transfer in transfers:
        debit, credit, amount = transfer.debit, transfer.credit, transfer.amount_minor
        paid = balances.get(debit)
        if paid is None:
            sums = opened[debit]
            sums[0] += amount
            sums[2] += 1
        else:
            balances[debit] = paid = paid - amount
            if paid < reserves[debit]:
                return None
        got = balances.get(credit)
        if got is None:
            sums = opened[credit]
            sums[1] += amount
            sums[2] += 1
        else:
            balances[credit] = got = got + amount
        rows.append(binary.transfer_row(transfer, place, shard, paid, got))
        place += 1
    return rows


def _book(
    cursor: psycopg.Cursor[Any],
    rows: Sequence[bytes],
    *,
    batch_no: int,
    shard: int,
    opened: Mapping[int, list[int]],
    total: int,
    now: datetime,
) -> None:
    """Write the rows of a batch, the batch, and the deltas of open accounts."""
    with cursor.copy(BOOK) as copy:
        copy.write(binary.copied(rows))
    debits, credits_, counts = zip(*opened.values(), strict=True) if opened else ((), (), ())
    _ask(
        cursor,
        NOTE,
        {
            "batch_no": batch_no,
            "shard": shard,
            "count": len(rows),
            "total": total,
            "now": now,
            "ids": binary.bigints(opened),
            "debits": binary.bigints(debits),
            "credits": binary.bigints(credits_),
            "counts": binary.bigints(counts),
        },
    )


def post_exact(
    session: Session,
    groups: Sequence[Sequence[Transfer]],
    *,
    shard: int = 0,
    now: datetime,
    forget: Container[UUID] = (),
) -> list[Outcome]:
    """The exact lane: decide each group in turn and write what was decided, refusals too but for the ids in ``forget``.

    An account of another shard is unknown in this one.
    """
    cursor = _cursor(session)
    transfers = list(chain.from_iterable(groups))
    sides, positions = _stand(cursor, transfers, shard)
    decision = rules.decide(sides, positions, _known(session, cursor, transfers, shard), groups)
    postings = decision.postings
    if postings:
        changes: dict[int, int] = {
            id_: position.posted_minor - positions[id_].posted_minor
            for id_, position in decision.positions.items()
            if position is not positions[id_]
        }
        batch_no, *_ = _move(cursor, changes, shard)
        opened: dict[int, list[int]] = {}
        rows, total, place = [], 0, place_of(batch_no, 0)
        for transfer, paid, got in postings:
            amount = transfer.amount_minor
            total += amount
            if paid is None:
                sums = opened.setdefault(transfer.debit, [0, 0, 0])
                sums[0] += amount
                sums[2] += 1
            if got is None:
                sums = opened.setdefault(transfer.credit, [0, 0, 0])
                sums[1] += amount
                sums[2] += 1
            rows.append(binary.transfer_row(transfer, place, shard, paid, got))
            place += 1
        _book(cursor, rows, batch_no=batch_no, shard=shard, opened=opened, total=total, now=now)
    refusals = [refused for refused in decision.refusals if refused.transfer.id not in forget]
    if refusals:
        _remember(session, refusals, shard=shard, now=now)
    return decision.outcomes


def _stand(
    cursor: psycopg.Cursor[Any], transfers: Sequence[Transfer], shard: int
) -> tuple[dict[AccountId, Side], dict[AccountId, Position]]:
    """The accounts of ``transfers`` that exist in the shard, and the positions of the guarded ones, locked."""
    ids = {transfer.debit for transfer in transfers}
    ids.update(transfer.credit for transfer in transfers)
    kinds: dict[Kind, Side] = {}
    sides: dict[AccountId, Side] = {}
    positions: dict[AccountId, Position] = {}
    for id_, posted, held, floor, ledger, currency in _ask(cursor, LOCK, {"ids": binary.bigints(ids), "shard": shard}):
        kind = Kind(guarded=True, ledger=ledger, currency=currency)
        sides[id_] = kinds.setdefault(kind, kind)
        positions[id_] = Position(posted, held, floor)
    ids.difference_update(positions)
    if ids:
        for id_, guarded, ledger, currency in _ask(cursor, OPEN, {"ids": binary.bigints(ids), "shard": shard}):
            sides[id_] = Kind(guarded=guarded, ledger=ledger, currency=currency)
    return sides, positions


def _known(session: Session, cursor: psycopg.Cursor[Any], transfers: Sequence[Transfer], shard: int) -> dict[UUID, Known]:
    """What is remembered of the ids of ``transfers``; a new one whose month is archived is as if refused for it before."""
    parameters = {"ids": binary.uuids([transfer.id for transfer in transfers]), "shard": shard}
    seen = [id_ for (id_,) in _ask(cursor, SEEN, parameters)]
    archived = shelf.months(session)
    old = [transfer for transfer in transfers if shelf.is_archived(archived, transfer.id)] if archived else []
    seen.extend(transfer.id for transfer in old)
    known = queries.known(session, seen) if seen else {}
    for transfer in old:
        known.setdefault(transfer.id, Known(transfer, rules.MonthArchived.code))
    return known


def _remember(session: Session, refusals: Sequence[Known], *, shard: int, now: datetime) -> None:
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
            for refused in refusals
        ],
    )
