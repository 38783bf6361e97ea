"""Proving the books: every balance is the sum of its transfers, and everything sums to zero."""

import time
from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from card.ledger.rules import BooksReport, Finding, FindingKind

LIMIT: Final = 100  # findings of one kind; more say nothing new

# Each query answers rows (subject, expected, found) and answers none when the books are right.
CHECKS: Final[dict[FindingKind, str]] = {
    FindingKind.BALANCE: """
        SELECT 'account:' || a.key AS subject, coalesce(sums.posted, 0)::text AS expected, b.posted_minor::text AS found
        FROM card.account a
        LEFT JOIN card.account_balance b ON b.account_id = a.id
        LEFT JOIN (
          SELECT account_id, sum(change) AS posted FROM (
            SELECT debit AS account_id, -amount_minor AS change FROM card.transfer
            UNION ALL SELECT credit, amount_minor FROM card.transfer) leg GROUP BY account_id) sums ON sums.account_id = a.id
        WHERE a.guarded AND b.posted_minor IS DISTINCT FROM coalesce(sums.posted, 0)
        ORDER BY a.id""",
    FindingKind.HELD: """
        SELECT 'account:' || a.key AS subject, coalesce(sums.held, 0)::text AS expected, b.held_minor::text AS found
        FROM card.account a JOIN card.account_balance b ON b.account_id = a.id
        LEFT JOIN (SELECT debit, sum(amount_minor) AS held FROM card.hold WHERE state = 'pending' GROUP BY debit) sums
          ON sums.debit = a.id
        WHERE b.held_minor <> coalesce(sums.held, 0)
        ORDER BY a.id""",
    FindingKind.FLOOR: """
        SELECT 'account:' || a.key AS subject, a.floor_minor::text AS expected, (b.posted_minor - b.held_minor)::text AS found
        FROM card.account a JOIN card.account_balance b ON b.account_id = a.id
        WHERE b.floor_minor <> a.floor_minor OR b.posted_minor - b.held_minor < a.floor_minor
        ORDER BY a.id""",
    FindingKind.RUNNING_BALANCE: """
        SELECT 'transfer:' || id AS subject, expected::text, coalesce(after::text, 'nothing') AS found FROM (
          SELECT leg.id, place, after, sum(change) OVER (PARTITION BY account_id ORDER BY place) AS expected
          FROM (
            SELECT id, place, debit AS account_id, -amount_minor AS change, debit_after_minor AS after
            FROM card.transfer
            UNION ALL
            SELECT id, place, credit, amount_minor, credit_after_minor FROM card.transfer) leg
          JOIN card.account a ON a.id = leg.account_id AND a.guarded) run
        WHERE after IS DISTINCT FROM expected
        ORDER BY place""",
    FindingKind.DELTA: """
        SELECT 'batch:' || coalesce(legs.batch_no, d.batch_no) || ' account:' || a.key AS subject,
          coalesce(legs.debit, 0) || ' out, ' || coalesce(legs.credit, 0) || ' in' AS expected,
          coalesce(d.debit_minor, 0) || ' out, ' || coalesce(d.credit_minor, 0) || ' in' AS found
        FROM (
          SELECT account_id, batch_no, sum(debit) AS debit, sum(credit) AS credit FROM (
            SELECT debit AS account_id, place >> 20 AS batch_no, amount_minor AS debit, 0 AS credit FROM card.transfer
            UNION ALL SELECT credit, place >> 20, 0, amount_minor FROM card.transfer) leg
          JOIN card.account a ON a.id = leg.account_id AND NOT a.guarded
          GROUP BY account_id, batch_no) legs
        FULL JOIN card.account_delta d ON d.account_id = legs.account_id AND d.batch_no = legs.batch_no
        LEFT JOIN card.account a ON a.id = coalesce(legs.account_id, d.account_id)
        WHERE (legs.debit, legs.credit) IS DISTINCT FROM (d.debit_minor, d.credit_minor)
        ORDER BY coalesce(legs.batch_no, d.batch_no), a.id""",
    FindingKind.BATCH: """
        SELECT 'batch:' || coalesce(b.batch_no, t.batch_no) AS subject,
          coalesce(b.transfers, 0) || ' of ' || coalesce(b.total_minor, 0) AS expected,
          coalesce(t.transfers, 0) || ' of ' || coalesce(t.total, 0) AS found
        FROM card.ledger_batch b
        FULL JOIN (
          SELECT place >> 20 AS batch_no, count(*) AS transfers, sum(amount_minor) AS total FROM card.transfer GROUP BY 1) t
          ON t.batch_no = b.batch_no
        WHERE (b.transfers, b.total_minor) IS DISTINCT FROM (t.transfers, t.total)
        ORDER BY coalesce(b.batch_no, t.batch_no)""",
    FindingKind.ACCOUNT: """
        SELECT 'transfer:' || t.id AS subject, 'two accounts of one ledger and currency' AS expected,
          coalesce(d.key, '#' || t.debit) || ' and ' || coalesce(c.key, '#' || t.credit) AS found
        FROM card.transfer t LEFT JOIN card.account d ON d.id = t.debit LEFT JOIN card.account c ON c.id = t.credit
        WHERE d.id IS NULL OR c.id IS NULL OR d.ledger <> c.ledger OR d.currency <> c.currency
          OR d.shard <> c.shard OR d.shard <> t.shard
          OR d.guarded <> (t.debit_after_minor IS NOT NULL) OR c.guarded <> (t.credit_after_minor IS NOT NULL)
        ORDER BY t.id""",
    FindingKind.HOLD: """
        SELECT 'hold:' || h.id AS subject, h.posted_minor::text AS expected, coalesce(t.amount_minor::text, 'nothing') AS found
        FROM card.hold h LEFT JOIN card.transfer t ON t.id = h.transfer_id AND t.debit = h.debit AND t.credit = h.credit
        WHERE h.state = 'posted' AND t.amount_minor IS DISTINCT FROM h.posted_minor
        ORDER BY h.id""",
    FindingKind.REVERSAL: """
        SELECT 'transfer:' || r.reverses AS subject, coalesce(t.amount_minor, 0)::text AS expected,
          sum(r.amount_minor)::text AS found
        FROM card.transfer r LEFT JOIN card.transfer t ON t.id = r.reverses AND t.debit = r.credit AND t.credit = r.debit
        WHERE r.reverses IS NOT NULL
        GROUP BY r.reverses, t.amount_minor HAVING coalesce(t.amount_minor, 0) < sum(r.amount_minor)
        ORDER BY r.reverses""",
    FindingKind.SUM: """
        SELECT 'ledger:' || ledger || ' ' || currency AS subject, '0' AS expected, sum(posted)::text AS found FROM (
          SELECT a.ledger, a.currency, b.posted_minor AS posted
          FROM card.account a JOIN card.account_balance b ON b.account_id = a.id
          UNION ALL
          SELECT a.ledger, a.currency, d.credit_minor - d.debit_minor
          FROM card.account a JOIN card.account_delta d ON d.account_id = a.id) every
        GROUP BY ledger, currency HAVING sum(posted) <> 0
        ORDER BY ledger, currency""",
}

# One statement, so that all checks see one snapshot while others go on posting.
PROVE: Final = " UNION ALL ".join(
    f"SELECT '{kind.value}', subject, expected, found FROM ({query} LIMIT {LIMIT}) AS {kind.name.lower()}_check"  # noqa: S608
    for kind, query in CHECKS.items()
)
COUNTS: Final = """
    SELECT (SELECT count(*) FROM card.account), (SELECT count(*) FROM card.transfer), (SELECT count(*) FROM card.ledger_batch),
      clock_timestamp()
"""


def check_books(session: Session) -> BooksReport:
    """Prove the books as one snapshot sees them; the report names everything that is wrong, up to a hundred of a kind."""
    started = time.perf_counter()
    findings = [
        Finding(kind=FindingKind(kind), subject=subject, expected=expected, found=found)
        for kind, subject, expected, found in session.execute(text(PROVE))
    ]
    accounts, transfers, batches, at = session.execute(text(COUNTS)).one()
    return BooksReport(
        at=at,
        accounts=accounts,
        transfers=transfers,
        batches=batches,
        findings=findings,
        took=timedelta(seconds=time.perf_counter() - started),
    )
