"""Sealing what was booked, and proving to anybody that it was and has not changed.

The sealer runs beside posting, never in it: it takes batches that are committed, hashes their transfers, appends them to the
tree and signs a checkpoint. From then on no byte of any of them can change without a root changing.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final
from uuid import UUID

import cbor2
from sqlalchemy import Row, func, insert, or_, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.kernel import signing
from app.kernel.db import Json
from app.kernel.errors import Conflict, Invalid, Unavailable, msg
from app.kernel.settings import Settings
from app.kernel.signing import Key, Purpose, Sm2Key
from card.ledger import notes, queries, shelf, tree
from card.ledger.models import (
    AccountRow,
    ArchivedBatch,
    LedgerBatch,
    LedgerCheckpoint,
    LedgerCosignature,
    LedgerNode,
    LedgerRecord,
    LedgerSeal,
    RefusedTransfer,
)
from card.ledger.notes import Checkpoint, Kind, VerifierKey
from card.ledger.receipts import FORMAT
from card.ledger.rules import LEAF_BITS, Finding, FindingKind, batch_of, leaf_of, place_of
from card.ledger.tree import BadProof, Fetch, Suite

LOCK: Final = 320_000_003  # one sealer at a time
WINDOW: Final = 20_000  # batches behind the newest sealed one among which stragglers are looked for
ACCOUNTS_WITHIN: Final = 2_000  # the same for accounts
REFUSED_WITHIN: Final = timedelta(hours=1)  # the same for refusals
STEP: Final = 500  # batches a transaction
RECORDS: Final = 5_000  # accounts and refusals a transaction
BLOCK: Final = 32  # transfers of a batch whose root is kept with the seal, so that a proof reads only them; a power of two
HASH: Final = 32  # bytes
MARK: Final = 4  # bytes kept of each transfer's hash
EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


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
    """Microseconds since the epoch: how an instant is written where it is hashed."""
    return (instant - EPOCH) // timedelta(microseconds=1)


def _plain(details: Json | None) -> str:
    return json.dumps(details, sort_keys=True, ensure_ascii=False, separators=(",", ":")) if details else ""


# What is hashed of a transfer, as the driver reads it: a line of ``TRANSFERS``.
Facts = tuple[bytes, int, str | None, str | None, int, int, int, int | None, int | None, str, str | None, bytes | None, int]

TRANSFERS: Final = """
SELECT uuid_send(t.id), t.place, d.key, c.key, t.amount_minor, t.code,
  (extract(epoch FROM t.event_at) * 1000000)::bigint, t.debit_after_minor, t.credit_after_minor, t.reference,
  t.metadata::text, uuid_send(t.reverses), t.shard
FROM card.transfer t
  LEFT JOIN card.account d ON d.id = t.debit AND d.shard = t.shard
  LEFT JOIN card.account c ON c.id = t.credit AND c.shard = t.shard
