"""Taps as a terminal records and sends them: one record a tap, chained by hash, sent in signed batches.

The chain runs through all records of one terminal in the order they were written, across restarts: each record carries the
SHA-256 of the one before it, the first 32 zero bytes. The batch is signed by the proof over the request's body (``proofs.py``).

In a batch each record travels as the very bytes that were hashed, a CBOR byte string: one that is damaged cannot take its
neighbours with it, and nobody has to encode it again to compare it. A record as a plain map is read too.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from operator import itemgetter
from typing import Any, Final, NamedTuple

import cbor2

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


class Tap(NamedTuple):
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
        return {name: _plain(value) for name, value in zip(self._fields, self, strict=True)}

    def encoded(self) -> bytes:
        """The record in deterministic CBOR: the bytes that its hash covers."""
        return cbor2.dumps({name: _plain(getattr(self, name)) for name in _IN_ORDER})

    def digest(self) -> bytes:
        """The SHA-256 that the next record carries as ``prev``."""
        return digest_of(self.encoded())


def digest_of(record: bytes) -> bytes:
    """The hash of a record as it was written."""
    return hashlib.sha256(record).digest()


def _plain(value: object) -> object:
    return value.value if isinstance(value, StrEnum) else value


_made: Final = tuple.__new__  # a record without the detour of a named tuple's own constructor
_TAP_KINDS: Final = {kind.value: kind for kind in TapKind}
_DECISIONS: Final = {decision.value: decision for decision in Decision}
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
_IN_ORDER: Final = tuple(sorted(_KINDS, key=lambda name: (len(name), name)))
"""The fields as deterministic CBOR orders the keys of a map (RFC 8949, section 4.2.3): writing them so needs no sorting."""

_VALUES: Final = itemgetter(*_KINDS)
_TYPES: Final = tuple(_KINDS.values())
_KIND, _DECISION = list(_KINDS).index("kind"), list(_KINDS).index("decision")
_TEXT_MAX, _KID_MAX, _QR_MAX = 64, 32, 4096
_INT_MAX: Final = 2**63 - 1
_INSTANT_MAX: Final = 4_102_444_800_000  # the year 2100
_SKEW_MAX: Final = 10 * 366 * 86_400_000
_NUMBER_DIGITS: Final = 19


def tap_from(document: object) -> Tap:
    """A record as it was sent; refuses as ``malformed`` with the field named. Unknown fields refuse: they would be lost."""
    if not isinstance(document, dict) or len(document) != len(_KINDS):
        raise _misfit(document)
    try:
        values = _VALUES(document)
    except KeyError:
        raise _misfit(document) from None
    if tuple(map(type, values)) != _TYPES or values[_KIND] not in _TAP_KINDS or values[_DECISION] not in _DECISIONS:
        raise _misfit(document)
    given: list[Any] = list(values)
    given[_KIND], given[_DECISION] = _TAP_KINDS[given[_KIND]], _DECISIONS[given[_DECISION]]
    tap: Tap = _made(Tap, given)
    wrong = _out_of_range(tap)
    if wrong:
        raise CredentialRefused(Reason.MALFORMED, wrong)
    return tap


def _misfit(document: object) -> CredentialRefused:
    """What is wrong with the form of ``document``."""
    try:
        for name, kind in _KINDS.items():
            wire.field(document, name, kind)
    except CredentialRefused as refusal:
        return refusal
    assert isinstance(document, dict)
    unknown = document.keys() - _KINDS.keys()
    return CredentialRefused(Reason.MALFORMED, f"unknown field {min(map(str, unknown))}" if unknown else "kind or decision")


def _out_of_range(tap: Tap) -> str:  # noqa: PLR0911  one a kind of mistake
    """Which field says what cannot be; empty where all are possible. A text with a NUL could not be stored."""
    boot_id, seq, _, device_at, skew_ms, number, counter, device_kid, _, reason, list_seq, version, prev, qr = tap
    if len(boot_id) > _TEXT_MAX or len(reason) > _TEXT_MAX or len(version) > _TEXT_MAX:
        return "field 'boot_id', 'reason' or 'tariff_version' is too long"
    if len(device_kid) > _KID_MAX or len(qr) > _QR_MAX:
        return "field 'device_kid' or 'qr' is too long"
    if not (0 <= device_at < _INSTANT_MAX and -_SKEW_MAX <= skew_ms <= _SKEW_MAX and device_at + skew_ms >= 0):
        return "a time out of range"
    if not (1 <= seq <= _INT_MAX and 0 <= counter <= _INT_MAX and 0 <= list_seq <= _INT_MAX):
        return "a number out of range"
    if number and not (len(number) == _NUMBER_DIGITS and number.isascii() and number.isdigit()):
        return "field 'card_number'"
    if len(prev) != len(CHAIN_START) or not boot_id:
        return "prev or boot_id"
    return "a text with a NUL" if "\x00" in boot_id or "\x00" in reason or "\x00" in version else ""


def encode_batch(terminal_id: str, taps: Iterable[Tap]) -> bytes:
    """The body of an upload."""
    return wire.write({"terminal_id": terminal_id, "batch": [tap.encoded() for tap in taps]})


class Received(NamedTuple):
    """One record of a batch as it came: the tap and the SHA-256 of its bytes."""

    tap: Tap
    digest: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreadable:
    """One record of a batch that cannot be read: why, and its key as far as that can be made out (else empty and 0)."""

    refusal: CredentialRefused
    boot_id: str = ""
    seq: int = 0


def read_batch(body: bytes) -> tuple[str, list[Received | Unreadable]]:
    """``(terminal_id, records)`` of an upload's body. A record that is malformed stands in its place and harms no other.

    Refuses as ``malformed`` where the body as a whole cannot be read or carries more than ``BATCH_MAX`` records.
    """
    document = wire.read(body)
    terminal_id, batch = wire.field(document, "terminal_id", str), wire.field(document, "batch", list)
    if len(batch) > BATCH_MAX:
        raise CredentialRefused(Reason.MALFORMED, f"more than {BATCH_MAX} records")
    return terminal_id, [_record(entry) for entry in batch]


def _record(entry: object) -> Received | Unreadable:
    found = entry
    try:
        if isinstance(entry, bytes):
            found = wire.read(entry)
            return Received(tap_from(found), digest_of(entry))
        tap = tap_from(entry)
        return Received(tap=tap, digest=tap.digest())
    except CredentialRefused as refusal:
        boot_id, seq = (found.get("boot_id"), found.get("seq")) if isinstance(found, dict) else ("", 0)
        if not (isinstance(boot_id, str) and 0 < len(boot_id) <= _TEXT_MAX and "\x00" not in boot_id):
            return Unreadable(refusal=refusal)
        if type(seq) is not int or not 1 <= seq <= _INT_MAX:
            return Unreadable(refusal=refusal)
        return Unreadable(refusal=refusal, boot_id=boot_id, seq=seq)


def decode_batch(body: bytes) -> tuple[str, list[Tap | CredentialRefused]]:
    """As :func:`read_batch`, for who needs the taps alone."""
    terminal_id, records = read_batch(body)
    return terminal_id, [record.tap if isinstance(record, Received) else record.refusal for record in records]


class TapResult(NamedTuple):
    """What the server did with one record: ``stored``, ``repeated`` or ``refused`` with its code."""

    boot_id: str
    seq: int
    outcome: str
    code: str = ""


def _canonical(key: str) -> tuple[int, bytes]:
    encoded = key.encode()
    return len(encoded), encoded


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """The answer to an upload: per boot the highest seq up to which nothing is missing, and the gaps above it."""

    contiguous: dict[str, int]
    gaps: dict[str, list[tuple[int, int]]]
    results: tuple[TapResult, ...] = ()

    def encoded(self) -> bytes:
        """The answer's body."""
        return cbor2.dumps(  # keys in the order of deterministic CBOR
            {
                "gaps": {boot: [list(gap) for gap in self.gaps[boot]] for boot in sorted(self.gaps, key=_canonical)},
                "results": [
                    {"seq": seq, "code": code, "boot_id": boot_id, "outcome": outcome}
                    for boot_id, seq, outcome, code in self.results
                ],
                "contiguous": {boot: self.contiguous[boot] for boot in sorted(self.contiguous, key=_canonical)},
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
