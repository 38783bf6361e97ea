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
from typing import Any, Final, cast
from uuid import UUID

import cbor2
from sqlalchemy import Row, and_, func, insert, select, text
from sqlalchemy.orm import Session, aliased

from app.kernel.db import Json
from app.kernel.errors import Unavailable, msg
from app.kernel.signing import Key
from card.ledger import queries, shelf, tree
from card.ledger.models import AccountRow, ArchivedBatch, LedgerBatch, LedgerCheckpoint, LedgerNode, LedgerSeal, TransferRow
from card.ledger.rules import Finding, FindingKind, batch_of, leaf_of, place_of
from card.ledger.tree import Checkpoint, Fetch

FORMAT: Final = "citizen-card-receipt/1"
LOCK: Final = 320_000_003  # one sealer at a time
WINDOW: Final = 20_000  # batches behind the newest sealed one among which stragglers are looked for
STEP: Final = 500  # batches a transaction
MARK: Final = 4  # bytes kept of each transfer's hash
EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class NotSealed(Unavailable):
    """The transfer is booked and its batch is not in a signed checkpoint yet; that takes some seconds."""

    code = "not-sealed"
    sentence = msg("This transfer is booked, and its proof is being made. Try again in a few seconds.")


def origin(city_code: str) -> str:
    """The name of a city's ledger in its checkpoints."""
    return f"ledger.citizen-card/{city_code}"


def _microseconds(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1)


def transfer_data(row: Row[*tuple[Any, ...]]) -> bytes:
    """The canonical bytes of a transfer: deterministic CBOR (RFC 8949 section 4.2) of all that is stored of it."""
    details = json.dumps(row.details, sort_keys=True, ensure_ascii=False, separators=(",", ":")) if row.details else ""
    return cbor2.dumps(
        [
            tree.SUITE,
            row.id.bytes,
            row.batch_no,
            row.leaf,
            row.debit_key,
            row.credit_key,
            row.amount_minor,
            row.code,
            _microseconds(row.event_at),
            row.debit_after_minor,
            row.credit_after_minor,
            row.reference,
            details,
            row.reverses.bytes if row.reverses else None,
        ],
        canonical=True,
    )


@dataclass(slots=True)
class _Row:
    """A transfer as :func:`transfer_data` reads it."""

    id: UUID
    batch_no: int
    leaf: int
    shard: int
    place: int
    debit_key: str | None
    credit_key: str | None
    amount_minor: int
    code: int
    event_at: datetime
    debit_after_minor: int | None
    credit_after_minor: int | None
    reference: str
    details: Json | None
    reverses: UUID | None


def archived_data(row: Mapping[str, Any]) -> bytes:
    """The canonical bytes of an archived transfer: the same that the sealer hashed when it was in the database."""
    found = _Row(
        id=UUID(row["id"]),
        batch_no=batch_of(row["place"]),
        leaf=leaf_of(row["place"]),
        shard=row["shard"],
        place=row["place"],
        debit_key=row["debit_key"],
        credit_key=row["credit_key"],
        amount_minor=row["amount_minor"],
        code=row["code"],
        event_at=shelf.instant(row["event_at"]),
        debit_after_minor=row["debit_after_minor"],
        credit_after_minor=row["credit_after_minor"],
        reference=row["reference"] or "",
        details=json.loads(row["metadata"]) if row["metadata"] else None,
        reverses=UUID(row["reverses"]) if row["reverses"] else None,
    )
    return transfer_data(cast("Any", found))


def batch_data(*, batch_no: int, transfers: int, total_minor: int, posted_at: datetime, root: bytes) -> bytes:
    """The canonical bytes of a batch: a leaf of the tree."""
    return cbor2.dumps([tree.SUITE, batch_no, transfers, total_minor, _microseconds(posted_at), root], canonical=True)


def _rows(session: Session, batches: list[int]) -> Iterator[tuple[int, list[bytes]]]:
    """The canonical transfers of each batch, in the order of ``batch_no``; a batch that lost all its transfers is left out."""
    debit, credit = aliased(AccountRow), aliased(AccountRow)
    query = (
        select(
            TransferRow.id,
            TransferRow.batch_no,
            TransferRow.leaf,
            debit.key.label("debit_key"),
            credit.key.label("credit_key"),
            TransferRow.amount_minor,
            TransferRow.code,
            TransferRow.event_at,
            TransferRow.debit_after_minor,
            TransferRow.credit_after_minor,
            TransferRow.reference,
            TransferRow.details.label("details"),
            TransferRow.reverses,
        )
        .outerjoin(debit, and_(debit.id == TransferRow.debit, debit.shard == TransferRow.shard))
        .outerjoin(credit, and_(credit.id == TransferRow.credit, credit.shard == TransferRow.shard))
        .where(
            TransferRow.place >= place_of(min(batches), 0),
            TransferRow.place < place_of(max(batches) + 1, 0),
            TransferRow.batch_no.in_(batches),
        )
        .order_by(TransferRow.place)
    )
    for batch_no, rows in groupby(session.execute(query), key=lambda row: int(row.batch_no)):
        yield batch_no, [transfer_data(row) for row in rows]


