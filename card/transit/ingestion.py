"""Take taps in: once each, whatever is wrong with their neighbours, and price what they change.

A tap's key is ``(terminal, boot, seq)``. The same key with the same bytes gets the same answer again; with other bytes it
raises an alarm and changes nothing. What the gate did is stored apart from what it should have done.

A batch is one unit: its evidence is verified again in this process, everything it asks of the database it asks at once for all
its taps, and taps, journeys, postings and transfers are written with one statement each.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.kernel import bulk, outbox
from app.kernel.city import city_of
from app.kernel.db import Json
from app.kernel.ids import new_id
from card import cards, credentials, fares, ledger
from card.credentials import (
    TAP_USES,
    CredentialRefused,
    Decision,
    Presentation,
    Reason,
    Receipt,
    Received,
    Tap,
    TapResult,
    Unreadable,
    Verifier,
)
from card.transit import authorisation, charging, evidence, fraud, risk
from card.transit.charging import Arrived
from card.transit.models import TapAlarm, TapUpload, TerminalBoot, TerminalRow
from card.transit.rules import SKEW_MAX, Liability, LiabilityReason, OtherTerminal, Reach, Ruling, ruling

STORED: Final = "stored"
REPEATED: Final = "repeated"
REFUSED: Final = "refused"
CONFLICT: Final = "tap-conflict"
UNREADABLE: Final = "malformed"
FAR_AHEAD: Final = "from-the-future"
AHEAD_MAX: Final = timedelta(days=1)
UNKNOWN_CARD: Final = "unknown-card"
OTHER_CARD: Final = "other-card"
WRONG_CLOCK: Final = "clock"
SKEW_MAX_MS: Final = int(SKEW_MAX.total_seconds() * 1000)

GOOD: Final = Ruling(bearer=Liability.ISSUER, reason=LiabilityReason.NOT_DENIED, deadline=None)

_made: Final = tuple.__new__  # a named tuple without the detour of its own constructor
Key = tuple[str, int]
log = structlog.get_logger()


@dataclass(slots=True)
class _Judged:
    """A tap with what the server knows of it beyond the record."""

    tap: Tap
    digest: bytes
    at: datetime
    day: date
    issuer: str
    shown: Presentation | None = None
    verdict: str = ""
    ruling: Ruling = GOOD

    @property
    def key(self) -> Key:
        return self.tap.boot_id, self.tap.seq

    @property
    def travels(self) -> bool:
        """Whether it was let through, and rightly."""
        return self.tap.decision is Decision.ACCEPTED and not self.verdict

    @property
    def alarm(self) -> str:
        """Why somebody should look at it; mostly nothing."""
        return self.verdict or (WRONG_CLOCK if abs(self.tap.skew_ms) > SKEW_MAX_MS else "")


def receive(session: Session, *, terminal_id: UUID, body: bytes, proof: str, now: datetime) -> Receipt:
    """Store and price one uploaded batch of ``terminal_id``; ``proof`` is the header that signed ``body``.

    Raises ``OtherTerminal`` where the batch names another terminal and ``CredentialRefused`` where it cannot be read at all.
    """
    named, records = credentials.read_batch(body)
    if named != str(terminal_id):
        raise OtherTerminal(named)
    verifier = evidence.verifier_of(session)
    terminal = session.scalars(
        select(TerminalRow).where(TerminalRow.id == terminal_id).with_for_update(key_share=True)
    ).one()  # one batch of a terminal at a time
    known = _known(session, terminal_id, records)
    fresh, holders = _judge(session, verifier, _first_of_each(records, known), now=now)
    alarms = [(one.key, one.alarm, _details(one.tap)) for one in fresh.values() if one.alarm]
    results: list[TapResult] = []
    told: set[Key] = set()
    for record in records:
        if isinstance(record, Unreadable):
            key, result = (record.boot_id, record.seq), (REFUSED, record.refusal.reason.value)
            alarms.append((key, UNREADABLE, {"code": result[1], "detail": record.refusal.detail}))
        else:
            key = record.tap[:2]
            one = fresh.get(key)
            digest, verdict = (one.digest, one.verdict) if one is not None else known[key]
            if digest != record.digest:
                result = REFUSED, CONFLICT
                alarms.append((key, CONFLICT, {"digest": record.digest.hex(), "stored": digest.hex()}))
            elif verdict:
                result = REFUSED, verdict
            else:
                result = (STORED if one is not None and key not in told else REPEATED), ""
                told.add(key)
        results.append(_made(TapResult, (*key, *result)))
    _store(session, terminal, fresh.values(), body=body, proof=proof, records=len(records), now=now)
    _raise_alarms(session, terminal, alarms, now=now)
    _note(terminal, fresh.values(), now=now)
    risk.keep_rulings(session, terminal, [(one.tap, one.ruling) for one in fresh.values() if one.ruling is not GOOD], now=now)
    for one in fresh.values():
        if one.verdict and one.verdict == Reason.CODE_TOO_OLD:
            fraud.suspect(session, key=f"{terminal.id}/{one.tap.boot_id}/{one.tap.seq}", now=now)
    ledger.void_holds(session, lambda: [authorisation.hold_id(one.shown) for one in fresh.values() if one.shown], now=now)
    charging.price(session, _arrived(terminal, fresh.values()), holders=holders, now=now)
    reached = _reach(session, terminal_id, (record.tap for record in records if isinstance(record, Received)))
    return Receipt(
        contiguous={boot: reach.contiguous for boot, reach in reached.items()},
        gaps={boot: list(reach.gaps) for boot, reach in reached.items() if reach.gaps},
        results=tuple(results),
    )


def _known(session: Session, terminal_id: UUID, records: Iterable[Received | Unreadable]) -> dict[Key, tuple[bytes, str]]:
    """Digest and verdict of those records whose key is stored already."""
    seqs: dict[str, list[int]] = defaultdict(list)
    for record in records:
        if isinstance(record, Received):
            seqs[record.tap.boot_id].append(record.tap.seq)
    found: dict[Key, tuple[bytes, str]] = {}
    for boot, wanted in seqs.items():
        rows = bulk.rows(
            session,
            """SELECT t.seq, t.digest, t.verdict FROM card.tap t
               WHERE t.terminal_id = %(terminal)s AND t.boot_id = %(boot)s AND t.seq = ANY(%(seqs)s::bigint[])""",
            terminal=terminal_id,
            boot=boot,
            seqs=bulk.texts(map(str, wanted)),
        )
        found.update(((boot, seq), (digest, verdict)) for seq, digest, verdict in rows)
    return found


def _first_of_each(records: Iterable[Received | Unreadable], known: Mapping[Key, object]) -> dict[Key, Received]:
    """The records to store, by key: of two with one key in one batch the first counts."""
    found: dict[Key, Received] = {}
    for record in records:
        if isinstance(record, Received):
            key = record.tap[:2]
            if key not in known:
                found.setdefault(key, record)
    return found


def _judge(
    session: Session, verifier: Verifier, received: Mapping[Key, Received], *, now: datetime
) -> tuple[dict[Key, _Judged], dict[str, UUID]]:
    """Verify the evidence of each tap again, as of its own corrected time, and say whose risk it is.

    Answers that, and the holders of this city's cards among those that were let through, by number.
    """
    own = city_of(session).code
    found: dict[Key, _Judged] = {}
    hours: dict[int, date] = {}
    for key, record in received.items():
        tap = record.tap
        at_ms = tap.at_ms
        at = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
        hour = at_ms // 3_600_000  # a card-day begins on the hour
        if hour not in hours:
            hours[hour] = fares.card_day(at)
        issuer = credentials.issuing_city(tap.card_number) if tap.card_number else ""
        one = found[key] = _Judged(tap, record.digest, at, hours[hour], issuer)
        if tap.decision is not Decision.ACCEPTED:
            continue
        if at > now + AHEAD_MAX:
            one.verdict = FAR_AHEAD
            continue
        _prove(verifier, one)
    ours = [one for one in found.values() if one.shown is not None and not one.verdict and one.issuer == own]
    holders = cards.holders_of(session, (one.tap.card_number for one in ours))
    denials = cards.denials_of(session, (one.shown.static.status_index for one in ours if one.shown is not None))
    for one in ours:
        assert one.shown is not None
        if one.tap.card_number not in holders:
            one.verdict = UNKNOWN_CARD
            continue
        denial = denials.get(one.shown.static.status_index)
        if denial is not None:
            one.ruling = ruling(tapped_at=one.at, held_seq=one.tap.list_seq, denied_seq=denial[0], published_at=denial[1])
    return found, holders


def _prove(verifier: Verifier, one: _Judged) -> None:
    """Verify what was shown, as of the tap's own time."""
    tap = one.tap
    try:
        shown = one.shown = verifier.verify(tap.qr, now=one.at, uses=TAP_USES)
    except CredentialRefused as refusal:
        one.verdict = refusal.reason.value
        return
    if (shown.number, shown.counter, shown.device_kid) != (tap.card_number, tap.counter, tap.device_kid):
        one.verdict = OTHER_CARD


