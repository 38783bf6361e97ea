"""The terminal: enrol, sync, decide, upload. Every decision is made alone and is on the disk before it is spoken."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final, cast

from card.credentials import Bundle as CityBundle
from card.credentials import (
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
    denials,
    encode_batch,
    from_base64url,
    from_text,
    public_from_raw,
    raw_public,
    read_bundle,
    read_certificate,
    receipt_from,
    to_base64url,
)
from card.validator import keys, rules
from card.validator.gateway import City
from card.validator.journal import Counts, Journal
from card.validator.rules import Memory, Risk, Staleness

SOFTWARE: Final = "card.validator/1"
BATCH: Final = 500
CHINA: Final = timezone(timedelta(hours=8))  # a gate needs no time zone database: China has one offset, without summer time
EVERY_USE: Final = frozenset(Use)


class NotEnrolled(Exception):
    """There is no terminal in this folder yet."""


def device_ms() -> int:
    """The device's own clock, unix milliseconds; ``VALIDATOR_CLOCK_OFFSET_MS`` puts it wrong for a rehearsal."""
    return time.time_ns() // 1_000_000 + int(os.environ.get("VALIDATOR_CLOCK_OFFSET_MS", "0"))


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


class Terminal:
    """One terminal in the folder ``home``: key, certificate and journal."""

    def __init__(self, home: Path, *, clock_ms: Callable[[], int] = device_ms) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._home, self._clock_ms = home, clock_ms
        self.journal = Journal(home / "journal.sqlite")
        self._loaded: _Loaded | None = None
        self._enrolled = False
        self._last_at_ms: int | None = None

    def close(self) -> None:
        """Let the journal go."""
        self.journal.close()

    # Enrolment

    def enrol(self, server: str, token: str) -> Certificate:
        """Make a key and trade the one-time ``token`` for a certificate. Raises ``CityRefused`` and ``CityUnreachable``."""
        key = keys.make(self._home / "key.pem")
        ours = self._clock_ms()
        request = {"token": token, "public_key": to_base64url(raw_public(key.public_key())), "software": SOFTWARE}
        answer, skew_ms = City(server, self._clock_ms).enrol(request)
        signed = from_base64url(str(answer["certificate"]))
        certificate = read_certificate(signed)
        if certificate.key != raw_public(key.public_key()):
            raise CredentialRefused(Reason.WRONG_REQUEST, "the certificate is for another key")
        said = _instant_ms(answer.get("server_time"))
        with self.journal.exclusive():
            self.journal.remember("server", server)
            self.journal.remember("certificate", signed)
            self.journal.remember("skew_ms", said - ours if said is not None else skew_ms or 0)
            self.journal.remember("bundle", None)
            self.journal.drop_lists()
        self._loaded = None
        return certificate

    @property
    def certificate(self) -> Certificate:
        """Who this terminal is. Raises ``NotEnrolled``."""
        signed = self.journal.fact("certificate")
        if not isinstance(signed, bytes):
            raise NotEnrolled(str(self._home))
        return read_certificate(signed)

    def _number(self, name: str) -> int:
        return self.journal.whole_numbers(name)[0]

    def _now(self) -> datetime:
        """The corrected time."""
        return datetime.fromtimestamp((self._clock_ms() + self._number("skew_ms")) / 1000, tz=UTC)

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
            self.journal.drop_lists()
            return self._sync(certificate)

    def _sync(self, certificate: Certificate) -> Synced:
        city = City(cast("str", self.journal.fact("server")), self._clock_ms)
        held = self.journal.deny_list(certificate.city)
        path = "/api/transit/bundle" if held is None else f"/api/transit/bundle?since={held.seq}"
        answer = city.get(path, key=keys.load(self._home / "key.pem"), terminal_id=certificate.terminal_id, at=self._now())
        bundle = read_bundle(answer.body, [public_from_raw(certificate.bundle_key)])
        if bundle.city != certificate.city:
            raise CredentialRefused(Reason.WRONG_ISSUER, f"a bundle of {bundle.city}")
        if bundle.seq < self._number("bundle_seq"):
            raise CredentialRefused(Reason.EXPIRED, f"bundle {bundle.seq} is older than the one held")
        lists = [denials.take(bundle.city, held, bundle.deny)]
        for other, part in sorted(bundle.deny_of.items()):
            if other != bundle.city:
                lists.append(denials.take(other, self.journal.deny_list(other), part))
        skew_ms = answer.skew_ms
        if skew_ms is None:
            skew_ms = int(bundle.made_at.timestamp() * 1000) - self._clock_ms()
        with self.journal.exclusive():
            for one in lists:
                self.journal.hold(one)
            self.journal.remember("bundle", _without_lists(bundle))
            self.journal.remember("bundle_seq", bundle.seq)
            self.journal.remember("skew_ms", skew_ms)
            self.journal.remember("synced_ms", self._clock_ms() + skew_ms)
            self.journal.remember("syncs", self._number("syncs") + 1)
        self._loaded = None
        return Synced(bundle_seq=bundle.seq, list_seq=lists[0].seq, denied=len(lists[0]), skew_ms=skew_ms)

    def _load(self) -> _Loaded | None:
        sync = self._number("syncs")
        if self._loaded is None or self._loaded.sync != sync:  # another process of this terminal may have synced
            kept = self.journal.fact("bundle")
            if not isinstance(kept, dict):
                return None
            bundle = _bundle_from(kept)
            self._loaded = _Loaded(
                bundle=bundle,
                verifier=Verifier(KeyRing.of(bundle.issuer_keys)),
                risk=Risk.of(bundle.risk),
                lists=self.journal.deny_lists(),
                sync=sync,
                synced_at=datetime.fromtimestamp(self._number("synced_ms") / 1000, tz=UTC),
            )
        return self._loaded

    # Decisions

    def decide(self, text: str, *, kind: TapKind | None = None) -> Outcome:
        """Decide on the text of one QR and record it. Never waits for the network."""
        began = time.perf_counter_ns()
        if not self._enrolled and not isinstance(self.journal.fact("certificate"), bytes):
            raise NotEnrolled(str(self._home))
        self._enrolled = True
        loaded = self._load()
        with self.journal.exclusive():
            outcome = self._decide(text, kind, loaded)
        return replace(outcome, took_us=(time.perf_counter_ns() - began) // 1000)

    def _decide(self, text: str, asked: TapKind | None, loaded: _Loaded | None) -> Outcome:
        device_at = self._clock_ms()
        skew_ms, syncs = self.journal.whole_numbers("skew_ms", "syncs")
        now = datetime.fromtimestamp((device_at + skew_ms) / 1000, tz=UTC)
        shown: Presentation | None = None
        reason: Reason | None = None
        usable: tuple[Entitlement, ...] = ()
        staleness = Staleness.BEYOND
        raw = b""
        mode = str(loaded.bundle.terminal.get("mode") or "both") if loaded else "both"
        kind = rules.kind_of(mode, Memory(), asked)
        try:
            raw = from_text(text)
            shown = self._verify(raw, loaded, device_at, skew_ms)
        except CredentialRefused as refusal:
            reason = refusal.reason
        else:
            assert loaded is not None, "without a bundle nothing verifies"
            memory = self.journal.memory(
                number=shown.number, replay_key=shown.replay_key, sync=syncs, most=loaded.risk.first_seen_limit
            )
            kind = rules.kind_of(mode, memory, asked)
            usable = rules.usable(shown, city=loaded.bundle.city, on=now.astimezone(CHINA).date())
            staleness = self._staleness(loaded, now)
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
        decision = Decision.REFUSED if reason else Decision.ACCEPTED
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
                    card_number=shown.number if shown else "",
                    counter=shown.counter if shown else 0,
                    device_kid=shown.device_kid if shown else b"",
                    decision=decision,
                    reason=reason.value if reason else "",
                    list_seq=own.seq if own else 0,
                    tariff_version=loaded.bundle.tariff_version if loaded else "",
                    prev=prev,
                    qr=raw,
                )
            )
            self._last_at_ms = device_at
        if shown is not None and reason is None:
            self.journal.accept(
                number=shown.number,
                replay_key=shown.replay_key,
                counter=rules.counter_of(shown),
                at_ms=device_at + skew_ms,
                kind=kind,
                sync=-1 if staleness is Staleness.FRESH else syncs,
            )
        return Outcome(
            decision=decision,
            reason=reason,
            kind=kind,
            card_number=shown.number if shown else "",
            issuer=shown.static.issuer if shown else "",
            entitlements=usable,
            counter=shown.counter if shown else 0,
            boot_id=self.journal.boot_id,
            seq=seq,
            took_us=0,
        )

    def _verify(self, raw: bytes, loaded: _Loaded | None, device_at: int, skew_ms: int) -> Presentation:
        if loaded is None:
            raise CredentialRefused(Reason.NO_BUNDLE)
        if self._clock_is_wrong(device_at, skew_ms, loaded.risk):
            raise CredentialRefused(Reason.CLOCK_QUARANTINED, f"{skew_ms} ms")
        return loaded.verifier.verify(raw, now=datetime.fromtimestamp((device_at + skew_ms) / 1000, tz=UTC))

    def _staleness(self, loaded: _Loaded, now: datetime) -> Staleness:
        return loaded.risk.staleness(now - loaded.synced_at, ended=now > loaded.bundle.not_after)

    def _clock_is_wrong(self, device_at: int, skew_ms: int, risk: Risk) -> bool:
        """More than two minutes from the city's clock at the last sync, or set back by as much since the last record."""
        most = int(risk.skew_max.total_seconds() * 1000)
        if self._last_at_ms is None:
            self._last_at_ms = self.journal.last_at_ms()
        return abs(skew_ms) > most or device_at < self._last_at_ms - most

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
        city, key = City(cast("str", self.journal.fact("server")), self._clock_ms), keys.load(self._home / "key.pem")
        done = {"stored": 0, "repeated": 0, "refused": 0}
        reopened = False
        while taps := self.journal.waiting(batch):
            body = encode_batch(certificate.terminal_id, taps)
            answer = city.post("/api/transit/taps", body, key=key, terminal_id=certificate.terminal_id, at=self._now())
            receipt = receipt_from(answer.body)
            sent = {(tap.boot_id, tap.seq) for tap in taps}
            with self.journal.exclusive():
                for result in receipt.results:
                    if (result.boot_id, result.seq) in sent and result.outcome in done:
                        self.journal.settle(result.boot_id, result.seq, stored=result.outcome != "refused", code=result.code)
                        done[result.outcome] += 1
                        sent.discard((result.boot_id, result.seq))
                if not reopened:  # once a call: a server that never closes a gap must not keep us here
                    for boot_id, gaps in receipt.gaps.items():
                        for first, last in gaps:
                            reopened = bool(self.journal.reopen(boot_id, first, last)) or reopened
            if sent:
                break  # the server left records unanswered: keep them and come back
        return Uploaded(**done, waiting=self.journal.counts().waiting)

    # State

    def state(self) -> State:
        """What the terminal knows of itself. Raises ``NotEnrolled``."""
        certificate, loaded = self.certificate, self._load()
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
            bundle_seq=self._number("bundle_seq"),
            list_seq=own.seq if own else 0,
            denied=len(own) if own else 0,
            synced_at=synced_at,
            staleness=self._staleness(loaded, self._now()) if loaded else Staleness.BEYOND,
            skew_ms=self._number("skew_ms"),
            taps=self.journal.counts(),
            chain_holds=self.journal.verify_chain() is None,
        )


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
