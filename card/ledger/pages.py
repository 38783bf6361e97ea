"""An account over time: its balance at an instant, a page of its statement, all of a period. None of it grows with its history.

A guarded account's transfers carry the balance after them and are found by an index of their own. An open account's are found
by its deltas, which say in what batches it moved, and its balance by the newest mark before (``marks.py``). Whatever has been
archived is read from there and takes its place in the same order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.kernel.errors import NotFound, msg
from card.ledger import marks, queries, shelf
from card.ledger.rules import (
    Account,
    AccountId,
    StatementLine,
    TransferCode,
    batch_of,
    leaf_of,
    place_of,
    shard_of,
)

PAGE_MAX: Final = 500
STREAM: Final = 2_000  # lines read at once where a whole period is read
CURSOR_MAX: Final = 20  # characters: two numbers and a point
BATCH_NO_MAX: Final = 12  # digits of a batch's number, so that a place never outgrows 64 bits
END: Final = 2**63 - 1  # behind every place


class BadCursor(NotFound):
    """A statement cursor that this ledger did not give out."""

    code = "bad-cursor"
    sentence = msg("This part of the statement does not exist.")


@dataclass(frozen=True, kw_only=True)
class Period:
    """An account between two instants: ``lines`` lead from one balance to the other, oldest first, read as they come."""

    account: Account
    opening_minor: int
    closing_minor: int
    lines: Iterator[StatementLine]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """A transfer as one side sees it, wherever it was read."""

    id: UUID
    place: int
    event_at: datetime
    posted_at: datetime
    code: int
    reference: str
    details: dict[str, Any] | None
    counter_key: str
    amount: int
    after_minor: int | None


def balance_at(session: Session, account_id: AccountId, instant: datetime) -> int:
    """The booked balance of an account when everything up to ``instant`` (inclusive) was booked, in fen.

    It takes as long for an account of ten years as for one of ten minutes. Raises :class:`UnknownAccount`, and
    ``ArchiveUnavailable`` where the instant lies within an archived month whose files are elsewhere.
    """
    return _balance_through(session, queries.account(session, account_id), marks.batch_at(session, instant))


RUN: Final = """
SELECT last_place, after_minor FROM card.archived_run
WHERE account_id = :account AND shard = :shard AND last_place < :before ORDER BY last_place DESC LIMIT 1
"""
STRADDLING: Final = """
SELECT first_place FROM card.archived_run
WHERE account_id = :account AND shard = :shard AND last_place >= :before ORDER BY last_place LIMIT 1
"""


def _balance_through(session: Session, owner: Account, batch_no: int) -> int:
    """The balance of an account behind the batch ``batch_no``."""
    if not owner.guarded:
        return marks.open_balances(session, [owner.id], before_batch=batch_no + 1).get(owner.id, 0)
    before = place_of(batch_no + 1, 0)
    asked = {"account": owner.id, "shard": shard_of(owner.id), "before": before}
    cut = session.execute(text(STRADDLING), asked).scalar_one_or_none()
    if cut is not None and cut < before:
        archived = shelf.lines(session, owner.id, before=before, after=-1, limit=1)
        return int(archived[0]["after_minor"])
    newest = _guarded(session, owner, before=before, after=-1, limit=1, newest=True)
    run = session.execute(text(RUN), asked).one_or_none()
    if run is not None and (not newest or newest[0].place < run.last_place):
        return int(run.after_minor)
    return int(newest[0].after_minor or 0) if newest else 0


def statement(
    session: Session,
    account_id: AccountId,
    *,
    before: str | None = None,
    after: str | None = None,
    until: datetime | None = None,
    limit: int = 50,
) -> list[StatementLine]:
    """A page of at most ``limit`` transfers of an account, newest first, each with the booked balance after it.

    The newest page; those before the cursor ``before``; those right after the cursor ``after`` (``"0.0"``: the oldest page);
    or the newest of those booked by ``until``. Every page costs the same. Raises :class:`UnknownAccount`, :class:`BadCursor`.
    """
    owner = queries.account(session, account_id)
    limit = max(1, min(limit, PAGE_MAX))
    ending = _read_cursor(before) if before else END
    if until is not None:
        ending = min(ending, place_of(marks.batch_at(session, until) + 1, 0))
    beginning = _read_cursor(after) if after else -1
    lines = _lines(session, owner, before=ending, after=beginning, limit=limit, newest=after is None)
    if after is not None:
        lines = lines[::-1]
    if not lines:
        return []
    balances = [line.after_minor or 0 for line in lines] if owner.guarded else _running(session, owner, lines)
    return [_shown(line, balance) for line, balance in zip(lines, balances, strict=True)]


def period(session: Session, account_id: AccountId, *, beginning: datetime, ending: datetime) -> Period:
    """An account from ``beginning`` to before ``ending``: both balances, and the lines between them, read page by page.

    The lines come from ``session``; give it a transaction at REPEATABLE READ, so that what is booked meanwhile stays out.
    Raises :class:`UnknownAccount`.
    """
    owner = queries.account(session, account_id)
    first = marks.batch_at(session, beginning, inclusive=False)
    last = max(first, marks.batch_at(session, ending, inclusive=False))
    opening = _balance_through(session, owner, first)
    return Period(
        account=owner,
        opening_minor=opening,
        closing_minor=_balance_through(session, owner, last),
        lines=_walk(session, owner, opening, after=place_of(first + 1, 0) - 1, before=place_of(last + 1, 0)),
    )


def _walk(session: Session, owner: Account, present: int, *, after: int, before: int) -> Iterator[StatementLine]:
    while lines := _lines(session, owner, before=before, after=after, limit=STREAM, newest=False):
        for line in lines:
            present += line.amount
            yield _shown(line, present)
        after = lines[-1].place


def _shown(line: _Line, balance: int) -> StatementLine:
    return StatementLine(
        transfer_id=line.id,
        event_at=line.event_at,
        posted_at=line.posted_at,
        code=TransferCode(line.code),
        reference=line.reference,
        counter_key=line.counter_key,
        amount_minor=line.amount,
        balance_after_minor=balance,
        metadata=line.details or {},
        cursor=f"{batch_of(line.place)}.{leaf_of(line.place)}",
    )


def _read_cursor(cursor: str) -> int:
    batch_no, _, leaf = cursor.partition(".")
    if len(cursor) > CURSOR_MAX or not (batch_no.isdecimal() and leaf.isdecimal()) or len(batch_no) > BATCH_NO_MAX:
        raise BadCursor(cursor)
    return place_of(int(batch_no), int(leaf))


def _lines(session: Session, owner: Account, *, before: int, after: int, limit: int, newest: bool) -> list[_Line]:
    """The newest (or oldest) transfers of an account between two places, both exclusive; from the database and the archive."""
    if owner.guarded:
        found = _guarded(session, owner, before=before, after=after, limit=limit, newest=newest)
        known_to = found[-1].place if len(found) == limit else None
    else:
        found, known_to = _open(session, owner, before=before, after=after, limit=limit, newest=newest)
    if known_to is not None:  # beyond this place the database was not asked, so neither is the archive
        after, before = (max(after, known_to - 1), before) if newest else (after, min(before, known_to + 1))
    archived = [
        _Line(
            id=UUID(row["id"]),
            place=row["place"],
            event_at=shelf.instant(row["event_at"]),
            posted_at=shelf.instant(row["posted_at"]),
            code=row["code"],
            reference=row["reference"] or "",
            details=shelf.details(row["metadata"]),
            counter_key=row["counter_key"],
            amount=row["amount"],
            after_minor=row["after_minor"],
        )
        for row in shelf.lines(session, owner.id, before=before, after=after, limit=limit, newest=newest)
    ]
    if not archived:
        return found
    return sorted([*found, *archived], key=lambda line: line.place, reverse=newest)[:limit]


SIDE: Final = """
(SELECT t.id, t.place, t.event_at, t.code, t.reference, t.metadata AS details, t.{other} AS counter, {sign}t.amount_minor AS
  amount,
   t.{own}_after_minor AS after_minor
 FROM card.transfer t
 WHERE t.{own} = :account AND t.shard = :shard AND t.{own}_after_minor IS NOT NULL AND t.place > :after AND t.place < :before
 ORDER BY t.place {order} LIMIT :limit)