def _details(tap: Tap) -> Json:
    return {"card": tap.card_number[-4:], "decision": tap.decision.value}


TAP_COLUMNS: Final = (
    "terminal_id, boot_id, seq, upload_id, received_at, digest, prev, kind, device_at, skew_ms, at, card_day, card_number,"
    " issuer, counter, device_kid, status_index, entitlements, decision, reason, verdict, list_seq, tariff_version, qr,"
    " operator_id, stop_id, line_id, liability, quarantined"
)


def _store(
    session: Session,
    terminal: TerminalRow,
    fresh: Iterable[_Judged],
    *,
    body: bytes,
    proof: str,
    records: int,
    now: datetime,
) -> None:
    """Keep the batch's signature, and every new tap."""
    upload = TapUpload(
        id=new_id(),
        terminal_id=terminal.id,
        received_at=now,
        digest=hashlib.sha256(body).digest(),
        proof=proof,
        taps=records,
    )
    session.add(upload)
    session.flush()
    begin = f"{terminal.id}\t"
    stored = f"{upload.id}\t{now.isoformat()}"
    where = f"{terminal.operator_id}\t{bulk.field(terminal.stop_id)}\t{bulk.field(terminal.line_id)}"
    field, binary = bulk.field, bulk.binary
    lines = []
    for one in fresh:
        tap = one.tap
        boot_id, seq, kind, device_at, skew_ms, number, counter, device_kid, decision, reason, list_seq, version, prev, qr = tap
        status_index, entitlements = 0, _HELD_NOTHING
        if one.shown is not None:
            static = one.shown.static
            status_index = static.status_index
            if static.entitlements:
                entitlements = field(evidence.held(static.entitlements))
        at = one.at.isoformat()
        by_device = at if not skew_ms else datetime.fromtimestamp(device_at / 1000, tz=UTC).isoformat()
        lines.append(
            f"{begin}{field(boot_id)}\t{seq}\t{stored}\t{binary(one.digest)}\t{binary(prev)}\t{kind}\t{by_device}\t{skew_ms}\t"
            f"{at}\t{one.day}\t{number}\t{one.issuer}\t{counter}\t{binary(device_kid)}\t{status_index}\t{entitlements}\t"
            f"{decision}\t{field(reason)}\t{one.verdict}\t{list_seq}\t{field(version)}\t{binary(qr)}\t{where}\t"
            f"{one.ruling.bearer}\t{abs(skew_ms) > SKEW_MAX_MS}"
        )
    bulk.copy(session, "card.tap", TAP_COLUMNS, lines)


