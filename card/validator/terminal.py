"""The terminal: enrol, renew, sync, decide, upload. Every decision is made alone and is on the disk before it is spoken."""

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from card.credentials import (
    GATE_USES,
    Certificate,
    CredentialRefused,
    Decision,
    DenyList,
    Entitlement,
    KeyRing,
    Presentation,
    Reason,
    Tap,
    TapKind,
    Use,
    Verifier,
    cbor,
    denials,
    encode_batch,
    from_base64url,
    from_text,
    key_id,
    public_from_raw,
    raw_public,
    read_bundle,
    read_certificate,
    receipt_from,
    renewal_proof,
    to_base64url,
)
from card.credentials import Bundle as CityBundle
from card.validator import keys, rules
from card.validator.gateway import City
from card.validator.journal import Counts, Journal, Passed
from card.validator.rules import ClockMark, Memory, Risk, Staleness, Standing

SOFTWARE: Final = "card.validator/1"
BATCH: Final = 500
CHINA: Final = timezone(timedelta(hours=8))  # a gate needs no time zone database: China has one offset, without summer time
UNSEEN: Final = 2**63 - 1  # higher than any counter
EVERY_USE: Final = frozenset(Use)


class NotEnrolled(Exception):
    """There is no terminal in this folder yet."""


def device_ms() -> int:
    """The device's own clock, unix milliseconds; ``VALIDATOR_CLOCK_OFFSET_MS`` puts it wrong for a rehearsal."""
    return time.time_ns() // 1_000_000 + int(os.environ.get("VALIDATOR_CLOCK_OFFSET_MS", "0"))