"""
# The batch and the other account are looked up row by row (OFFSET 0), after the few rows are known.
PAGE: Final = """
SELECT line.*, b.posted_at, coalesce(a.key, '#' || line.counter) AS counter_key
FROM (SELECT * FROM ({sides}) AS side ORDER BY place {order} LIMIT :limit) AS line
  LEFT JOIN LATERAL (SELECT posted_at FROM card.ledger_batch b WHERE b.batch_no = line.place >> 20 AND b.shard = :shard OFFSET
    0) b
    ON true
  LEFT JOIN LATERAL (SELECT key FROM card.account a WHERE a.id = line.counter AND a.shard = :shard OFFSET 0) a ON true
ORDER BY line.place {order}
"""
ORDERS: Final = {True: "DESC", False: "ASC"}
GUARDED: Final = {
    newest: text(
        PAGE.format(
            sides=" UNION ALL ".join(
                SIDE.format(own=own, other=other, sign=sign, order=order)
                for own, other, sign in (("debit", "credit", "-"), ("credit", "debit", ""))
            ),
            order=order,
        )
    )
    for newest, order in ORDERS.items()
}
DELTAS: Final = {
    newest: text(
        f"""SELECT batch_no, transfers FROM card.account_delta
            WHERE account_id = :account AND shard = :shard AND batch_no >= :first AND batch_no <= :last
            ORDER BY batch_no {order} LIMIT :limit"""  # noqa: S608
    )
    for newest, order in ORDERS.items()
}
OPEN: Final = {
    newest: text(
        PAGE.format(
            sides=f"""
