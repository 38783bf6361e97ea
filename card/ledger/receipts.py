"""A receipt as a JSON document and as the text of QR codes: the same proof, for a file and for paper.

Pure, and needs nothing that Python does not bring. The text is ``CCR2:`` and the Base45 (RFC 9285) of the receipt's parts one
behind another, so that a QR packs it as alphanumerics: numbers as LEB128, bytes and lists behind their length. A receipt from a
large tree is more than one code that people can still scan, so its text is cut into several, ``CCR2/1/2:`` and ``CCR2/2/2:``.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any, Final

from card.ledger.tree import HASH, BadProof, split

FORMAT: Final = "citizen-card-receipt/2"
PREFIX: Final = "CCR2"
WHOLE: Final = 2_500  # characters of one code: version 30 at the lowest correction
CODE: Final = re.compile(rf"{PREFIX}(?:/([0-9]{{1,3}})/([0-9]{{1,3}}))?:(.*)", re.DOTALL)
ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
BASE: Final = len(ALPHABET)
NUMBER_BITS: Final = 63

Document = dict[str, object]


def _raw(text: object) -> bytes:
    return base64.b64decode(str(text), validate=True)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


# Base45


def b45encode(data: bytes) -> str:
    """The Base45 of ``data``: three characters for two bytes, two for a last one."""
    found = []
    for at in range(0, len(data), 2):
        piece = data[at : at + 2]
        value = int.from_bytes(piece, "big")
        for _ in range(len(piece) + 1):
            value, digit = divmod(value, BASE)
            found.append(ALPHABET[digit])
    return "".join(found)


def b45decode(text: str) -> bytes:
    """What ``text`` is the Base45 of. Raises ``ValueError``."""
    found = []
    for at in range(0, len(text), 3):
        piece = text[at : at + 3]
        value = sum(ALPHABET.index(digit) * BASE**place for place, digit in enumerate(piece))
        if len(piece) == 1 or value >= 1 << 8 * (len(piece) - 1):
            raise ValueError("this is not Base45")
        found.append(value.to_bytes(len(piece) - 1, "big"))
    return b"".join(found)


# Parts


class _Writer:
    """Numbers, bytes and lists, one behind another."""

    def __init__(self) -> None:
        self.written = bytearray()

    def number(self, value: object) -> None:
        left = int(value)  # type: ignore[call-overload]
        if not 0 <= left < 1 << NUMBER_BITS:
            raise ValueError("a number of a receipt is not negative")
        while left > 0x7F:  # noqa: PLR2004  seven bits a byte, the eighth says that more follow
            self.written.append(left & 0x7F | 0x80)
            left >>= 7
        self.written.append(left)

    def bytes(self, value: bytes) -> None:
        self.number(len(value))
        self.written += value

    def path(self, value: Iterable[object]) -> None:
        joined = b"".join(map(_raw, value))
        self.number(len(joined) // HASH)
        self.written += joined


class _Reader:
    """The same, read. Raises ``ValueError`` where the bytes end too early."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        if len(found) < size:
            raise ValueError("the receipt ends too early")
        self._at += size
        return found

    def number(self) -> int:
        found, shift = 0, 0
        while shift < NUMBER_BITS:
            (byte,) = self.take(1)
            found, shift = found | (byte & 0x7F) << shift, shift + 7
            if not byte & 0x80:
                return found
        raise ValueError("a number of the receipt is too long")

    def bytes(self) -> bytes:
        return self.take(self.number())

    def path(self) -> list[str]:
        return [_text(one) for one in split(self.take(self.number() * HASH))]

    def many(self) -> range:
        return range(self.number())


def pack(document: Document) -> str:
    """The text of a QR that carries the receipt ``document``. Raises :class:`BadProof` where it is no receipt."""
    parts: Any = document
    into = _Writer()
    try:
        transfer = parts["transfer"]
        into.bytes(_raw(transfer["data"]))
        into.number(transfer["batch"])
        into.number(transfer["index"])
        into.path(transfer["path"])
        into.number(len(parts["accounts"]))
        for account in parts["accounts"]:
            into.bytes(_raw(account["data"]))
            for name in ("batch", "index", "size"):
                into.number(account[name])
            into.path(account["path"])
        into.number(len(parts["batches"]))
        for batch in parts["batches"]:
            into.bytes(_raw(batch["data"]))
            into.number(batch["index"])
            into.path(batch["path"])
        into.bytes(parts["checkpoint"].encode())
        into.number(len(parts["cosigners"]))
        for key in parts["cosigners"]:
            into.bytes(key.encode())
    except (KeyError, TypeError, AttributeError, ValueError, binascii.Error) as error:
        raise BadProof("this is not a receipt") from error
    return f"{PREFIX}:{b45encode(bytes(into.written))}"


def codes(document: Document) -> list[str]:
    """The texts of the QR codes that together carry the receipt: mostly one. Raises :class:`BadProof`."""
    text = pack(document)
    if len(text) <= WHOLE:
        return [text]
    text = text.partition(":")[2]
    count = -(-len(text) // WHOLE)
    size = -(-len(text) // count)
    return [f"{PREFIX}/{number + 1}/{count}:{text[number * size : (number + 1) * size]}" for number in range(count)]


def is_code(text: str) -> bool:
    """Whether this is the text of a receipt's QR, or of one of its QRs."""
    return CODE.match(text) is not None


def unpack(texts: Iterable[str]) -> Document:
    """The receipt that the texts of its QRs carry, in any order. Raises :class:`BadProof`."""
    found: dict[int, str] = {}
    count = 1
    for text in texts:
        code = CODE.match(text)
        if code is None:
            raise BadProof("this is not a receipt")
        number, of, part = code.groups(default="1")
        found[int(number)], count = part, int(of)
    if sorted(found) != list(range(1, count + 1)):
        raise BadProof("a code of the receipt is missing")
    try:
        return _parts(_Reader(b45decode("".join(part for _, part in sorted(found.items())))))
    except ValueError as error:
        raise BadProof("the receipt cannot be read") from error


def _parts(read: _Reader) -> Document:
    """The order in which each part is read is the order in which :func:`pack` wrote it."""
    return {
        "format": FORMAT,
        "transfer": {"data": _text(read.bytes()), "batch": read.number(), "index": read.number(), "path": read.path()},
        "accounts": [
            {
                "data": _text(read.bytes()),
                "batch": read.number(),
                "index": read.number(),
                "size": read.number(),
                "path": read.path(),
            }
            for _ in read.many()
        ],
        "batches": [{"data": _text(read.bytes()), "index": read.number(), "path": read.path()} for _ in read.many()],
        "checkpoint": read.bytes().decode(),
        "cosigners": [read.bytes().decode() for _ in read.many()],
    }
