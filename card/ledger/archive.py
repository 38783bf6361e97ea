"""Old months leave the database with their proofs: written to files, verified against the seals, detached, dropped.

A month is the range of its ids (UUIDv7, UTC). Its files stand in the city's data folder under ``ledger/2026-01``; the manifest,
signed by the city, commits to them byte by byte. What stays in the database is small: that the month is archived (so that none
of its ids can be used again), how much of which batch it holds, and for each account the runs of consecutive transfers that
left, with their sums and the balance behind them. So balances, the chain of running balances and ``check-books`` go on as
  before.

Only the owner of the database can detach a month; the application cannot.
"""

import base64
import hashlib
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Row, insert, select, text
from sqlalchemy.orm import Session

from app.kernel import signing
from app.kernel.city import City
from app.kernel.db import Json
from app.kernel.errors import Conflict, msg
from app.kernel.signing import Purpose
from card.ledger import history, leaves, proofs, shelf, tree
from card.ledger.models import LedgerArchive, LedgerCheckpoint, LedgerNode
from card.ledger.rules import Finding, FindingKind, TransferCode, batch_of, leaf_of, place_of
from card.ledger.shelf import ArchiveUnavailable, Month, UnknownMonth, folder_of, instant

MONTHS: Final = "ledger_months"  # the schema of the partitions
KEPT: Final = 2  # whole months before the present one that never leave
BLOCK: Final = 8 << 20  # bytes of text turned into columns at once
GROUP: Final = 65_536  # rows of a Parquet row group
HASH: Final = 32


class MonthTooYoung(Conflict):
    """The month is not over, or not for long enough: late transfers still come into it."""

    code = "month-too-young"
    sentence = msg("Transfers may still come into this month. It can be archived once two more months have passed.")


class MonthNotSealed(Conflict):
    """A batch with a transfer of the month is not in a signed checkpoint yet."""

    code = "month-not-sealed"
    sentence = msg("Not all of this month is sealed yet. Try again when the sealer has caught up.")


class MonthMoved(Conflict):
    """Transfers came into the month while it was written; nothing was detached."""

    code = "month-moved"
    sentence = msg("Transfers came into this month while it was being written. Nothing was changed; run it again.")


class ArchiveDamaged(Conflict):
    """The files of an archived month are not what the city signed."""

    code = "archive-damaged"
    sentence = msg("The archived files of this month are not what the city signed.")


def may_leave(month: Month, now: datetime) -> bool:
    """Whether ``KEPT`` whole months have passed since the month ended."""
    for _ in range(KEPT + 1):
        month = month.next
    return month.first <= now.astimezone(UTC).date()


# Writing


class _Copied(io.RawIOBase):
    """The text of a running ``COPY … TO STDOUT`` as a file, so that nothing is kept in memory."""

    def __init__(self, copy: Any) -> None:
        self._copy, self._rest = copy, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        pieces, length = [self._rest], len(self._rest)
        while size < 0 or length < size:
            piece = bytes(self._copy.read())
            if not piece:
                break
            pieces.append(piece)
            length += len(piece)
        whole = b"".join(pieces)
        self._rest = b"" if size < 0 else whole[size:]
        return whole if size < 0 else whole[:size]


EXPORT: Final = """
COPY (
  SELECT t.id, t.place, t.shard, t.debit, t.credit, d.key, c.key, t.amount_minor, t.code,
    (extract(epoch FROM t.event_at) * 1000000)::bigint, (extract(epoch FROM b.posted_at) * 1000000)::bigint,
    t.debit_after_minor, t.credit_after_minor, t.reference, t.metadata::text, t.reverses
  FROM {table} t
    LEFT JOIN card.account d ON d.id = t.debit AND d.shard = t.shard
    LEFT JOIN card.account c ON c.id = t.credit AND c.shard = t.shard
    LEFT JOIN card.ledger_batch b ON b.batch_no = t.place >> 20 AND b.shard = t.shard
  ORDER BY t.id
) TO STDOUT (FORMAT csv)
"""


