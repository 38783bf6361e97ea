"""Readers through PC/SC: ``pyscard``, which only a gate with a reader needs, and the system's pcscd."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

from card.chip.conversation import CardGone

scard: Any
try:
    from smartcard import scard
except ImportError:  # a gate without a reader needs none
    scard = None

_PROTOCOLS: Final = 3  # T=0 or T=1
_POLL_MS: Final = 500


class NoReader(Exception):
    """There is no reader, or none by this name, or nothing to speak to readers with."""


def _context() -> Any:
    if scard is None:
        raise NoReader("pyscard is not installed: pip install pyscard")
    failed, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    if failed:
        raise NoReader(f"pcscd does not answer: {scard.SCardGetErrorMessage(failed)}")
    return context


def readers() -> list[str]:
    """The names of the readers that are connected. Raises :class:`NoReader` where pcscd does not answer."""
    context = _context()
    failed, found = scard.SCardListReaders(context, [])
    scard.SCardReleaseContext(context)
    return [] if failed else list(found)


class Reader:
    """One reader, by the beginning of its name or the first there is."""

    def __init__(self, name: str = "") -> None:
        self._context = _context()
        failed, found = scard.SCardListReaders(self._context, [])
        fitting = [one for one in ([] if failed else found) if one.startswith(name)]
        if not fitting:
            self.close()
            raise NoReader(f"no reader {name!r} among {list(found or [])}")
        self.name = fitting[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the reader go."""
        scard.SCardReleaseContext(self._context)

    def _states(self, known: int, timeout_ms: int) -> tuple[int, list[tuple[str, int, list[int]]]]:
        failed, states = scard.SCardGetStatusChange(self._context, timeout_ms, [(self.name, known)])
        return failed, states

    def wait(self, *, present: bool = True, timeout_s: float | None = None) -> bool:
        """Wait until a card is in the field, or with ``present`` false until it is gone; whether that came about in time."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            _, (state,) = self._states(scard.SCARD_STATE_UNAWARE, 0)
            there = bool(state[1] & scard.SCARD_STATE_PRESENT) and not state[1] & scard.SCARD_STATE_MUTE
            if there is present:
                return True
            left = _POLL_MS if until is None else min(_POLL_MS, int(1000 * (until - time.monotonic())))
            if left <= 0:
                return False
            self._states(state[1] & ~scard.SCARD_STATE_CHANGED, left)

    @contextmanager
    def field(self) -> Iterator["Field"]:
        """Power the card that is there; on leaving it loses power. Raises :class:`CardGone` where there is none."""
        failed, card, protocol = scard.SCardConnect(self._context, self.name, scard.SCARD_SHARE_EXCLUSIVE, _PROTOCOLS)
        if failed:
            raise CardGone(scard.SCardGetErrorMessage(failed))
        try:
            yield Field(card, protocol)
        finally:
            scard.SCardDisconnect(card, scard.SCARD_UNPOWER_CARD)


class Field:
    """A card in the field."""

    def __init__(self, card: Any, protocol: int) -> None:
        self._card = card
        self._pci = scard.SCARD_PCI_T0 if protocol == scard.SCARD_PROTOCOL_T0 else scard.SCARD_PCI_T1

    def transmit(self, command: bytes) -> bytes:
        """One command and its answer. Raises :class:`CardGone` where none comes."""
        failed, answer = scard.SCardTransmit(self._card, self._pci, list(command))
        if failed or len(answer) < 2:  # noqa: PLR2004  the status
            raise CardGone(scard.SCardGetErrorMessage(failed))
        return bytes(answer)
