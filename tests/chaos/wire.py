"""The line to the database, cut on purpose: at the n-th message a client sends, before it arrives or after it was answered.

A client that does one thing after another sends the same messages every time, so a cut at message 17 is the same failure
every time. Trying every n tries every instant at which a connection can be lost, and ``COMMIT`` is one of them: it is carried
out, and nobody hears the answer.
"""

import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Cut(StrEnum):
    """What happens at the chosen message."""

    BEFORE = "before"  # it never arrives
    AFTER = "after"  # it arrives and is carried out, and the answer is lost
    KILL = "kill"  # the server process dies of it (and PostgreSQL recovers from its log)


@dataclass
class Line:
    """A unix socket that forwards to another, and cuts once."""

    upstream: Path
    folder: Path
    at: int | None = None
    cut: Cut = Cut.BEFORE
    messages: int = 0
    happened: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def path(self) -> Path:
        """The socket that clients use."""
        return self.folder / self.upstream.name

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Forward for the length of the block."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.bind(str(self.path))
            door.listen(16)
            thread = threading.Thread(target=self._accept, args=(door,))
            thread.start()
            try:
                yield
            finally:
                door.shutdown(socket.SHUT_RDWR)
                thread.join()
                self.path.unlink(missing_ok=True)

    def _accept(self, door: socket.socket) -> None:
        calls: list[tuple[_Call, threading.Thread]] = []
        with suppress(OSError):  # the door is shut
            while True:
                client, _ = door.accept()
                call = _Call(self, client)
                calls.append((call, threading.Thread(target=call.run)))
                calls[-1][1].start()
        for call, thread in calls:
            call.hang_up()
            thread.join()

    def strikes(self) -> bool:
        """Count a message; whether this is the one."""
        with self._lock:
            self.messages += 1
            if self.happened or self.messages != self.at:
                return False
            self.happened = True
            return True


class _Call:
    """One connection through the line."""

    def __init__(self, line: Line, client: socket.socket) -> None:
        self._line = line
        self._client = client
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._deaf = threading.Event()  # set: what the server says is heard here, and not passed on
        self._ready = threading.Event()  # the server has answered something since the last message
        self._backend = 0

    def hang_up(self) -> None:
        """End it, whoever still speaks."""
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Forward both ways until either side ends."""
        with self._client, self._server:
            try:
                self._server.connect(str(self._line.upstream))
            except OSError:
                return
            back = threading.Thread(target=self._answers)
            back.start()
            with suppress(OSError):
                self._questions()
            for end in (self._server, self._client):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join()

    def _questions(self) -> None:
        started = False
        while True:
            head = _exactly(self._client, 4 if not started else 5)
            (length,) = struct.unpack("!I", head[-4:])
            message = head + _exactly(self._client, length - 4)
            if not started:
                started = length > 8  # SSLRequest and GSSENCRequest are eight bytes; the start-up packet is longer
                self._server.sendall(message)
                continue
            if self._line.strikes():
                self._strike(message)
                return
            self._server.sendall(message)

    def _strike(self, message: bytes) -> None:
        if self._line.cut is Cut.BEFORE:
            return
        self._deaf.set()
        self._ready.clear()
        if self._line.cut is Cut.KILL:
            os.kill(self._backend, signal.SIGKILL)
            return
        self._server.sendall(message)
        if message[:1] in (b"S", b"Q", b"H"):  # only after these does the server answer
            self._ready.wait(5)

    def _answers(self) -> None:
        with suppress(OSError):
            while True:
                head = _exactly(self._server, 1)
                if head == b"N" and not self._backend:  # the answer to SSLRequest is a single byte; a notice comes later
                    self._client.sendall(head)
                    continue
                rest = _exactly(self._server, 4)
                (length,) = struct.unpack("!I", rest)
                body = _exactly(self._server, length - 4)
                if head == b"K":
                    (self._backend,) = struct.unpack("!I", body[:4])
                if head == b"Z":
                    self._ready.set()
                if not self._deaf.is_set():
                    self._client.sendall(head + rest + body)
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)
        self._ready.set()


def _exactly(source: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = source.recv(count - len(found))
        if not part:
            raise ConnectionResetError
        found += part
    return found
