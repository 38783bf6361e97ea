"""Sealing what was booked, and proving to anybody that it was and has not changed.

The sealer runs beside posting, never in it: it takes batches that are committed, has the database hash their transfers, appends
them to the tree and signs a checkpoint. From then on no byte of any of them can change without a root changing. ``auditing``
looks whether one did.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import CursorResult, Row, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.kernel import signing
from app.kernel.errors import Conflict, Invalid, Unavailable, msg
from app.kernel.settings import Settings
from app.kernel.signing import Key, Purpose, Sm2Key
from card.ledger import leaves, notes, queries, shelf, tree
from card.ledger.leaves import BatchLeaf, TransferLeaf
from card.ledger.models import LedgerCheckpoint, LedgerCosignature, LedgerNode
from card.ledger.notes import Checkpoint, Kind, VerifierKey
from card.ledger.receipts import FORMAT
from card.ledger.rules import LEAF_BITS, SHARD_BITS, batch_of, leaf_of, place_of
from card.ledger.tree import HASH, BadProof, Suite

LOCK: Final = 320_000_003  # one sealer at a time
WINDOW: Final = 2_000  # batches behind the newest sealed one among which stragglers are looked for
ACCOUNTS_WITHIN: Final = 2_000  # the same for accounts, in each shard
REFUSED_WITHIN: Final = timedelta(seconds=30)  # the same for refusals, before the newest sealed one
EVERYWHERE: Final = 1 << SHARD_BITS  # windows that reach back to the first
NEVER: Final = timedelta(days=365_000)
STEP: Final = 500  # batches a transaction
ONCE: Final = 1 << 18  # transfers, about, whose hashes are asked for at once: eight megabytes
RECORDS: Final = 20_000  # accounts and refusals a transaction
BLOCK: Final = 32  # transfers of a batch whose root is kept with the seal, so that a proof reads only them; a power of two
RECORD_BLOCK: Final = 64  # the same for accounts and refusals
MARK: Final = 4  # bytes kept of each transfer's hash
UNIX_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class NotSealed(Unavailable):
    """The transfer is booked and its batch is not in a signed checkpoint yet; that takes some seconds."""

    code = "not-sealed"
    sentence = msg("This transfer is booked, and its proof is being made. Try again in a few seconds.")


class SuiteChanged(Conflict):
    """The settings name another suite than the one that the books were first sealed with."""

    code = "ledger-suite-changed"
    sentence = msg("These books are sealed with another suite of signatures. It is chosen once.")


class BadCosignature(Invalid):
    """Another city's cosignature is not one of this checkpoint."""

    code = "bad-cosignature"
    sentence = msg("This is not a cosignature of our checkpoint.")


@dataclass(frozen=True, kw_only=True)
class Cosignature:
    """What another city added to a checkpoint: its verifier key, its line, when it cosigned, the checkpoint's size."""

    city: str
    key: str
    line: str
    at: datetime
    size: int


def origin(city_code: str) -> str:
    """The name of a city's ledger in its checkpoints."""
    return f"ledger.citizen-card/{city_code}"


def microseconds(instant: datetime) -> int:
    """Microseconds since 1970: how a checkpoint says when it was signed."""
    return (instant - UNIX_EPOCH) // timedelta(microseconds=1)


def archived_data(row: Mapping[str, Any], suite: Suite = tree.INTERNATIONAL) -> bytes:
    """The bytes that are hashed of an archived transfer: those that the database wrote while it had it."""
    return TransferLeaf(
        id=UUID(row["id"]),
        debit=row["debit"],
        credit=row["credit"],
        amount_minor=row["amount_minor"],
        code=row["code"],
        event_us=row["event_at"] - leaves.UNIX_EPOCH_US,
        debit_after_minor=row["debit_after_minor"],
        credit_after_minor=row["credit_after_minor"],
        reference=row["reference"] or "",
        metadata=row["metadata"] or None,
        reverses=UUID(row["reverses"]) if row["reverses"] else None,
    ).write(suite)


def batch_data(
    *,
    batch_no: int,
    transfers: int,
    total_minor: int,
    posted_at: datetime,
    root: bytes,
    records: bytes,
    shard: int,
    suite: Suite = tree.INTERNATIONAL,
) -> bytes:
    """The bytes that are hashed of a batch. ``records`` is the root over what else was sealed with it, if anything was."""
    return BatchLeaf(
        batch_no=batch_no,
        transfers=transfers,
        total_minor=total_minor,
        posted_us=leaves.instant_us(posted_at),
        root=root,
        records=records,
        shard=shard,
    ).write(suite)


