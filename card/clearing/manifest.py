"""A clearing file: records in Parquet, sorted by id, and the manifest that commits to them. Pure."""

import hashlib
import io
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from app.kernel.db import Json
from card.clearing.rules import SCHEME, BadClearingFile, Charge, charge_from

TYPE: Final = "clearing-manifest+jwt"
BUCKETS: Final = 4096
ROWS_MAX: Final = 1_000_000  # that a received file may hold
ROWS_CUT: Final = 150_000  # that a file of ours holds: some 70 bytes each on the way, and a message may have 16 MiB
SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("issuer", pa.string()),
        ("acquirer", pa.string()),
        ("amount_minor", pa.int64()),
        ("kind", pa.string()),
        ("card_number", pa.string()),
        ("reference", pa.string()),
        ("terminal_id", pa.string()),
        ("counter", pa.int64()),
        ("event_at", pa.timestamp("us", tz="UTC")),
        ("accepted_at", pa.timestamp("us", tz="UTC")),
        ("window", pa.date32()),
    ]
)


def leaf(charge: Charge) -> bytes:
    """The canonical bytes of what both sides must see alike; a side's own ``reference`` and ``event_at`` are not in it."""
    facts = [
        str(charge.id),
        charge.acquirer,
        charge.issuer,
        charge.amount_minor,
        charge.kind,
        charge.card_number,
        charge.terminal_id,
        charge.counter,
        int(charge.accepted_at.timestamp() * 1000),
    ]
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode()


def root(leaves: Sequence[bytes]) -> str:
    """The Merkle tree hash of RFC 6962, section 2.1, in hexadecimal."""
    return _tree([hashlib.sha256(b"\x00" + item).digest() for item in leaves]).hex()


def _tree(level: list[bytes]) -> bytes:
    if not level:
        return hashlib.sha256(b"").digest()
    while len(level) > 1:  # pairing level by level gives the RFC's tree: an odd last node rises unchanged
        paired = [hashlib.sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]
    return level[0]


def bucket(charge: Charge) -> str:
    """One of 4,096 buckets, by the hash of the id, as three hexadecimal digits."""
    return hashlib.sha256(charge.id.bytes).hexdigest()[:3]


def buckets(charges: Sequence[Charge]) -> dict[str, str]:
    """The digest of each bucket that is not empty, over its leaves in the order of their ids."""
    found: dict[str, list[bytes]] = {}
    for charge in ordered(charges):
        found.setdefault(bucket(charge), []).append(hashlib.sha256(leaf(charge)).digest())
    return {name: hashlib.sha256(b"".join(found[name])).hexdigest() for name in sorted(found)}


def ordered(charges: Sequence[Charge]) -> list[Charge]:
    """By id: the order of the file and of the tree."""
    return sorted(charges, key=lambda charge: (charge.id, charge.accepted_at, charge.amount_minor))


def table(charges: Sequence[Charge]) -> pa.Table:
    """Charges as an Arrow table, by id."""
    rows = ordered(charges)
    columns = {name: [getattr(row, name) if name != "id" else str(row.id) for row in rows] for name in SCHEMA.names}
    return pa.table(columns, schema=SCHEMA)


def to_parquet(charges: Sequence[Charge]) -> bytes:
    """The records of a file."""
    out = io.BytesIO()
    pq.write_table(table(charges), out, compression="zstd")
    return out.getvalue()


def from_parquet(content: bytes) -> list[Charge]:
    """The records of a received file; raises :class:`BadClearingFile`."""
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        if file.metadata.num_rows > ROWS_MAX:
            raise BadClearingFile(f"{file.metadata.num_rows} records are more than a file may hold")
        read = file.read()
    except (pa.ArrowException, OSError) as error:
        raise BadClearingFile(f"not Parquet: {error}") from error
    if set(read.schema.names) != set(SCHEMA.names):
        raise BadClearingFile("the columns are not those of the interoperability profile")
    return [charge_from(row) for row in read.to_pylist()]


def build(
    charges: Sequence[Charge],
    records: bytes,
    *,
    acquirer: str,
    issuer: str,
    window: date,
    number: int,
    previous: str | None,
    cut_off: datetime,
    kid: str,
) -> Json:
    """The manifest: everything the issuer needs to tell whether the records are whole, and whether they are its own view."""
    return {
        "scheme": SCHEME,
        "acquirer": acquirer,
        "issuer": issuer,
        "window": window.isoformat(),
        "number": number,
        "count": len(charges),
        "sum_minor": sum(charge.amount_minor for charge in charges),
        "root": root([leaf(charge) for charge in ordered(charges)]),
        "buckets": buckets(charges),
        "bucket_count": BUCKETS,
        "records_sha256": hashlib.sha256(records).hexdigest(),
        "previous": previous,
        "cut_off": cut_off.astimezone(UTC).isoformat(),
        "key": kid,
    }


def digest(manifest: Json) -> str:
    """The manifest's hash: what the next file names as its predecessor."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check(manifest: Json, records: bytes) -> list[Charge]:
    """The records where they are exactly what the manifest commits to; raises :class:`BadClearingFile` with what differs."""
    charges = from_parquet(records)
    found = {
        "scheme": SCHEME,
        "count": len(charges),
        "sum_minor": sum(charge.amount_minor for charge in charges),
        "root": root([leaf(charge) for charge in ordered(charges)]),
        "buckets": buckets(charges),
        "records_sha256": hashlib.sha256(records).hexdigest(),
    }
    for name, value in found.items():
        if manifest.get(name) != value:
            raise BadClearingFile(f"{name} is not what the records give")
    return charges
