"""Looking whether anything that was sealed has changed: all of it is hashed again, and what differs is named."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import psycopg
from sqlalchemy import select
from sqlalchemy.orm import Session

from card.ledger import leaves, notes, proofs, tree
from card.ledger.models import ArchivedBatch, LedgerCheckpoint, LedgerNode
from card.ledger.notes import VerifierKey
from card.ledger.proofs import BLOCK, MARK, RECORD_BLOCK, STEP, append, batch_leaf, marks_of, microseconds
from card.ledger.rules import LEAF_BITS, Finding, FindingKind, leaf_of, place_of
from card.ledger.tree import BadProof, Suite

RECORDS: Final = 20_000  # accounts and refusals looked at at once
LIMIT: Final = 100  # seals that are gone one after another; more say nothing new
LAST_PLACE: Final = (1 << 31) - 1  # among what was sealed with a batch

# Seals with their batches, some at a time.
SEALS: Final = """
SELECT s.position, s.batch_no, s.root, s.marks, s.blocks, s.records, s.record_blocks, s.sealed_at, n.hash AS kept,
  b.batch_no IS NULL AS gone, b.transfers, b.total_minor, b.posted_at, b.shard
FROM card.ledger_seal s
  LEFT JOIN card.ledger_batch b ON b.batch_no = s.batch_no
  LEFT JOIN card.ledger_node n ON n.level = 0 AND n."index" = s.position
WHERE s.position >= %(first)s AND s.position < %(size)s ORDER BY s.position LIMIT %(limit)s
"""


def _present_sql(suite: Suite) -> str:
    """The transfers of some batches as they are, and whether they stand where they should.

    A transfer's bytes do not say where it stands, because the tree does. So the places of a batch must be its first and those
    that follow, none missing and none twice.
    """
    leaf = leaves.hashed_sql(leaves.transfer_sql, suite)
    together = "string_agg(x.leaf, ''::bytea)" if suite.in_sql else "array_agg(x.leaf)"
    return f"""
SELECT b.batch_no, h.leaves, h.placed FROM unnest(%(batches)b::bigint[]) AS b(batch_no) LEFT JOIN LATERAL (
  SELECT {together} AS leaves, coalesce(bool_and(x.place = (b.batch_no << {LEAF_BITS}) + x.number - 1), true) AS placed FROM (
    SELECT t.place, row_number() OVER (ORDER BY t.place) AS number, {leaf} AS leaf FROM card.transfer t
    WHERE t.place >= b.batch_no << {LEAF_BITS} AND t.place < (b.batch_no + 1) << {LEAF_BITS} ORDER BY t.place) x) h ON true
"""  # noqa: S608


def _one_by_one_sql(suite: Suite) -> str:
    return f"""
SELECT t.id, t.place, {leaves.hashed_sql(leaves.transfer_sql, suite)} AS leaf FROM card.transfer t
WHERE t.place >= %(first)s AND t.place < %(after)s ORDER BY t.place
"""  # noqa: S608


def _records_sql(suite: Suite) -> str:
    account = leaves.hashed_sql(leaves.account_sql, suite)
    refusal = leaves.hashed_sql(leaves.refusal_sql, suite)
    return f"""
SELECT r.position, r.leaf AS place, r.account, r.refusal, r.hash,
  CASE WHEN num_nonnulls(r.account, r.refusal) = 1 THEN coalesce(a.leaf, f.leaf) END AS leaf
FROM card.ledger_record r
  LEFT JOIN LATERAL (SELECT {account} AS leaf FROM card.account a WHERE a.id = r.account) a ON true
  LEFT JOIN LATERAL (SELECT {refusal} AS leaf FROM card.refused_transfer f WHERE f.id = r.refusal) f ON true
WHERE (r.position, r.leaf) > (%(position)s, %(place)s) AND r.position < %(size)s ORDER BY r.position, r.leaf LIMIT %(limit)s
"""  # noqa: S608


# How many batches are sealed, by whichever table says the most: one that lost its last rows is given away by the others. Read
# at once, so that what is sealed while this reads is left to the next time.
SIZE: Final = """
SELECT greatest((SELECT max(size) FROM card.ledger_checkpoint), (SELECT max(position) + 1 FROM card.ledger_seal),
  (SELECT max(position) + 1 FROM card.ledger_record), (SELECT max("index") + 1 FROM card.ledger_node WHERE level = 0), 0)
