"""The chip's symmetric keys: diversified for each card, and for each session. Pure.

A city has one master key for each use. A card holds only what NXP AN10922 derives from it for that card's number, so a card
that is taken apart opens no other; a terminal holds the master in its secure module and derives the card's key at each tap.
"""

from enum import IntEnum
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

KEY_BYTES: Final = 16
MAC_BYTES: Final = 8
NONCE_BYTES: Final = 16
_BLOCK: Final = 16
_DIVERSIFIED: Final = b"\x01"  # AN10922, section 2.2: the constant for AES-128
_INPUT_MAX: Final = 31
_SYSTEM: Final = b"CITYCARD"


class KeyUse(IntEnum):
    """What a key on the card opens."""

    JOURNEY = 1  # terminals: read and write the journey
    ADMIN = 2  # the city alone: renew the credential


def cmac(key: bytes, message: bytes) -> bytes:
    """AES-128 CMAC (RFC 4493), 16 bytes."""
    made = CMAC(algorithms.AES128(key))
    made.update(message)
    return made.finalize()


def diversify(master: bytes, data: bytes) -> bytes:
    """The AES-128 key of one card (NXP AN10922, section 2.2) from 1 to 31 bytes that name it.

    A CMAC over ``01 ‖ data``, padded always to two blocks: a short input differs from plain CMAC.
    """
    assert 1 <= len(data) <= _INPUT_MAX, len(data)
    message = _DIVERSIFIED + data
    first, second = _subkeys(master)
    padded = message if len(message) == 2 * _BLOCK else (message + b"\x80").ljust(2 * _BLOCK, b"\x00")
    last = first if padded is message else second
    mixed = padded[:_BLOCK] + bytes(left ^ right for left, right in zip(padded[_BLOCK:], last, strict=True))
    encryptor = Cipher(algorithms.AES128(master), modes.CBC(bytes(_BLOCK))).encryptor()
    return (encryptor.update(mixed) + encryptor.finalize())[_BLOCK:]


def _subkeys(key: bytes) -> tuple[bytes, bytes]:
    """K1 and K2 of CMAC (RFC 4493, section 2.3)."""
    encryptor = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()  # noqa: S305  one block, as the standard says
    start = int.from_bytes(encryptor.update(bytes(_BLOCK)) + encryptor.finalize(), "big")
    first = _doubled(start)
    return first.to_bytes(_BLOCK, "big"), _doubled(first).to_bytes(_BLOCK, "big")


def _doubled(value: int) -> int:
    """Twice ``value`` in GF(2^128)."""
    return (value << 1 & (1 << 128) - 1) ^ (0x87 if value >> 127 else 0)


def card_key(master: bytes, number: bytes, aid: bytes, use: KeyUse) -> bytes:
    """The key of the card whose packed number (10 bytes) is ``number`` in the application ``aid``."""
    return diversify(master, number + aid + _SYSTEM + bytes([use]))


def proof_of_terminal(key: bytes, *, card_nonce: bytes, terminal_nonce: bytes, number: bytes) -> bytes:
    """What the terminal shows in mutual authentication: 8 bytes."""
    return cmac(key, b"\x01terminal" + card_nonce + terminal_nonce + number)[:MAC_BYTES]


def proof_of_card(key: bytes, *, card_nonce: bytes, terminal_nonce: bytes, number: bytes) -> bytes:
    """What the card answers: 8 bytes. Nonces the other way round and another label: neither proof is good as the other."""
    return cmac(key, b"\x02card" + terminal_nonce + card_nonce + number)[:MAC_BYTES]


def session_key(key: bytes, *, card_nonce: bytes, terminal_nonce: bytes) -> bytes:
    """The key of one session; it dies with the field."""
    return cmac(key, b"\x03session" + card_nonce + terminal_nonce)


def command_mac(session: bytes, *, step: int, header: bytes, data: bytes) -> bytes:
    """Authenticates the ``step``-th command of a session: no command can be repeated, moved or changed."""
    return cmac(session, b"\x04command" + step.to_bytes(4, "big") + header + data)[:MAC_BYTES]


def answer_mac(session: bytes, *, step: int, data: bytes) -> bytes:
    """Authenticates the card's answer to the ``step``-th command."""
    return cmac(session, b"\x05answer" + step.to_bytes(4, "big") + data)[:MAC_BYTES]
