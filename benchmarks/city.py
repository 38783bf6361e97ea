"""A city to measure: the embedded PostgreSQL with fsync on, a feed, cards with phones, gates, and its real processes.

Cards, devices and purses are made in bulk, but of the same kind that the doors make: signed by the city's key, opened and
funded through the ledger.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from uuid import UUID

import httpx
import psutil
import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr
from sqlalchemy.orm import Session

from app import migrate
from app.demo import postgres
from app.demo.cities import environment_of
from app.factory import create_app
from app.kernel import ids
from app.kernel.city import city_of
from app.kernel.db import Database
from app.kernel.settings import Settings
from app.kernel.signing import Purpose
from card import credentials, ledger, transit
from card.credentials import CHAIN_START, Decision, Static, Tap, TapKind, numbers
from card.ledger import Transfer, TransferCode

ROOT = Path(__file__).parents[1]
FEEDS = ROOT / "app" / "demo" / "feeds"
SETTINGS = {"shared_buffers": "1GB"}  # beside those of every city of the demonstration; fsync stays on
MONEY = 1_000_000
SLICE = 2_000
PATH = "/api/transit/taps"


@dataclass(slots=True)
class Phone:
    """A card on a phone."""

    number: str
    static: bytes
    key: Ed25519PrivateKey
    kid: bytes
    counter: int = 0


@dataclass(slots=True)
class Gate:
    """An enrolled terminal."""

    terminal_id: str
    operator: str
    kind: TapKind
    key: Ed25519PrivateKey
    boot: str = field(default_factory=lambda: secrets.token_hex(8))
    seq: int = 0
    prev: bytes = CHAIN_START

    def tap(self, phone: Phone, at: datetime) -> bytes:
        """Let the phone through: the record as its journal would hold it."""
        self.seq += 1
        phone.counter += 1
        at_ms = int(at.timestamp() * 1000)
        record = Tap(
            boot_id=self.boot,
            seq=self.seq,
            kind=self.kind,
            device_at=at_ms,
            skew_ms=0,
            card_number=phone.number,
            counter=phone.counter,
            device_kid=phone.kid,
            decision=Decision.ACCEPTED,
            reason="",
            list_seq=0,
            tariff_version="",
            prev=self.prev,
            qr=credentials.present(phone.static, device=phone.key, at=at, counter=phone.counter),
        ).encoded()
        self.prev = credentials.digest_of(record)
        return record


@dataclass(slots=True)
class Batch:
    """A body that is ready to be sent, with how many taps it has."""

    gate: Gate
    body: bytes
    taps: int


@dataclass
class City:
    """The city under measurement."""

    settings: Settings
    owner_url: str
    database: Database
    port: int
    operators: tuple[str, str]
    ports: list[int] = field(default_factory=list)
    processes: dict[str, list[psutil.Process]] = field(default_factory=dict)


def free_port() -> int:
    """A port that nobody listens on: what an earlier run left behind must not answer for this one."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def city(folder: Path, *, code: str = "320500") -> Iterator[City]:
    """The city's database, migrated, with its feed and keys; its processes are started by :func:`serving`."""
    server = postgres.start(folder / "postgres", SETTINGS)
    port = free_port()
    try:
        url = postgres.ensure_database(server, "measured")
        migrate.upgrade(url)
        settings = Settings(
            city_code=code,
            city_name_en="Measured",
            city_name_zh="测量",
            public_url=f"http://127.0.0.1:{port}",
            database_url=url,
            data_dir=folder / "var",
            secret_key=SecretStr(secrets.token_urlsafe(48)),
            field_key=SecretStr("a2trZ2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="),
            demonstration=True,
            log_level="WARNING",
        )
        app = create_app(settings)
        database: Database = app.extensions["database"]
        with database.transaction() as session:
            transit.import_feed(session, FEEDS / code, feed_id=code, by="system", now=datetime.now(UTC))
        prefix = {"320500": "sz", "320100": "nj"}[code]
        yield City(
            settings=settings, owner_url=url, database=database, port=port, operators=(f"{prefix}-metro", f"{prefix}-bus")
        )
        database.close()
    finally:
        server.cleanup()


