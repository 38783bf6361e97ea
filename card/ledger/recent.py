"""Proving what is new: the same questions as in ``checks.py``, put to what came behind a batch that was proven before.

Reading the whole ledger takes as long as its history; this takes as long as what came since. It begins behind a mark, below
which no batch can still come, and follows each account from the balance that stood there. What somebody changed in older rows
is the whole check's to find, every night or by command.
"""

import time
from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from card.ledger import auditing
from card.ledger.checks import LIMIT, UPTO
from card.ledger.rules import BooksReport, Finding, FindingKind, place_of
from card.ledger.tree import Suite

# What came, both sides of it, and what each guarded account had before.
NEW: Final = """
WITH fresh AS MATERIALIZED (
  SELECT id, place, debit, credit, amount_minor, debit_after_minor, credit_after_minor, reverses, shard
  FROM card.transfer WHERE place >= :place),
leg AS MATERIALIZED (
  SELECT id, place, shard, debit AS account_id, amount_minor AS debit, 0 AS credit, debit_after_minor AS after FROM fresh
  UNION ALL SELECT id, place, shard, credit, 0, amount_minor, credit_after_minor FROM fresh),
touched AS MATERIALIZED (
  SELECT a.id, a.key, a.shard, a.guarded, a.floor_minor
  FROM (SELECT DISTINCT account_id, shard FROM leg) l JOIN card.account a ON a.id = l.account_id AND a.shard = l.shard),
prior AS MATERIALIZED (
  SELECT t.id, t.key, coalesce(before.after, 0) AS posted
  FROM touched t LEFT JOIN LATERAL (
    SELECT after FROM (
      (SELECT place, debit_after_minor AS after FROM card.transfer
       WHERE debit = t.id AND debit_after_minor IS NOT NULL AND place < :place ORDER BY place DESC LIMIT 1)
      UNION ALL
      (SELECT place, credit_after_minor FROM card.transfer
       WHERE credit = t.id AND credit_after_minor IS NOT NULL AND place < :place ORDER BY place DESC LIMIT 1)
      UNION ALL
      (SELECT last_place, after_minor FROM card.archived_run
       WHERE account_id = t.id AND last_place < :place ORDER BY last_place DESC LIMIT 1)) newest
    ORDER BY place DESC LIMIT 1) before ON true
  WHERE t.guarded)
"""