@cache
def _run() -> str:
    """The name of this run of the device's system; where it has none, this process is its own."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return secrets.token_hex(8)


UPTIME: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # sleep counts, where the system says so


def system_uptime() -> tuple[str, int]:
    """The name of this run of the device's system, and how long it has been up, milliseconds."""
    return _run(), time.clock_gettime_ns(UPTIME) // 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the gate did with one code. ``took_us`` is the time from reading to the record on the disk, microseconds."""

    decision: Decision
    reason: Reason | None
    kind: TapKind
    card_number: str
    issuer: str
    entitlements: tuple[Entitlement, ...]
    counter: int
    boot_id: str
    seq: int
    took_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Foreseen:
    """What a chip would be told. ``at`` is the corrected time; number and issuer are empty unless ``authentic``."""

    authentic: bool
    reason: Reason | None
    kind: TapKind
    at: datetime
    number: str = ""
    issuer: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Synced:
    """What a sync brought."""

    bundle_seq: int
    list_seq: int
    denied: int
    skew_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Uploaded:
    """What an upload did: records by outcome."""

    stored: int
    repeated: int
    refused: int
    waiting: int


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What the terminal says about itself."""

    terminal_id: str
    operator_id: str
    city: str
    stop_id: str
    line: str
    mode: str
    certificate_until: datetime
    standing: Standing
    bundle_seq: int
    list_seq: int
    denied: int
    synced_at: datetime | None
    staleness: Staleness
    skew_ms: int
    taps: Counts
    chain_holds: bool


@dataclass(kw_only=True)
class _Loaded:
    """What a bundle means to this process."""

    bundle: CityBundle
    verifier: Verifier
    risk: Risk
    lists: dict[str, DenyList]
    sync: int
    synced_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judged:
    """What the rules say of an authentic presentation."""

    reason: Reason | None
    kind: TapKind
    usable: tuple[Entitlement, ...]
    fresh: bool


class Terminal:
    """One terminal in the folder ``home``: key, certificate and journal."""

    def __init__(
        self,
        home: Path,
        *,
        clock_ms: Callable[[], int] = device_ms,
        uptime: Callable[[], tuple[str, int]] | None = None,
        on_passed: Callable[[Passed], None] | None = None,
    ) -> None:
        """``uptime`` as :func:`system_uptime`; with a clock of one's own there is none unless it is given.

        ``on_passed`` hears of every card that passed, after its record is on the disk.
        """
        home.mkdir(parents=True, exist_ok=True)
        self.home, self._clock_ms, self.on_passed = home, clock_ms, on_passed
        self._uptime = uptime or (system_uptime if clock_ms is device_ms else None)
        self.journal = Journal(home / "journal.sqlite")
        self._loaded: _Loaded | None = None
        self._enrolled = False
        self._floor_ms: int | None = None

    def close(self) -> None:
        """Let the journal go."""
        self.journal.close()

    # Enrolment

    def enrol(self, server: str, token: str) -> Certificate:
        """Make a key and trade the one-time ``token`` for a certificate. Raises ``CityRefused`` and ``CityUnreachable``.

        A terminal that is enrolled becomes a new one and keeps its journal; when this fails it stays what it was.
        """
        key = keys.prepare(self.home)
        public = raw_public(key.public_key())
        ours = self._clock_ms()
        request = {"token": token, "public_key": to_base64url(public), "software": SOFTWARE}
        answer, skew_ms = City(server, self._clock_ms).enrol(request)
        signed = from_base64url(str(answer["certificate"]))
        certificate = read_certificate(signed)
        if certificate.key != public:
            raise CredentialRefused(Reason.WRONG_REQUEST, "the certificate is for another key")
        said = _instant_ms(answer.get("server_time"))
        with self.journal.exclusive():
            self.journal.remember("server", server)
            self.journal.remember("certificate", signed)
            self.journal.remember("skew_ms", said - ours if said is not None else skew_ms or 0)
            self.journal.remember("clock", None)
            self.journal.remember("bundle", None)
            self.journal.remember("bundle_seq", 0)
            self.journal.remember("syncs", self._number("syncs") + 1)
            self.journal.drop_lists()
        keys.take(self.home, public)
        self._loaded = None
        return certificate

    @property
    def certificate(self) -> Certificate:
        """Who this terminal is. Raises ``NotEnrolled``."""
        signed = self.journal.fact("certificate")
        if not isinstance(signed, bytes):
            raise NotEnrolled(str(self.home))
        return read_certificate(signed)

    @property
    def standing(self) -> Standing:
        """How it stands with its city. Raises ``NotEnrolled``."""
        return rules.standing(self.certificate.expires_at, self._now())

    def renew(self, *, same_key: bool = False) -> Certificate:
        """A new certificate, for a fresh key or the same one; the request is proved by the old. Raises as :meth:`sync`.

        When the answer is lost the terminal is still what it was: the city takes the old key for renewals until it has seen
        the new one, and asking again brings the same certificate.
        """
        held = self.certificate
        key = keys.take(self.home, held.key)
        fresh = key if same_key else keys.prepare(self.home)
        public = raw_public(fresh.public_key())
        body = cbor.write(
            {
                "public_key": public,
                "proof": renewal_proof(fresh, terminal_id=held.terminal_id, current=held.key),
                "software": SOFTWARE,
            }
        )
        city = City(cast("str", self.journal.fact("server")), self._clock_ms)
        path = "/api/transit/terminals/renew"
        answer = city.post(path, body, key=key, terminal_id=held.terminal_id, at=self._now())
        signed = cbor.field(cbor.read(answer.body), "certificate", bytes)
        renewed = read_certificate(signed, trusted=public_from_raw(held.bundle_key))
        if (renewed.terminal_id, renewed.key) != (held.terminal_id, public):
            raise CredentialRefused(Reason.WRONG_REQUEST, "the certificate is for another terminal or key")
        with self.journal.exclusive():
            self.journal.remember("certificate", signed)
        keys.take(self.home, public)
        return renewed

    # Clock

    def _number(self, name: str) -> int:
        return self.journal.whole_numbers(name)[0]

    def _skew_ms(self, device_at: int) -> int:
        """What to add to the device's clock now."""
        (skew_ms,) = self.journal.whole_numbers("skew_ms")
        mark = self._mark()
        if self._uptime is None or mark is None:
            return skew_ms
        run, uptime_ms = self._uptime()
        return rules.skew_of(device_ms=device_at, skew_ms=skew_ms, mark=mark, run=run, uptime_ms=uptime_ms)

    def _mark(self) -> ClockMark | None:
        match self.journal.fact("clock"):
            case [str() as run, int() as uptime_ms, int() as true_ms]:
                return ClockMark(run=run, uptime_ms=uptime_ms, true_ms=true_ms)
            case _:
                return None

    def _now(self) -> datetime:
        """The corrected time."""
        device_at = self._clock_ms()
        return datetime.fromtimestamp((device_at + self._skew_ms(device_at)) / 1000, tz=UTC)

    # Sync

    def sync(self) -> Synced:
        """Fetch the bundle and every delta. Where a delta is missing, ask again for a base.

        Raises ``CityUnreachable``, ``CityRefused``, and ``CredentialRefused`` for a bundle that does not verify or is older
        than the one held.
        """
        certificate = self.certificate
        try:
            return self._sync(certificate)
        except CredentialRefused as refusal:
            if refusal.reason is not Reason.GAP:
                raise
            with self.journal.exclusive():
                self.journal.drop_lists()
            return self._sync(certificate)

    def _sync(self, certificate: Certificate) -> Synced:
        city = City(cast("str", self.journal.fact("server")), self._clock_ms)
        path = "/api/transit/bundle" + self._held(certificate.city)
        key = keys.take(self.home, certificate.key)
        answer = city.get(path, key=key, terminal_id=certificate.terminal_id, at=self._now())
        bundle = read_bundle(answer.body, [public_from_raw(certificate.bundle_key)])
        if bundle.city != certificate.city:
            raise CredentialRefused(Reason.WRONG_ISSUER, f"a bundle of {bundle.city}")
        if bundle.seq < self._number("bundle_seq"):
            raise CredentialRefused(Reason.EXPIRED, f"bundle {bundle.seq} is older than the one held")
        changed = []
        for other, part in {**bundle.deny_of, bundle.city: bundle.deny}.items():
            if part.get("base") or part.get("deltas") or self.journal.deny_place(other) is None:
                changed.append(denials.news(other, self._list(other), part))
        ours = self._clock_ms()
        skew_ms = answer.skew_ms if answer.skew_ms is not None else int(bundle.made_at.timestamp() * 1000) - ours
        mark = [*self._uptime(), ours + skew_ms] if self._uptime is not None else None
        with self.journal.exclusive():
            for held, deltas in changed:
                self.journal.hold(held, deltas)
            self.journal.remember("bundle", _without_lists(bundle))
            self.journal.remember("bundle_seq", bundle.seq)
            self.journal.remember("skew_ms", skew_ms)
            self.journal.remember("clock", mark)
            self.journal.remember("floor", [ours, self.journal.last_place()])
            self.journal.remember("synced_ms", ours + skew_ms)
            self.journal.remember("syncs", self._number("syncs") + 1)
        own = cast("_Loaded", self._load()).lists[bundle.city]
        return Synced(bundle_seq=bundle.seq, list_seq=own.seq, denied=len(own), skew_ms=skew_ms)

    def _held(self, city: str) -> str:
        """What to tell the city of the lists that we hold, so that it sends what is new only."""
        own = self.journal.deny_place(city)
        if own is None:
            return ""
        others = [f"{other}:{self.journal.deny_place(other)}" for other in self.journal.deny_cities() if other != city]
        return f"?since={own}" + (f"&held={','.join(others)}" if others else "")

    def _list(self, city: str) -> DenyList | None:
        """The list held, the one in memory where it is the same."""
        place = self.journal.deny_place(city)
        loaded = self._loaded.lists.get(city) if self._loaded else None
        return loaded if loaded is not None and loaded.seq == place else self.journal.deny_list(city)

    def _load(self) -> _Loaded | None:
        sync = self._number("syncs")
        if self._loaded is None or self._loaded.sync != sync:  # another process of this terminal may have synced
            kept = self.journal.fact("bundle")
            if not isinstance(kept, dict):
                return None
            bundle = _bundle_from(kept)
            lists = {city: held for city in self.journal.deny_cities() if (held := self._list(city)) is not None}
            before = self._loaded
            same = before is not None and before.bundle.issuer_keys == bundle.issuer_keys
            self._floor_ms = None
            self._loaded = _Loaded(
                bundle=bundle,
                verifier=before.verifier if before and same else Verifier(KeyRing.of(bundle.issuer_keys)),
                risk=Risk.of(bundle.risk),
                lists=lists,
                sync=sync,
                synced_at=datetime.fromtimestamp(self._number("synced_ms") / 1000, tz=UTC),
            )
        return self._loaded

    # Decisions

    def decide(self, text: str, *, kind: TapKind | None = None, uses: frozenset[Use] = GATE_USES) -> Outcome:
        """Decide on the text of one QR and record it. Never waits for the network.

        ``uses`` are what may be presented this way: a chip's signature comes from the reader, never from a screen.
        """
        began = time.perf_counter_ns()
        if not self._enrolled and not isinstance(self.journal.fact("certificate"), bytes):
            raise NotEnrolled(str(self.home))
        self._enrolled = True
        loaded = self._load()
        device_at = self._clock_ms()
        skew_ms = self._skew_ms(device_at)
        shown: Presentation | None = None
        reason: Reason | None = None
        raw = b""
        try:
            raw = from_text(text)
            able = self._able(loaded, device_at, skew_ms)
            shown = able.verifier.verify(raw, now=_corrected(device_at, skew_ms), uses=uses)
        except CredentialRefused as refusal:
            reason = refusal.reason
        with self.journal.exclusive():  # signatures are checked before: the file is ours for the record only
            facts, passed = self._record(
                shown, reason, raw=raw, asked=kind, loaded=loaded, device_at=device_at, skew_ms=skew_ms
            )
        if passed is not None and self.on_passed is not None:
            self.on_passed(passed)
        return Outcome(**facts, took_us=(time.perf_counter_ns() - began) // 1000)

    def _able(self, loaded: _Loaded | None, device_at: int, skew_ms: int) -> _Loaded:
        """The bundle, if this terminal can judge at all now."""
        if loaded is None:
            raise CredentialRefused(Reason.NO_BUNDLE)
        floor_ms = self._floor()
        if rules.clock_is_wrong(device_ms=device_at, skew_ms=skew_ms, floor_ms=floor_ms, most=loaded.risk.skew_max):
            raise CredentialRefused(Reason.CLOCK_QUARANTINED, f"{skew_ms} ms")
        return loaded

    def foresee(self, credential: bytes, *, counter: int = UNSEEN, kind: TapKind | None = None) -> Foreseen:
        """What a chip with this credential would be told, before it is asked to sign. Nothing is recorded, nothing is spent.

        ``counter`` is what it would sign with.
        """
        loaded, device_at = self._load(), self._clock_ms()
        skew_ms = self._skew_ms(device_at)
        now = _corrected(device_at, skew_ms)
        try:
            able = self._able(loaded, device_at, skew_ms)
            static = able.verifier.static(credential, now=now)
        except CredentialRefused as refusal:
            return Foreseen(authentic=False, reason=refusal.reason, kind=rules.kind_of(_mode(loaded), Memory(), kind), at=now)
        device_kid = key_id(static.device_key) if static.device_key else b""
        shown = Presentation(static=static, issuer_kid=b"", device_kid=device_kid, shown_at=now, counter=counter, raw=b"")
        judged = self._judge(shown, kind, able, now)
        return Foreseen(
            authentic=True, reason=judged.reason, kind=judged.kind, at=now, number=static.number, issuer=static.issuer
        )

    def _judge(self, shown: Presentation, asked: TapKind | None, loaded: _Loaded, now: datetime) -> _Judged:
        """By the rules and what is remembered."""
        staleness = self._staleness(loaded, now)
        fresh = staleness is Staleness.FRESH
        memory = self.journal.memory(
            number=shown.number,
            replay_key=shown.replay_key,
            risked=None if fresh else (loaded.sync, loaded.risk.first_seen_limit),
        )
        kind = rules.kind_of(_mode(loaded), memory, asked)
        usable = rules.usable(shown, city=loaded.bundle.city, on=now.astimezone(CHINA).date())
        reason = rules.judge(
            shown,
            denied=_denied(loaded, shown),
            memory=memory,
            kind=kind,
            now=now,
            staleness=staleness,
            risk=loaded.risk,
            entitlements=usable,
        )
        return _Judged(reason=reason, kind=kind, usable=usable, fresh=fresh)

    def _floor(self) -> int:
        """The device's clock at the last sync or at the newest record since: it cannot be earlier now."""
        if self._floor_ms is None:
            match self.journal.fact("floor"):
                case [int() as at_ms, int() as place]:
                    self._floor_ms = max(at_ms, self.journal.last_at_ms(after=place))
                case _:
                    self._floor_ms = self.journal.last_at_ms()
        return self._floor_ms

    def _record(
        self,
        shown: Presentation | None,
        reason: Reason | None,
        *,
        raw: bytes,
        asked: TapKind | None,
        loaded: _Loaded | None,
        device_at: int,
        skew_ms: int,
    ) -> tuple[dict[str, Any], Passed | None]:
        """Judge by what is remembered, and remember: inside the journal's transaction."""
        kind = rules.kind_of(_mode(loaded), Memory(), asked)
        usable: tuple[Entitlement, ...] = ()
        passed: Passed | None = None
        if shown is not None:
            assert loaded is not None, "without a bundle nothing verifies"
            judged = self._judge(shown, asked, loaded, _corrected(device_at, skew_ms))
            reason, kind, usable = judged.reason, judged.kind, judged.usable
            if reason is None:
                passed = Passed(
                    replay_key=shown.replay_key,
                    counter=rules.counter_of(shown),
                    number=shown.number,
                    at_ms=device_at + skew_ms,
                    kind=kind,
                )
                self.journal.accept(passed, sync=-1 if judged.fresh else loaded.sync)
        decision = Decision.REFUSED if reason else Decision.ACCEPTED
        number, counter = (shown.number, shown.counter) if shown else ("", 0)
        seq = 0
        if reason is not Reason.NOT_A_CREDENTIAL:  # another QR is no tap
            seq, prev = self.journal.next_key()
            own = loaded.lists.get(loaded.bundle.city) if loaded else None
            self.journal.write(
                Tap(
                    boot_id=self.journal.boot_id,
                    seq=seq,
                    kind=kind,
                    device_at=device_at,
                    skew_ms=skew_ms,
                    card_number=number,
                    counter=counter,
                    device_kid=shown.device_kid if shown else b"",
                    decision=decision,
                    reason=reason.value if reason else "",
                    list_seq=own.seq if own else 0,
                    tariff_version=loaded.bundle.tariff_version if loaded else "",
                    prev=prev,
                    qr=raw,
                )
            )
            self._floor_ms = max(self._floor_ms or 0, device_at) if reason is not Reason.CLOCK_QUARANTINED else self._floor_ms
        facts = {
            "decision": decision,
            "reason": reason,
            "kind": kind,
            "card_number": number,
            "issuer": shown.static.issuer if shown else "",
            "entitlements": usable,
            "counter": counter,
            "boot_id": self.journal.boot_id,
            "seq": seq,
        }
        return facts, passed

    def _staleness(self, loaded: _Loaded, now: datetime) -> Staleness:
        return loaded.risk.staleness(now - loaded.synced_at, ended=now > loaded.bundle.not_after)

    def inspect(self, text: str) -> tuple[Presentation | None, Reason | None]:
        """For an inspector: is this card good, printed ones too? Nothing is recorded and no counter is spent."""
        loaded = self._load()
        if loaded is None:
            return None, Reason.NO_BUNDLE
        try:
            shown = loaded.verifier.verify(from_text(text), now=self._now(), uses=EVERY_USE)
        except CredentialRefused as refusal:
            return None, refusal.reason
        return shown, Reason.CARD_BLOCKED if _denied(loaded, shown) else None

    # Upload

    def upload(self, *, batch: int = BATCH) -> Uploaded:
        """Send every waiting record in batches until none waits; repeatable at any point.

        Raises ``CityUnreachable`` and ``CityRefused``; what was confirmed before stays confirmed.
        """
        certificate = self.certificate
        city, key = City(cast("str", self.journal.fact("server")), self._clock_ms), keys.take(self.home, certificate.key)
        done = {"stored": 0, "repeated": 0, "refused": 0}
        reopened = False
        while taps := self.journal.waiting(batch):
            body = encode_batch(certificate.terminal_id, taps)
            answer = city.post("/api/transit/taps", body, key=key, terminal_id=certificate.terminal_id, at=self._now())
            receipt = receipt_from(answer.body)
            sent = {(tap.boot_id, tap.seq) for tap in taps}
            heard = []
            for result in receipt.results:
                if (result.boot_id, result.seq) in sent and result.outcome in done:
                    heard.append((result.boot_id, result.seq, result.outcome != "refused", result.code))
                    done[result.outcome] += 1
                    sent.discard((result.boot_id, result.seq))
            with self.journal.exclusive():
                self.journal.settle(heard)
                if not reopened:  # once a call: a server that never closes a gap must not keep us here
                    for boot_id, gaps in receipt.gaps.items():
                        for first, last in gaps:
                            reopened = bool(self.journal.reopen(boot_id, first, last)) or reopened
            if sent:
                break  # the server left records unanswered: keep them and come back
        return Uploaded(**done, waiting=self.journal.waits())

    # State

    def state(self) -> State:
        """What the terminal knows of itself. Raises ``NotEnrolled``."""
        certificate, loaded, now = self.certificate, self._load(), self._now()
        synced_ms = self._number("synced_ms")
        synced_at = datetime.fromtimestamp(synced_ms / 1000, tz=UTC) if synced_ms else None
        own = loaded.lists.get(loaded.bundle.city) if loaded else None
        return State(
            terminal_id=certificate.terminal_id,
            operator_id=certificate.operator_id,
            city=certificate.city,
            stop_id=certificate.stop_id,
            line=certificate.line,
            mode=str(loaded.bundle.terminal.get("mode") or "both") if loaded else "",
            certificate_until=certificate.expires_at,
            standing=rules.standing(certificate.expires_at, now),
            bundle_seq=self._number("bundle_seq"),
            list_seq=own.seq if own else 0,
            denied=len(own) if own else 0,
            synced_at=synced_at,
            staleness=self._staleness(loaded, now) if loaded else Staleness.BEYOND,
            skew_ms=self._skew_ms(self._clock_ms()),
            taps=self.journal.counts(),
            chain_holds=self.journal.verify_chain() is None,
        )


def _corrected(device_at: int, skew_ms: int) -> datetime:
    """The instant of a device's clock, unix milliseconds, with its skew."""
    return datetime.fromtimestamp((device_at + skew_ms) / 1000, tz=UTC)


def _mode(loaded: _Loaded | None) -> str:
    return str(loaded.bundle.terminal.get("mode") or "both") if loaded else "both"


def _denied(loaded: _Loaded, shown: Presentation) -> bool:
    """Whether the issuing city's list, where we hold it, has the credential."""
    held = loaded.lists.get(shown.static.issuer)
    return held is not None and shown.static.status_index in held


def _instant_ms(said: Any) -> int | None:
    """The server's time as unix seconds, unix milliseconds or ISO 8601 text."""
    if isinstance(said, int | float) and not isinstance(said, bool):
        return int(said if said > 1e11 else said * 1000)  # noqa: PLR2004  seconds end there in the year 5138
    try:
        return int(datetime.fromisoformat(said).timestamp() * 1000) if isinstance(said, str) else None
    except ValueError:
        return None


def _without_lists(bundle: CityBundle) -> dict[str, Any]:
    """What of a bundle is kept beside the lists."""
    return {
        "seq": bundle.seq,
        "made_at": int(bundle.made_at.timestamp()),
        "not_after": int(bundle.not_after.timestamp()),
        "city": bundle.city,
        "tariff_version": bundle.tariff_version,
        "issuer_keys": bundle.issuer_keys,
        "risk": bundle.risk,
        "terminal": bundle.terminal,
    }


def _bundle_from(kept: dict[str, Any]) -> CityBundle:
    return CityBundle(
        seq=kept["seq"],
        made_at=datetime.fromtimestamp(kept["made_at"], tz=UTC),
        not_after=datetime.fromtimestamp(kept["not_after"], tz=UTC),
        city=kept["city"],
        tariff_version=kept["tariff_version"],
        issuer_keys=kept["issuer_keys"],
        deny={},
        deny_of={},
        risk=kept["risk"],
        stops=[],
        terminal=kept["terminal"],
        raw=b"",
    )
