"""A station's own network: gates tell each other which codes were used, through a hub, without the internet.

A code that opened one gate is refused at the next within milliseconds. The hub is an enrolled terminal of the same station with
nothing to decide. Both sides show the certificate that their city signed and sign every frame over both sides' nonces and a
running number: a stranger on the wire can neither speak, nor repeat, reorder or reflect anything. A gate never waits for the
hub: it decides by what it has heard, goes on alone when the hub is away, and tells the rest when it is back.

Wire: length (4 bytes, big-endian) and CBOR. First the hub's ``{nonce, certificate}``; then COSE_Sign1 frames, the gate's first
one ``{nonce, certificate, epoch, since}``, all others ``{n, epoch, seq, passed: [[replay key, counter, number, ms, kind]]}``.
"""

import contextlib
import secrets
import socket
import struct
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from card.credentials import Certificate, CredentialRefused, Reason, TapKind, cbor, public_from_raw, read_certificate, sign1
from card.validator import keys
from card.validator.journal import Journal, Passed
from card.validator.terminal import NotEnrolled, device_ms

PORT: Final = 7707
DOMAIN: Final = b"citizen-card/station/1"
TO_HUB, TO_GATE = b"\x01", b"\x02"
FRAME_MAX: Final = 1_000_000
CHUNK: Final = 500  # passages a frame
REMEMBER: Final = 100_000
REMEMBER_MS: Final = 86_400_000
BEAT_S: Final = 5.0
SILENT_S: Final = 15.0
WAIT_MAX_S: Final = 15.0


class Strange(Exception):
    """The other side is not of this station, or does not keep to the protocol."""


