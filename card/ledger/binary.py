"""What posting sends, in PostgreSQL's own binary form: arrays of whole numbers and ids, and rows for ``COPY``.

A batch has thousands of rows, and turning each value into text for the server to parse again would cost more than booking it.
Formats: the ``*_send`` functions of PostgreSQL and "Binary Format" under ``COPY``. All numbers are big-endian; a value is its
length and its bytes, and the length −1 alone is a null.
"""

import json
import struct
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from card.ledger.rules import Transfer

BIGINT, UUID_OID, BIGINT_ARRAY, UUID_ARRAY = 20, 2950, 1016, 2951
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL counts microseconds from here
NULL: Final = b"\xff\xff\xff\xff"


class BigInts(bytes):
    """A ``bigint[]`` parameter."""

    __slots__ = ()


class Uuids(bytes):
    """A ``uuid[]`` parameter."""

    __slots__ = ()


class _BigIntsDumper(Dumper):
    format = Format.BINARY
    oid = BIGINT_ARRAY

    def dump(self, obj: bytes) -> bytes:
        """It is in its form already."""
        return obj


class _UuidsDumper(_BigIntsDumper):
    oid = UUID_ARRAY


psycopg.adapters.register_dumper(BigInts, _BigIntsDumper)
psycopg.adapters.register_dumper(Uuids, _UuidsDumper)


def _array_head(count: int, oid: int) -> bytes:
    """One dimension from 1, no nulls."""
    return struct.pack(">iiiii", 1, 0, oid, count, 1)


def bigints(values: Collection[int]) -> BigInts:
    """``values`` as a ``bigint[]``."""
    count = len(values)
    flat = [8] * (2 * count)
    flat[1::2] = values
    return BigInts(_array_head(count, BIGINT) + struct.pack(">" + "iq" * count, *flat))


def uuids(values: Collection[UUID]) -> Uuids:
    """``values`` as a ``uuid[]``."""
    if not values:
        return Uuids(_array_head(0, UUID_OID))
    length = b"\x00\x00\x00\x10"
    return Uuids(_array_head(len(values), UUID_OID) + length + length.join([value.bytes for value in values]))


def microseconds(instant: datetime) -> int:
    """``instant`` as PostgreSQL counts it."""
    since = instant - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


COPY_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END: Final = b"\xff\xff"
TRANSFER_COLUMNS: Final = (
    "id, place, debit, credit, amount_minor, event_at, debit_after_minor, credit_after_minor, shard, code, reference, metadata,"
    " reverses"
)
_PLAIN_TAIL: Final = bytes(4) + NULL + NULL  # no reference, no metadata, reverses nothing
# Up to the balances, which are there for guarded sides only; then shard and code; then the tail.
_HEAD: Final = struct.Struct(">hi16siqiqiqiqiq").pack
_BOTH: Final = struct.Struct(">iqiqihih").pack
_DEBIT: Final = struct.Struct(">iqiihih").pack
_CREDIT: Final = struct.Struct(">iiqihih").pack
_NEITHER: Final = struct.Struct(">iiihih").pack


def transfer_row(transfer: Transfer, place: int, shard: int, debit_after: int | None, credit_after: int | None) -> bytes:
    """A row of ``card.transfer`` for ``COPY``."""
    code = transfer.code
    if credit_after is None:
        rest = _NEITHER(-1, -1, 2, shard, 2, code) if debit_after is None else _DEBIT(8, debit_after, -1, 2, shard, 2, code)
    elif debit_after is None:
        rest = _CREDIT(-1, 8, credit_after, 2, shard, 2, code)
    else:
        rest = _BOTH(8, debit_after, 8, credit_after, 2, shard, 2, code)
    event = microseconds(transfer.event_at)
    head = _HEAD(
        13, 16, transfer.id.bytes, 8, place, 8, transfer.debit, 8, transfer.credit, 8, transfer.amount_minor, 8, event
    )  # fmt: skip
    if transfer.reference or transfer.metadata or transfer.reverses:
        return head + rest + _tail(transfer)
    return head + rest + _PLAIN_TAIL


def _tail(transfer: Transfer) -> bytes:
    """The columns of a transfer that many do not use."""
    words = transfer.reference.encode()
    details = b"\x01" + json.dumps(transfer.metadata, ensure_ascii=False).encode() if transfer.metadata else b""
    return b"".join(
        (
            struct.pack(">i", len(words)),
            words,
            struct.pack(">i", len(details)) + details if details else NULL,
            struct.pack(">i", 16) + transfer.reverses.bytes if transfer.reverses else NULL,
        )
    )


def copied(rows: Iterable[bytes]) -> bytes:
    """All that ``COPY … (FORMAT binary)`` is sent."""
    return b"".join((COPY_HEAD, *rows, COPY_END))