def phones(of: City, count: int, *, now: datetime) -> list[Phone]:
    """``count`` residents with a card on a phone and money in the purse."""
    made: list[Phone] = []
    rows, devices, holders = [], [], []
    with of.database.transaction() as session:
        city = city_of(session)
        signer = city.key(Purpose.CARD_ISSUER).private
        for serial in range(count):
            key = Ed25519PrivateKey.generate()
            raw = credentials.raw_public(key.public_key())
            static = Static(
                issuer=city.code,
                number=numbers.make(city.code, 5_000_000 + serial),
                issued_at=now - timedelta(days=1),
                expires_at=now + timedelta(days=60),
                status_index=2 * serial + 2,
                device_key=raw,
            )
            signed = credentials.sign_static(static, signer)
            made.append(Phone(number=static.number, static=signed, key=key, kid=credentials.key_id(raw)))
            holder, card = ids.new_id(), ids.new_id()
            holders.append(holder)
            rows.append(
                (card, holder, "phone", static.number, "active", 2 * serial + 1, now, now, (now + timedelta(days=900)).date())
            )
            devices.append((ids.new_id(), card, raw, static.status_index, now, signed, static.expires_at))
    with psycopg.connect(of.owner_url) as connection, connection.cursor() as cursor:
        columns = "id, holder_id, kind, number, status, status_index, issued_at, activated_at, expires_on"
        with cursor.copy(f"COPY card.card ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        columns = "id, card_id, public_key, status_index, bound_at, static, static_expires_at, counter"
        with cursor.copy(f"COPY card.card_device ({columns}) FROM STDIN") as copy:
            for row in devices:
                copy.write_row((*row, 0))
    for start in range(0, count, SLICE):
        fund(of, holders[start : start + SLICE], now=now)
    with psycopg.connect(of.owner_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    return made


def fund(of: City, holders: Sequence[UUID], *, now: datetime) -> None:
    """Open a purse for each and put money in."""
    with of.database.transaction() as session:
        bank = ledger.open_account(session, ledger.chart.bank(), now=now)
        purses = ledger.open_accounts(session, [ledger.chart.purse(holder) for holder in holders], now=now)
        opening = [
            Transfer(id=ids.new_id(), debit=bank, credit=purse, amount_minor=MONEY, code=TransferCode.OPENING, event_at=now)
            for purse in purses.values()
        ]
        ledger.post_all(session, opening, now=now)


def gates(of: City, kinds: Sequence[TapKind], *, now: datetime) -> list[Gate]:
    """Metro gates, each at a stop of its own."""
    operator = of.operators[0]
    with of.database.transaction() as session:
        stops = [stop for stop, _ in transit.lines_of(session, operator)[0].stops]
        return [
            _gate(session, operator, kind, now=now, stop_id=stops[number % len(stops)]) for number, kind in enumerate(kinds)
        ]


def buses(of: City, count: int, *, now: datetime) -> list[Gate]:
    """Terminals on buses of the first line."""
    operator = of.operators[1]
    with of.database.transaction() as session:
        line = transit.lines_of(session, operator)[0].id
        return [_gate(session, operator, TapKind.RIDE, now=now, line_id=line) for _ in range(count)]


def _gate(session: Session, operator: str, kind: TapKind, *, now: datetime, **where: str) -> Gate:
    key = Ed25519PrivateKey.generate()
    token = transit.create_enrolment(session, operator_id=operator, mode=kind.value, by="person:measure", now=now, **where)
    done = transit.enrol(
        session, token=token.token, public_key=credentials.raw_public(key.public_key()), software="measure", now=now
    )
    return Gate(terminal_id=str(done.terminal_id), operator=operator, kind=kind, key=key)


def batches(gate: Gate, riders: Sequence[Phone], at: datetime, *, size: int) -> list[Batch]:
    """``riders`` through ``gate``, one a millisecond from ``at`` on, as bodies of ``size`` records."""
    found = []
    for start in range(0, len(riders), size):
        group = riders[start : start + size]
        found.append(
            batch_of(gate, [gate.tap(phone, at + timedelta(milliseconds=start + step)) for step, phone in enumerate(group)])
        )
    return found


def batch_of(gate: Gate, records: Sequence[bytes]) -> Batch:
    """``records`` as one upload."""
    body = credentials.cbor.write({"terminal_id": gate.terminal_id, "batch": list(records)})
    return Batch(gate=gate, body=body, taps=len(records))


def send(port: int, batch: Batch) -> None:
    """One upload over HTTP; every tap must be stored."""
    proof = credentials.prove(
        batch.gate.key,
        terminal_id=batch.gate.terminal_id,
        method="POST",
        path=PATH,
        body=batch.body,
        at=datetime.now(UTC),
    )
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", PATH, batch.body, {"Authorization": proof, "Content-Type": "application/cbor"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, (answer.status, body[:300])
    stored = body.count(b"stored")
    assert stored == batch.taps, credentials.receipt_from(body).results[:3]


def send_all(of: City, waiting: Sequence[Batch], *, connections: int) -> float:
    """Send every batch over ``connections`` at once, as many to each server as it takes; the seconds it took."""
    began = time.perf_counter()
    left = iter(waiting)

    def carry(port: int) -> None:
        for batch in left:
            send(port, batch)

    with ThreadPoolExecutor(connections) as pool:
        for _ in pool.map(carry, (of.ports[n % len(of.ports)] for n in range(connections))):
            pass
    return time.perf_counter() - began


def granian(target: str, *, port: int, workers: int, threads: int) -> tuple[str, ...]:
    """The command of a web server."""
    return (
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", str(workers), "--blocking-threads", str(threads), "--log-level", "warning", target),
    )


@contextmanager
def program(of: City, target: str, *, port: int, workers: int, threads: int) -> Iterator[psutil.Process]:
    """Another application behind a web server of the same make, for comparison."""
    command = granian(target, port=port, workers=workers, threads=threads)
    environment = {**os.environ, **environment_of(of.settings), "DATABASE_POOL_SIZE": str(threads)}
    started = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        for _ in range(150):
            try:
                httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        started.wait(10)


@contextmanager
def serving(of: City, *, servers: int = 1, workers: int, threads: int) -> Iterator[City]:
    """The city's web servers (granian) and worker as processes of their own; each server has a port (``of.ports``)."""
    environment = {**os.environ, **environment_of(of.settings), "FLASK_APP": "wsgi", "RATELIMIT_ENABLED": "0"}
    of.ports = [of.port, *(free_port() for _ in range(servers - 1))]
    webs = [granian("wsgi:application", port=port, workers=workers, threads=threads) for port in of.ports]
    worker = (sys.executable, "-m", "flask", "worker")
    log = (of.settings.data_dir / "programs.log").open("ab")
    started = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
        for command in (*webs, worker)
    ]
    try:
        deadline = time.monotonic() + 60
        for port in of.ports:
            while True:
                try:
                    httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).raise_for_status()
                    break
                except httpx.HTTPError:
                    assert time.monotonic() < deadline, (of.settings.data_dir / "programs.log").read_text()[-2000:]
                    time.sleep(0.2)
        watched = [psutil.Process(program.pid) for program in started]
        of.processes = {"web": watched[:-1], "worker": watched[-1:]}
        yield of
    finally:
        for program in started:
            program.terminate()
        for program in started:
            try:
                program.wait(10)
            except subprocess.TimeoutExpired:
                program.kill()
        log.close()


def _family(programs: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Programs with the processes that they started."""
    return [one for program in programs for one in (program, *program.children(recursive=True))]


def memory_mb(of: City) -> dict[str, float]:
    """Resident memory of web and worker, children included, in MB."""
    return {name: sum(one.memory_info().rss for one in _family(programs)) / 2**20 for name, programs in of.processes.items()}


def cpu_seconds(of: City) -> dict[str, float]:
    """CPU time spent so far by web, worker and PostgreSQL's backends that still run."""

    def spent(processes: Sequence[psutil.Process]) -> float:
        return sum(sum(one.cpu_times()[:2]) for one in processes)

    found = {name: spent(_family(programs)) for name, programs in of.processes.items()}
    with psycopg.connect(of.owner_url) as connection:
        row = connection.execute("SELECT json_agg(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()").fetchone()
    pids = row[0] if row else []
    pids = json.loads(pids) if isinstance(pids, str) else pids
    found["postgres"] = spent([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)])
    return found