WHERE t.place >= %(first)s AND t.place < %(after)s
ORDER BY t.place
"""


def transfer_data(facts: Facts, suite: Suite) -> bytes:
    """The canonical bytes of a transfer: deterministic CBOR (RFC 8949 section 4.2) of all that is stored of it."""
    id_, place, debit, credit, amount, code, event, debit_after, credit_after, reference, details, reverses, shard = facts
    plain = _plain(json.loads(details)) if details else ""
    sides = (debit, credit, amount, code, event, debit_after, credit_after)
    return cbor2.dumps(
        [suite.id, id_, batch_of(place), leaf_of(place), *sides, reference, plain, reverses, shard], canonical=True
    )


def archived_data(row: Mapping[str, Any], suite: Suite = tree.INTERNATIONAL) -> bytes:
    """The canonical bytes of an archived transfer: the same that the sealer hashed when it was in the database."""
    facts: Facts = (
        UUID(row["id"]).bytes,
        row["place"],
        row["debit_key"],
        row["credit_key"],
        row["amount_minor"],
        row["code"],
        row["event_at"],
        row["debit_after_minor"],
        row["credit_after_minor"],
        row["reference"] or "",
        row["metadata"] or None,
        UUID(row["reverses"]).bytes if row["reverses"] else None,
        row["shard"],
    )
    return transfer_data(facts, suite)


def account_data(row: AccountRow, suite: Suite) -> bytes:
    """The canonical bytes of an account."""
    facts = [row.id, row.key, row.kind, row.guarded, row.floor_minor, row.currency, row.ledger, row.shard]
    return cbor2.dumps([suite.id, "account", *facts, microseconds(row.opened_at)], canonical=True)


def refusal_data(row: RefusedTransfer, suite: Suite) -> bytes:
    """The canonical bytes of a refusal."""
    facts = [row.id.bytes, row.debit, row.credit, row.amount_minor, row.code, row.refusal, row.reference, row.shard]
    times = [microseconds(row.event_at), microseconds(row.refused_at)]
    reverses = row.reverses.bytes if row.reverses else None
    return cbor2.dumps([suite.id, "refusal", *facts, *times, _plain(row.details), reverses], canonical=True)


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
    """The canonical bytes of a batch: a leaf of the tree. ``records`` is the root over what else was sealed with it, if any."""
    facts = [batch_no, transfers, total_minor, microseconds(posted_at), root, records, shard]
    return cbor2.dumps([suite.id, *facts], canonical=True)


def _leaf(batch: LedgerBatch, root: bytes, records: bytes, suite: Suite) -> bytes:
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


def _facts(session: Session, first: int, after: int) -> list[Facts]:
    """The transfers from one place to before another, in the order of the books."""
    found = session.connection().exec_driver_sql(TRANSFERS, {"first": first, "after": after})
    return [tuple(row) for row in found]


def _rows(session: Session, batches: list[int], suite: Suite) -> Iterator[tuple[int, list[bytes]]]:
    """The canonical transfers of each batch, in the order of ``batch_no``; a batch that lost all its transfers is left out."""
    wanted = set(batches)
    facts = _facts(session, place_of(min(batches), 0), place_of(max(batches) + 1, 0))
    for batch_no, rows in groupby(facts, key=lambda row: batch_of(row[1])):
        if batch_no in wanted:
            yield batch_no, [transfer_data(row, suite) for row in rows]


def _batch(session: Session, batch_no: int, suite: Suite) -> list[bytes]:
    """The canonical transfers of a batch in order, those in archived months too."""
    found = [data for _, rows in _rows(session, [batch_no], suite) for data in rows]
    archived = [archived_data(row, suite) for row in shelf.of_batch(session, batch_no)]
    return sorted([*found, *archived], key=lambda data: int(cbor2.loads(data)[3])) if archived else found


def _within(session: Session, placed: Row[Any], suite: Suite) -> tuple[bytes, list[bytes]]:
    """A transfer's canonical bytes and its path to the root of its batch, by reading its block of the batch alone.

    The roots of the blocks are kept with the seal, and a tree over blocks of a power of two is the tree over their leaves. A
    batch of which a part is archived is read as a whole.
    """
    batch_no, leaf = batch_of(placed.place), leaf_of(placed.place)
    begin = leaf // BLOCK * BLOCK
    facts = _facts(session, place_of(batch_no, begin), place_of(batch_no, begin + BLOCK))
    data = [transfer_data(row, suite) for row in facts]
    blocks = [placed.blocks[at : at + HASH] for at in range(0, len(placed.blocks), HASH)]
    hashes = [tree.leaf_hash(one, suite) for one in data]
    if leaf - begin < len(data) and blocks[begin // BLOCK] == tree.root(hashes, suite):
        own = tree.path(hashes, leaf - begin, suite)
        return data[leaf - begin], [*own, *tree.path(blocks, begin // BLOCK, suite)]
    whole = _batch(session, batch_no, suite)
    return whole[leaf], tree.path([tree.leaf_hash(one, suite) for one in whole], leaf, suite)


# A transfer's place, its batch as it was sealed, the checkpoint that proves it with what others added, and the nodes that lead
# there: at each level the node beside the way up, and the full subtrees of which a tree of this size is made.
PLACED: Final = """
SELECT t.place, s.position, s.root, s.records, s.blocks, b.transfers, b.total_minor, b.posted_at, b.shard,
  c.size, c.suite, c.note, added.keys, added.lines, nodes.levels, nodes.indexes, nodes.hashes