"""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The tree as what is here now makes it, up to the first leaf that is gone: its nodes, and when each leaf was sealed."""

    nodes: dict[tuple[int, int], bytes] = field(default_factory=dict)
    sealed_at: list[datetime] = field(default_factory=list)

    def add(self, position: int, leaf: bytes, sealed_at: datetime, suite: Suite) -> None:
        """Take the next leaf."""
        if position == len(self.sealed_at):
            append(self.nodes, position, leaf, suite)
            self.sealed_at.append(sealed_at)


def check_proofs(session: Session, *, key: VerifierKey | None = None) -> list[Finding]:
    """Hash everything sealed again and name each transfer, account, refusal, batch or proof that is not as it was sealed.

    With the city's verifier ``key``, the signature of every checkpoint is verified too.
    """
    suite = key.suite if key is not None else proofs.suite_of(session) or tree.INTERNATIONAL
    grown = Tree()
    size = int(session.connection().exec_driver_sql(SIZE).scalar_one())
    findings = list(check_sealed(session, suite, size=size, grown=grown))
    return findings + _check_nodes(session, grown) + _check_checkpoints(session, grown, size, suite, key)


def check_sealed(
    session: Session, suite: Suite, *, size: int, behind: int = -1, grown: Tree | None = None
) -> Iterator[Finding]:
    """What differs in the batches, accounts and refusals that were sealed behind a position, in a tree of ``size``.

    What they make is kept in ``grown``, where the whole tree is wanted.
    """
    ask = proofs.cursor(session)
    recorded = yield from _check_records(ask, suite, behind=behind, size=size)
    following = behind + 1
    while page := ask.execute(SEALS, {"first": following, "size": size, "limit": STEP}).fetchall():
        read = [
            (sealed, proofs.joined(present.leaves, suite), present.placed)
            for sealed, present in proofs.in_portions(ask, _present_sql(suite), page)
        ]
        # Asked behind the transfers, so that a month that leaves meanwhile is not missed here and not found there.
        numbers = [sealed.batch_no for sealed in page]
        archived = set(session.scalars(select(ArchivedBatch.batch_no).where(ArchivedBatch.batch_no.in_(numbers))))
        for sealed, hashes, placed in read:
            yield from _missing(following, sealed.position)
            following = sealed.position + 1
            if sealed.batch_no in archived:
                yield from _compare_rest(ask, sealed, suite)
            else:
                yield from _compare(ask, sealed, hashes, suite, placed=placed)
            leaf = b"" if sealed.gone else tree.leaf_hash(batch_leaf(sealed, sealed.root, sealed.records, suite), suite)
            yield from _check_seal(sealed, recorded.pop(sealed.position, (b"", b"")), leaf)
            if grown is not None:
                grown.add(sealed.position, leaf, sealed.sealed_at, suite)
    yield from _missing(following, size)
    for place, (root, _) in recorded.items():
        yield _finding(f"seal:{place}", b"", root)


def _missing(first: int, after: int) -> Iterator[Finding]:
    """The seals from one position to before another, which are gone."""
    for place in range(first, min(after, first + LIMIT)):
        yield _finding(f"seal:{place}", b"", b"")


def _check_seal(sealed: Any, recorded: tuple[bytes, bytes], leaf: bytes) -> Iterator[Finding]:
    """What differs between a seal, what it was made of, and the leaf that was kept."""
    if recorded != (sealed.records, sealed.record_blocks):
        yield _finding(f"seal:{sealed.position}", sealed.records, recorded[0])
    if sealed.kept != leaf:
        yield _finding(f"batch:{sealed.batch_no}", sealed.kept or b"", leaf)
        if sealed.gone:  # either of the two was changed
            yield _finding(f"seal:{sealed.position}", sealed.kept or b"", leaf)


def _check_records(
    ask: psycopg.Cursor[Any], suite: Suite, *, behind: int, size: int
) -> Generator[Finding, None, dict[int, tuple[bytes, bytes]]]:
    """What differs among accounts and refusals; and of each position that has any the root over them, and their blocks."""
    hashes = dict[int, list[bytes]]()
    asked = {"position": behind, "place": LAST_PLACE, "size": size, "limit": RECORDS}
    while rows := ask.execute(_records_sql(suite), asked).fetchall():
        for row in rows:
            hashes.setdefault(row.position, []).append(row.hash)
            leaf = row.leaf if suite.in_sql or row.leaf is None else tree.leaf_hash(row.leaf, suite)
            if leaf != row.hash:
                subject = f"account:{row.account}" if row.account is not None else f"refusal:{row.refusal}"
                yield _finding(subject, row.hash, leaf or b"")
        asked |= {"position": rows[-1].position, "place": rows[-1].place}
    recorded = {}
    for position, kept in hashes.items():
        blocks = tree.blocks(b"".join(kept), RECORD_BLOCK, suite)
        recorded[position] = (tree.fold(blocks, suite), blocks)
    return recorded


