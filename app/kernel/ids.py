"""Identifiers: UUID version 7 (RFC 9562), so that they sort by the time they were made."""

import hashlib
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """A fresh UUIDv7."""
    return uuid7()


_TIME, _VERSION, _RANDOM_A, _VARIANT, _RANDOM_B = 2**48 - 1, 0x7 << 76, 0x0FFF, 0b10 << 62, 2**62 - 1


def derived_id(at: datetime, *parts: str) -> UUID:
    """The UUIDv7 that always comes from the same instant and business key.

    The 48-bit time is ``at`` in milliseconds; the 74 random bits come from SHA-256 of ``parts``. An action that is
    repeated with the same cause therefore makes the same id, which is what makes it idempotent in the ledger.
    """
    return UUID(int=_derived(at, parts))


def derived_text(at: datetime, *parts: str) -> str:
    """As :func:`derived_id`, written out: for rows by the thousand."""
    digits = f"{_derived(at, parts):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _derived(at: datetime, parts: tuple[str, ...]) -> int:
    random = int.from_bytes(hashlib.sha256("\x1f".join(parts).encode()).digest()[:10], "big")
    milliseconds = int(at.timestamp() * 1000) & _TIME
    return milliseconds << 80 | _VERSION | (random >> 64 & _RANDOM_A) << 64 | _VARIANT | random & _RANDOM_B


def instant_of(id_: UUID) -> datetime:
    """The instant inside a UUIDv7, to the millisecond."""
    return datetime.fromtimestamp((id_.int >> 80) / 1000, UTC)
