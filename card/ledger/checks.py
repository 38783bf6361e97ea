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
            UNION ALL SELECT credit, amount_minor FROM card.transfer
            UNION ALL SELECT account_id, credit_minor - debit_minor FROM card.archived_run) leg GROUP BY account_id) sums ON
            sums.account_id = a.id
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
        SELECT subject, expected::text, coalesce(after::text, 'nothing') AS found FROM (
          SELECT leg.subject, place, after, sum(change) OVER (PARTITION BY account_id ORDER BY place) AS expected
          FROM (
            SELECT 'transfer:' || id AS subject, place, debit AS account_id, -amount_minor AS change, debit_after_minor AS after
            FROM card.transfer
            UNION ALL
            SELECT 'transfer:' || id, place, credit, amount_minor, credit_after_minor FROM card.transfer
            UNION ALL
            SELECT 'archived:' || month || ' #' || account_id, last_place, account_id, credit_minor - debit_minor, after_minor
            FROM card.archived_run) leg
          JOIN card.account a ON a.id = leg.account_id AND a.guarded) run
        WHERE after IS DISTINCT FROM expected
        ORDER BY place""",
    # Batches of which a part is archived are taken together for each account.
    FindingKind.DELTA: """
        WITH archived AS MATERIALIZED (SELECT DISTINCT batch_no FROM card.archived_batch)
        SELECT 'batch:' || coalesce(legs.batch_no, d.batch_no)
            || ' account:' || coalesce(a.key, '#' || coalesce(legs.account_id, d.account_id)) AS subject,
          coalesce(legs.debit, 0) || ' out, ' || coalesce(legs.credit, 0) || ' in' AS expected,
          coalesce(d.debit, 0) || ' out, ' || coalesce(d.credit, 0) || ' in' AS found
        FROM (
          SELECT leg.account_id, CASE WHEN m.batch_no IS NULL THEN leg.batch_no ELSE 0 END AS batch_no, sum(debit) AS debit,
            sum(credit) AS credit, count(*) AS transfers, min(leg.shard) AS shard
          FROM (
            SELECT shard, debit AS account_id, place >> 20 AS batch_no, amount_minor AS debit, 0 AS credit FROM card.transfer
            UNION ALL SELECT shard, credit, place >> 20, 0, amount_minor FROM card.transfer
            UNION ALL SELECT 0, account_id, last_place >> 20, debit_minor, credit_minor FROM card.archived_run) leg
          JOIN card.account a ON a.id = leg.account_id AND NOT a.guarded
          LEFT JOIN archived m ON m.batch_no = leg.batch_no
          GROUP BY 1, 2) legs
        FULL JOIN (
          SELECT d.account_id, CASE WHEN m.batch_no IS NULL THEN d.batch_no ELSE 0 END AS batch_no,
            sum(d.debit_minor) AS debit, sum(d.credit_minor) AS credit, sum(d.transfers) AS transfers, min(d.shard) AS shard
          FROM card.account_delta d LEFT JOIN archived m ON m.batch_no = d.batch_no GROUP BY 1, 2) d
          ON d.account_id = legs.account_id AND d.batch_no = legs.batch_no
        LEFT JOIN card.account a ON a.id = coalesce(legs.account_id, d.account_id)
        WHERE (legs.debit, legs.credit) IS DISTINCT FROM (d.debit, d.credit)
          OR (d.batch_no > 0 AND (legs.transfers, legs.shard) IS DISTINCT FROM (d.transfers, d.shard))
        ORDER BY coalesce(legs.batch_no, d.batch_no), a.id""",
    FindingKind.BATCH: """
        SELECT 'batch:' || coalesce(b.batch_no, t.batch_no) AS subject,
          coalesce(b.transfers, 0) || ' of ' || coalesce(b.total_minor, 0) AS expected,
          coalesce(t.transfers, 0) || ' of ' || coalesce(t.total, 0) AS found
        FROM card.ledger_batch b
        FULL JOIN (
          SELECT batch_no, sum(transfers) AS transfers, sum(total) AS total FROM (
            SELECT place >> 20 AS batch_no, count(*) AS transfers, sum(amount_minor) AS total FROM card.transfer GROUP BY 1
            UNION ALL SELECT batch_no, transfers, total_minor FROM card.archived_batch) part
          GROUP BY batch_no) t
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
          AND NOT EXISTS (SELECT FROM card.ledger_archive m WHERE h.transfer_id >= m.id_from AND h.transfer_id < m.id_to)
        ORDER BY h.id""",
    FindingKind.REVERSAL: """
        SELECT 'transfer:' || r.reverses AS subject, coalesce(t.amount_minor, 0)::text AS expected,
          sum(r.amount_minor)::text AS found
        FROM card.transfer r LEFT JOIN card.transfer t ON t.id = r.reverses AND t.debit = r.credit AND t.credit = r.debit
        WHERE r.reverses IS NOT NULL
          AND NOT EXISTS (SELECT FROM card.ledger_archive m WHERE r.reverses >= m.id_from AND r.reverses < m.id_to)
        GROUP BY r.reverses, t.amount_minor HAVING coalesce(t.amount_minor, 0) < sum(r.amount_minor)
        ORDER BY r.reverses""",
    FindingKind.MARK: """
        SELECT 'account:' || a.key || ' mark:' || run.batch_no AS subject, debit || ' out, ' || credit || ' in' AS expected,
          mark_debit || ' out, ' || mark_credit || ' in' AS found
        FROM (
          SELECT account_id, batch_no, mark_debit, mark_credit,
            sum(debit) OVER earlier AS debit, sum(credit) OVER earlier AS credit
          FROM (
            SELECT account_id, batch_no, debit_minor AS debit, credit_minor AS credit, NULL AS mark_debit, NULL AS mark_credit
            FROM card.account_delta
            UNION ALL
            SELECT account_id, batch_no, 0, 0, debit_minor, credit_minor FROM card.account_mark) every
          WINDOW earlier AS (PARTITION BY account_id ORDER BY batch_no)) run
        JOIN card.account a ON a.id = run.account_id
        WHERE mark_debit IS NOT NULL AND (debit, credit) IS DISTINCT FROM (mark_debit, mark_credit)
        UNION ALL
        SELECT 'mark:' || batch_no, total::text, debit || ' out, ' || credit || ' in' FROM (
          SELECT batch_no, debit, credit, sum(total) OVER (ORDER BY batch_no) AS total FROM (
            SELECT batch_no, total_minor AS total, NULL AS debit, NULL AS credit FROM card.ledger_batch
            UNION ALL
            SELECT k.batch_no, 0, coalesce(sum(t.debit_minor), 0), coalesce(sum(t.credit_minor), 0)
            FROM card.ledger_mark k LEFT JOIN card.turnover_mark t ON t.batch_no = k.batch_no GROUP BY k.batch_no) every) run
        WHERE debit IS NOT NULL AND (debit, credit) IS DISTINCT FROM (total, total)""",
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
UPTO: Final = """
    SELECT (SELECT coalesce(max(batch_no), 0) FROM card.ledger_mark), (SELECT coalesce(max(position), -1) FROM card.ledger_seal)
"""
COUNTS: Final = """
    SELECT (SELECT count(*) FROM card.account), (SELECT count(*) FROM card.transfer), (SELECT count(*) FROM card.ledger_batch),
      clock_timestamp()
"""


def check_books(session: Session) -> BooksReport:
    """Prove the books as one snapshot sees them; the report names everything that is wrong, up to a hundred of a kind."""
    started = time.perf_counter()
    upto_batch, upto_position = session.execute(text(UPTO)).one()  # before all else: what is named was seen by it
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
        upto_batch=upto_batch,
        upto_position=upto_position,
    )