# Each answers rows (subject, expected, found), and none when what is new is right.
CHECKS: Final[dict[FindingKind, str]] = {
    FindingKind.BALANCE: """
        SELECT 'account:' || p.key AS subject, (p.posted + l.change)::text AS expected, b.posted_minor::text AS found
        FROM prior p
        JOIN (SELECT account_id, sum(credit - debit) AS change FROM leg GROUP BY account_id) l ON l.account_id = p.id
        LEFT JOIN card.account_balance b ON b.account_id = p.id
        WHERE b.posted_minor IS DISTINCT FROM p.posted + l.change
        ORDER BY p.id""",
    FindingKind.RUNNING_BALANCE: """
        SELECT 'transfer:' || id AS subject, expected::text, coalesce(after::text, 'nothing') AS found FROM (
          SELECT l.id, l.place, l.after,
            p.posted + sum(l.credit - l.debit) OVER (PARTITION BY l.account_id ORDER BY l.place) AS expected
          FROM leg l JOIN prior p ON p.id = l.account_id) run
        WHERE after IS DISTINCT FROM expected
        ORDER BY place""",
    FindingKind.HELD: """
        SELECT 'account:' || a.key AS subject, coalesce(sums.held, 0)::text AS expected, b.held_minor::text AS found
        FROM (SELECT id FROM touched WHERE guarded UNION SELECT debit FROM card.hold WHERE state = 'pending') wanted
        JOIN card.account a ON a.id = wanted.id JOIN card.account_balance b ON b.account_id = wanted.id
        LEFT JOIN (SELECT debit, sum(amount_minor) AS held FROM card.hold WHERE state = 'pending' GROUP BY debit) sums
          ON sums.debit = wanted.id
        WHERE b.held_minor <> coalesce(sums.held, 0)
        ORDER BY a.id""",
    FindingKind.FLOOR: """
        SELECT 'account:' || t.key AS subject, t.floor_minor::text AS expected, (b.posted_minor - b.held_minor)::text AS found
        FROM touched t JOIN card.account_balance b ON b.account_id = t.id
        WHERE b.floor_minor <> t.floor_minor OR b.posted_minor - b.held_minor < t.floor_minor
        ORDER BY t.id""",
    FindingKind.DELTA: """
        SELECT 'batch:' || coalesce(l.batch_no, d.batch_no) || ' account:' || coalesce(a.key, '#' || d.account_id) AS subject,
          coalesce(l.debit, 0) || ' out, ' || coalesce(l.credit, 0) || ' in' AS expected,
          coalesce(d.debit_minor, 0) || ' out, ' || coalesce(d.credit_minor, 0) || ' in' AS found
        FROM (
          SELECT leg.account_id, leg.place >> 20 AS batch_no, leg.shard, sum(debit) AS debit, sum(credit) AS credit,
            count(*) AS transfers
          FROM leg JOIN touched t ON t.id = leg.account_id AND NOT t.guarded GROUP BY 1, 2, 3) l
        FULL JOIN (SELECT * FROM card.account_delta WHERE batch_no > :after) d
          ON d.account_id = l.account_id AND d.batch_no = l.batch_no AND d.shard = l.shard
        LEFT JOIN card.account a ON a.id = coalesce(l.account_id, d.account_id)
        WHERE (l.debit, l.credit, l.transfers) IS DISTINCT FROM (d.debit_minor, d.credit_minor, d.transfers)
        ORDER BY coalesce(l.batch_no, d.batch_no), a.id""",
    FindingKind.BATCH: """
        SELECT 'batch:' || coalesce(b.batch_no, t.batch_no) AS subject,
          coalesce(b.transfers, 0) || ' of ' || coalesce(b.total_minor, 0) AS expected,
          coalesce(t.transfers, 0) || ' of ' || coalesce(t.total, 0) AS found
        FROM (SELECT * FROM card.ledger_batch WHERE batch_no > :after) b
        FULL JOIN (SELECT place >> 20 AS batch_no, count(*) AS transfers, sum(amount_minor) AS total FROM fresh GROUP BY 1) t
          ON t.batch_no = b.batch_no
        WHERE (b.transfers, b.total_minor) IS DISTINCT FROM (t.transfers, t.total)
        ORDER BY coalesce(b.batch_no, t.batch_no)""",
    FindingKind.ACCOUNT: """
        SELECT 'transfer:' || f.id AS subject, 'two accounts of one ledger and currency' AS expected,
          coalesce(d.key, '#' || f.debit) || ' and ' || coalesce(c.key, '#' || f.credit) AS found
        FROM fresh f LEFT JOIN card.account d ON d.id = f.debit LEFT JOIN card.account c ON c.id = f.credit
        WHERE d.id IS NULL OR c.id IS NULL OR d.ledger <> c.ledger OR d.currency <> c.currency
          OR d.shard <> c.shard OR d.shard <> f.shard
          OR d.guarded <> (f.debit_after_minor IS NOT NULL) OR c.guarded <> (f.credit_after_minor IS NOT NULL)
        ORDER BY f.id""",
    FindingKind.HOLD: """
        SELECT 'hold:' || h.id AS subject, h.posted_minor::text AS expected, f.amount_minor::text AS found
        FROM fresh f JOIN card.hold h ON h.transfer_id = f.id AND h.shard = f.shard
        WHERE (h.posted_minor, h.debit, h.credit, h.state) IS DISTINCT FROM (f.amount_minor, f.debit, f.credit, 'posted')
        ORDER BY h.id""",
    FindingKind.REVERSAL: """
        SELECT 'transfer:' || o.reverses AS subject, coalesce(t.amount_minor, 0)::text AS expected,
          sum(r.amount_minor)::text AS found
        FROM (SELECT DISTINCT reverses FROM fresh WHERE reverses IS NOT NULL) o
        CROSS JOIN LATERAL (
          SELECT debit, credit, amount_minor FROM card.transfer WHERE transfer.reverses = o.reverses OFFSET 0) r
        LEFT JOIN LATERAL (SELECT debit, credit, amount_minor FROM card.transfer WHERE id = o.reverses OFFSET 0) t
          ON t.debit = r.credit AND t.credit = r.debit
        WHERE NOT EXISTS (SELECT FROM card.ledger_archive m WHERE o.reverses >= m.id_from AND o.reverses < m.id_to)
        GROUP BY o.reverses, t.amount_minor HAVING coalesce(t.amount_minor, 0) < sum(r.amount_minor)
        ORDER BY o.reverses""",
    FindingKind.MARK: """
        SELECT 'account:' || t.key || ' mark:' || m.batch_no AS subject,
          coalesce(p.debit_minor, 0) + d.debit || ' out, ' || coalesce(p.credit_minor, 0) + d.credit || ' in' AS expected,
          m.debit_minor || ' out, ' || m.credit_minor || ' in' AS found
        FROM touched t JOIN card.account_mark m ON m.account_id = t.id AND m.batch_no > :after
        LEFT JOIN LATERAL (
          SELECT k.batch_no, k.debit_minor, k.credit_minor FROM card.account_mark k
          WHERE k.account_id = t.id AND k.batch_no < m.batch_no ORDER BY k.batch_no DESC LIMIT 1) p ON true
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(e.debit_minor), 0) AS debit, coalesce(sum(e.credit_minor), 0) AS credit FROM card.account_delta e
          WHERE e.account_id = t.id AND e.batch_no > coalesce(p.batch_no, 0) AND e.batch_no <= m.batch_no) d
        WHERE (coalesce(p.debit_minor, 0) + d.debit, coalesce(p.credit_minor, 0) + d.credit)
          IS DISTINCT FROM (m.debit_minor, m.credit_minor)
        UNION ALL
        SELECT 'mark:' || k.batch_no, (before.total + batches.total)::text, own.debit || ' out, ' || own.credit || ' in'
        FROM card.ledger_mark k
        CROSS JOIN LATERAL (
          SELECT coalesce(max(batch_no), 0) AS last FROM card.ledger_mark WHERE batch_no < k.batch_no) previous
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(debit_minor), 0) AS total FROM card.turnover_mark WHERE batch_no = previous.last) before
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(debit_minor), 0) AS debit, coalesce(sum(credit_minor), 0) AS credit
          FROM card.turnover_mark WHERE batch_no = k.batch_no) own
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(total_minor), 0) AS total FROM card.ledger_batch b
          WHERE b.batch_no > previous.last AND b.batch_no <= k.batch_no) batches
        WHERE k.batch_no > :after AND (own.debit, own.credit)
          IS DISTINCT FROM (before.total + batches.total, before.total + batches.total)""",
}

