"""What is hashed: the bytes of a transfer, an account, a refusal and a batch, written by the database and read by anybody.

Pure. The database writes them itself (``…_sql``), because then a leaf costs the sealer an answer of 32 bytes instead of a row
to fetch, decode and encode again. Anybody's program reads them with nothing else at hand (``read``); where a month is in the
archive, :meth:`TransferLeaf.write` gives the same bytes from its file.

Numbers are signed and big-endian. An instant is microseconds since 2000-01-01T00:00Z, as PostgreSQL keeps it. Text is UTF-8 and
has no zero byte in it (PostgreSQL allows none), so a zero byte ends it; metadata is as PostgreSQL prints ``jsonb``. Every leaf
begins with the number of its suite and a letter for what it is. ``docs/reference/ledger.md`` has them as tables.
"""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from card.ledger.tree import LEAF, BadProof, Suite

TRANSFER: Final = b"T"
ACCOUNT: Final = b"A"
REFUSAL: Final = b"R"
BATCH: Final = b"B"
DEBIT_AFTER: Final = 1  # bits of a transfer's third byte: which running balances follow
CREDIT_AFTER: Final = 2
REVERSES: Final = b"\x00r"  # what follows behind the reference
METADATA: Final = b"\x00m"
END: Final = b"\x00"  # of a text