def _export(session: Session, month: Month) -> Iterator[pa.RecordBatch]:
    """The month's rows in the order of their ids, in columns."""
    connection = session.connection().connection.driver_connection
    assert connection is not None
    statement = EXPORT.format(table=f"{MONTHS}.{month.partition}")
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        yield from pyarrow.csv.open_csv(
            pa.PythonFile(_Copied(copy), mode="r"),
            read_options=pyarrow.csv.ReadOptions(column_names=history.SCHEMA.names, block_size=BLOCK),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=history.SCHEMA, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
            ),
        )


class _Growing:
    """The root of an RFC 6962 tree whose leaves come one by one; it keeps one hash a level."""

    def __init__(self) -> None:
        self._full: list[tuple[int, bytes]] = []  # (size, hash) of full subtrees, the largest first

    def add(self, leaf: bytes) -> None:
        size, found = 1, leaf
        while self._full and self._full[-1][0] == size:
            size, found = size * 2, tree.node_hash(self._full.pop()[1], found)
        self._full.append((size, found))

    @property
    def root(self) -> bytes:
        if not self._full:
            return tree.root([])
        found = self._full[-1][1]
        for _, left in reversed(self._full[:-1]):
            found = tree.node_hash(left, found)
        return found


class _Tally:
    """What is counted while a month's rows go by, in the order of their ids.

    ``own`` is how many transfers of each batch the month has. A batch's transfers come close together, so a batch is folded
    into its root as soon as the last one came; only of ``shared`` batches, which other months have a part of, the hashes are
    kept.
    """

    def __init__(self, own: Mapping[int, int], shared: Collection[int]) -> None:
        self.rows = self.total_minor = 0
        self.first, self.last, self.newest_id = -1, -1, ""
        self.codes: dict[int, list[int]] = {}
        self.leaves: dict[int, dict[int, bytes]] = {}  # batch → leaf → hash
        self.roots: dict[int, bytes] = {}
        self.root = _Growing()
        self._own, self._shared = own, shared

    def take(self, part: pa.RecordBatch) -> None:
        """Count and hash the rows of a record batch. Raises :class:`ArchiveDamaged` when they are not in order."""
        for row in part.to_pylist():
            if row["id"] <= self.newest_id:
                raise ArchiveDamaged(f"{row['id']} is not in order")
            self.newest_id = row["id"]
            place, amount = row["place"], row["amount_minor"]
            self.first = place if self.first < 0 else min(place, self.first)
            self.last = max(place, self.last)
            self.rows += 1
            self.total_minor += amount
            code = self.codes.setdefault(row["code"], [0, 0])
            code[0] += 1
            code[1] += amount
            found = tree.leaf_hash(proofs.archived_data(row))
            self.root.add(found)
            batch_no = batch_of(place)
            leaves = self.leaves.setdefault(batch_no, {})
            leaves[leaf_of(place)] = found
            if len(leaves) == self._own.get(batch_no) and batch_no not in self._shared:
                self.roots[batch_no] = tree.root([leaves[leaf] for leaf in sorted(leaves)])
                del self.leaves[batch_no]

    @property
    def by_code(self) -> dict[str, list[int]]:
        """Slug of the code → how many, and what they come to in fen."""
        return {TransferCode(code).slug: counted for code, counted in sorted(self.codes.items())}


