"""The journey on the chip: what the last terminal wrote, 32 bytes. Pure."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from card.credentials import TapKind

RECORD_BYTES: Final = 32
REFERENCE_BYTES: Final = 8
NONCE_BYTES: Final = 8
FORM: Final = 1
_KINDS: Final = {TapKind.ENTRY: 1, TapKind.EXIT: 2, TapKind.RIDE: 3}
_KIND_OF: Final = {number: kind for kind, number in _KINDS.items()}


def reference(name: str) -> bytes:
    """The 8 bytes by which a terminal or a stop is named on a card: the head of its SHA-256."""
    return hashlib.sha256(name.encode()).digest()[:REFERENCE_BYTES]


@dataclass(frozen=True, kw_only=True, slots=True)
class Journey:
    """One tap as the card keeps it and signs it.

    ``at`` is the terminal's corrected time, to the second. ``nonce`` is the terminal's, fresh at each tap: a signature that it
    did not ask for is not one that it takes.
    """

    kind: TapKind
    at: datetime
    terminal: bytes
    stop: bytes
    nonce: bytes

    def encoded(self) -> bytes:
        """``form ‖ kind ‖ time (4) ‖ terminal (8) ‖ stop (8) ‖ nonce (8) ‖ 2 bytes of zero``."""
        assert (len(self.terminal), len(self.stop), len(self.nonce)) == (REFERENCE_BYTES, REFERENCE_BYTES, NONCE_BYTES)
        seconds = int(self.at.timestamp()).to_bytes(4, "big")
        return bytes([FORM, _KINDS[self.kind]]) + seconds + self.terminal + self.stop + self.nonce + bytes(2)


def journey_from(record: bytes) -> Journey | None:
    """The journey of 32 bytes; ``None`` for an empty record or a form of later times."""
    if len(record) != RECORD_BYTES or record[0] != FORM or record[1] not in _KIND_OF:
        return None
    return Journey(
        kind=_KIND_OF[record[1]],
        at=datetime.fromtimestamp(int.from_bytes(record[2:6], "big"), tz=UTC),
        terminal=record[6:14],
        stop=record[14:22],
        nonce=record[22:30],
    )