def cursor(session: Session) -> psycopg.Cursor[Any]:
    """The driver's own cursor on the session's transaction: hashes come and go as bytes, not as their hexadecimal text."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection.cursor(binary=True, row_factory=namedtuple_row)


def verifier_key(city_code: str, key: Key | Sm2Key) -> VerifierKey:
    """The public half of a city's checkpoint key, as people pass it on."""
    kind = Kind.SM2 if isinstance(key, Sm2Key) else Kind.ED25519
    return VerifierKey(name=origin(city_code), kind=kind, public=key.public_bytes)


def checkpoint_key(settings: Settings) -> Key | Sm2Key:
    """The key with which this city signs its checkpoints, by the suite that it chose."""
    if settings.ledger_suite == tree.NATIONAL.id:
        return signing.load_or_create_sm2(settings.keys_dir, Purpose.CHECKPOINT)
    return signing.load_or_create(settings.keys_dir, Purpose.CHECKPOINT)


def checkpoint_verifier(settings: Settings) -> VerifierKey:
    """The public half of :func:`checkpoint_key`."""
    return verifier_key(settings.city_code, checkpoint_key(settings))


def cosigner_key(settings: Settings) -> VerifierKey:
    """The public half of the key with which this city cosigns the ledgers of others."""
    own = signing.load_or_create(settings.keys_dir, Purpose.COSIGNER)
    return VerifierKey(name=witness(settings.city_code), kind=Kind.COSIGNATURE, public=own.public_bytes)


# Sealing


# The tables are read by their indexes, a few rows of millions; what the planner thinks of them otherwise is of no use here. And
# one sealer at a time.
BEGIN: Final = """
SELECT pg_advisory_xact_lock(%(lock)s) AS locked, set_config('jit', 'off', true) AS jit,
  set_config('enable_seqscan', 'off', true) AS seqscan, set_config('enable_bitmapscan', 'off', true) AS bitmapscan,
  set_config('max_parallel_workers_per_gather', '0', true) AS workers
"""

# How far the tree is: its suite, its size, the newest batch in it, and the full subtrees of which a tree of this size is made.
STANDING: Final = """
SELECT (SELECT suite FROM card.ledger_checkpoint ORDER BY size LIMIT 1) AS suite, s.size, s.newest, n.levels, n.hashes
FROM (SELECT coalesce(max(position) + 1, 0) AS size, coalesce(max(batch_no), 0) AS newest FROM card.ledger_seal) s
  CROSS JOIN LATERAL (
    SELECT array_agg(n.level ORDER BY n.level) AS levels, array_agg(n.hash ORDER BY n.level) AS hashes
    FROM generate_series(0, 62) wanted(level)
      JOIN card.ledger_node n ON n.level = wanted.level::smallint AND n."index" = (s.size >> wanted.level) - 1
    WHERE (s.size >> wanted.level) & 1 = 1) n
"""

UNSEALED: Final = """
SELECT b.batch_no, b.transfers, b.total_minor, b.posted_at, b.shard FROM card.ledger_batch b
WHERE b.batch_no > %(after)s AND NOT EXISTS (SELECT FROM card.ledger_seal s WHERE s.batch_no = b.batch_no)
ORDER BY b.batch_no LIMIT %(limit)s
"""


def hashes_sql(suite: Suite) -> str:
    """The hashes of all transfers of some batches, in their order: one string a batch, or the bytes to hash as an array."""
    leaf = leaves.hashed_sql(leaves.transfer_sql, suite)
    together = "string_agg(x.leaf, ''::bytea)" if suite.in_sql else "array_agg(x.leaf)"
    return f"""
SELECT b.batch_no, h.leaves FROM unnest(%(batches)b::bigint[]) AS b(batch_no) LEFT JOIN LATERAL (
  SELECT {together} AS leaves FROM (
    SELECT {leaf} AS leaf FROM card.transfer t
    WHERE t.place >= b.batch_no << {LEAF_BITS} AND t.place < (b.batch_no + 1) << {LEAF_BITS} ORDER BY t.place) x) h ON true
"""  # noqa: S608


def joined(found: bytes | list[bytes] | None, suite: Suite) -> bytes:
    """What :func:`hashes_sql` found, as hashes that stand one after another."""
    if isinstance(found, list):
        return b"".join(tree.leaf_hash(one, suite) for one in found)
    return found or b""


