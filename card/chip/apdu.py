"""Commands and answers between terminal and card: ISO/IEC 7816-4, short form. Pure."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

AID: Final = bytes.fromhex("F0434341524401")  # a proprietary application (category F): "CCARD", version 1
DATA_MAX: Final = 255
ANSWER_MAX: Final = 256
HEADER_BYTES: Final = 4


class Ins(IntEnum):
    """Instructions (ISO/IEC 7816-4, table 4.2); those of the city are marked by the class."""

    SELECT = 0xA4
    READ_BINARY = 0xB0
    READ_RECORD = 0xB2
    GET_CHALLENGE = 0x84
    MUTUAL_AUTHENTICATE = 0x82
    UPDATE_RECORD = 0xDC
    INTERNAL_AUTHENTICATE = 0x88
    GENERATE_KEY = 0x46
    PUT_DATA = 0xDA
    UPDATE_BINARY = 0xD6
    ACTIVATE = 0x44


class Status(IntEnum):
    """Status words (ISO/IEC 7816-4, table 6)."""

    OK = 0x9000
    WRONG_LENGTH = 0x6700
    NOT_ALLOWED = 0x6985  # conditions of use are not satisfied
    SECURITY = 0x6982  # security status is not satisfied
    AUTHENTICATION_FAILED = 0x6300
    WRONG_MAC = 0x6988
    WRONG_DATA = 0x6A80
    NOT_FOUND = 0x6A82
    RECORD_NOT_FOUND = 0x6A83
    WRONG_PARAMETERS = 0x6B00
    UNKNOWN_INSTRUCTION = 0x6D00
    UNKNOWN_CLASS = 0x6E00


PLAIN: Final = 0x00
SECURED: Final = 0x04  # data ends with a command MAC of the session


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One command. ``expects`` is whether an answer's data is wanted."""

    ins: int
    cla: int = PLAIN
    p1: int = 0
    p2: int = 0
    data: bytes = b""
    expects: int = 0

    @property
    def header(self) -> bytes:
        """Class, instruction and parameters: what a MAC covers before the data."""
        return bytes([self.cla, self.ins, self.p1, self.p2])

    def encoded(self) -> bytes:
        """The bytes on the wire."""
        assert len(self.data) <= DATA_MAX, "no extended length"
        body = bytes([len(self.data)]) + self.data if self.data else b""
        return self.header + body + (bytes([self.expects % 256]) if self.expects else b"")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the card said."""

    status: int
    data: bytes = b""

    def encoded(self) -> bytes:
        """The bytes on the wire."""
        return self.data + self.status.to_bytes(2, "big")


def command_from(raw: bytes) -> Command | None:
    """A short APDU of any of the four cases; ``None`` where its length is wrong."""
    if len(raw) < HEADER_BYTES:
        return None
    cla, ins, p1, p2 = raw[:HEADER_BYTES]
    body = raw[HEADER_BYTES:]
    if len(body) <= 1:
        return Command(cla=cla, ins=ins, p1=p1, p2=p2, expects=(body[0] or ANSWER_MAX) if body else 0)
    size = body[0]
    if size == 0 or len(body) not in (1 + size, 2 + size):
        return None
    expects = (body[1 + size] or ANSWER_MAX) if len(body) == 2 + size else 0
    return Command(cla=cla, ins=ins, p1=p1, p2=p2, data=body[1 : 1 + size], expects=expects)


def answer_from(raw: bytes) -> Answer:
    """An answer; its last two bytes are the status."""
    assert len(raw) >= 2, "a card answers with a status"  # noqa: PLR2004
    return Answer(status=int.from_bytes(raw[-2:], "big"), data=raw[:-2])


def tlv(tag: int, value: bytes) -> bytes:
    """One BER-TLV object with a one-byte tag and a short length."""
    assert len(value) < 0x80, "short lengths only"  # noqa: PLR2004
    return bytes([tag, len(value)]) + value


def read_tlv(data: bytes) -> dict[int, bytes]:
    """The objects of ``data`` by tag; what cannot be read ends the reading."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 2 <= len(data) and at + 2 + data[at + 1] <= len(data):
        found[data[at]] = data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return found
