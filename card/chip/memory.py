"""The card's memory: bytes that stay without power, and a way to change them that survives losing it half way.

EEPROM writes bytes one after another and may lose power between any two. A fact that must not be lost therefore has two slots:
the new value goes into the one not in use, with a rising number and a check over both, and counts once the check holds.
"""

import hashlib
import os
from pathlib import Path
from typing import Final

SIZE: Final = 4096
NUMBER_BYTES: Final = 4
LENGTH_BYTES: Final = 2
CHECK_BYTES: Final = 8


class PowerLost(Exception):
    """The card left the field."""


class Memory:
    """``SIZE`` bytes, erased to zero. ``tear_after`` loses power once so many more bytes have been written."""

    def __init__(self, image: bytes = b"", *, tear_after: int | None = None) -> None:
        self._bytes = bytearray(image.ljust(SIZE, b"\x00"))
        assert len(self._bytes) == SIZE, "an image of another size"
        self.tear_after = tear_after
        self.written = 0  # bytes since the card was made: what a test tears at

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes at ``address``."""
        return bytes(self._bytes[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        """Write byte by byte. Raises :class:`PowerLost` where the power ends; what was written before stays."""
        for offset, byte in enumerate(data):
            if self.tear_after is not None and self.written >= self.tear_after:
                self.tear_after = None
                self.keep()
                raise PowerLost
            self._bytes[address + offset] = byte
            self.written += 1
        self.keep()

    @property
    def image(self) -> bytes:
        """All of it."""
        return bytes(self._bytes)

    def keep(self) -> None:
        """Nothing more to do: a memory of a test lives as long as its object."""


class FileMemory(Memory):
    """A memory in a file, so that a card made by one program is presented by another."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.read_bytes() if path.exists() else b"")
        self._path = path

    def keep(self) -> None:
        """Put the file in place whole: a kill of this program is no tear of the card's memory."""
        fresh = self._path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self._bytes)
        fresh.replace(self._path)


class Slots:
    """One value in two slots of ``size`` bytes from ``address``: always the old one or the new one, never a mixture."""

    def __init__(self, memory: Memory, address: int, size: int) -> None:
        self._memory, self._address, self._size = memory, address, size

    def _at(self, slot: int) -> int:
        return self._address + slot * self._size

    def _read(self, slot: int) -> tuple[int, bytes] | None:
        raw = self._memory.read(self._at(slot), self._size)
        length = int.from_bytes(raw[NUMBER_BYTES : NUMBER_BYTES + LENGTH_BYTES], "big")
        end = NUMBER_BYTES + LENGTH_BYTES + length
        if end + CHECK_BYTES > self._size or raw[end : end + CHECK_BYTES] != _check(raw[:end]):
            return None
        return int.from_bytes(raw[:NUMBER_BYTES], "big"), raw[NUMBER_BYTES + LENGTH_BYTES : end]

    def current(self) -> tuple[int, bytes]:
        """``(number, value)`` of the newest slot that is whole; ``(0, b"")`` where nothing was ever written."""
        return max((found for slot in (0, 1) if (found := self._read(slot)) is not None), default=(0, b""))

    def replace(self, value: bytes) -> int:
        """Write ``value`` as the next one; its number. The check is written last: until then the old value counts."""
        number = self.current()[0] + 1
        head = number.to_bytes(NUMBER_BYTES, "big") + len(value).to_bytes(LENGTH_BYTES, "big") + value
        assert len(head) + CHECK_BYTES <= self._size, "too long for the slot"
        at = self._at(number % 2)
        self._memory.write(at, head)
        self._memory.write(at + len(head), _check(head))
        return number


def _check(head: bytes) -> bytes:
    return hashlib.sha256(b"slot" + head).digest()[:CHECK_BYTES]