# Each shard counts its accounts for itself. The window reaches back from the newest that was sealed.
SHARDS: Final = f"""
WITH RECURSIVE shards AS (
  SELECT (SELECT a.id >> {SHARD_BITS} FROM card.account a ORDER BY a.id LIMIT 1) AS shard
  UNION ALL SELECT (
    SELECT a.id >> {SHARD_BITS} FROM card.account a WHERE a.id >= (s.shard + 1) << {SHARD_BITS} ORDER BY a.id LIMIT 1)
  FROM shards s WHERE s.shard IS NOT NULL)
SELECT s.shard << {SHARD_BITS} AS first, (s.shard + 1) << {SHARD_BITS} AS after FROM shards s WHERE s.shard IS NOT NULL
"""  # noqa: S608


def _accounts_sql(suite: Suite) -> str:
    leaf = leaves.hashed_sql(leaves.account_sql, suite)
    return f"""
SELECT n.account, NULL::uuid AS refusal, n.leaf FROM ({SHARDS}) s CROSS JOIN LATERAL (
  SELECT a.id AS account, {leaf} AS leaf FROM card.account a
  WHERE a.id < s.after AND a.id > greatest(s.first - 1, coalesce((
      SELECT max(r.account) FROM card.ledger_record r WHERE r.account >= s.first AND r.account < s.after), 0) - %(window)s)
    AND NOT EXISTS (SELECT FROM card.ledger_record r WHERE r.account = a.id)
  ORDER BY a.id LIMIT %(limit)s) n
LIMIT %(limit)s
"""  # noqa: S608


def _refusals_sql(suite: Suite) -> str:
    leaf = leaves.hashed_sql(leaves.refusal_sql, suite)
    return f"""
SELECT NULL::bigint AS account, f.id AS refusal, {leaf} AS leaf FROM card.refused_transfer f
WHERE f.refused_at > coalesce((
    SELECT n.refused_at - %(window)s::interval FROM card.refused_transfer n WHERE n.id = (
      SELECT r.refusal FROM card.ledger_record r WHERE r.refusal IS NOT NULL ORDER BY r.position DESC, r.leaf DESC LIMIT 1)),
    '-infinity')
  AND NOT EXISTS (SELECT FROM card.ledger_record r WHERE r.refusal = f.id)
ORDER BY f.refused_at, f.id LIMIT %(limit)s
"""  # noqa: S608


SEALING: Final = (hashes_sql, _accounts_sql, _refusals_sql)  # the statements that depend on the suite


class Record(NamedTuple):
    """An account or a refusal that is not sealed yet, and the hash of it."""

    account: int | None
    refusal: UUID | None
    hash: bytes


SEAL: Final = """
INSERT INTO card.ledger_seal (position, batch_no, root, marks, blocks, records, record_blocks, sealed_at)
SELECT %(size)s + n - 1, batch_no, root, marks, blocks, CASE WHEN n = 1 THEN %(records)b ELSE ''::bytea END,
  CASE WHEN n = 1 THEN %(record_blocks)b ELSE ''::bytea END, %(now)s
FROM unnest(%(batches)b::bigint[], %(roots)b::bytea[], %(marks)b::bytea[], %(blocks)b::bytea[]) WITH ORDINALITY
  AS t(batch_no, root, marks, blocks, n)
"""
RECORD: Final = """
INSERT INTO card.ledger_record (position, leaf, account, refusal, hash)
SELECT %(position)s, n - 1, account, refusal, hash
FROM unnest(%(accounts)b::bigint[], %(refusals)b::uuid[], %(hashes)b::bytea[]) WITH ORDINALITY AS t(account, refusal, hash, n)
"""
APPEND: Final = """
INSERT INTO card.ledger_node (level, "index", hash)
SELECT * FROM unnest(%(levels)b::smallint[], %(indexes)b::bigint[], %(hashes)b::bytea[])
"""
SIGN: Final = """
INSERT INTO card.ledger_checkpoint (size, suite, root, note, signed_at)
VALUES (%(size)s, %(suite)s, %(root)b, %(note)s, %(now)s)
"""


