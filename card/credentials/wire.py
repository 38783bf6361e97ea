"""CBOR as it is read from strangers: one item, bounded, definite lengths, no repeated keys (RFC 8949, section 4.2)."""

import secrets
from io import BytesIO
from typing import Any, Final

import cbor2

from card.credentials.reasons import CredentialRefused, Reason

DEPTH_MAX: Final = 16

# An item is read as the first of a pair, whose second nobody outside this process can write: so one call says where it ends.
_PAIR: Final = b"\x82"
_END: Final = secrets.token_bytes(16)
_CLOSE: Final = b"\x50" + _END


def read(data: bytes) -> Any:
    """The one CBOR item in ``data``; anything else, or anything after it, refuses as ``malformed``."""
    try:
        item, end = cbor2.loads(
            _PAIR + data + _CLOSE, allow_indefinite=False, allow_duplicate_keys=False, max_depth=DEPTH_MAX + 1
        )
        if end == _END:
            return item
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError):
        pass
    return _read_slowly(data)


def _read_slowly(data: bytes) -> Any:
    """As :func:`read`, at half its speed, and it knows what is wrong."""
    source = BytesIO(data)
    try:
        item = cbor2.CBORDecoder(source, allow_indefinite=False, allow_duplicate_keys=False, max_depth=DEPTH_MAX).decode()
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise CredentialRefused(Reason.MALFORMED, f"not CBOR: {error}") from error
    if source.tell() != len(data):
        raise CredentialRefused(Reason.MALFORMED, "bytes after the end")
    return item


def write(item: object) -> bytes:
    """``item`` in deterministic CBOR: the same facts are always the same bytes."""
    return cbor2.dumps(item, canonical=True)


def field(document: Any, key: object, kind: type | tuple[type, ...]) -> Any:
    """``document[key]``, of ``kind``; refuses as ``malformed`` where it is missing or something else (a bool is no int)."""
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise CredentialRefused(Reason.MALFORMED, f"field {key!r}")
    return found
