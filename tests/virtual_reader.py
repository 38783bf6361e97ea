"""A real pcscd with a virtual reader of its own, and a card that is put there and torn away.

pcscd takes its socket as systemd would hand it over, so that every test run has a daemon of its own, beside the machine's.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from card.chip import Applet, Memory, NoReader, Presence, readers
from tests.build import reader as build

CONFIGURATION = """FRIENDLYNAME "Virtual PCD"
DEVICENAME /dev/null:{port:#x}
LIBPATH {driver}
CHANNELID {port:#x}
"""

HAND_OVER = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])"""


def _port() -> int:
    """A port that is free, as is its neighbour: the reader has two slots and listens on both."""
    while True:
        with socket.socket() as first, socket.socket() as second, suppress(OSError, OverflowError):
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            second.bind(("127.0.0.1", port + 1))
            return port


ABSENCE_S = 0.5  # pcscd looks every 0.4 s, and takes a card that follows sooner for the one before


class Slot:
    """The place a card is held to. A command can be met by taking the card away."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._thread: threading.Thread | None = None
        self._connection: socket.socket | None = None
        self._left_at = 0.0

    def put(
        self,
        memory: Memory,
        *,
        before: Callable[[bytes], None] = lambda _: None,
        after: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        """Hold the card there; where ``before`` or ``after`` raises :class:`PowerLost` it leaves the field."""
        self.take()
        time.sleep(max(0.0, self._left_at + ABSENCE_S - time.monotonic()))
        self._connection = socket.create_connection(("127.0.0.1", self._port), timeout=5)
        self._connection.settimeout(None)
        presence = Presence(Applet(memory), self._connection, before=before, after=after)
        self._thread = threading.Thread(target=self._stay, args=(presence,), daemon=True)
        self._thread.start()

    def _stay(self, presence: Presence) -> None:
        presence.stay()
        self._left_at = time.monotonic()

    def take(self) -> None:
        """Take it away."""
        if self._connection is None or self._thread is None:
            return
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection = self._thread = None


@contextmanager
def daemon(folder: Path) -> Iterator[tuple[Slot, Slot]]:
    """pcscd in the foreground with a virtual reader of two slots; ``PCSCLITE_CSOCK_NAME`` leads this process to it."""
    program, driver = build.pcscd(), build.driver()
    assert program is not None
    assert driver is not None
    port = _port()
    configuration = folder / "reader.conf.d"
    configuration.mkdir(parents=True)
    (configuration / "vpcd").write_text(CONFIGURATION.format(port=port, driver=driver))
    address = f"/tmp/pcscd-{os.getpid()}-{port}"  # a socket's path is short
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    options = (
        ["--disable-polkit"]
        if "--disable-polkit" in subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout
        else []
    )
    with (folder / "pcscd.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", HAND_OVER, str(listening.fileno()), program, "-f", "-c", str(configuration), *options],
            pass_fds=(listening.fileno(),),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    listening.close()  # the daemon has its own: when it dies, nobody waits for an answer
    os.environ["PCSCLITE_CSOCK_NAME"] = address
    slots = Slot(port), Slot(port + 1)
    try:
        _await_reader(process, folder / "pcscd.log")
        yield slots
    finally:
        for slot in slots:
            slot.take()
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        Path(address).unlink(missing_ok=True)
        os.environ.pop("PCSCLITE_CSOCK_NAME", None)


def _await_reader(process: subprocess.Popen[bytes], log: Path) -> None:
    """Until pcscd names its reader; a daemon that died says why."""
    for _ in range(100):
        assert process.poll() is None, log.read_text()
        with suppress(NoReader):
            if readers():
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())
