"""A city of the tests: the transit wire over real HTTP, in memory, with faults to order."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from card.credentials import (
    CredentialRefused,
    Delta,
    DenyList,
    Entitlement,
    Receipt,
    Static,
    Tap,
    TapResult,
    cbor,
    certify,
    check_renewal,
    decode_batch,
    denials,
    from_base64url,
    numbers,
    present,
    public_from_raw,
    raw_public,
    sign_bundle,
    sign_static,
    to_base64url,
    to_text,
    verify_proof,
)

CITY = "320100"


@dataclass
class Phone:
    """A card on a phone: shows codes without any network."""

    issuer_key: Ed25519PrivateKey
    serial: int
    issuer: str = CITY
    entitlements: tuple[Entitlement, ...] = ()
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    counter: int = 0

    @property
    def number(self) -> str:
        return numbers.make(self.issuer, self.serial)

    def show(self, *, at: datetime | None = None) -> str:
        now = at or datetime.now(UTC)
        self.counter += 1
        static = Static(
            issuer=self.issuer,
            number=numbers.make(self.issuer, self.serial),
            issued_at=now - timedelta(days=1),
            expires_at=now + timedelta(days=29),
            status_index=self.serial,
            entitlements=self.entitlements,
            device_key=raw_public(self.key.public_key()),
        )
        return to_text(present(sign_static(static, self.issuer_key), device=self.key, at=now, counter=self.counter))


SENIOR = Entitlement(code="senior-70", scope_city=CITY, expires_on=date(2099, 1, 1))


@dataclass
class SmallCity:
    """What the server keeps. ``taps`` is keyed as a real one would key them."""

    bundle_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    issuer_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    foreign_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    tokens: set[str] = field(default_factory=lambda: {"once"})
    terminals: dict[str, list[bytes]] = field(default_factory=dict)
    denied: DenyList = field(default_factory=lambda: DenyList.empty(CITY))
    base: DenyList = field(default_factory=lambda: DenyList.empty(CITY))
    deltas: list[Delta] = field(default_factory=list)
    bundle_seq: int = 1
    mode: str = "entry"
    risk: dict[str, Any] = field(default_factory=dict)
    taps: dict[tuple[str, int], Tap] = field(default_factory=dict)
    repeated: int = 0
    lose_answers: int = 0  # how many uploads are stored and then left unanswered
    cut_answers: int = 0  # how many uploads are stored and then answered by half
    lose_renewals: int = 0
    stop_id: str = "S1"
    certificate_life: timedelta = timedelta(days=90)
    address: str = ""

    def deny(self, *indexes: int) -> None:
        delta = Delta.make(city=CITY, seq=self.denied.seq + 1, prev_digest=self.denied.digest, adds=indexes, removes=())
        self.deltas.append(delta)
        self.denied = self.denied.apply(delta)
        self.bundle_seq += 1

    def bundle(self) -> bytes:
        now = datetime.now(UTC)
        return sign_bundle(
            self.bundle_key,
            {
                "seq": self.bundle_seq,
                "made_at": int(now.timestamp()),
                "not_after": int((now + timedelta(days=7)).timestamp()),
                "city": CITY,
                "tariff_version": "t1",
                "issuer_keys": {
                    CITY: [["", raw_public(self.issuer_key.public_key())]],
                    "320500": [["", raw_public(self.foreign_key.public_key())]],
                },
                "deny": denials.part(self.base, [delta for delta in self.deltas if delta.seq > self.base.seq]),
                "risk": self.risk,
                "stops": [],
                "terminal": {"stop_id": "S1", "mode": self.mode},
            },
        )

    def enrol(self, document: dict[str, Any]) -> dict[str, Any] | None:
        if document["token"] not in self.tokens:
            return None
        self.tokens.discard(document["token"])
        key = from_base64url(document["public_key"])
        terminal_id = f"T{len(self.terminals) + 1}"
        self.terminals[terminal_id] = [key]
        signed = self.certificate(terminal_id, key)
        return {"terminal_id": terminal_id, "certificate": to_base64url(signed), "server_time": datetime.now(UTC).isoformat()}

    def renew(self, terminal_id: str, body: bytes) -> bytes:
        asked = cbor.read(body)
        current = self.terminals[terminal_id][-1]
        if asked["public_key"] != current:
            check_renewal(asked["proof"], terminal_id=terminal_id, current=current, fresh=asked["public_key"])
            self.terminals[terminal_id] = [current, asked["public_key"]]
        signed = self.certificate(terminal_id, asked["public_key"])
        return cbor.write({"certificate": signed})

    def certificate(self, terminal_id: str, key: bytes) -> bytes:
        return certify(
            self.bundle_key,
            terminal_id=terminal_id,
            operator_id="njmetro",
            city=CITY,
            stop_id=self.stop_id,
            line="1",
            key=key,
            now=datetime.now(UTC),
            life=self.certificate_life,
        )

    def store(self, body: bytes) -> bytes:
        _, taps = decode_batch(body)
        results = []
        for tap in taps:
            assert isinstance(tap, Tap), tap
            place = (tap.boot_id, tap.seq)
            assert self.taps.setdefault(place, tap) == tap, "same key, other body"
            results.append(TapResult(boot_id=tap.boot_id, seq=tap.seq, outcome="stored"))
        contiguous: dict[str, int] = {}
        for boot_id, seq in sorted(self.taps):
            if seq == contiguous.get(boot_id, 0) + 1:
                contiguous[boot_id] = seq
        return Receipt(contiguous=contiguous, gaps={}, results=tuple(results)).encoded()

    def phone(self, serial: int, *entitlements: Entitlement) -> Phone:
        return Phone(self.issuer_key, serial, entitlements=entitlements)

    def foreign_phone(self, serial: int, *entitlements: Entitlement) -> Phone:
        return Phone(self.foreign_key, serial, issuer="320500", entitlements=entitlements)


@contextmanager
def serving(city: SmallCity) -> Iterator[str]:  # noqa: C901  one handler, read as one
    """Serve ``city`` on loopback; the address."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: int, body: bytes, kind: str, *, written: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:written])

        def _proved(self, body: bytes) -> bool:
            for place in (-1, 0):  # the newest key, or the one before a renewal
                try:
                    self.terminal_id = verify_proof(
                        self.headers.get("Authorization", ""),
                        lambda terminal_id, place=place: public_from_raw(city.terminals[terminal_id][place]),
                        method=self.command,
                        path=self.path,
                        body=body,
                        now=datetime.now(UTC),
                    ).terminal_id
                except CredentialRefused as refusal:
                    reason = refusal.reason
                else:
                    if place == -1:
                        city.terminals[self.terminal_id] = city.terminals[self.terminal_id][-1:]
                    return True
            self._answer(401, json.dumps({"code": reason}).encode(), "application/problem+json")
            return False

        def do_GET(self) -> None:
            if self._proved(b""):
                self._answer(200, city.bundle(), "application/cbor")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/enrol"):
                found = city.enrol(json.loads(body))
                if found is None:
                    self._answer(409, json.dumps({"code": "token-spent"}).encode(), "application/problem+json")
                else:
                    self._answer(200, json.dumps(found).encode(), "application/json")
            elif self.path.endswith("/renew"):
                if self._proved(body):
                    answer = city.renew(self.terminal_id, body)
                    if city.lose_renewals:
                        city.lose_renewals -= 1
                        self.close_connection = True
                    else:
                        self._answer(200, answer, "application/cbor")
            elif self._proved(body):
                answer = city.store(body)
                if city.lose_answers:
                    city.lose_answers -= 1
                    self.close_connection = True
                elif city.cut_answers:
                    city.cut_answers -= 1
                    self._answer(200, answer, "application/cbor", written=len(answer) // 2)
                    self.close_connection = True
                else:
                    self._answer(200, answer, "application/cbor")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    city.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield city.address
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
