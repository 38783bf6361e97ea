"""Checkpoints as signed notes, the keys that sign them, and what other cities add to them.

Pure. A checkpoint is three lines (origin, size, root) and the time; a note is a checkpoint with one line for each signature. A
cosignature is another city's word that, at an instant, this was the largest tree it had seen, and continues the earlier.
Sources: c2sp.org/tlog-checkpoint, c2sp.org/signed-note, c2sp.org/tlog-cosignature (its Ed25519 form, cosignature/v1).
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.kernel import sm2
from card.ledger.tree import INTERNATIONAL, NATIONAL, BadProof, Suite

KEY_HASH: Final = 4  # bytes
SIGNATURE_LINE: Final = "\N{EM DASH} "
STAMP: Final = struct.Struct(">Q")  # seconds since the epoch
STAMP_MAX: Final = 2**63 - 1
SIGNER: Final = b"1234567812345678"  # the signer's name in our SM2 signatures

Sign = Callable[[bytes], bytes]


class Kind(Enum):
    """How a key signs: the signature type of C2SP. 0xff begins a type without a number of its own."""

    ED25519 = b"\x01"
    COSIGNATURE = b"\x04"
    SM2 = b"\xffsm2-sm3"


LENGTHS: Final = {Kind.ED25519: 32, Kind.COSIGNATURE: 32, Kind.SM2: sm2.PUBLIC}  # bytes of a public key


@dataclass(frozen=True, kw_only=True)
class VerifierKey:
    """A public key as people pass it on: whose it is, how it signs, its bytes."""

    name: str
    kind: Kind
    public: bytes

    @property
    def hash(self) -> bytes:
        """The four bytes by which a note names its key."""
        return hashlib.sha256(self.name.encode() + b"\n" + self.kind.value + self.public).digest()[:KEY_HASH]

    @property
    def text(self) -> str:
        """``name+hash+key``."""
        return f"{self.name}+{self.hash.hex()}+{base64.b64encode(self.kind.value + self.public).decode()}"

    @property
    def suite(self) -> Suite:
        """What a ledger whose checkpoints this key signs is hashed with."""
        return NATIONAL if self.kind is Kind.SM2 else INTERNATIONAL

    @classmethod
    def read(cls, text: str) -> "VerifierKey":
        """The key that ``text`` stands for. Raises :class:`BadProof`."""
        name, _, rest = text.strip().partition("+")
        named, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise BadProof("the key is not base64") from error
        for kind in Kind:
            if raw.startswith(kind.value) and len(raw) == len(kind.value) + LENGTHS[kind]:
                found = cls(name=name, kind=kind, public=raw[len(kind.value) :])
                if found.hash.hex() == named:
                    return found
        raise BadProof("the key does not fit its name")

    def check(self, signature: bytes, message: bytes) -> None:
        """Raise :class:`BadProof` unless this key signed ``message``."""
        try:
            if self.kind is Kind.SM2:
                sm2.PublicKey.from_bytes(self.public).verify(signature, message, signer=SIGNER)
            else:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise BadProof("the signature does not verify") from error

    def line(self, signature: bytes) -> str:
        """A note's line with ``signature``."""
        return f"{SIGNATURE_LINE}{self.name} {base64.b64encode(self.hash + signature).decode()}\n"

    def signature_in(self, lines: str) -> bytes:
        """The signature of this key among the lines of a note. Raises :class:`BadProof` where there is none."""
        for line in lines.splitlines():
            name, _, encoded = line.removeprefix(SIGNATURE_LINE).rpartition(" ")
            try:
                raw = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                continue
            if line.startswith(SIGNATURE_LINE) and name == self.name and raw[:KEY_HASH] == self.hash:
                return raw[KEY_HASH:]
        raise BadProof("this key did not sign the checkpoint")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a city signs: the tree of ``origin`` had ``size`` leaves and this ``root``.

    ``time_us`` is when it was signed, in microseconds since the epoch: an extension line of ours, ``time …``.
    """

    origin: str
    size: int
    root: bytes
    time_us: int | None = None

    @property
    def text(self) -> str:
        """The body that is signed."""
        time = "" if self.time_us is None else f"time {self.time_us}\n"
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n{time}"


def signed_note(checkpoint: Checkpoint, *, key: VerifierKey, sign: Sign) -> str:
    """A checkpoint with its city's signature, as text."""
    return f"{checkpoint.text}\n{key.line(sign(checkpoint.text.encode()))}"


def unverified(note: str) -> Checkpoint:
    """The checkpoint that a note claims, before any signature was checked. Raises :class:`BadProof`."""
    body, _, _ = note.partition("\n\n")
    lines = body.split("\n")
    try:
        time = int(lines[3].removeprefix("time ")) if len(lines) > 3 else None  # noqa: PLR2004  the line after the three
        found = Checkpoint(origin=lines[0], size=int(lines[1]), root=base64.b64decode(lines[2], validate=True), time_us=time)
    except (IndexError, ValueError) as error:
        raise BadProof("the checkpoint cannot be read") from error
    if found.text != body + "\n":
        raise BadProof("the checkpoint is another ledger's")
    return found


def read_note(note: str, *, key: VerifierKey) -> Checkpoint:
    """The checkpoint of a note that this key signed. Raises :class:`BadProof`."""
    checkpoint = unverified(note)
    if checkpoint.origin != key.name:
        raise BadProof("the checkpoint is another ledger's")
    key.check(key.signature_in(note.partition("\n\n")[2]), checkpoint.text.encode())
    return checkpoint


def _stamped(checkpoint: Checkpoint, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{checkpoint.text}".encode()


def cosignature(checkpoint: Checkpoint, *, key: VerifierKey, sign: Sign, at: datetime) -> str:
    """The line by which a city says that at ``at`` this was the largest tree it had seen, and a continuation of all before."""
    seconds = int(at.timestamp())
    return key.line(STAMP.pack(seconds) + sign(_stamped(checkpoint, seconds)))


def read_cosignature(checkpoint: Checkpoint, lines: str, *, key: VerifierKey) -> datetime:
    """When ``key`` cosigned the checkpoint, by its line among ``lines``. Raises :class:`BadProof`."""
    raw = key.signature_in(lines)
    if key.kind is not Kind.COSIGNATURE or len(raw) <= STAMP.size:
        raise BadProof("this is not a cosignature")
    (seconds,) = STAMP.unpack(raw[: STAMP.size])
    if seconds > STAMP_MAX:
        raise BadProof("the cosignature's time cannot be read")
    key.check(raw[STAMP.size :], _stamped(checkpoint, seconds))
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError) as error:
        raise BadProof("the cosignature's time cannot be read") from error