def write(session: Session, city: City, month: Month, *, now: datetime) -> Json:
    """Write the files of a month, verify them, and answer the manifest. The database is only read.

    ``session`` is the owner's. Raises :class:`MonthTooYoung`, :class:`UnknownMonth`, :class:`MonthNotSealed`.
    """
    if not may_leave(month, now):
        raise MonthTooYoung(month.name)
    if session.scalar(text("SELECT to_regclass(:name)"), {"name": f"{MONTHS}.{month.partition}"}) is None:
        raise UnknownMonth(month.name)
    folder = folder_of(city, month)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    own = _own(session, month)
    tally = _Tally({row.batch_no: row.own for row in own}, {row.batch_no for row in own if row.own < row.transfers})
    with pq.ParquetWriter(folder / history.TRANSFERS, history.SCHEMA, compression="zstd") as writer:
        for part in _export(session, month):
            tally.take(part)
            writer.write_batch(part, row_group_size=GROUP)
    checkpoint = session.scalars(select(LedgerCheckpoint).order_by(LedgerCheckpoint.size.desc()).limit(1)).one_or_none()
    batches = _batches(session, own, tally, size=checkpoint.size if checkpoint else 0)
    pq.write_table(pa.Table.from_pylist(batches, schema=history.BATCH_SCHEMA), folder / history.BATCHES, compression="zstd")
    key = city.key(Purpose.ARCHIVE)
    manifest: Json = {
        "format": history.FORMAT,
        "city": city.code,
        "month": month.name,
        "id_from": str(month.id_floor),
        "id_to": str(month.next.id_floor),
        "transfers": tally.rows,
        "total_minor": tally.total_minor,
        "by_code": tally.by_code,
        "place_first": max(tally.first, 0),
        "place_last": max(tally.last, 0),
        "root": tally.root.root.hex(),
        "batches": len(batches),
        "batches_root": tree.root([tree.leaf_hash(found["root"]) for found in batches]).hex(),
        "checkpoint": checkpoint.note if checkpoint else "",
        "files": {name: _digest(folder / name) for name in (history.TRANSFERS, history.BATCHES)},
        "made_at": now.astimezone(UTC).isoformat(),
        "key": key.kid,
    }
    (folder / history.MANIFEST).write_text(signing.sign_jws(key, manifest, typ=history.TYPE))
    findings = verify(folder, {key.kid: key.public})
    if findings:
        raise ArchiveDamaged("; ".join(f"{found.subject}: {found.found}" for found in findings[:5]))
    return manifest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


OWN: Final = """
SELECT own.batch_no, own.shard, own.own, b.transfers, b.total_minor, b.posted_at, s.position, s.root, s.records
FROM (SELECT place >> 20 AS batch_no, shard, count(*) AS own FROM {table} GROUP BY 1, 2) own
  LEFT JOIN card.ledger_batch b ON b.batch_no = own.batch_no AND b.shard = own.shard
  LEFT JOIN card.ledger_seal s ON s.batch_no = own.batch_no
ORDER BY own.batch_no
"""


def _own(session: Session, month: Month) -> Sequence[Row[Any]]:
    """Each batch that has a transfer in the month, and how many. Raises :class:`MonthNotSealed`."""
    found = session.execute(text(OWN.format(table=f"{MONTHS}.{month.partition}"))).all()
    for row in found:
        if row.position is None or row.transfers is None:
            raise MonthNotSealed(f"batch {row.batch_no}")
    return found


def _batches(session: Session, own: Sequence[Row[Any]], tally: _Tally, *, size: int) -> list[dict[str, Any]]:
    """A row for each batch with a transfer in the month; every one must come out with the root that it was sealed with."""
    fetch = _nodes(session, [row.position for row in own])
    found = []
    for row in own:
        if row.position >= size:
            raise MonthNotSealed(f"batch {row.batch_no}")
        hashes = None
        if row.own < row.transfers:
            whole = {**_elsewhere(session, row.batch_no), **tally.leaves.get(row.batch_no, {})}
            hashes = [whole[leaf] for leaf in sorted(whole)]
        if (tree.root(hashes) if hashes is not None else tally.roots.get(row.batch_no)) != row.root:
            raise ArchiveDamaged(f"batch {row.batch_no} is not what was sealed")
        found.append(
            {
                "batch_no": row.batch_no,
                "shard": row.shard,
                "own": row.own,
                "transfers": row.transfers,
                "total_minor": row.total_minor,
                "posted_at": (row.posted_at - shelf.EPOCH) // timedelta(microseconds=1),
                "position": row.position,
                "root": row.root,
                "records": row.records,
                "path": b"".join(tree.stored_path(fetch, row.position, size)),
                "leaves": b"".join(hashes) if hashes is not None else None,
            }
        )
    return found