def _compare(ask: psycopg.Cursor[Any], sealed: Any, hashes: bytes, suite: Suite, *, placed: bool) -> list[Finding]:
    """What differs between a batch as it was sealed and as it is: the transfers that changed, or the batch as a whole."""
    blocks, marks = tree.blocks(hashes, BLOCK, suite), marks_of(hashes)
    root = tree.fold(blocks, suite)
    if root == sealed.root and placed:
        kept = (marks, blocks) == (sealed.marks, sealed.blocks)
        return [] if kept else [_finding(f"seal:{sealed.position}", sealed.marks, b"")]
    changed = []
    if len(marks) == len(sealed.marks):
        for number, row in enumerate(_one_by_one(ask, sealed.batch_no, suite)):
            was, now = sealed.marks[number * MARK : (number + 1) * MARK], marks[number * MARK : (number + 1) * MARK]
            if was != now or leaf_of(row.place) != number:
                changed.append(_finding(f"transfer:{row.id}", was, now))
    return changed or [_finding(f"batch:{sealed.batch_no}", sealed.root, root)]


def _compare_rest(ask: psycopg.Cursor[Any], sealed: Any, suite: Suite) -> list[Finding]:
    """What differs among those transfers of a batch that are still here; the others are verified in the archive."""
    findings = []
    for row in _one_by_one(ask, sealed.batch_no, suite):
        at = leaf_of(row.place) * MARK
        kept, found = sealed.marks[at : at + MARK], (row.leaf if suite.in_sql else tree.leaf_hash(row.leaf, suite))[:MARK]
        if kept != found:
            findings.append(_finding(f"transfer:{row.id}", kept, found))
    return findings


def _one_by_one(ask: psycopg.Cursor[Any], batch_no: int, suite: Suite) -> list[Any]:
    return ask.execute(_one_by_one_sql(suite), {"first": place_of(batch_no, 0), "after": place_of(batch_no + 1, 0)}).fetchall()


def _check_nodes(session: Session, grown: Tree) -> list[Finding]:
    """What differs between the nodes as they are kept and as the leaves make them."""
    findings, left, size = [], dict(grown.nodes), len(grown.sealed_at)
    for level, index, kept in session.execute(
        select(LedgerNode.level, LedgerNode.index, LedgerNode.hash)
        .where((LedgerNode.index + 1).op("<<")(LedgerNode.level) <= size)
        .order_by(LedgerNode.level, LedgerNode.index)
    ):
        present = left.pop((level, index), b"")
        if present != kept:
            findings.append(_finding(f"node:{level}/{index}", kept, present))
    return findings + [_finding(f"node:{level}/{index}", b"", found) for (level, index), found in left.items()]


def _check_checkpoints(session: Session, grown: Tree, size: int, suite: Suite, key: VerifierKey | None) -> list[Finding]:
    """What differs between the checkpoints as they are kept, as they were signed, and as the leaves make them."""
    nodes, sealed_at = grown.nodes, grown.sealed_at
    findings, before = [], 0
    for row in session.scalars(select(LedgerCheckpoint).where(LedgerCheckpoint.size <= size).order_by(LedgerCheckpoint.size)):
        subject = f"checkpoint:{row.size}"
        if row.size > len(sealed_at):
            findings.append(_finding(subject, row.root, b""))
            continue
        present = tree.subtree(lambda level, index: nodes[level, index], 0, row.size, suite)
        if present != row.root or row.suite != suite.id:
            findings.append(_finding(subject, row.root, present))
        try:
            read = notes.read_note(row.note, key=key) if key is not None else notes.unverified(row.note)
            if (read.size, read.root, read.time_us) != (row.size, row.root, microseconds(row.signed_at)):
                findings.append(_finding(subject, row.root, read.root))
            if key is not None and row.note != f"{read.text}\n{key.line(key.signature_in(row.note))}":
                findings.append(Finding(kind=FindingKind.PROOF, subject=subject, expected="one signature", found=row.note))
        except BadProof as error:
            findings.append(Finding(kind=FindingKind.PROOF, subject=subject, expected="a signed note", found=str(error)))
        findings += [
            _finding(f"seal:{place}", b"", b"") for place in range(before, row.size) if sealed_at[place] != row.signed_at
        ]
        before = row.size
    findings += [_finding(f"seal:{place}", b"", b"") for place in range(before, len(sealed_at))]
    return findings


def _finding(subject: str, expected: bytes, found: bytes) -> Finding:
    return Finding(
        kind=FindingKind.PROOF, subject=subject, expected=expected.hex() or "nothing", found=found.hex() or "nothing"
    )