def seal(session: Session, *, key: Key | Sm2Key, city_code: str, now: datetime, window: int | None = WINDOW) -> int:
    """Append up to ``STEP`` committed batches to the tree and sign a checkpoint; how many were appended.

    The accounts opened and the transfers refused since are sealed with the first of them, so a name stands in the tree before
    the money that it explains. ``window`` bounds how far behind the newest sealed batch a straggler is looked for; none looks
    everywhere. Raises :class:`SuiteChanged`.
    """
    signer = verifier_key(city_code, key)
    suite = signer.suite
    ask = cursor(session)
    ask.execute(BEGIN, {"lock": LOCK})
    [stands] = ask.execute(STANDING).fetchall()
    if stands.suite not in (None, suite.id):
        raise SuiteChanged(suite.name)
    after = -1 if window is None else stands.newest - window
    batches = ask.execute(UNSEALED, {"after": after, "limit": STEP}).fetchall()
    if not batches:
        return 0
    records = _unsealed_records(ask, suite, everywhere=window is None)
    if len(records) >= RECORDS:  # more of them may wait: let no further batch overtake them
        del batches[1:]
    size = int(stands.size)
    nodes = {(level, (size >> level) - 1): one for level, one in zip(stands.levels or (), stands.hashes or (), strict=True)}
    kept = frozenset(nodes)
    record_blocks = tree.blocks(b"".join(record.hash for record in records), RECORD_BLOCK, suite)
    with_first = tree.fold(record_blocks, suite) if records else b""
    roots, marks, blocks = [], [], []
    for position, (batch, found) in enumerate(in_portions(ask, hashes_sql(suite), batches), start=size):
        hashes = joined(found.leaves, suite)
        blocks.append(tree.blocks(hashes, BLOCK, suite))
        marks.append(marks_of(hashes))
        roots.append(tree.fold(blocks[-1], suite))
        leaf = batch_leaf(batch, roots[-1], with_first if position == size else b"", suite)
        append(nodes, position, tree.leaf_hash(leaf, suite), suite)
    facts = {"records": with_first, "record_blocks": record_blocks, "roots": roots, "marks": marks, "blocks": blocks}
    ask.execute(SEAL, {"size": size, "now": now, "batches": [batch.batch_no for batch in batches], **facts})
    if records:
        accounts, refusals, own = zip(*records, strict=True)
        ask.execute(RECORD, {"position": size, "accounts": [*accounts], "refusals": [*refusals], "hashes": [*own]})
    fresh = {place: one for place, one in nodes.items() if place not in kept}
    levels, indexes = zip(*fresh, strict=True)
    ask.execute(APPEND, {"levels": [*levels], "indexes": [*indexes], "hashes": [*fresh.values()]})
    size += len(batches)
    root = tree.subtree(lambda level, index: nodes[level, index], 0, size, suite)
    checkpoint = Checkpoint(origin=signer.name, size=size, root=root, time_us=microseconds(now))
    note = notes.signed_note(checkpoint, key=signer, sign=key.sign)
    ask.execute(SIGN, {"size": size, "suite": suite.id, "root": root, "note": note, "now": now})
    return len(batches)