def _here_sql() -> str:
    return f"""
SELECT t.place, {leaves.hashed_sql(leaves.transfer_sql, tree.INTERNATIONAL)} AS leaf FROM card.transfer t
WHERE t.place >= :first AND t.place < :after
"""  # noqa: S608


def _elsewhere(session: Session, batch_no: int) -> dict[int, bytes]:
    """The hashes of a batch's transfers that are in the database or in archived months already."""
    here = session.execute(text(_here_sql()), {"first": place_of(batch_no, 0), "after": place_of(batch_no + 1, 0)})
    archived = shelf.of_batch(session, batch_no)
    return {leaf_of(row.place): row.leaf for row in here} | {
        leaf_of(row["place"]): tree.leaf_hash(proofs.archived_data(row)) for row in archived
    }


def _nodes(session: Session, positions: Sequence[int]) -> tree.Fetch:
    """The stored nodes of the tree; those over the month's own batches are read at once, the few others one by one."""
    known: dict[tuple[int, int], bytes] = {}
    if positions:
        rows = session.execute(
            text('SELECT level, "index", hash FROM card.ledger_node WHERE "index" BETWEEN :first >> level AND :last >> level'),
            {"first": min(positions), "last": max(positions)},
        )
        known = {(level, index): bytes(found) for level, index, found in rows}

    def fetch(level: int, index: int) -> bytes:
        if (level, index) not in known:
            found = session.scalar(select(LedgerNode.hash).where(LedgerNode.level == level, LedgerNode.index == index))
            if found is None:
                raise MonthNotSealed(f"node {level}/{index}")
            known[level, index] = found
        return known[level, index]

    return fetch


# Verifying


def read_manifest(folder: Path, keys: Mapping[str, Ed25519PublicKey]) -> Json:
    """The manifest that the city signed. Raises :class:`ArchiveUnavailable`, ``BadSignature``."""
    try:
        token = (folder / history.MANIFEST).read_text()
    except OSError as error:
        raise ArchiveUnavailable(str(folder)) from error
    return signing.read_jws(token, dict(keys), typ=history.TYPE)


def verify(folder: Path, keys: Mapping[str, Ed25519PublicKey]) -> list[Finding]:
    """Read a month's files from the first byte to the last, with nothing but the city's key; what is not as it was signed."""
    manifest = read_manifest(folder, keys)
    findings = []

    def expect(subject: str, expected: object, found: object) -> None:
        if expected != found:
            findings.append(
                Finding(
                    kind=FindingKind.ARCHIVE, subject=f"{subject}:{manifest['month']}", expected=str(expected), found=str(found)
                )
            )

    for name, digest in manifest["files"].items():
        expect(name, digest, _digest(folder / name) if (folder / name).exists() else "nothing")
    if findings:
        return findings
    batches = pq.read_table(folder / history.BATCHES).to_pylist()
    tally = _Tally(
        {found["batch_no"]: found["own"] for found in batches}, {found["batch_no"] for found in batches if found["leaves"]}
    )
    for part in pq.ParquetFile(folder / history.TRANSFERS).iter_batches(GROUP):
        tally.take(part)
    expect("transfers", manifest["transfers"], tally.rows)
    expect("total", manifest["total_minor"], tally.total_minor)
    expect("root", manifest["root"], tally.root.root.hex())
    expect("batches", manifest["batches_root"], tree.root([tree.leaf_hash(found["root"]) for found in batches]).hex())
    expect("codes", manifest["by_code"], tally.by_code)
    for batch in batches:
        number, kept = batch["batch_no"], _hashes(batch["leaves"] or b"")
        expect(f"batch {number}", batch["root"].hex(), (tree.root(kept) if kept else tally.roots.get(number, b"")).hex())
        for leaf, found in tally.leaves.get(number, {}).items():
            expect(f"batch {number} leaf {leaf}", kept[leaf].hex() if leaf < len(kept) else "nothing", found.hex())
        try:
            leading = tree.root_by_path(
                tree.leaf_hash(_batch_leaf(batch)), batch["position"], _size(manifest), _hashes(batch["path"])
            )
        except tree.BadProof:
            leading = b""
        expect(f"batch {number} path", _root(manifest).hex(), leading.hex())
    return findings