_HELD_NOTHING: Final = evidence.held(())


def _raise_alarms(session: Session, terminal: TerminalRow, alarms: Sequence[tuple[Key, str, Json]], *, now: datetime) -> None:
    """Write down what somebody must look at, and tell it once for the batch."""
    if not alarms:
        return
    session.execute(
        insert(TapAlarm),
        [
            {
                "id": new_id(),
                "at": now,
                "operator_id": terminal.operator_id,
                "terminal_id": terminal.id,
                "boot_id": boot,
                "seq": seq,
                "kind": kind,
                "details": details,
            }
            for (boot, seq), kind, details in alarms
        ],
    )
    kinds = Counter(kind for _, kind, _ in alarms)
    payload: Json = {"terminal_id": str(terminal.id), "operator_id": terminal.operator_id, "kinds": dict(sorted(kinds.items()))}
    outbox.emit(session, "taps.alarmed", payload, at=now)


def on_taps_alarmed(session: Session, payload: Json) -> None:
    """The handler of ``taps.alarmed``: into the log, where operations watch; the operator's console reads the alarms itself."""
    del session
    log.warning("transit.taps-alarmed", **payload)


def _note(terminal: TerminalRow, fresh: Iterable[_Judged], *, now: datetime) -> None:
    """Keep what the batch says of the terminal."""
    terminal.last_seen_at = now
    skew_ms, last_tap_at = terminal.skew_ms, terminal.last_tap_at
    for one in fresh:
        skew_ms = one.tap.skew_ms
        if last_tap_at is None or last_tap_at < one.at:
            last_tap_at = one.at
    terminal.skew_ms, terminal.last_tap_at = skew_ms, last_tap_at


