"""Taps as a terminal records and sends them: one record a tap, chained by hash, sent in signed batches.

The chain runs through all records of one terminal in the order they were written, across restarts: each record carries the
SHA-256 of the one before it, the first 32 zero bytes. The batch is signed by the proof over the request's body (``proofs.py``).
"""

import hashlib
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from card.credentials import wire
from card.credentials.reasons import CredentialRefused, Reason

CHAIN_START: Final = bytes(32)
BATCH_MAX: Final = 5000


class TapKind(StrEnum):
    """Where the card met a terminal."""

    ENTRY = "entry"
    EXIT = "exit"
    RIDE = "ride"  # one tap a journey, as on a bus


class Decision(StrEnum):
    """What the gate did."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tap:
    """One presentation at one terminal. Its key is ``(terminal_id, boot_id, seq)``; ``seq`` counts from 1 in every boot.

    ``device_at`` is the terminal's own clock in unix milliseconds; ``skew_ms`` what to add to it, as of the last sync.
    ``reason`` is empty when accepted. ``qr`` holds the bytes that were shown: the evidence.
    """

    boot_id: str
    seq: int
    kind: TapKind
    device_at: int
    skew_ms: int
    card_number: str
    counter: int
    device_kid: bytes
    decision: Decision
    reason: str
    list_seq: int
    tariff_version: str
    prev: bytes
    qr: bytes

    @property
    def at_ms(self) -> int:
        """The corrected instant, unix milliseconds."""
        return self.device_at + self.skew_ms

    def document(self) -> dict[str, Any]:
        """The record as it travels."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    def encoded(self) -> bytes:
        """The record in deterministic CBOR: the bytes that its hash covers."""
        return wire.write(self.document())

    def digest(self) -> bytes:
        """The SHA-256 that the next record carries as ``prev``."""
        return hashlib.sha256(self.encoded()).digest()


def _plain(value: object) -> object:
    return value.value if isinstance(value, StrEnum) else value


_KINDS: Final[dict[str, type]] = {
    "boot_id": str,
    "seq": int,
    "kind": str,
    "device_at": int,
    "skew_ms": int,
    "card_number": str,
    "counter": int,
    "device_kid": bytes,
    "decision": str,
    "reason": str,
    "list_seq": int,
    "tariff_version": str,
    "prev": bytes,
    "qr": bytes,
}
_LENGTH_MAX: Final = {"boot_id": 64, "card_number": 19, "device_kid": 32, "reason": 64, "tariff_version": 64, "qr": 4096}
_INT_MAX: Final = 2**63 - 1


def tap_from(document: object) -> Tap:
    """A record as it was sent; refuses as ``malformed`` with the field named. Unknown fields refuse: they would be lost."""
    values: dict[str, Any] = {name: wire.field(document, name, kind) for name, kind in _KINDS.items()}
    assert isinstance(document, dict)
    unknown = document.keys() - _KINDS.keys()
    if unknown:
        raise CredentialRefused(Reason.MALFORMED, f"unknown field {min(map(str, unknown))}")
    for name, most in _LENGTH_MAX.items():
        if len(values[name]) > most:
            raise CredentialRefused(Reason.MALFORMED, f"field {name!r} is too long")
    if not all(-_INT_MAX <= value <= _INT_MAX for value in values.values() if isinstance(value, int)):
        raise CredentialRefused(Reason.MALFORMED, "a number out of range")
    if len(values["prev"]) != len(CHAIN_START) or values["seq"] < 1 or not values["boot_id"] or values["counter"] < 0:
        raise CredentialRefused(Reason.MALFORMED, "prev, seq, boot_id or counter")
    try:
        values["kind"], values["decision"] = TapKind(values["kind"]), Decision(values["decision"])
    except ValueError as error:
        raise CredentialRefused(Reason.MALFORMED, str(error)) from error
    return Tap(**values)


def encode_batch(terminal_id: str, taps: list[Tap]) -> bytes:
    """The body of an upload."""
    return wire.write({"terminal_id": terminal_id, "batch": [tap.document() for tap in taps]})


def decode_batch(body: bytes) -> tuple[str, list[Tap | CredentialRefused]]:
    """``(terminal_id, taps)`` of an upload's body. A record that is malformed stands in its place as its refusal.

    Refuses as ``malformed`` where the body as a whole cannot be read or carries more than ``BATCH_MAX`` records.
    """
    document = wire.read(body)
    terminal_id, batch = wire.field(document, "terminal_id", str), wire.field(document, "batch", list)
    if len(batch) > BATCH_MAX:
        raise CredentialRefused(Reason.MALFORMED, f"more than {BATCH_MAX} records")
    found: list[Tap | CredentialRefused] = []
    for entry in batch:
        try:
            found.append(tap_from(entry))
        except CredentialRefused as refusal:
            found.append(refusal)
    return terminal_id, found


@dataclass(frozen=True, kw_only=True, slots=True)
class TapResult:
    """What the server did with one record: ``stored``, ``repeated`` or ``refused`` with its code."""

    boot_id: str
    seq: int
    outcome: str
    code: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """The answer to an upload: per boot the highest seq up to which nothing is missing, and the gaps above it."""

    contiguous: dict[str, int]
    gaps: dict[str, list[tuple[int, int]]]
    results: tuple[TapResult, ...] = ()

    def encoded(self) -> bytes:
        """The answer's body."""
        return wire.write(
            {
                "contiguous": self.contiguous,
                "gaps": {boot: [list(gap) for gap in gaps] for boot, gaps in self.gaps.items()},
                "results": [
                    {"boot_id": result.boot_id, "seq": result.seq, "outcome": result.outcome, "code": result.code}
                    for result in self.results
                ],
            }
        )


def receipt_from(body: bytes) -> Receipt:
    """Read an answer; gaps are inclusive ``[first, last]`` pairs per boot. Refuses as ``malformed``."""
    document = wire.read(body)
    try:
        return Receipt(
            contiguous={str(boot): int(seq) for boot, seq in wire.field(document, "contiguous", dict).items()},
            gaps={
                str(boot): [(int(first), int(last)) for first, last in gaps]
                for boot, gaps in (document.get("gaps") or {}).items()
            },
            results=tuple(
                TapResult(
                    boot_id=str(entry["boot_id"]),
                    seq=int(entry["seq"]),
                    outcome=str(entry["outcome"]),
                    code=str(entry.get("code") or ""),
                )
                for entry in wire.field(document, "results", list)
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CredentialRefused(Reason.MALFORMED, f"receipt: {error}") from error