def _hashes(joined: bytes) -> list[bytes]:
    return [joined[begin : begin + HASH] for begin in range(0, len(joined), HASH)]


def _batch_leaf(batch: Mapping[str, Any]) -> bytes:
    return proofs.batch_data(
        batch_no=batch["batch_no"],
        transfers=batch["transfers"],
        total_minor=batch["total_minor"],
        posted_at=instant(batch["posted_at"]),
        root=batch["root"],
        records=batch["records"],
        shard=batch["shard"],
    )


def _size(manifest: Json) -> int:
    return int(str(manifest["checkpoint"]).split("\n")[1])


def _root(manifest: Json) -> bytes:
    return base64.b64decode(str(manifest["checkpoint"]).split("\n")[2])


# Detaching


RUNS: Final = """
INSERT INTO card.archived_run (account_id, last_place, shard, month, first_place, debit_minor, credit_minor, transfers,
  after_minor)
WITH month AS (
  SELECT debit AS account_id, shard, place, amount_minor AS debit, 0 AS credit, debit_after_minor AS after FROM {table}
  UNION ALL SELECT credit, shard, place, 0, amount_minor, credit_after_minor FROM {table}),
edge AS (SELECT account_id, shard, min(place) AS first_place, max(place) AS last_place FROM month GROUP BY account_id, shard),
other AS (
  SELECT e.account_id, e.shard, t.place FROM card.transfer t JOIN edge e ON e.account_id = t.debit AND e.shard = t.shard
  WHERE (t.id < :id_from OR t.id >= :id_to) AND t.place > :first AND t.place < :last
    AND t.place > e.first_place AND t.place < e.last_place
  UNION ALL
  SELECT e.account_id, e.shard, t.place FROM card.transfer t JOIN edge e ON e.account_id = t.credit AND e.shard = t.shard
  WHERE (t.id < :id_from OR t.id >= :id_to) AND t.place > :first AND t.place < :last
    AND t.place > e.first_place AND t.place < e.last_place
  UNION ALL
  SELECT r.account_id, r.shard, r.last_place FROM card.archived_run r
    JOIN edge e ON e.account_id = r.account_id AND e.shard = r.shard
  WHERE r.last_place > e.first_place AND r.last_place < e.last_place),
numbered AS (
  SELECT *, sum(CASE WHEN mine THEN 0 ELSE 1 END) OVER (PARTITION BY account_id, shard ORDER BY place) AS run
  FROM (
    SELECT account_id, shard, place, debit, credit, after, true AS mine FROM month
    UNION ALL SELECT account_id, shard, place, 0, 0, NULL, false FROM other) AS every)
SELECT account_id, max(place), shard, :month, min(place), sum(debit), sum(credit), count(*),
  (array_agg(after ORDER BY place DESC))[1]
FROM numbered WHERE mine GROUP BY account_id, shard, run
"""

BATCHES: Final = """
INSERT INTO card.archived_batch (batch_no, month, shard, transfers, total_minor)
SELECT place >> 20, :month, shard, count(*), sum(amount_minor) FROM {table} GROUP BY 1, 3
"""


