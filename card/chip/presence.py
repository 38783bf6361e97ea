"""A virtual card in a virtual reader: the card's side of vpcd's protocol (vsmartcard).

Each message has its length before it, in two bytes. A message of one byte is a control (0 off, 1 on, 2 reset, 4 answer to
reset); anything else is a command. Leaving the field is closing the connection, so a card can be torn out after any command,
carried out or not.
"""

import socket
from collections.abc import Callable
from typing import Final

from card.chip.applet import ATR, Applet
from card.chip.memory import PowerLost

VPCD_PORT: Final = 35963
_OFF, _ON, _RESET, _ATR = 0, 1, 2, 4
_QUICK: Final = getattr(socket, "TCP_QUICKACK", None)  # without it each command waits 40 ms for a delayed acknowledgement


class Presence:
    """``applet`` in the field of the reader at the other end of ``connection``.

    ``before`` and ``after`` see every command before it is carried out and every answer before it is sent; either may raise
    :class:`PowerLost` to take the card away at that instant.
    """

    def __init__(
        self,
        applet: Applet,
        connection: socket.socket,
        *,
        before: Callable[[bytes], None] = lambda _: None,
        after: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self._applet, self._connection, self._before, self._after = applet, connection, before, after
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def stay(self) -> None:
        """Answer until the reader hangs up or the card is taken away; the connection is closed then."""
        with self._connection:
            while (message := self._receive()) is not None:
                try:
                    answer = self._answer(message)
                except PowerLost:
                    self._connection.shutdown(socket.SHUT_RDWR)
                    return
                if answer is not None:
                    self._connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, message: bytes) -> bytes | None:
        if len(message) == 1:
            if message[0] in (_OFF, _ON, _RESET):
                self._applet.power()
            return ATR if message[0] == _ATR else None
        self._before(message)
        answer = self._applet.process(message)
        self._after(answer)
        return answer

    def _receive(self) -> bytes | None:
        head = self._exactly(2)
        return self._exactly(int.from_bytes(head, "big")) if head is not None else None

    def _exactly(self, size: int) -> bytes | None:
        found = b""
        while len(found) < size:
            try:
                piece = self._connection.recv(size - len(found))
            except OSError:
                return None
            if not piece:
                return None
            found += piece
            if _QUICK is not None:
                self._connection.setsockopt(socket.IPPROTO_TCP, _QUICK, 1)
        return found
