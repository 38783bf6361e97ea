"""Marks: running totals from which the balance of any open account, and of all kinds together, is a short way at any instant.

An open account has no balance row, so that nobody queues for it; its balance is the sum of what each batch moved. Behind the
posting, never in it, this folds every ``BATCHES`` batches (or ``TRANSFERS`` transfers) into running totals. A balance is then
the newest mark before the instant, and the few batches between: as short for an account of ten years as for one of ten minutes.

A mark is exact only if no batch below it can still come. Batches are numbered while they are booked and seen when they commit,
so the folder first looks at the newest number, then waits until every transaction that was under way has ended.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from card.ledger import shelf
from card.ledger.models import AccountRow
from card.ledger.rules import AccountId, place_of, shard_of

LOCK: Final = 320_000_005  # one folder at a time
BATCHES: Final = 64  # a mark at least every so many batches …
TRANSFERS: Final = 16_384  # … or transfers
END: Final = 2**42  # behind every batch number

Turnover = dict[tuple[int, str, str, int], tuple[int, int, int]]  # (ledger, currency, kind, code) → (debit, credit, sides)


def newest(session: Session) -> int:
    """The newest batch; what is below it may be folded once all transactions of this moment have ended."""
    return int(session.execute(text("SELECT coalesce(max(batch_no), 0) FROM card.ledger_batch")).scalar_one())


def is_due(session: Session) -> bool:
    """Whether enough has come since the last mark for another."""
    found = session.execute(
        text(
            """SELECT coalesce(sum(transfers), 0) AS transfers, count(*) AS batches FROM (
                 SELECT batch_no, transfers FROM card.ledger_batch
                 WHERE batch_no > coalesce((SELECT max(batch_no) FROM card.ledger_mark), 0)
                 ORDER BY batch_no LIMIT :batches) AS waiting"""
        ),
        {"batches": BATCHES},
    ).one()
    return bool(found.batches == BATCHES or found.transfers >= TRANSFERS)


def horizon(session: Session) -> int:
    """The first transaction that has not begun yet."""
    return int(session.execute(text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")).scalar_one())


def has_passed(session: Session, horizon: int) -> bool:
    """Whether every transaction before ``horizon`` has ended, one way or the other."""
    return bool(
        session.execute(
            text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= :horizon"), {"horizon": horizon}
        ).scalar_one()
    )


FOLD_ACCOUNTS: Final = """
INSERT INTO card.account_mark (account_id, batch_no, shard, debit_minor, credit_minor, transfers)
SELECT d.account_id, :upto, d.shard, d.debit + coalesce(m.debit_minor, 0), d.credit + coalesce(m.credit_minor, 0),
  d.transfers + coalesce(m.transfers, 0)
FROM (
  SELECT account_id, shard, sum(debit_minor) AS debit, sum(credit_minor) AS credit, sum(transfers) AS transfers
  FROM card.account_delta WHERE batch_no > :last AND batch_no <= :upto GROUP BY account_id, shard) d
LEFT JOIN LATERAL (
  SELECT m.debit_minor, m.credit_minor, m.transfers FROM card.account_mark m
  WHERE m.account_id = d.account_id AND m.shard = d.shard ORDER BY m.batch_no DESC LIMIT 1) m ON true
"""

# What moved between two batches, by kind of account and code. (OFFSET 0: one look-up a side, never a read of all accounts.)
MOVED: Final = """
SELECT t.shard, a.ledger, a.currency, a.kind, t.code, sum(t.debit)::bigint AS debit_minor, sum(t.credit)::bigint AS
  credit_minor,
  count(*) AS transfers
FROM (
  SELECT shard, code, debit AS account_id, amount_minor AS debit, 0 AS credit FROM card.transfer
  WHERE place >= (CAST(:last AS bigint) + 1) << 20 AND place < (CAST(:upto AS bigint) + 1) << 20
  UNION ALL
  SELECT shard, code, credit, 0, amount_minor FROM card.transfer
  WHERE place >= (CAST(:last AS bigint) + 1) << 20 AND place < (CAST(:upto AS bigint) + 1) << 20) t