def in_portions(ask: psycopg.Cursor[Any], statement: str, batches: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Each batch with what ``statement`` finds of it, some hundred thousand transfers asked about at once."""
    asked, transfers = list[Any](), 0
    for number, batch in enumerate(batches, start=1):
        asked.append(batch)
        transfers += batch.transfers or 0
        if transfers >= ONCE or number == len(batches):
            found = {row.batch_no: row for row in ask.execute(statement, {"batches": [one.batch_no for one in asked]})}
            yield from ((one, found[one.batch_no]) for one in asked)
            asked, transfers = [], 0


def marks_of(hashes: bytes) -> bytes:
    """The first bytes of each of many hashes, taken in columns: a loop over them would cost more than hashing."""
    marks = bytearray(len(hashes) // HASH * MARK)
    for column in range(MARK):
        marks[column::MARK] = hashes[column::HASH]
    return bytes(marks)


def _unsealed_records(ask: psycopg.Cursor[Any], suite: Suite, *, everywhere: bool) -> list[Record]:
    """The accounts, then the refusals that are not sealed yet, as many as go into one transaction."""
    accounts_within, refused_within = (EVERYWHERE, NEVER) if everywhere else (ACCOUNTS_WITHIN, REFUSED_WITHIN)
    found = ask.execute(_accounts_sql(suite), {"window": accounts_within, "limit": RECORDS}).fetchall()
    if len(found) < RECORDS:
        found += ask.execute(_refusals_sql(suite), {"window": refused_within, "limit": RECORDS - len(found)}).fetchall()
    return [Record(row.account, row.refusal, row.leaf if suite.in_sql else tree.leaf_hash(row.leaf, suite)) for row in found]


def batch_leaf(batch: Any, root: bytes, records: bytes, suite: Suite) -> bytes:
    """The bytes that are hashed of a row of ``ledger_batch``."""
    return batch_data(
        batch_no=batch.batch_no,
        transfers=batch.transfers,
        total_minor=batch.total_minor,
        posted_at=batch.posted_at,
        root=root,
        records=records,
        shard=batch.shard,
        suite=suite,
    )


def append(nodes: dict[tuple[int, int], bytes], position: int, leaf: bytes, suite: Suite) -> None:
    """Add a hashed leaf to ``nodes``, which has every full subtree to its left, with every full subtree that it completes."""
    level, index, found = 0, position, leaf
    nodes[level, index] = found
    while index & 1:
        found = tree.node_hash(nodes[level, index - 1], found, suite)
        level, index = level + 1, index >> 1
        nodes[level, index] = found


# What was signed


def suite_of(session: Session) -> Suite | None:
    """What these books are sealed with; none before the first checkpoint."""
    found = session.scalar(select(LedgerCheckpoint.suite).order_by(LedgerCheckpoint.size).limit(1))
    return None if found is None else tree.SUITES.get(found)


def newest_checkpoint(session: Session) -> str | None:
    """The newest signed checkpoint as text, or none where nothing was sealed yet."""
    return session.scalar(select(LedgerCheckpoint.note).order_by(LedgerCheckpoint.size.desc()).limit(1))


def consistency_proof(session: Session, *, old: int, size: int) -> list[bytes]:
    """The proof that the tree of ``old`` batches is the beginning of the checkpoint of ``size``.

    Raises :class:`NotSealed` where no checkpoint has this size.
    """
    suite = session.scalar(select(LedgerCheckpoint.suite).where(LedgerCheckpoint.size == size))
    if suite is None:
        raise NotSealed(f"no checkpoint of {size}")

    def node(level: int, index: int) -> bytes:
        found = session.scalar(select(LedgerNode.hash).where(LedgerNode.level == level, LedgerNode.index == index))
        assert found is not None, f"node {level}/{index} is stored before a checkpoint covers it"
        return found

    return tree.consistency(node, old, size, tree.SUITES[suite])


def newest_cosignatures(session: Session) -> list[Cosignature]:
    """The newest cosignature of each city, by city."""
    rows = session.scalars(
        select(LedgerCosignature)
        .ext(postgresql.distinct_on(LedgerCosignature.city))
        .order_by(LedgerCosignature.city, LedgerCosignature.size.desc())
    )
    return [Cosignature(city=row.city, key=row.verifier_key, line=row.line, at=row.cosigned_at, size=row.size) for row in rows]


def add_cosignature(session: Session, *, city: str, size: int, key: str, line: str, own: VerifierKey, now: datetime) -> None:
    """Keep another city's cosignature of our checkpoint of ``size`` batches; a repeat is quiet.

    Raises :class:`NotSealed` where there is no such checkpoint, :class:`BadCosignature` where the line is not what it says.
    """
    found = session.get(LedgerCheckpoint, size)
    if found is None:
        raise NotSealed(f"no checkpoint of {size}")
    try:
        signer = VerifierKey.read(key)
        at = notes.read_cosignature(notes.read_note(found.note, key=own), line, key=signer)
    except BadProof as error:
        raise BadCosignature(str(error)) from error
    if signer.name != witness(city):
        raise BadCosignature(f"the key is {signer.name}'s")
    session.execute(
        postgresql.insert(LedgerCosignature)
        .values(size=size, city=city, verifier_key=key, line=line, cosigned_at=at, received_at=now)
        .on_conflict_do_nothing()
    )


def witness(city_code: str) -> str:
    """The name under which a city cosigns the ledgers of others."""
    return f"witness.citizen-card/{city_code}"


# Receipts


# Where a transfer and the names of its two accounts were sealed, the checkpoint that proves all of it, and who cosigned that.
PLACED: Final = """
SELECT t.place, t.debit, t.credit, s.position, s.blocks, named.accounts, named.positions, c.size, c.suite, c.note,
  added.keys, added.lines
FROM (SELECT %(place)s::bigint AS place, %(debit)s::bigint AS debit, %(credit)s::bigint AS credit WHERE %(id)s::uuid IS NULL
      UNION ALL SELECT place, debit, credit FROM card.transfer WHERE id = %(id)s) t
  LEFT JOIN card.ledger_seal s ON s.batch_no = t.place >> %(leaf_bits)s
  LEFT JOIN LATERAL (
    SELECT array_agg(r.account ORDER BY r.account) AS accounts, array_agg(r.position ORDER BY r.account) AS positions,
      max(r.position) AS newest
    FROM card.ledger_record r WHERE r.account IN (t.debit, t.credit)) named ON true
  LEFT JOIN card.ledger_checkpoint c ON c.size = coalesce(
    (SELECT max(size) FROM card.ledger_cosignature WHERE size > greatest(s.position, named.newest)),
    (SELECT max(size) FROM card.ledger_checkpoint))
  LEFT JOIN LATERAL (SELECT array_agg(verifier_key ORDER BY city) AS keys, array_agg(line ORDER BY city) AS lines
    FROM card.ledger_cosignature WHERE size = c.size) added ON true
"""

# The batches at some positions as they were sealed, and the nodes that lead from each to the root: at each level the one beside
# the way up, and the full subtrees of which a tree of this size is made.
SEALED: Final = """
SELECT s.position, s.batch_no, s.root, s.records, s.record_blocks, b.transfers, b.total_minor, b.posted_at, b.shard,
  nodes.levels, nodes.indexes, nodes.hashes
FROM unnest(%(positions)s::bigint[]) AS asked(position)
  JOIN card.ledger_seal s ON s.position = asked.position
  JOIN card.ledger_batch b ON b.batch_no = s.batch_no
  LEFT JOIN LATERAL (
    SELECT array_agg(n.level) AS levels, array_agg(n."index") AS indexes, array_agg(n.hash) AS hashes
    FROM (SELECT level, (s.position >> level) # 1 AS at FROM generate_series(0, 40) AS up(level)
            WHERE (((s.position >> level) # 1) + 1) << level <= %(size)s::bigint
          UNION SELECT level, (%(size)s::bigint >> level) - 1 FROM generate_series(0, 40) AS up(level)
            WHERE (%(size)s::bigint >> level) & 1 = 1) wanted
      JOIN card.ledger_node n ON n.level = wanted.level::smallint AND n."index" = wanted.at) nodes ON true
"""


def _block_sql(suite: Suite) -> str:
    return f"""
SELECT t.place, {leaves.transfer_sql(suite)} AS leaf FROM card.transfer t
WHERE t.place >= %(first)s AND t.place < %(after)s ORDER BY t.place
"""  # noqa: S608


def _named_sql(suite: Suite) -> str:
    """The accounts of a transfer: their bytes, and the hashes of the block of records in which each was sealed."""
    return f"""
SELECT a.id AS account, {leaves.account_sql(suite)} AS leaf, r.position, r.leaf AS place, near.hashes, last.leaf + 1 AS records
FROM card.account a
  CROSS JOIN LATERAL (SELECT position, leaf FROM card.ledger_record WHERE account = a.id) r
  CROSS JOIN LATERAL (
    SELECT string_agg(hash, ''::bytea ORDER BY leaf) AS hashes FROM card.ledger_record WHERE position = r.position
      AND leaf >= r.leaf / {RECORD_BLOCK} * {RECORD_BLOCK} AND leaf < (r.leaf / {RECORD_BLOCK} + 1) * {RECORD_BLOCK}) near
  CROSS JOIN LATERAL (
    SELECT leaf FROM card.ledger_record WHERE position = r.position ORDER BY leaf DESC LIMIT 1) last
WHERE a.id = ANY(%(accounts)s::bigint[]) AND a.shard = %(shard)s ORDER BY a.id
"""  # noqa: S608


def _ask(session: Session, statement: str, parameters: Mapping[str, object]) -> CursorResult[Any]:
    return session.connection().exec_driver_sql(statement, dict(parameters))


def _placed(session: Session, transfer_id: UUID) -> Row[Any]:
    """Where a sealed transfer is. Raises ``UnknownTransfer``, :class:`NotSealed`."""
    asked = {"id": transfer_id, "place": None, "debit": None, "credit": None, "leaf_bits": LEAF_BITS}
    found = _ask(session, PLACED, asked).one_or_none()
    if found is None:  # it may be archived
        booking = queries.booking(session, transfer_id)
        sides = {"debit": booking.transfer.debit, "credit": booking.transfer.credit}
        place = place_of(booking.batch_no, booking.leaf)
        found = _ask(session, PLACED, {**asked, **sides, "id": None, "place": place}).one()
    if found.position is None or len(found.accounts or ()) < 2:  # noqa: PLR2004  both sides have a name
        raise NotSealed(str(transfer_id))
    return found


def _near(hashes: bytes, place: int, blocks: bytes, size: int, suite: Suite) -> list[bytes] | None:
    """The path of the leaf at ``place`` from its block of ``size`` and the roots of all blocks; none if they do not fit.

    A tree over blocks of a power of two is the tree over their leaves.
    """
    inside, block = place % size, place // size
    if inside * HASH >= len(hashes) or tree.fold(hashes, suite) != blocks[block * HASH : (block + 1) * HASH]:
        return None
    return [*tree.path(tree.split(hashes), inside, suite), *tree.path(tree.split(blocks), block, suite)]


def _within(session: Session, placed: Row[Any], suite: Suite) -> tuple[bytes, list[bytes]]:
    """A transfer's bytes and its path to the root of its batch, by reading its block of the batch alone.

    A batch of which a part is archived is read as a whole.
    """
    batch_no, leaf = batch_of(placed.place), leaf_of(placed.place)
    begin = leaf // BLOCK * BLOCK
    asked = {"first": place_of(batch_no, begin), "after": place_of(batch_no, begin + BLOCK)}
    data = [row.leaf for row in _ask(session, _block_sql(suite), asked)]
    found = _near(b"".join(tree.leaf_hash(one, suite) for one in data), leaf, placed.blocks, BLOCK, suite)
    if found is not None:
        return data[leaf - begin], found
    asked = {"first": place_of(batch_no, 0), "after": place_of(batch_no + 1, 0)}
    whole = {row.place: row.leaf for row in _ask(session, _block_sql(suite), asked)}
    whole |= {row["place"]: archived_data(row, suite) for row in shelf.of_batch(session, batch_no)}
    hashes = [tree.leaf_hash(whole[place], suite) for place in sorted(whole)]
    return whole[placed.place], tree.path(hashes, leaf, suite)


def encoded(value: bytes) -> str:
    """Bytes as a receipt carries them."""
    return base64.b64encode(value).decode()


def receipt(session: Session, transfer_id: UUID) -> dict[str, object]:
    """All that a stranger needs, beside the city's public key, to see that this transfer is in the books, and between whom.

    The checkpoint is the newest that another city cosigned, where one covers the transfer and the names of its accounts. Raises
    ``UnknownTransfer``, :class:`NotSealed`.
    """
    placed = _placed(session, transfer_id)
    suite = tree.SUITES[placed.suite]
    transfer, within = _within(session, placed, suite)
    positions = list(dict.fromkeys((placed.position, *placed.positions)))
    sealed = {row.position: row for row in _ask(session, SEALED, {"positions": positions, "size": placed.size})}
    named = _ask(session, _named_sql(suite), {"accounts": placed.accounts, "shard": placed.debit >> SHARD_BITS}).all()
    return {
        "format": FORMAT,
        "transfer": {
            "data": encoded(transfer),
            "batch": 0,
            "index": leaf_of(placed.place),
            "path": [encoded(sibling) for sibling in within],
        },
        "accounts": [
            {
                "data": encoded(row.leaf),
                "batch": positions.index(row.position),
                "index": row.place,
                "size": row.records,
                "path": [
                    encoded(sibling)
                    for sibling in _near(row.hashes, row.place, sealed[row.position].record_blocks, RECORD_BLOCK, suite) or ()
                ],
            }
            for row in named
        ],
        "batches": [_proven(sealed[position], placed.size, suite) for position in positions],
        "checkpoint": placed.note + "".join(placed.lines or []),
        "cosigners": placed.keys or [],
    }


def _proven(row: Row[Any], size: int, suite: Suite) -> dict[str, object]:
    """A batch with its path to the root of a tree of ``size``."""
    kept = dict(zip(zip(row.levels or (), row.indexes or (), strict=True), row.hashes or (), strict=True))
    path = tree.stored_path(lambda level, index: kept[level, index], row.position, size, suite)
    return {
        "data": encoded(batch_leaf(row, row.root, row.records, suite)),
        "index": row.position,
        "path": [encoded(sibling) for sibling in path],
    }