FROM (SELECT coalesce(%(place)s::bigint, (SELECT place FROM card.transfer WHERE id = %(id)s)) AS place) t
  LEFT JOIN card.ledger_seal s ON s.batch_no = t.place >> %(leaf_bits)s
  LEFT JOIN card.ledger_batch b ON b.batch_no = s.batch_no
  LEFT JOIN card.ledger_checkpoint c ON c.size = coalesce(
    (SELECT max(size) FROM card.ledger_cosignature WHERE size > s.position), (SELECT max(size) FROM card.ledger_checkpoint))
  LEFT JOIN LATERAL (SELECT array_agg(verifier_key ORDER BY city) AS keys, array_agg(line ORDER BY city) AS lines
    FROM card.ledger_cosignature WHERE size = c.size) added ON true
  LEFT JOIN LATERAL (SELECT array_agg(n.level) AS levels, array_agg(n.index) AS indexes, array_agg(n.hash) AS hashes
    FROM (SELECT level, (s.position >> level) # 1 AS index FROM generate_series(0, 40) level
            WHERE (((s.position >> level) # 1) + 1) << level <= c.size
          UNION SELECT level, (c.size >> level) - 1 FROM generate_series(0, 40) level WHERE (c.size >> level) & 1 = 1) wanted
      JOIN card.ledger_node n ON n.level = wanted.level::smallint AND n.index = wanted.index) nodes ON true
WHERE t.place IS NOT NULL
"""


def _placed(session: Session, transfer_id: UUID) -> Row[Any]:
    """Where a sealed transfer is. Raises ``UnknownTransfer``, :class:`NotSealed`."""
    connection = session.connection()
    asked = {"id": transfer_id, "place": None, "leaf_bits": LEAF_BITS}
    found = connection.exec_driver_sql(PLACED, asked).one_or_none()
    if found is None:  # it may be archived
        booking = queries.booking(session, transfer_id)
        found = connection.exec_driver_sql(PLACED, asked | {"place": place_of(booking.batch_no, booking.leaf)}).one()
    if found.position is None:
        raise NotSealed(str(transfer_id))
    return found


def _fetch(session: Session) -> Fetch:
    """The stored nodes of the tree."""

    def node(level: int, index: int) -> bytes:
        found = session.scalar(select(LedgerNode.hash).where(LedgerNode.level == level, LedgerNode.index == index))
        assert found is not None, f"node {level}/{index} is stored before a checkpoint covers it"
        return found

    return node


def suite_of(session: Session) -> Suite | None:
    """What these books are sealed with; none before the first checkpoint."""
    found = session.scalar(select(LedgerCheckpoint.suite).order_by(LedgerCheckpoint.size).limit(1))
    return None if found is None else tree.SUITES.get(found)


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


def seal(session: Session, *, key: Key | Sm2Key, city_code: str, now: datetime, window: int | None = WINDOW) -> int:
    """Append up to ``STEP`` committed batches to the tree and sign a checkpoint; how many were appended.

    The accounts opened and the transfers refused since are sealed with the last of them. ``window`` bounds how far behind the
    newest sealed batch a straggler is looked for; none looks everywhere. Raises :class:`SuiteChanged`.
    """
    signer = verifier_key(city_code, key)
    suite = signer.suite
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    if suite_of(session) not in (None, suite):
        raise SuiteChanged(suite.name)
    size, newest = session.execute(
        select(func.coalesce(func.max(LedgerSeal.position) + 1, 0), func.coalesce(func.max(LedgerSeal.batch_no), 0))
    ).one()
    query = select(LedgerBatch).where(~select(LedgerSeal).where(LedgerSeal.batch_no == LedgerBatch.batch_no).exists())
    if window is not None:
        query = query.where(LedgerBatch.batch_no > newest - window)
    batches = session.scalars(query.order_by(LedgerBatch.batch_no).limit(STEP)).all()
    if not batches:
        return 0
    leaves = dict(_rows(session, [batch.batch_no for batch in batches], suite))
    records = _unsealed_records(session, suite, now=now, window=window)
    fetch = _fetch(session)
    nodes: dict[tuple[int, int], bytes] = {}
    seals = []
    for position, batch in enumerate(batches, start=size):
        hashes = [tree.leaf_hash(data, suite) for data in leaves.get(batch.batch_no, [])]
        blocks = _blocks(hashes, suite)
        root = tree.root([blocks[at : at + HASH] for at in range(0, len(blocks), HASH)], suite)
        with_it = _records_root(records, suite) if batch is batches[-1] else b""
        sealed = {
            "position": position,
            "batch_no": batch.batch_no,
            "root": root,
            "marks": b"".join(found[:MARK] for found in hashes),
            "blocks": blocks,
            "records": with_it,
            "sealed_at": now,
        }
        seals.append(sealed)
        append(nodes, fetch, position, tree.leaf_hash(_leaf(batch, root, with_it, suite), suite), suite)
    session.execute(insert(LedgerSeal), seals)
    size += len(batches)
    if records:
        session.execute(
            insert(LedgerRecord),
            [
                {"subject": subject, "position": size - 1, "leaf": leaf, "hash": found}
                for leaf, (subject, found) in enumerate(records)
            ],
        )
    session.execute(
        insert(LedgerNode), [{"level": level, "index": index, "hash": found} for (level, index), found in nodes.items()]
    )
    checkpoint = Checkpoint(origin=signer.name, size=size, root=tree.subtree(fetch, 0, size, suite), time_us=microseconds(now))
    note = notes.signed_note(checkpoint, key=signer, sign=key.sign)
    session.execute(insert(LedgerCheckpoint).values(size=size, suite=suite.id, root=checkpoint.root, note=note, signed_at=now))
    return len(batches)


def _blocks(hashes: list[bytes], suite: Suite) -> bytes:
    """The roots of a batch's blocks, one after another."""
    return b"".join(tree.root(hashes[at : at + BLOCK], suite) for at in range(0, len(hashes), BLOCK))


def _records_root(records: list[tuple[str, bytes]], suite: Suite) -> bytes:
    return tree.root([found for _, found in records], suite) if records else b""


def _unsealed_records(session: Session, suite: Suite, *, now: datetime, window: int | None) -> list[tuple[str, bytes]]:
    """The accounts and refusals that are not sealed yet: what they are called, and their hashes."""
    accounts = select(AccountRow).where(
        ~select(LedgerRecord).where(LedgerRecord.subject == func.concat("account:", AccountRow.id)).exists()
    )
    refusals = select(RefusedTransfer).where(
        ~select(LedgerRecord).where(LedgerRecord.subject == func.concat("refusal:", RefusedTransfer.id)).exists()
    )
    if window is not None:
        accounts = accounts.where(or_(AccountRow.id > _newest_account(session) - ACCOUNTS_WITHIN, AccountRow.shard > 0))
        refusals = refusals.where(RefusedTransfer.refused_at > now - REFUSED_WITHIN)
    found = [
        (f"account:{row.id}", tree.leaf_hash(account_data(row, suite), suite))
        for row in session.scalars(accounts.order_by(AccountRow.id).limit(RECORDS))
    ]
    found += [
        (f"refusal:{row.id}", tree.leaf_hash(refusal_data(row, suite), suite))
        for row in session.scalars(refusals.order_by(RefusedTransfer.refused_at, RefusedTransfer.id).limit(RECORDS))
    ]
    session.expunge_all()
    return found


def _newest_account(session: Session) -> int:
    """The newest account among the last records sealed, or 0."""
    last = session.scalar(
        select(LedgerRecord.subject)
        .where(LedgerRecord.subject.startswith("account:"))
        .order_by(LedgerRecord.position.desc(), LedgerRecord.leaf.desc())
        .limit(1)
    )
    return int(last.removeprefix("account:")) if last else 0


def append(nodes: dict[tuple[int, int], bytes], fetch: Fetch, position: int, leaf: bytes, suite: Suite) -> None:
    """Add a leaf to ``nodes`` with every full subtree that it completes."""
    level, index, found = 0, position, leaf
    nodes[level, index] = found
    while index & 1:
        left = nodes.get((level, index - 1)) or fetch(level, index - 1)
        found = tree.node_hash(left, found, suite)
        level, index = level + 1, index >> 1
        nodes[level, index] = found


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
    return tree.consistency(_fetch(session), old, size, tree.SUITES[suite])


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


def receipt(session: Session, transfer_id: UUID) -> dict[str, object]:
    """All that a stranger needs, beside the city's public key, to see that this transfer is in the books.

    The checkpoint is the newest that another city cosigned, where one covers the transfer. Raises ``UnknownTransfer``,
    :class:`NotSealed`.
    """
    placed = _placed(session, transfer_id)
    suite = tree.SUITES[placed.suite]
    transfer, within = _within(session, placed, suite)
    kept = dict(zip(zip(placed.levels, placed.indexes, strict=True), placed.hashes, strict=True))
    above = tree.stored_path(lambda level, index: kept[level, index], placed.position, placed.size, suite)
    batch = batch_data(
        batch_no=batch_of(placed.place),
        transfers=placed.transfers,
        total_minor=placed.total_minor,
        posted_at=placed.posted_at,
        root=placed.root,
        records=placed.records,
        shard=placed.shard,
        suite=suite,
    )

    def encoded(value: bytes) -> str:
        return base64.b64encode(value).decode()

    return {
        "format": FORMAT,
        "transfer": encoded(transfer),
        "transfer_index": leaf_of(placed.place),
        "transfer_path": [encoded(sibling) for sibling in within],
        "batch": encoded(batch),
        "batch_index": placed.position,
        "batch_path": [encoded(sibling) for sibling in above],
        "checkpoint": placed.note + "".join(placed.lines or []),
        "cosigners": placed.keys or [],
    }


def check_proofs(session: Session, *, key: VerifierKey | None = None) -> list[Finding]:
    """Hash everything sealed again and name each transfer, account, refusal, batch or proof that is not as it was sealed.

    With the city's verifier ``key``, the signature of every checkpoint is verified too.
    """
    suite = key.suite if key is not None else suite_of(session) or tree.INTERNATIONAL
    findings, recorded = _check_records(session, suite)
    newest, nodes, sealed_at = -1, dict[tuple[int, int], bytes](), list[datetime]()
    while True:
        page = session.execute(
            select(LedgerSeal, LedgerBatch)
            .outerjoin(LedgerBatch, LedgerBatch.batch_no == LedgerSeal.batch_no)
            .where(LedgerSeal.position > newest)
            .order_by(LedgerSeal.position)
            .limit(STEP)
        ).all()
        if not page:
            break
        numbers = [sealed.batch_no for sealed, _ in page]
        archived = set(session.scalars(select(ArchivedBatch.batch_no).where(ArchivedBatch.batch_no.in_(numbers))))
        leaves = dict(_rows(session, numbers, suite))
        for sealed, batch in page:
            hashes = [tree.leaf_hash(data, suite) for data in leaves.get(sealed.batch_no, [])]
            if sealed.batch_no not in archived:  # those are verified where they are
                findings += _compare(sealed, leaves.get(sealed.batch_no, []), hashes, suite)
            if recorded.pop(sealed.position, b"") != sealed.records:
                findings.append(_finding(f"seal:{sealed.position}", sealed.records, b""))
            present = tree.leaf_hash(_leaf(batch, sealed.root, sealed.records, suite), suite) if batch is not None else b""
            for place in range(newest + 1, sealed.position):  # a seal that is gone
                findings.append(_finding(f"seal:{place}", b"", b""))
                append(nodes, lambda level, index: nodes[level, index], place, b"", suite)
                sealed_at.append(EPOCH)
            kept = session.scalar(select(LedgerNode.hash).where(LedgerNode.level == 0, LedgerNode.index == sealed.position))
            if kept != present:
                findings.append(_finding(f"batch:{sealed.batch_no}", kept or b"", present))
                if batch is None:  # either of the two was changed
                    findings.append(_finding(f"seal:{sealed.position}", kept or b"", present))
            append(nodes, lambda level, index: nodes[level, index], sealed.position, present, suite)
            sealed_at.append(sealed.sealed_at)
            newest = sealed.position
        session.expunge_all()
    findings += [_finding(f"seal:{place}", b"", found) for place, found in recorded.items()]
    return findings + _check_nodes(session, nodes) + _check_checkpoints(session, nodes, sealed_at, suite, key)


def _check_records(session: Session, suite: Suite) -> tuple[list[Finding], dict[int, bytes]]:
    """What differs among accounts and refusals; and the root over the records of each position that has any."""
    kept: dict[int, list[bytes]] = {}
    for record in session.execute(
        select(LedgerRecord.position, LedgerRecord.leaf, LedgerRecord.hash).order_by(LedgerRecord.position, LedgerRecord.leaf)
    ):
        kept.setdefault(record.position, []).append(record.hash)
    accounts = session.scalars(select(AccountRow).execution_options(yield_per=STEP))
    present = {f"account:{row.id}": tree.leaf_hash(account_data(row, suite), suite) for row in accounts}
    refusals = session.scalars(select(RefusedTransfer).execution_options(yield_per=STEP))
    present |= {f"refusal:{row.id}": tree.leaf_hash(refusal_data(row, suite), suite) for row in refusals}
    session.expunge_all()
    sealed = session.execute(select(LedgerRecord.subject, LedgerRecord.hash).order_by(LedgerRecord.position, LedgerRecord.leaf))
    findings = [
        _finding(subject, found, present.get(subject, b"")) for subject, found in sealed if present.get(subject) != found
    ]
    return findings, {position: tree.root(hashes, suite) for position, hashes in kept.items()}


def _check_nodes(session: Session, nodes: dict[tuple[int, int], bytes]) -> list[Finding]:
    """What differs between the nodes as they are kept and as the leaves make them."""
    findings, left = [], dict(nodes)
    for level, index, kept in session.execute(
        select(LedgerNode.level, LedgerNode.index, LedgerNode.hash).order_by(LedgerNode.level, LedgerNode.index)
    ):
        present = left.pop((level, index), b"")
        if present != kept:
            findings.append(_finding(f"node:{level}/{index}", kept, present))
    return findings + [_finding(f"node:{level}/{index}", b"", found) for (level, index), found in left.items()]


def _check_checkpoints(
    session: Session, nodes: dict[tuple[int, int], bytes], sealed_at: list[datetime], suite: Suite, key: VerifierKey | None
) -> list[Finding]:
    """What differs between the checkpoints as they are kept, as they were signed, and as the leaves make them."""
    findings, before = [], 0
    for row in session.scalars(select(LedgerCheckpoint).order_by(LedgerCheckpoint.size)):
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


def _compare(sealed: LedgerSeal, transfers: list[bytes], hashes: list[bytes], suite: Suite) -> list[Finding]:
    """What differs between a batch as it was sealed and as it is: the transfers that changed, or the batch as a whole."""
    marks = [sealed.marks[place : place + MARK] for place in range(0, len(sealed.marks), MARK)]
    changed = []
    if len(marks) == len(hashes):
        changed = [place for place, (mark, found) in enumerate(zip(marks, hashes, strict=True)) if mark != found[:MARK]]
    if tree.root(hashes, suite) == sealed.root:
        kept = not changed and len(marks) == len(hashes) and sealed.blocks == _blocks(hashes, suite)
        return [] if kept else [_finding(f"seal:{sealed.position}", sealed.marks, b"")]
    if changed:
        return [
            _finding(f"transfer:{UUID(bytes=cbor2.loads(transfers[place])[1])}", marks[place], hashes[place][:MARK])
            for place in changed
        ]
    return [_finding(f"batch:{sealed.batch_no}", sealed.root, tree.root(hashes, suite))]


def _finding(subject: str, expected: bytes, found: bytes) -> Finding:
    return Finding(
        kind=FindingKind.PROOF, subject=subject, expected=expected.hex() or "nothing", found=found.hex() or "nothing"
    )