CROSS JOIN LATERAL (
  SELECT a.ledger, a.currency, a.kind FROM card.account a WHERE a.id = t.account_id AND a.shard = t.shard OFFSET 0) a
GROUP BY t.shard, a.ledger, a.currency, a.kind, t.code
"""

FOLD_TURNOVER: Final = f"""
INSERT INTO card.turnover_mark (batch_no, shard, ledger, currency, kind, code, debit_minor, credit_minor, transfers)
SELECT :upto, shard, ledger, currency, kind, code, sum(debit_minor), sum(credit_minor), sum(transfers)
FROM (
  SELECT shard, ledger, currency, kind, code, debit_minor, credit_minor, transfers
  FROM card.turnover_mark WHERE batch_no = :last
  UNION ALL {MOVED}) AS every
GROUP BY shard, ledger, currency, kind, code
"""  # noqa: S608

# GREATEST leaves out what is not there: the mark before the first.
MARK: Final = """
INSERT INTO card.ledger_mark (batch_no, folded_at, reached_at)
SELECT :upto, :now, greatest(
  (SELECT reached_at FROM card.ledger_mark WHERE batch_no = :last),
  (SELECT max(posted_at) FROM card.ledger_batch WHERE batch_no > :last AND batch_no <= :upto))
"""


def fold(session: Session, *, upto: int, now: datetime, all_of_it: bool = False) -> int:
    """Make the marks up to the batch ``upto``, below which none can still come; how many were made.

    The last batches, too few for a mark, are left for the next time unless ``all_of_it`` is asked.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    made = 0
    last = int(session.execute(text("SELECT coalesce(max(batch_no), 0) FROM card.ledger_mark")).scalar_one())
    while (following := _next(session, last=last, upto=upto, all_of_it=all_of_it)) is not None:
        between = {"last": last, "upto": following}
        session.execute(text(FOLD_ACCOUNTS), between)
        session.execute(text(FOLD_TURNOVER), between)
        session.execute(
            text(MARK),
            {"last": last, "upto": following, "now": now},
        )
        last, made = following, made + 1
    return made


def _next(session: Session, *, last: int, upto: int, all_of_it: bool) -> int | None:
    """The batch of the next mark, or none while too little has come since the last one."""
    rows = session.execute(
        text(
            """SELECT batch_no, transfers FROM card.ledger_batch WHERE batch_no > :last AND batch_no <= :upto
               ORDER BY batch_no LIMIT :batches"""
        ),
        {"last": last, "upto": upto, "batches": BATCHES},
    ).all()
    taken = 0
    for row in rows:
        taken += row.transfers
        if taken >= TRANSFERS:
            return int(row.batch_no)
    return int(rows[-1].batch_no) if len(rows) == BATCHES or (rows and all_of_it) else None


# Reading


def batch_at(session: Session, instant: datetime, *, inclusive: bool = True) -> int:
    """The batch with which the books stood at ``instant``: everything up to it. 0 before the first.

    The order of the books is that of their batches, and a clock may step back between two of them. So an instant has come with
    the first batch that was posted later than it; whatever is booked after that one belongs to what follows, whatever its clock
    said. A day that is over thus never changes, and no batch is in two days or in none.
    """
    earlier, later = ("<=", ">") if inclusive else ("<", ">=")
    mark = session.execute(
        text(
            f"""SELECT batch_no FROM card.ledger_mark WHERE reached_at {earlier} :instant
                ORDER BY reached_at DESC, batch_no DESC LIMIT 1"""  # noqa: S608
        ),
        {"instant": instant},
    ).scalar_one_or_none()
    following = session.execute(
        text(
            f"""SELECT batch_no FROM card.ledger_batch WHERE batch_no > :mark AND posted_at {later} :instant
                ORDER BY batch_no LIMIT 1"""  # noqa: S608
        ),
        {"mark": mark or 0, "instant": instant},
    ).scalar_one_or_none()
    return newest(session) if following is None else int(following) - 1