def _batch(session: Session, batch_no: int) -> list[bytes]:
    """The canonical transfers of a batch in order, those in archived months too."""
    found = [data for _, rows in _rows(session, [batch_no]) for data in rows]
    archived = [archived_data(row) for row in shelf.of_batch(session, batch_no)]
    return sorted([*found, *archived], key=lambda data: int(cbor2.loads(data)[3])) if archived else found


def _fetch(session: Session) -> Fetch:
    """The stored nodes of the tree."""

    def node(level: int, index: int) -> bytes:
        found = session.scalar(select(LedgerNode.hash).where(LedgerNode.level == level, LedgerNode.index == index))
        assert found is not None, f"node {level}/{index} is stored before a checkpoint covers it"
        return found

    return node


def seal(session: Session, *, key: Key, city_code: str, now: datetime, window: int | None = WINDOW) -> int:
    """Append up to ``STEP`` committed batches to the tree and sign a checkpoint; how many were appended.

    ``window`` bounds how far behind the newest sealed batch a straggler is looked for; none looks everywhere.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    size, newest = session.execute(
        select(func.coalesce(func.max(LedgerSeal.position) + 1, 0), func.coalesce(func.max(LedgerSeal.batch_no), 0))
    ).one()
    query = select(LedgerBatch).where(~select(LedgerSeal).where(LedgerSeal.batch_no == LedgerBatch.batch_no).exists())
    if window is not None:
        query = query.where(LedgerBatch.batch_no > newest - window)
    batches = session.scalars(query.order_by(LedgerBatch.batch_no).limit(STEP)).all()
    if not batches:
        return 0
    leaves = dict(_rows(session, [batch.batch_no for batch in batches]))
    fetch = _fetch(session)
    nodes: dict[tuple[int, int], bytes] = {}
    seals = []
    for position, batch in enumerate(batches, start=size):
        hashes = [tree.leaf_hash(data) for data in leaves.get(batch.batch_no, [])]
        root = tree.root(hashes)
        seals.append(
            {
                "position": position,
                "batch_no": batch.batch_no,
                "root": root,
                "marks": b"".join(found[:MARK] for found in hashes),
                "sealed_at": now,
            }
        )
        _append(nodes, fetch, position, tree.leaf_hash(_leaf(batch, root)))
    session.execute(insert(LedgerSeal), seals)
    session.execute(
        insert(LedgerNode), [{"level": level, "index": index, "hash": found} for (level, index), found in nodes.items()]
    )
    size += len(batches)
    checkpoint = Checkpoint(origin=origin(city_code), size=size, root=tree.subtree(fetch, 0, size))
    note = tree.signed_note(checkpoint, public=key.public_bytes, sign=key.sign)
    session.execute(
        insert(LedgerCheckpoint).values(size=size, suite=tree.SUITE, root=checkpoint.root, note=note, signed_at=now)
    )
    return len(batches)


def _leaf(batch: LedgerBatch, root: bytes) -> bytes:
    return batch_data(
        batch_no=batch.batch_no,
        transfers=batch.transfers,
        total_minor=batch.total_minor,
        posted_at=batch.posted_at,
        root=root,
    )


def _append(nodes: dict[tuple[int, int], bytes], fetch: Fetch, position: int, leaf: bytes) -> None:
    """Add a leaf to ``nodes`` with every full subtree that it completes."""
    level, index, found = 0, position, leaf
    nodes[level, index] = found
    while index & 1:
        left = nodes.get((level, index - 1)) or fetch(level, index - 1)
        found = tree.node_hash(left, found)
        level, index = level + 1, index >> 1
        nodes[level, index] = found


def newest_checkpoint(session: Session) -> str | None:
    """The newest signed checkpoint as text, or none where nothing was sealed yet."""
    return session.scalar(select(LedgerCheckpoint.note).order_by(LedgerCheckpoint.size.desc()).limit(1))


def consistency_proof(session: Session, *, old: int, size: int) -> list[bytes]:
    """The proof that the checkpoint of ``old`` batches is the beginning of that of ``size``. Raises :class:`NotSealed`."""
    known = session.scalars(select(LedgerCheckpoint.size).where(LedgerCheckpoint.size.in_({old, size}))).all()
    if set(known) != {old, size}:
        raise NotSealed(f"no checkpoints of {old} and {size}")
    return tree.consistency(_fetch(session), old, size)


def receipt(session: Session, transfer_id: UUID) -> dict[str, object]:
    """All that a stranger needs, beside the city's public key, to see that this transfer is in the books.

    Raises ``UnknownTransfer``, :class:`NotSealed`.
    """
    booking = queries.booking(session, transfer_id)
    found = session.execute(
        select(LedgerSeal, LedgerBatch)
        .join(LedgerBatch, LedgerBatch.batch_no == LedgerSeal.batch_no)
        .where(LedgerSeal.batch_no == booking.batch_no)
    ).one_or_none()
    if found is None:
        raise NotSealed(str(transfer_id))
    sealed, batch = found
    newest = session.scalars(select(LedgerCheckpoint).order_by(LedgerCheckpoint.size.desc()).limit(1)).one()
    transfers = _batch(session, booking.batch_no)
    hashes = [tree.leaf_hash(data) for data in transfers]

    def encoded(value: bytes) -> str:
        return base64.b64encode(value).decode()

    return {
        "format": FORMAT,
        "transfer": encoded(transfers[booking.leaf]),
        "transfer_index": booking.leaf,
        "transfer_path": [encoded(sibling) for sibling in tree.path(hashes, booking.leaf)],
        "batch": encoded(_leaf(batch, sealed.root)),
        "batch_index": sealed.position,
        "batch_path": [encoded(sibling) for sibling in tree.stored_path(_fetch(session), sealed.position, newest.size)],
        "checkpoint": newest.note,
    }


def check_proofs(session: Session) -> list[Finding]:
    """Hash every sealed batch again and name each transfer or batch that is not as it was sealed."""
    findings: list[Finding] = []
    newest, nodes = -1, dict[tuple[int, int], bytes]()
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
        leaves = dict(_rows(session, numbers))
        for sealed, batch in page:
            hashes = [tree.leaf_hash(data) for data in leaves.get(sealed.batch_no, [])]
            if sealed.batch_no not in archived:  # those are verified where they are
                findings += _compare(sealed, leaves.get(sealed.batch_no, []), hashes)
            kept = session.scalar(select(LedgerNode.hash).where(LedgerNode.level == 0, LedgerNode.index == sealed.position))
            present = tree.leaf_hash(_leaf(batch, sealed.root)) if batch is not None else b""
            if kept != present:
                findings.append(_finding(f"batch:{sealed.batch_no}", kept or b"", present))
            _append(nodes, lambda level, index: nodes[level, index], sealed.position, present)
        newest = page[-1][0].position
        session.expunge_all()
    for checkpoint in session.scalars(select(LedgerCheckpoint).order_by(LedgerCheckpoint.size)):
        if checkpoint.size > newest + 1:
            findings.append(_finding(f"checkpoint:{checkpoint.size}", checkpoint.root, b""))
            continue
        present = tree.subtree(lambda level, index: nodes[level, index], 0, checkpoint.size)
        if present != checkpoint.root:
            findings.append(_finding(f"checkpoint:{checkpoint.size}", checkpoint.root, present))
    return findings


def _compare(sealed: LedgerSeal, transfers: list[bytes], hashes: list[bytes]) -> list[Finding]:
    """What differs between a batch as it was sealed and as it is: the transfers that changed, or the batch as a whole."""
    if tree.root(hashes) == sealed.root:
        return []
    marks = [sealed.marks[place : place + MARK] for place in range(0, len(sealed.marks), MARK)]
    if len(marks) == len(hashes):
        changed = [place for place, (mark, found) in enumerate(zip(marks, hashes, strict=True)) if mark != found[:MARK]]
        if changed:
            return [
                _finding(f"transfer:{UUID(bytes=cbor2.loads(transfers[place])[1])}", marks[place], hashes[place][:MARK])
                for place in changed
            ]
    return [_finding(f"batch:{sealed.batch_no}", sealed.root, tree.root(hashes))]


def _finding(subject: str, expected: bytes, found: bytes) -> Finding:
    return Finding(kind=FindingKind.PROOF, subject=subject, expected=expected.hex(), found=found.hex() or "nothing")