def _read(connection: socket.socket) -> bytes:
    def exactly(size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = connection.recv(size - len(found))
            if not part:
                raise ConnectionError("closed")
            found += part
        return found

    (size,) = struct.unpack(">I", exactly(4))
    if size > FRAME_MAX:
        raise Strange("frame too long")
    return exactly(size)


def _write(connection: socket.socket, frame: bytes) -> None:
    connection.sendall(struct.pack(">I", len(frame)) + frame)


class Identity:
    """A terminal's key and certificate, and whom it takes for a neighbour."""

    def __init__(self, home: Path) -> None:
        """Raises ``NotEnrolled``."""
        journal = Journal(home / "journal.sqlite")
        try:
            signed = journal.fact("certificate")
        finally:
            journal.close()
        if not isinstance(signed, bytes):
            raise NotEnrolled(str(home))
        self.signed, self.certificate = signed, read_certificate(signed)
        self.key = keys.take(home, self.certificate.key)

    def neighbour(self, signed: bytes) -> Certificate:
        """The other side's certificate; raises ``Strange`` unless our city signed it for this station and it still runs."""
        own = self.certificate
        try:
            other = read_certificate(signed, trusted=public_from_raw(own.bundle_key))
        except CredentialRefused as refusal:
            raise Strange(str(refusal.reason)) from refusal
        if (other.city, other.operator_id, other.stop_id) != (own.city, own.operator_id, own.stop_id):
            raise Strange(f"{other.terminal_id} is of another station")
        if other.expires_at <= datetime.now(UTC):
            raise Strange(f"the certificate of {other.terminal_id} has run out")
        return other


class _Channel:
    """One direction each way between two terminals that have met."""

    def __init__(self, connection: socket.socket, ours: Identity, theirs: Certificate, session: bytes, *, hub: bool) -> None:
        self._connection, self._ours = connection, ours
        self._their_key = public_from_raw(theirs.key)
        self.terminal_id = theirs.terminal_id
        out, back = (TO_GATE, TO_HUB) if hub else (TO_HUB, TO_GATE)
        self._out, self._back = DOMAIN + out + session, DOMAIN + back + session
        self._sent = self._heard = 0

    def send(self, passed: Iterable[Passed], *, epoch: bytes, seq: int) -> None:
        """One frame; call from one thread only."""
        self._sent += 1
        rows = [[one.replay_key, one.counter, one.number, one.at_ms, one.kind.value] for one in passed]
        payload = cbor.write({"n": self._sent, "epoch": epoch, "seq": seq, "passed": rows})
        kid = self._ours.certificate.terminal_id.encode()
        _write(self._connection, sign1.sign(self._ours.key, payload, kid=kid, external=self._out))

    def receive(self) -> tuple[list[Passed], bytes, int]:
        """The next frame: passages, epoch, sequence. Raises ``Strange`` and ``OSError``."""
        try:
            payload = sign1.check(sign1.parse(_read(self._connection)), self._their_key, external=self._back)
            document = cbor.read(payload)
            self._heard += 1
            if cbor.field(document, "n", int) != self._heard:
                raise Strange("a frame is missing or came twice")
            rows = cbor.field(document, "passed", list)
            return (
                [_passed(row) for row in rows],
                cbor.field(document, "epoch", bytes),
                cbor.field(document, "seq", int),
            )
        except CredentialRefused as refusal:
            raise Strange(str(refusal.reason)) from refusal


def _passed(row: Any) -> Passed:
    match row:
        case [bytes() as key, int() as counter, str() as number, int() as at_ms, str() as kind] if kind in set(TapKind):
            return Passed(replay_key=key, counter=counter, number=number, at_ms=at_ms, kind=TapKind(kind))
        case _:
            raise CredentialRefused(Reason.MALFORMED, "passage")


class _Gate:
    """A gate as the hub sees it: what it still has to hear."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[int, Passed]] = deque(maxlen=REMEMBER)
        self.news = threading.Event()


class Hub:
    """The hub of one station: remembers a day of passages and tells every gate what the others let pass."""

    def __init__(self, home: Path, *, host: str = "0.0.0.0", port: int = PORT) -> None:  # noqa: S104  the station's own network
        """Listens at once; :attr:`port` is the one in use. Raises ``NotEnrolled``."""
        self._identity = Identity(home)
        self._server = socket.create_server((host, port), reuse_port=False)
        self._server.settimeout(0.2)
        self.port = int(self._server.getsockname()[1])
        self._epoch = secrets.token_bytes(8)
        self._lock = threading.Lock()
        self._log: OrderedDict[bytes, tuple[int, Passed]] = OrderedDict()
        self._seq = 0
        self._gates: set[_Gate] = set()
        self._stop = threading.Event()

    def serve(self, stop: threading.Event | None = None) -> None:
        """Until :meth:`stop` is called or ``stop`` is set."""
        with self._server:
            while not self._stop.is_set() and not (stop is not None and stop.is_set()):
                with contextlib.suppress(TimeoutError):
                    connection, _ = self._server.accept()
                    threading.Thread(target=self._meet, args=(connection,), daemon=True).start()
        self._stop.set()

    def stop(self) -> None:
        """Let every gate go."""
        self._stop.set()

    @property
    def gates(self) -> int:
        """How many gates are connected."""
        return len(self._gates)

    def _meet(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, Strange):
            connection.settimeout(SILENT_S)
            nonce = secrets.token_bytes(16)
            _write(connection, cbor.write({"nonce": nonce, "certificate": self._identity.signed}))
            try:
                hello = sign1.parse(_read(connection))
                claims = cbor.read(hello.payload)
                other = self._identity.neighbour(cbor.field(claims, "certificate", bytes))
                sign1.check(hello, public_from_raw(other.key), external=DOMAIN + TO_HUB + nonce)
                session = nonce + cbor.field(claims, "nonce", bytes)
                epoch, since = cbor.field(claims, "epoch", bytes), cbor.field(claims, "since", int)
            except CredentialRefused as refusal:
                raise Strange(str(refusal.reason)) from refusal
            channel, gate = _Channel(connection, self._identity, other, session, hub=True), _Gate()
            with self._lock:
                start = since if epoch == self._epoch else 0
                gate.waiting.extend(entry for entry in self._log.values() if entry[0] > start)
                self._gates.add(gate)
            teller = threading.Thread(target=self._tell, args=(channel, gate, connection), daemon=True)
            teller.start()
            try:
                while not self._stop.is_set():
                    self._take(channel.receive()[0], gate)
            finally:
                with self._lock:
                    self._gates.discard(gate)
                gate.news.set()

    def _take(self, passed: list[Passed], source: _Gate) -> None:
        with self._lock:
            for one in passed:
                known = self._log.get(one.replay_key)
                if known is not None and known[1].counter >= one.counter:
                    continue
                self._seq += 1
                self._log[one.replay_key] = self._seq, one
                self._log.move_to_end(one.replay_key)
                for gate in self._gates:
                    if gate is not source:
                        gate.waiting.append((self._seq, one))
                        gate.news.set()
            oldest_ms = device_ms() - REMEMBER_MS
            while self._log and (len(self._log) > REMEMBER or next(iter(self._log.values()))[1].at_ms < oldest_ms):
                self._log.popitem(last=False)

    def _tell(self, channel: _Channel, gate: _Gate, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not self._stop.is_set() and gate in self._gates:
                with self._lock:
                    told = [gate.waiting.popleft() for _ in range(min(CHUNK, len(gate.waiting)))]
                    if not gate.waiting:
                        gate.news.clear()
                    seq = told[-1][0] if told else 0
                channel.send([one for _, one in told], epoch=self._epoch, seq=seq)
                gate.news.wait(BEAT_S)
            connection.shutdown(socket.SHUT_RDWR)


class Link:
    """A gate's line to its hub, on threads of its own. :meth:`tell` never waits."""

    def __init__(
        self,
        home: Path,
        address: tuple[str, int],
        *,
        clock_ms: Callable[[], int] = device_ms,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``log`` hears when the hub comes and goes. Raises ``NotEnrolled``."""
        self._home, self._address, self._clock_ms, self._log = home, address, clock_ms, log
        self._identity = Identity(home)
        self._queue: deque[Passed] = deque(maxlen=REMEMBER)
        self._news = threading.Event()
        self._stop = threading.Event()
        self._connection: socket.socket | None = None
        self._epoch, self._since = b"", 0
        self.connected = threading.Event()
        self._thread = threading.Thread(target=self._run, name="station", daemon=True)

    def start(self) -> None:
        """Begin to connect, again and again."""
        self._thread.start()

    def stop(self) -> None:
        """Hang up."""
        self._stop.set()
        self._news.set()
        self._hang_up()
        self._thread.join(timeout=5)

    def tell(self, passed: Passed) -> None:
        """A card passed here."""
        if self.connected.is_set():  # what passes meanwhile is read from the journal when the hub is back
            self._queue.append(passed)
            self._news.set()

    def _hang_up(self) -> None:
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        journal = Journal(self._home / "journal.sqlite", durable=False)
        wait_s = 0.5
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    self._talk(journal)
                except (OSError, Strange) as error:
                    self._log(f"station hub away: {error}")
                finally:
                    self.connected.clear()
                wait_s = 0.5 if time.monotonic() - began > SILENT_S else min(2 * wait_s, WAIT_MAX_S)
                self._stop.wait(wait_s)
        finally:
            journal.close()

    def _talk(self, journal: Journal) -> None:
        with socket.create_connection(self._address, timeout=SILENT_S) as connection:
            if connection.getsockname() == connection.getpeername():
                raise ConnectionError("met ourselves")  # TCP lets a port call itself where nobody listens
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection = connection
            channel = self._meet(connection)
            self._queue.clear()
            self.connected.set()
            before = journal.passed_since(self._clock_ms() - REMEMBER_MS, REMEMBER)
            self._log(f"station hub {channel.terminal_id} is there")
            teller = threading.Thread(target=self._tell, args=(channel, before), name="station-out", daemon=True)
            teller.start()
            try:
                while not self._stop.is_set():
                    passed, epoch, seq = channel.receive()
                    if passed:
                        with journal.exclusive():
                            for one in passed:
                                journal.accept(one, sync=-1, here=False)
                        self._epoch, self._since = epoch, seq
            finally:
                self.connected.clear()
                self._news.set()
                teller.join(timeout=SILENT_S)
                self._connection = None

    def _meet(self, connection: socket.socket) -> _Channel:
        try:
            first = cbor.read(_read(connection))
            other = self._identity.neighbour(cbor.field(first, "certificate", bytes))
            nonce, ours = cbor.field(first, "nonce", bytes), secrets.token_bytes(16)
        except CredentialRefused as refusal:
            raise Strange(str(refusal.reason)) from refusal
        claims = {"nonce": ours, "certificate": self._identity.signed, "epoch": self._epoch, "since": self._since}
        kid = self._identity.certificate.terminal_id.encode()
        _write(connection, sign1.sign(self._identity.key, cbor.write(claims), kid=kid, external=DOMAIN + TO_HUB + nonce))
        return _Channel(connection, self._identity, other, nonce + ours, hub=False)

    def _tell(self, channel: _Channel, before: list[Passed]) -> None:
        with contextlib.suppress(OSError):
            for start in range(0, len(before), CHUNK):
                channel.send(before[start : start + CHUNK], epoch=b"", seq=0)
            while self.connected.is_set():
                self._news.clear()
                told = [self._queue.popleft() for _ in range(min(CHUNK, len(self._queue)))]
                channel.send(told, epoch=b"", seq=0)
                if not self._queue:
                    self._news.wait(BEAT_S)
        self._hang_up()