SELECT t.id, t.place, t.event_at, t.code, t.reference, t.metadata AS details,
  CASE WHEN t.debit = :account THEN t.credit ELSE t.debit END AS counter,
  CASE WHEN t.debit = :account THEN -t.amount_minor ELSE t.amount_minor END AS amount, CAST(NULL AS bigint) AS after_minor
FROM unnest(CAST(:batches AS bigint[])) AS moved(batch_no)
  CROSS JOIN LATERAL (
    SELECT t.* FROM card.transfer t
    WHERE t.place >= moved.batch_no << 20 AND t.place < (moved.batch_no + 1) << 20 AND t.place > :after AND t.place < :before
      AND (t.debit = :account OR t.credit = :account) AND t.shard = :shard
    ORDER BY t.place {order} LIMIT :limit) t""",  # noqa: S608
            order=order,
        )
    )
    for newest, order in ORDERS.items()
}


def _read(rows: Any) -> list[_Line]:
    return [
        _Line(
            id=row.id,
            place=row.place,
            event_at=row.event_at,
            posted_at=row.posted_at,
            code=row.code,
            reference=row.reference,
            details=row.details,
            counter_key=row.counter_key,
            amount=row.amount,
            after_minor=row.after_minor,
        )
        for row in rows
    ]


def _guarded(session: Session, owner: Account, *, before: int, after: int, limit: int, newest: bool) -> list[_Line]:
    """By the indexes of the guarded sides: as quick at the end of a long history as at its beginning."""
    asked = {"account": owner.id, "shard": shard_of(owner.id), "before": before, "after": after, "limit": limit}
    return _read(session.execute(GUARDED[newest], asked))


def _open(
    session: Session, owner: Account, *, before: int, after: int, limit: int, newest: bool
) -> tuple[list[_Line], int | None]:
    """By the deltas, which say in what batches the account moved: a batch is a range of places.

    The lines, and the place to which they are complete; none if they are all there are.
    """
    asked: dict[str, Any] = {"account": owner.id, "shard": shard_of(owner.id)}
    first, last = batch_of(max(after, 0)), batch_of(before)
    deltas = session.execute(DELTAS[newest], {**asked, "first": first, "last": last, "limit": limit + 1}).all()
    batches, left, known_to = [], limit, None
    edge = last if newest else first
    for delta in deltas:
        batches.append(delta.batch_no)
        if delta.batch_no != edge:  # how much of a batch that the cursor divides is left, nobody knows
            left -= delta.transfers
        if left <= 0:
            known_to = place_of(delta.batch_no, 0) if newest else place_of(delta.batch_no + 1, 0) - 1
            break
    if not batches:
        return [], None
    found = _read(
        session.execute(OPEN[newest], {**asked, "before": before, "after": after, "limit": limit, "batches": batches})
    )
    if len(found) == limit:
        known_to = found[-1].place
    return found, known_to


LATER: Final = """
SELECT coalesce(sum(CASE WHEN t.debit = :account THEN -t.amount_minor ELSE t.amount_minor END), 0)::bigint
FROM card.transfer t
WHERE t.place > :place AND t.place < :end AND t.shard = :shard AND (t.debit = :account OR t.credit = :account)
"""


def _running(session: Session, owner: Account, lines: Sequence[_Line]) -> list[int]:
    """The balances of an open account after each of ``lines`` (newest first), counted back from the end of a batch."""
    newest = lines[0].place
    batch_no = batch_of(newest)
    end = place_of(batch_no + 1, 0)
    later = session.execute(
        text(LATER), {"account": owner.id, "shard": shard_of(owner.id), "place": newest, "end": end}
    ).scalar_one()
    archived = shelf.lines(session, owner.id, before=end, after=newest, limit=1 << 20)
    present = _balance_through(session, owner, batch_no) - int(later) - sum(row["amount"] for row in archived)
    found = []
    for line in lines:
        found.append(present)
        present -= line.amount
    return found
