"""Take taps in: once each, whatever is wrong with their neighbours, and price what they change.

A tap's key is ``(terminal, boot, seq)``. The same key with the same bytes gets the same answer again; with other bytes it
raises an alarm and changes nothing. What the gate did is stored apart from what it should have done.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel.city import city_of
from app.kernel.db import Json
from app.kernel.ids import new_id
from card import cards, credentials, partners
from card.credentials import CredentialRefused, Decision, KeyRing, Presentation, Reason, Receipt, Tap, TapResult, Verifier
from card.fares import card_day
from card.transit import charging, fraud, risk
from card.transit.models import TapAlarm, TapRow, TapUpload, TerminalBoot, TerminalRow
from card.transit.rules import SKEW_MAX, Liability, LiabilityReason, OtherTerminal, Ruling, contiguous, ruling

STORED: Final = "stored"
REPEATED: Final = "repeated"
REFUSED: Final = "refused"
CONFLICT: Final = "tap-conflict"
UNREADABLE: Final = "malformed"
FAR_AHEAD: Final = "from-the-future"
AHEAD_MAX: Final = timedelta(days=1)
UNKNOWN_CARD: Final = "unknown-card"
OTHER_CARD: Final = "other-card"
GOOD: Final = Ruling(bearer=Liability.ISSUER, reason=LiabilityReason.NOT_DENIED, deadline=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judged:
    """A tap with what the server knows of it beyond the record."""

    tap: Tap
    digest: bytes
    at: datetime
    verdict: str
    issuer: str
    status_index: int
    entitlements: Json
    ruling: Ruling


def receive(session: Session, *, terminal_id: UUID, body: bytes, proof: str, now: datetime) -> Receipt:
    """Store and price one uploaded batch of ``terminal_id``; ``proof`` is the header that signed ``body``.

    Raises ``OtherTerminal`` where the batch names another terminal and ``CredentialRefused`` where it cannot be read at all.
    """
    named, records = credentials.decode_batch(body)
    if named != str(terminal_id):
        raise OtherTerminal(named)
    terminal = session.get_one(TerminalRow, terminal_id, with_for_update=True)
    upload = TapUpload(
        id=new_id(),
        terminal_id=terminal_id,
        received_at=now,
        digest=hashlib.sha256(body).digest(),
        proof=proof,
        taps=len(records),
    )
    session.add(upload)
    session.flush()
    taps = [record for record in records if isinstance(record, Tap)]
    results = [
        TapResult(boot_id="", seq=0, outcome=REFUSED, code=record.reason.value)
        for record in records
        if isinstance(record, CredentialRefused)
    ]
    for result in results:
        _alarm(
            session, terminal, boot_id=result.boot_id, seq=result.seq, kind=UNREADABLE, details={"code": result.code}, now=now
        )
    verifier = Verifier(KeyRing.of(partners.issuer_keys(session)))
    judge = _Judge(session, verifier, now=now)
    judged = [judge.judge(tap) for tap in taps]
    stored = _insert(session, terminal, upload.id, judged, now=now)
    repeated = _known_digests(session, terminal_id, [one.tap for one in judged])
    fresh: list[_Judged] = []
    answered: set[tuple[str, int]] = set()
    for one in judged:
        key = (one.tap.boot_id, one.tap.seq)
        if repeated[key][0] != one.digest:
            _alarm(session, terminal, boot_id=key[0], seq=key[1], kind=CONFLICT, details={"digest": one.digest.hex()}, now=now)
            results.append(TapResult(boot_id=key[0], seq=key[1], outcome=REFUSED, code=CONFLICT))
            continue
        first = key in stored and key not in answered
        answered.add(key)
        verdict = repeated[key][1]
        outcome = REFUSED if verdict else STORED if first else REPEATED
        results.append(TapResult(boot_id=key[0], seq=key[1], outcome=outcome, code=verdict))
        if first:
            fresh.append(one)
    _note(session, terminal, fresh, now=now)
    risk.keep_rulings(session, terminal, [(one.tap, one.ruling) for one in fresh], now=now)
    _price(session, terminal, fresh, now=now)
    reached, gaps = _contiguity(session, terminal_id, {tap.boot_id for tap in taps})
    return Receipt(contiguous=reached, gaps=gaps, results=tuple(results))


class _Judge:
    """Verifies the evidence of a batch again; what it asks of a card it asks once."""

    def __init__(self, session: Session, verifier: Verifier, *, now: datetime) -> None:
        self._session, self._verifier, self._now = session, verifier, now
        self._own = city_of(session).code
        self._known: dict[str, bool] = {}
        self._denials: dict[int, tuple[int, datetime] | None] = {}

    def judge(self, tap: Tap) -> _Judged:
        """Judge one record as of its own corrected time."""
        at = datetime.fromtimestamp(tap.at_ms / 1000, tz=UTC)
        issuer = credentials.issuing_city(tap.card_number) if tap.card_number else ""
        shown, verdict = self._evidence(tap, at)
        if shown is not None and not verdict and issuer == self._own and not self._is_known(tap.card_number):
            verdict = UNKNOWN_CARD
        found = GOOD
        if shown is not None and not verdict and issuer == self._own:
            found = self._ruling(tap, at, shown.static.status_index)
        return _Judged(
            tap=tap,
            digest=tap.digest(),
            at=at,
            verdict=verdict,
            issuer=issuer,
            status_index=shown.static.status_index if shown else 0,
            entitlements={"held": [_plain(held) for held in shown.static.entitlements] if shown else []},
            ruling=found,
        )

    def _evidence(self, tap: Tap, at: datetime) -> tuple[Presentation | None, str]:
        """What was shown, and why the gate should have refused it; nothing where the gate did refuse."""
        if tap.decision is not Decision.ACCEPTED:
            return None, ""
        if at > self._now + AHEAD_MAX:
            return None, FAR_AHEAD
        try:
            shown = self._verifier.verify(tap.qr, now=at)
        except CredentialRefused as refusal:
            return None, refusal.reason.value
        return shown, _mismatch(tap, shown)

    def _is_known(self, number: str) -> bool:
        if number not in self._known:
            try:
                cards.by_number(self._session, number)
                self._known[number] = True
            except cards.UnknownCard:
                self._known[number] = False
        return self._known[number]

    def _ruling(self, tap: Tap, at: datetime, status_index: int) -> Ruling:
        if status_index not in self._denials:
            self._denials[status_index] = cards.denial_of(self._session, status_index)
        denial = self._denials[status_index]
        return ruling(
            tapped_at=at,
            held_seq=tap.list_seq,
            denied_seq=denial[0] if denial else None,
            published_at=denial[1] if denial else None,
        )


def _mismatch(tap: Tap, shown: Presentation) -> str:
    same = (shown.number, shown.counter, shown.device_kid) == (tap.card_number, tap.counter, tap.device_kid)
    return "" if same else OTHER_CARD


def _plain(held: credentials.Entitlement) -> Json:
    return {"code": held.code, "scope_city": held.scope_city, "expires_on": held.expires_on.isoformat()}


def _insert(
    session: Session, terminal: TerminalRow, upload_id: UUID, judged: Sequence[_Judged], *, now: datetime
) -> set[tuple[str, int]]:
    """Store what is new; the keys that were. Of two records with one key in one batch the first is stored."""
    rows: dict[tuple[str, int], Json] = {}
    for one in judged:
        rows.setdefault(
            (one.tap.boot_id, one.tap.seq),
            {
                "terminal_id": terminal.id,
                "boot_id": one.tap.boot_id,
                "seq": one.tap.seq,
                "upload_id": upload_id,
                "digest": one.digest,
                "prev": one.tap.prev,
                "kind": one.tap.kind.value,
                "device_at": datetime.fromtimestamp(one.tap.device_at / 1000, tz=UTC),
                "skew_ms": one.tap.skew_ms,
                "at": one.at,
                "received_at": now,
                "card_day": card_day(one.at),
                "card_number": one.tap.card_number,
                "issuer": one.issuer,
                "counter": one.tap.counter,
                "device_kid": one.tap.device_kid,
                "status_index": one.status_index,
                "entitlements": one.entitlements,
                "decision": one.tap.decision.value,
                "reason": one.tap.reason,
                "verdict": one.verdict,
                "list_seq": one.tap.list_seq,
                "tariff_version": one.tap.tariff_version,
                "qr": one.tap.qr,
                "operator_id": terminal.operator_id,
                "stop_id": terminal.stop_id,
                "line_id": terminal.line_id,
                "liability": one.ruling.bearer.value,
                "quarantined": abs(one.tap.skew_ms) > SKEW_MAX.total_seconds() * 1000,
            },
        )
    if not rows:
        return set()
    done = session.execute(
        insert(TapRow).on_conflict_do_nothing(constraint="pk_tap").returning(TapRow.boot_id, TapRow.seq), list(rows.values())
    )
    return {(row.boot_id, row.seq) for row in done}


def _known_digests(session: Session, terminal_id: UUID, taps: Iterable[Tap]) -> dict[tuple[str, int], tuple[bytes, str]]:
    keys = sorted({(tap.boot_id, tap.seq) for tap in taps})
    rows = session.execute(
        select(TapRow.boot_id, TapRow.seq, TapRow.digest, TapRow.verdict).where(
            TapRow.terminal_id == terminal_id, tuple_(TapRow.boot_id, TapRow.seq).in_(keys)
        )
    )
    return {(row.boot_id, row.seq): (row.digest, row.verdict) for row in rows}


def _alarm(session: Session, terminal: TerminalRow, *, boot_id: str, seq: int, kind: str, details: Json, now: datetime) -> None:
    session.add(
        TapAlarm(
            at=now,
            operator_id=terminal.operator_id,
            terminal_id=terminal.id,
            boot_id=boot_id,
            seq=seq,
            kind=kind,
            details=details,
        )
    )


def _note(session: Session, terminal: TerminalRow, fresh: Sequence[_Judged], *, now: datetime) -> None:
    """Keep what the batch says of the terminal, and an alarm for every record that should not be there."""
    terminal.last_seen_at = now
    for one in fresh:
        terminal.last_tap_at = max(terminal.last_tap_at or one.at, one.at)
        terminal.skew_ms = one.tap.skew_ms
        kind = one.verdict or ("clock" if abs(one.tap.skew_ms) > SKEW_MAX.total_seconds() * 1000 else "")
        if kind:
            details: Json = {"card": one.tap.card_number[-4:], "decision": one.tap.decision.value}
            _alarm(session, terminal, boot_id=one.tap.boot_id, seq=one.tap.seq, kind=kind, details=details, now=now)
        if one.verdict == Reason.CODE_TOO_OLD:
            fraud.suspect(session, key=f"{terminal.id}/{one.tap.boot_id}/{one.tap.seq}", now=now)


def _price(session: Session, terminal: TerminalRow, fresh: Sequence[_Judged], *, now: datetime) -> None:
    arrived: dict[str, dict[date, list[_Judged]]] = defaultdict(lambda: defaultdict(list))
    for one in fresh:
        if one.tap.decision is Decision.ACCEPTED and not one.verdict:
            arrived[one.tap.card_number][card_day(one.at)].append(one)
    charging.lock_cards(session, arrived)
    for number in sorted(arrived):
        days = arrived[number]
        taps = [one for day in sorted(days) for one in sorted(days[day], key=lambda one: (one.at, one.tap.seq))]
        bearer = Liability.OPERATOR if any(one.ruling.bearer is Liability.OPERATOR for one in taps) else Liability.ISSUER
        charging.price_again(
            session,
            card_number=number,
            days=days,
            cause=tuple(f"{terminal.id}/{one.tap.boot_id}/{one.tap.seq}" for one in taps),
            liability=bearer,
            now=now,
        )


def _contiguity(
    session: Session, terminal_id: UUID, boots: set[str]
) -> tuple[dict[str, int], dict[str, list[tuple[int, int]]]]:
    reached: dict[str, int] = {}
    missing: dict[str, list[tuple[int, int]]] = {}
    for boot in sorted(boots):
        row = session.get(TerminalBoot, (terminal_id, boot))
        if row is None:
            row = TerminalBoot(terminal_id=terminal_id, boot_id=boot, contiguous=0)
            session.add(row)
        seqs = session.scalars(
            select(TapRow.seq).where(TapRow.terminal_id == terminal_id, TapRow.boot_id == boot, TapRow.seq > row.contiguous)
        )
        row.contiguous, gaps = contiguous(list(seqs), start=row.contiguous)
        reached[boot] = row.contiguous
        if gaps:
            missing[boot] = gaps
    session.flush()
    return reached, missing