def detach(session: Session, city: City, month: Month, *, now: datetime) -> None:
    """Take a month that was written out of the books' table, leaving behind what the database must remember of it.

    ``session`` is the owner's, in a transaction of its own; its files are verified once more first. The table stays in the
    schema of the months as ``detached_…`` until :func:`drop`. Raises :class:`ArchiveDamaged`, :class:`MonthMoved`.
    """
    key = city.key(Purpose.ARCHIVE)
    folder = folder_of(city, month)
    manifest = read_manifest(folder, {key.kid: key.public})
    for name, digest in manifest["files"].items():
        if not (folder / name).exists() or _digest(folder / name) != digest:
            raise ArchiveDamaged(f"{month.name}: {name}")
    folded = session.execute(text("SELECT coalesce(max(batch_no), 0) FROM card.ledger_mark")).scalar_one()
    if batch_of(manifest["place_last"]) > folded:
        raise MonthNotSealed(f"{month.name}: not folded into marks to its end")
    table = f"{MONTHS}.{month.partition}"
    session.execute(text("SET LOCAL lock_timeout = '5s'"))
    session.execute(text("SET LOCAL statement_timeout = 0"))
    session.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
    moved = session.execute(text(f"SELECT count(*), coalesce(sum(amount_minor), 0) FROM {table}")).one()  # noqa: S608
    if tuple(map(int, moved)) != (manifest["transfers"], manifest["total_minor"]):
        raise MonthMoved(f"{month.name}: {moved[0]} transfers, {manifest['transfers']} in the archive")
    bounds = {"id_from": month.id_floor, "id_to": month.next.id_floor}
    session.execute(
        text(RUNS.format(table=table)),
        {**bounds, "month": month.first, "first": manifest["place_first"], "last": manifest["place_last"]},
    )
    session.execute(text(BATCHES.format(table=table)), {"month": month.first})
    session.execute(
        insert(LedgerArchive).values(
            month=month.first,
            **bounds,
            place_first=manifest["place_first"],
            place_last=manifest["place_last"],
            transfers=manifest["transfers"],
            total_minor=manifest["total_minor"],
            manifest=(folder / history.MANIFEST).read_text(),
            archived_at=now,
        )
    )
    # From here on the database itself refuses an id of this month: there is no partition, and the default one says no.
    session.execute(
        text(
            f"ALTER TABLE {MONTHS}.transfer_other ADD CONSTRAINT {shelf.CONSTRAINT}{month.first:%Y_%m} "
            f"CHECK (id < '{bounds['id_from']}' OR id >= '{bounds['id_to']}')"
        )
    )
    session.execute(text(f"ALTER TABLE card.transfer DETACH PARTITION {table}"))
    session.execute(text(f"ALTER TABLE {table} RENAME TO detached_{month.first:%Y_%m}"))


def check_archive(session: Session, city: City) -> list[Finding]:
    """Verify every archived month: its files against what the city signed, and that against what the database remembers."""
    key = city.key(Purpose.ARCHIVE)
    findings = []
    for found in shelf.months(session):
        month = Month(first=found.month)
        folder = folder_of(city, month)
        if not (folder / history.MANIFEST).exists():
            findings.append(
                Finding(kind=FindingKind.ARCHIVE, subject=f"month:{month.name}", expected=str(folder), found="nothing")
            )
            continue
        if (folder / history.MANIFEST).read_text() != found.manifest:
            findings.append(
                Finding(kind=FindingKind.ARCHIVE, subject=f"month:{month.name}", expected="its manifest", found="another")
            )
            continue
        findings += verify(folder, {key.kid: key.public})
    return findings


def drop(session: Session, city: City, month: Month) -> None:
    """Drop the detached table of a month whose files still are what the city signed. Raises :class:`ArchiveDamaged`."""
    key = city.key(Purpose.ARCHIVE)
    findings = verify(folder_of(city, month), {key.kid: key.public})
    if findings:
        raise ArchiveDamaged("; ".join(f"{found.subject}: {found.found}" for found in findings[:5]))
    session.execute(text(f"DROP TABLE IF EXISTS {MONTHS}.detached_{month.first:%Y_%m}"))