# One statement, so that all checks see one snapshot while others go on posting.
PROVE: Final = NEW + " UNION ALL ".join(
    f"SELECT '{kind.value}', subject, expected, found FROM ({query} LIMIT {LIMIT}) AS {kind.name.lower()}_check"  # noqa: S608
    for kind, query in CHECKS.items()
)
COUNTS: Final = """
    SELECT (SELECT count(*) FROM card.account), (SELECT count(*) FROM card.transfer WHERE place >= :place),
      (SELECT count(*) FROM card.ledger_batch WHERE batch_no > :after), clock_timestamp()
"""


def check_recent(session: Session, *, after_batch: int, after_position: int, suite: Suite) -> BooksReport:
    """Prove what was booked behind ``after_batch`` and sealed behind ``after_position``, as an earlier report names them.

    ``accounts`` of the report counts all that there are, ``transfers`` and ``batches`` what was read.
    """
    started = time.perf_counter()
    upto_batch, upto_position = session.execute(text(UPTO)).one()  # before all else: what is named was seen by it
    behind = {"after": after_batch, "place": place_of(after_batch + 1, 0)}
    findings = [
        Finding(kind=FindingKind(kind), subject=subject, expected=expected, found=found)
        for kind, subject, expected, found in session.execute(text(PROVE), behind)
    ]
    findings.extend(auditing.check_sealed(session, suite, size=upto_position + 1, behind=after_position))
    accounts, transfers, batches, at = session.execute(text(COUNTS), behind).one()
    return BooksReport(
        at=at,
        accounts=accounts,
        transfers=transfers,
        batches=batches,
        findings=findings,
        took=timedelta(seconds=time.perf_counter() - started),
        after_batch=after_batch,
        upto_batch=upto_batch,
        upto_position=upto_position,
    )


def archived_since(session: Session, after_batch: int) -> bool:
    """Whether transfers of batches behind ``after_batch`` left for the archive: only the whole check can follow them."""
    found = text("SELECT EXISTS (SELECT FROM card.archived_batch WHERE batch_no > :after)")
    return bool(session.execute(found, {"after": after_batch}).scalar_one())