BALANCE: Final = """
SELECT a.id, coalesce(m.posted, 0) + coalesce(d.posted, 0) AS posted, m.batch_no IS NOT NULL OR d.posted IS NOT NULL AS moved
FROM unnest(CAST(:ids AS bigint[]), CAST(:shards AS smallint[])) AS a(id, shard)
LEFT JOIN LATERAL (
  SELECT k.batch_no, k.credit_minor - k.debit_minor AS posted FROM card.account_mark k
  WHERE k.account_id = a.id AND k.shard = a.shard AND k.batch_no < :before ORDER BY k.batch_no DESC LIMIT 1) m ON true
LEFT JOIN LATERAL (
  SELECT sum(e.credit_minor - e.debit_minor)::bigint AS posted FROM card.account_delta e
  WHERE e.account_id = a.id AND e.shard = a.shard AND e.batch_no > coalesce(m.batch_no, 0) AND e.batch_no < :before) d ON true
"""


def open_balances(session: Session, ids: Iterable[AccountId], *, before_batch: int = END) -> dict[AccountId, int]:
    """Credits minus debits of open accounts over all batches before one; an account that had not moved is left out."""
    wanted = list(set(ids))
    rows = session.execute(text(BALANCE), {"ids": wanted, "shards": [shard_of(id_) for id_ in wanted], "before": before_batch})
    return {AccountId(row.id): int(row.posted) for row in rows if row.moved}


READ_TURNOVER: Final = f"""
SELECT ledger, currency, kind, code, sum(debit_minor)::bigint AS debit_minor, sum(credit_minor)::bigint AS credit_minor,
  sum(transfers)::bigint AS transfers
FROM (
  SELECT shard, ledger, currency, kind, code, debit_minor, credit_minor, transfers
  FROM card.turnover_mark WHERE batch_no = :last
  UNION ALL {MOVED}) AS every
GROUP BY ledger, currency, kind, code
"""  # noqa: S608


def turnover(session: Session, *, upto: int) -> Turnover:
    """What every kind of account was debited and credited up to and with the batch ``upto``, by ledger, currency and code."""
    mark = session.execute(
        text("SELECT coalesce(max(batch_no), 0) FROM card.ledger_mark WHERE batch_no <= :upto"), {"upto": upto}
    ).scalar_one()
    rows = session.execute(text(READ_TURNOVER), {"last": mark, "upto": upto})
    found = {
        (row.ledger, row.currency, row.kind, row.code): (int(row.debit_minor), int(row.credit_minor), int(row.transfers))
        for row in rows
    }
    _add_archived(session, found, last=mark, upto=upto)
    return found


def _add_archived(session: Session, found: Turnover, *, last: int, upto: int) -> None:
    """Add what moved between a mark and a later batch and has been archived since."""
    moved = shelf.moved_between(session, after=place_of(last + 1, 0) - 1, before=place_of(upto + 1, 0))
    sides = {AccountId(row[side]) for row in moved for side in ("debit", "credit")}
    if not sides:
        return
    accounts = {
        row.id: (row.ledger, row.currency, row.kind)
        for row in session.execute(
            select(AccountRow.id, AccountRow.ledger, AccountRow.currency, AccountRow.kind).where(
                AccountRow.id.in_(sides), AccountRow.shard.in_({shard_of(id_) for id_ in sides})
            )
        )
    }
    for row in moved:
        for side, debit, credit in (("debit", row["total_minor"], 0), ("credit", 0, row["total_minor"])):
            key = (*accounts[row[side]], row["code"])
            before = found.get(key, (0, 0, 0))
            found[key] = (before[0] + debit, before[1] + credit, before[2] + row["transfers"])


def by_kind(turnovers: Turnover) -> Mapping[tuple[int, str, str], tuple[int, int, int]]:
    """The same without the codes."""
    found: dict[tuple[int, str, str], tuple[int, int, int]] = {}
    for (ledger, currency, kind, _), (debit, credit, transfers) in turnovers.items():
        before: tuple[Any, ...] = found.get((ledger, currency, kind), (0, 0, 0))
        found[ledger, currency, kind] = (before[0] + debit, before[1] + credit, before[2] + transfers)
    return found