HEAD: Final = struct.Struct(">Bc")
RUNNING: Final = struct.Struct(">q")
TRANSFER_BODY: Final = struct.Struct(">h16sqqqq")
ACCOUNT_BODY: Final = struct.Struct(">qhh?qq")
BATCH_BODY: Final = struct.Struct(">qiqqh32s")
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
UNIX_EPOCH_US: Final = (EPOCH - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
UNREADABLE: Final = "the receipt cannot be read"


def instant_us(instant: datetime) -> int:
    """An instant as it is hashed."""
    return (instant - EPOCH) // timedelta(microseconds=1)


def instant_at(microseconds: int) -> datetime:
    """The instant that was hashed as ``microseconds``. Raises :class:`BadProof` where no calendar has it."""
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError as error:
        raise BadProof(UNREADABLE) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferLeaf:
    """A transfer as it is hashed. Where it stands, its batch and its place there, is what the tree says of it."""

    id: UUID
    debit: int
    credit: int
    amount_minor: int
    code: int
    event_us: int
    debit_after_minor: int | None
    credit_after_minor: int | None
    reference: str
    metadata: str | None
    reverses: UUID | None

    def write(self, suite: Suite) -> bytes:
        """The bytes that the database writes for it."""
        shape, running = 0, b""
        for bit, after in ((DEBIT_AFTER, self.debit_after_minor), (CREDIT_AFTER, self.credit_after_minor)):
            if after is not None:
                shape, running = shape | bit, running + RUNNING.pack(after)
        body = TRANSFER_BODY.pack(self.code, self.id.bytes, self.debit, self.credit, self.amount_minor, self.event_us)
        data = HEAD.pack(suite.id, TRANSFER) + bytes([shape]) + running + body + self.reference.encode()
        if self.reverses is not None:
            data += REVERSES + self.reverses.bytes
        return data if self.metadata is None else data + METADATA + self.metadata.encode()

    @classmethod
    def read(cls, data: bytes) -> "TransferLeaf":
        """What the bytes say. Raises :class:`BadProof`."""
        try:
            shape, at, running = data[HEAD.size], HEAD.size + 1, dict[int, int]()
            for bit in (DEBIT_AFTER, CREDIT_AFTER):
                if shape & bit:
                    (running[bit],) = RUNNING.unpack_from(data, at)
                    at += RUNNING.size
            code, id_, debit, credit, amount, event = TRANSFER_BODY.unpack_from(data, at)
            reference, _, _ = data[at + TRANSFER_BODY.size :].partition(END)
            rest, reverses = data[at + TRANSFER_BODY.size + len(reference) :], None
            if rest.startswith(REVERSES):
                reverses, rest = UUID(bytes=rest[len(REVERSES) :][:16]), rest[len(REVERSES) + 16 :]
            return cls(
                id=UUID(bytes=id_),
                debit=debit,
                credit=credit,
                amount_minor=amount,
                code=code,
                event_us=event,
                debit_after_minor=running.get(DEBIT_AFTER),
                credit_after_minor=running.get(CREDIT_AFTER),
                reference=reference.decode(),
                metadata=rest.removeprefix(METADATA).decode() if rest.startswith(METADATA) else None,
                reverses=reverses,
            )
        except (struct.error, IndexError, ValueError) as error:
            raise BadProof(UNREADABLE) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountLeaf:
    """An account as it is hashed: the name behind the number that transfers carry."""

    id: int
    shard: int
    ledger: int
    guarded: bool
    floor_minor: int
    opened_us: int
    currency: str
    kind: str
    key: str

    @classmethod
    def read(cls, data: bytes) -> "AccountLeaf":
        """What the bytes say. Raises :class:`BadProof`."""
        try:
            id_, shard, ledger, guarded, floor, opened = ACCOUNT_BODY.unpack_from(data, HEAD.size)
            currency, kind, key = data[HEAD.size + ACCOUNT_BODY.size :].decode().split(END.decode())
        except (struct.error, ValueError) as error:
            raise BadProof(UNREADABLE) from error
        return cls(
            id=id_,
            shard=shard,
            ledger=ledger,
            guarded=guarded,
            floor_minor=floor,
            opened_us=opened,
            currency=currency,
            kind=kind,
            key=key,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLeaf:
    """A batch as it is hashed, a leaf of the city's tree: the root over its transfers, and over what was sealed with it."""

    batch_no: int
    transfers: int
    total_minor: int
    posted_us: int
    shard: int
    root: bytes
    records: bytes

    def write(self, suite: Suite) -> bytes:
        """The bytes that are hashed. ``records`` come last: 32 bytes, or none."""
        facts = (self.batch_no, self.transfers, self.total_minor, self.posted_us, self.shard, self.root)
        return HEAD.pack(suite.id, BATCH) + BATCH_BODY.pack(*facts) + self.records

    @classmethod
    def read(cls, data: bytes) -> "BatchLeaf":
        """What the bytes say. Raises :class:`BadProof`."""
        try:
            number, transfers, total, posted, shard, root = BATCH_BODY.unpack_from(data, HEAD.size)
        except struct.error as error:
            raise BadProof(UNREADABLE) from error
        return cls(
            batch_no=number,
            transfers=transfers,
            total_minor=total,
            posted_us=posted,
            shard=shard,
            root=root,
            records=data[HEAD.size + BATCH_BODY.size :],
        )


def suite_of(data: bytes, letter: bytes) -> int:
    """The number of the suite with which a leaf begins that must be of the kind ``letter``. Raises :class:`BadProof`."""
    try:
        number, found = HEAD.unpack_from(data)
    except struct.error as error:
        raise BadProof(UNREADABLE) from error
    if found != letter:
        raise BadProof(UNREADABLE)
    return int(number)


# The same in SQL. The aliases are those of the statements: ``t`` a transfer, ``a`` an account, ``f`` a refusal.


def _bytes(value: bytes) -> str:
    return f"'\\x{value.hex()}'::bytea"


def _text(column: str) -> str:
    # Not textsend(): that would follow the encoding of whoever asks.
    return f"convert_to({column}, 'UTF8')"


def _tail(alias: str) -> str:
    """Reference, what it reverses, metadata: mostly the first alone, so the others cost nothing."""
    return f"""CASE WHEN {alias}.metadata IS NULL AND {alias}.reverses IS NULL THEN {_text(f"{alias}.reference")}
    ELSE {_text(f"{alias}.reference")}
      || CASE WHEN {alias}.reverses IS NULL THEN ''::bytea ELSE {_bytes(REVERSES)} || uuid_send({alias}.reverses) END
      || CASE WHEN {alias}.metadata IS NULL THEN ''::bytea ELSE {_bytes(METADATA)} || {_text(f"{alias}.metadata::text")} END
  END"""


class InSql(Protocol):
    """Writes the expression for the bytes of a leaf of ``suite``, behind ``before``."""

    def __call__(self, suite: Suite, *, before: bytes = b"") -> str:
        """The expression."""


def hashed_sql(expression: InSql, suite: Suite) -> str:
    """What the sealer asks the database for: the hash of the leaf where it can take it, else the bytes to hash."""
    return f"{suite.in_sql}({expression(suite, before=LEAF)})" if suite.in_sql else expression(suite)


def transfer_sql(suite: Suite, *, before: bytes = b"") -> str:
    """The bytes of the transfer ``t``. The case comes first, so that a balance that is not there costs nothing."""
    head = [_bytes(before + HEAD.pack(suite.id, TRANSFER) + bytes([shape])) for shape in range(4)]
    debit, credit = "int8send(t.debit_after_minor)", "int8send(t.credit_after_minor)"
    return f"""CASE WHEN t.debit_after_minor IS NULL
    THEN CASE WHEN t.credit_after_minor IS NULL THEN {head[0]} ELSE {head[CREDIT_AFTER]} || {credit} END
    ELSE CASE WHEN t.credit_after_minor IS NULL THEN {head[DEBIT_AFTER]} || {debit} ELSE {head[3]} || {debit} || {credit} END
  END || int2send(t.code) || uuid_send(t.id) || int8send(t.debit) || int8send(t.credit) || int8send(t.amount_minor)
  || timestamptz_send(t.event_at) || {_tail("t")}"""


def account_sql(suite: Suite, *, before: bytes = b"") -> str:
    """The bytes of the account ``a``."""
    texts = f" || {_bytes(END)} || ".join(_text(f"a.{column}") for column in ("currency", "kind", "key"))
    return f"""{_bytes(before + HEAD.pack(suite.id, ACCOUNT))} || int8send(a.id) || int2send(a.shard) || int2send(a.ledger)
  || boolsend(a.guarded) || int8send(a.floor_minor) || timestamptz_send(a.opened_at) || {texts}"""


def refusal_sql(suite: Suite, *, before: bytes = b"") -> str:
    """The bytes of the refusal ``f``."""
    return f"""{_bytes(before + HEAD.pack(suite.id, REFUSAL))} || int2send(f.code) || uuid_send(f.id) || int8send(f.debit)
  || int8send(f.credit) || int8send(f.amount_minor) || timestamptz_send(f.event_at) || timestamptz_send(f.refused_at)
  || int2send(f.shard) || {_text("f.refusal")} || {_bytes(END)} || {_tail("f")}"""