def _arrived(terminal: TerminalRow, fresh: Iterable[_Judged]) -> dict[str, Arrived]:
    """The taps that travel, by card and card-day, as the fare engine takes them."""
    found: dict[str, Arrived] = defaultdict(Arrived)
    begin, operator, stop, line = f"{terminal.id}/", terminal.operator_id, terminal.stop_id, terminal.line_id
    terminal_id = str(terminal.id)
    for one in sorted((one for one in fresh if one.travels), key=lambda one: (one.at, one.tap.seq)):
        assert one.shown is not None
        tap = one.tap
        arrived = found[tap.card_number]
        key = f"{begin}{tap.boot_id}/{tap.seq}"
        token = f"{tap.device_kid.hex()}:{tap.counter}" if tap.device_kid else ""
        rider = evidence.rider(one.issuer, one.shown.static.entitlements)
        taps = arrived.days.setdefault(one.day, [])
        taps.append(_made(fares.Tap, (key, one.at, tap.kind.value, operator, stop, line, token, rider)))
        arrived.cause.append(key)
        arrived.terminal_id, arrived.counter = terminal_id, tap.counter
        if one.ruling.bearer is Liability.OPERATOR:
            arrived.liability = Liability.OPERATOR
    return found


def _reach(session: Session, terminal_id: UUID, taps: Iterable[Tap]) -> dict[str, Reach]:
    """How far each run of the terminal that the batch speaks of has come."""
    received: dict[str, list[int]] = defaultdict(list)
    for tap in taps:
        received[tap.boot_id].append(tap.seq)
    rows = session.scalars(
        select(TerminalBoot).where(TerminalBoot.terminal_id == terminal_id, TerminalBoot.boot_id.in_(sorted(received)))
    )
    known = {row.boot_id: Reach(row.highest, tuple((first, last) for first, last in row.gaps["gaps"])) for row in rows}
    reached = {boot: known.get(boot, Reach()).with_(seqs) for boot, seqs in sorted(received.items())}
    moved = {boot: reach for boot, reach in reached.items() if reach != known.get(boot)}
    if moved:
        statement = postgresql.insert(TerminalBoot)
        session.execute(
            statement.on_conflict_do_update(
                constraint="pk_terminal_boot",
                set_={"highest": statement.excluded.highest, "gaps": statement.excluded.gaps},
            ),
            [
                {
                    "terminal_id": terminal_id,
                    "boot_id": boot,
                    "highest": reach.highest,
                    "gaps": {"gaps": [list(gap) for gap in reach.gaps]},
                }
                for boot, reach in moved.items()
            ],
        )
    return reached
