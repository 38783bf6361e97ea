"""Identifiers: UUID version 7 (RFC 9562), so that they sort by the time they were made."""

import hashlib
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """A fresh UUIDv7."""
    return uuid7()


def derived_id(at: datetime, *parts: str) -> UUID:
    """The UUIDv7 that always comes from the same instant and business key.

    The 48-bit time is ``at`` in milliseconds; the 74 random bits come from SHA-256 of ``parts``. An action that is
    repeated with the same cause therefore makes the same id, which is what makes it idempotent in the ledger.
    """
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    milliseconds = int(at.timestamp() * 1000)
    value = (milliseconds & (2**48 - 1)) << 80
    value |= 0x7 << 76
    value |= (int.from_bytes(digest[:2], "big") & 0x0FFF) << 64
    value |= 0b10 << 62
    value |= int.from_bytes(digest[2:10], "big") & (2**62 - 1)
    return UUID(int=value)


def instant_of(id_: UUID) -> datetime:
    """The instant inside a UUIDv7, to the millisecond."""
    return datetime.fromtimestamp((id_.int >> 80) / 1000, UTC)
