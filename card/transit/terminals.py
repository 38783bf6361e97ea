"""Terminals: one-time enrolment, certificates, proofs of requests, signed bundles."""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel import audit, bulk
from app.kernel.city import city_of
from app.kernel.db import Json
from app.kernel.errors import Invalid, msg
from app.kernel.ids import new_id
from app.kernel.signing import Purpose
from card import cards, credentials, partners
from card.credentials import PROOF_AGE_MAX, CredentialRefused, DenyList
from card.transit import network, risk
from card.transit.models import (
    Enrolment,
    LineRow,
    OperatorRow,
    PartnerDenyList,
    StopRow,
    TariffRow,
    TerminalNonce,
    TerminalRow,
)
from card.transit.rules import (
    BUNDLE_LIFE,
    ENROLMENT_LIFE,
    MODES,
    CertificateExpired,
    EnrolmentRefused,
    Freshness,
    ProofReplayed,
    UnknownEnrolment,
    UnknownTerminal,
    freshness,
)

TOKEN_BYTES: Final = 18
FINGERPRINT: Final = 16  # hex digits of a key that people compare
RISK: Final[Json] = {"fresh_hours": 1, "first_seen_hours": 24, "expired_hours": 72}
RENEWAL_REPEAT: Final = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class EnrolmentToken:
    """A token to type into a terminal. It is shown once; only its hash is kept."""

    id: UUID
    token: str
    expires_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Enrolled:
    """What a terminal gets back when it enrols."""

    terminal_id: UUID
    operator_id: str
    stop_id: str
    line_id: str
    certificate: bytes
    city: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TerminalView:
    """A terminal as its operator sees it."""

    id: UUID
    operator_id: str
    stop_id: str
    line_id: str
    mode: str
    software: str
    enrolled_at: datetime
    certificate_until: datetime
    last_seen_at: datetime | None
    synced_at: datetime | None
    list_seq: int
    skew_ms: int
    last_tap_at: datetime | None
    freshness: Freshness


class Standing(NamedTuple):
    """Where a terminal stands; ``tariffs`` names its operator's versions and what they were imported from."""

    operator_id: str
    stop_id: str
    line_id: str
    tariffs: str


class Remembered(NamedTuple):
    """What a process remembers of a terminal that has asked it: its key, also as raw bytes, and where it last stood, if known.

    All of it may have changed since: who acts on it lets the database compare, with :data:`STANDS`.
    """

    key: bytes
    public: credentials.PublicKey
    operator_id: str
    standing: Standing | None = None


_TARIFFS: Final = """coalesce((
    SELECT string_agg(v.id || '@' || v.feed_import_id, ',' ORDER BY v.id)
    FROM card.tariff v WHERE v.operator_id = t.operator_id), '')"""
_STANDING: Final = f"""
SELECT t.operator_id, t.stop_id, t.line_id, {_TARIFFS}, t.public_key, t.previous_key, t.certificate_until, t.revoked_at
FROM card.terminal t WHERE t.id = %(id)s"""  # noqa: S608

# Whether a terminal may speak by the key that proved its request, and stands where it stood: the rule of :func:`standing` once
# more, for a statement that acts on what :func:`compared` gives it.
STANDS: Final = f"""EXISTS (
    SELECT FROM card.terminal t
    WHERE t.id = %(terminal)s AND t.revoked_at IS NULL AND t.certificate_until > %(now)s
      AND %(proved_by)s IN (t.public_key, t.previous_key)
      AND (t.operator_id, t.stop_id, t.line_id, {_TARIFFS}) = (%(operator)s, %(stop)s, %(line)s, %(tariffs)s))"""


def compared(terminal_id: UUID, *, key: bytes, standing: Standing, now: datetime) -> dict[str, object]:
    """What :data:`STANDS` compares."""
    operator, stop, line, tariffs = standing
    return {
        "terminal": terminal_id,
        "proved_by": key,
        "operator": operator,
        "stop": stop,
        "line": line,
        "tariffs": tariffs,
        "now": now,
    }


def create_enrolment(
    session: Session, *, operator_id: str, stop_id: str = "", line_id: str = "", mode: str = "both", by: str, now: datetime
) -> EnrolmentToken:
    """A one-time token, good for ten minutes, for a terminal of ``operator_id`` at a stop or on a line.

    Raises ``UnknownOperator``; ``Invalid`` where the stop or line is not the operator's.
    """
    network.operator(session, operator_id)
    fields: dict[str, str] = {}
    lines = {line.id: line for line in network.lines_of(session, operator_id)}
    stops = {stop for line in lines.values() for stop, _ in line.stops}
    if mode not in MODES:
        fields["mode"] = msg("Choose what the terminal does.")
    if stop_id and stop_id not in stops:
        fields["stop_id"] = msg("This stop is not on a line of the operator.")
    if line_id and line_id not in lines:
        fields["line_id"] = msg("This line is not the operator's.")
    if mode == "ride" and not line_id:
        fields["line_id"] = msg("A terminal on a vehicle belongs to a line.")
    if mode in ("entry", "exit", "both") and not stop_id:
        fields["stop_id"] = msg("A gate stands at a stop.")
    if fields:
        raise Invalid("enrolment", fields=fields)
    token = secrets.token_hex(TOKEN_BYTES)  # goes on a command line, where a word that begins with a dash is an option
    row = Enrolment(
        id=new_id(),
        token_hash=_hash(token),
        operator_id=operator_id,
        stop_id=stop_id,
        line_id=line_id or next((line.id for line in lines.values() if any(stop == stop_id for stop, _ in line.stops)), ""),
        mode=mode,
        created_by=by,
        created_at=now,
        expires_at=now + ENROLMENT_LIFE,
    )
    session.add(row)
    details: Json = {"operator": operator_id, "stop": stop_id, "line": line_id, "mode": mode}
    audit.record(session, actor=by, action="enrolment.create", subject=f"enrolment:{row.id}", at=now, details=details)
    session.flush()
    return EnrolmentToken(id=row.id, token=token, expires_at=row.expires_at)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def enrol(session: Session, *, token: str, public_key: bytes, software: str, now: datetime) -> Enrolled:
    """Make the device behind ``public_key`` (raw Ed25519) a terminal and sign its certificate.

    Raises ``EnrolmentRefused`` where the token is unknown, used or older than ten minutes.
    """
    row = session.scalars(select(Enrolment).where(Enrolment.token_hash == _hash(token)).with_for_update()).one_or_none()
    if row is None or row.used_at is not None or row.expires_at <= now:
        raise EnrolmentRefused
    credentials.public_from_raw(public_key)
    terminal_id, city = new_id(), city_of(session)
    certificate = credentials.certify(
        city.key(Purpose.BUNDLE).private,
        terminal_id=str(terminal_id),
        operator_id=row.operator_id,
        city=city.code,
        stop_id=row.stop_id,
        line=row.line_id,
        key=public_key,
        now=now,
    )
    session.add(
        TerminalRow(
            id=terminal_id,
            operator_id=row.operator_id,
            stop_id=row.stop_id,
            line_id=row.line_id,
            mode=row.mode,
            public_key=public_key,
            software=software[:100],
            certificate=certificate,
            enrolled_at=now,
            certificate_until=credentials.read_certificate(certificate).expires_at,
            last_seen_at=now,
            list_seq=0,
            skew_ms=0,
        )
    )
    row.used_at, row.terminal_id = now, terminal_id
    audit.record(session, actor=f"terminal:{terminal_id}", action="terminal.enrol", subject=f"terminal:{terminal_id}", at=now)
    session.flush()
    return Enrolled(
        terminal_id=terminal_id,
        operator_id=row.operator_id,
        stop_id=row.stop_id,
        line_id=row.line_id,
        certificate=certificate,
        city=city.code,
    )


def revoke(session: Session, *, terminal_id: UUID, operator_id: str, by: str, now: datetime) -> None:
    """Stop believing a terminal. Raises ``UnknownTerminal`` where it is not the operator's."""
    row = session.get(TerminalRow, terminal_id)
    if row is None or row.operator_id != operator_id:
        raise UnknownTerminal(str(terminal_id))
    if row.revoked_at is None:
        row.revoked_at = now
        audit.record(session, actor=by, action="terminal.revoke", subject=f"terminal:{terminal_id}", at=now)


def terminal_row(session: Session, terminal_id: str, *, now: datetime) -> TerminalRow:
    """The row of a terminal that may speak. Raises ``UnknownTerminal``, ``CertificateExpired``."""
    try:
        row = session.get(TerminalRow, UUID(terminal_id))
    except ValueError as error:
        raise UnknownTerminal(terminal_id) from error
    if row is None or row.revoked_at is not None:
        raise UnknownTerminal(terminal_id)
    if row.certificate_until <= now:
        raise CertificateExpired(terminal_id)
    return row


def verify_remembered(
    authorization: str, known: Mapping[str, Remembered], *, method: str, path: str, body: bytes, now: datetime
) -> tuple[str, Remembered]:
    """Which terminal of ``known`` (by id) signed this request with the key that is remembered.

    Asks no database: whoever acts on the answer holds the key against :func:`standing` or :data:`STANDS`. Raises
    ``CredentialRefused`` and ``UnknownTerminal``.
    """
    used: list[Remembered] = []

    def key_of(terminal_id: str) -> credentials.PublicKey:
        if terminal_id not in known:
            raise UnknownTerminal(terminal_id)
        used.append(known[terminal_id])
        return used[-1].public

    proof = credentials.verify_proof(authorization, key_of, method=method, path=path, body=body, now=now)
    return proof.terminal_id, used[-1]


def standing(session: Session, terminal_id: UUID, *, proved_by: bytes | None, now: datetime) -> Standing:
    """Where a terminal that may speak stands and what its operator's tariffs are, in one statement.

    Raises ``UnknownTerminal`` where it is revoked or ``proved_by`` is no longer its key, and ``CertificateExpired``.
    """
    found = bulk.rows(session, _STANDING, prepare=True, id=terminal_id)
    if not found:
        raise UnknownTerminal(str(terminal_id))
    operator, stop, line, tariffs, key, previous, until, revoked = found[0]
    if revoked is not None or (proved_by is not None and proved_by not in (key, previous)):
        raise UnknownTerminal(str(terminal_id))
    if until <= now:
        raise CertificateExpired(str(terminal_id))
    return Standing(operator_id=operator, stop_id=stop, line_id=line, tariffs=tariffs)


def renew(session: Session, *, terminal_id: UUID, public_key: bytes, proof: bytes, software: str, now: datetime) -> bytes:
    """A new certificate of 90 days for ``public_key`` (raw Ed25519): the one it has, or a fresh one that it proves to hold.

    The key before stays good until the fresh one was used, so that an answer lost on the way shuts nobody out; asking again
    for the same key brings the same certificate. Raises ``CredentialRefused``.
    """
    row = session.get_one(TerminalRow, terminal_id, with_for_update=True)
    key = credentials.public_from_raw(public_key)
    if public_key == row.public_key and row.renewed_at is not None and now - row.renewed_at < RENEWAL_REPEAT:
        return row.certificate
    signed_over = row.previous_key if public_key == row.public_key and row.previous_key else row.public_key
    credentials.check_renewal(proof, terminal_id=str(row.id), current=signed_over, fresh=public_key)
    city = city_of(session)
    row.certificate = credentials.certify(
        city.key(Purpose.BUNDLE).private,
        terminal_id=str(row.id),
        operator_id=row.operator_id,
        city=city.code,
        stop_id=row.stop_id,
        line=row.line_id,
        key=credentials.raw_public(key),
        now=now,
    )
    row.certificate_until = credentials.read_certificate(row.certificate).expires_at
    if public_key != row.public_key:
        row.previous_key, row.public_key = row.public_key, public_key
    row.renewed_at, row.software = now, software[:100]
    audit.record(session, actor=f"terminal:{row.id}", action="terminal.renew", subject=f"terminal:{row.id}", at=now)
    session.flush()
    return row.certificate


def prove(
    session: Session, authorization: str, *, method: str, path: str, body: bytes, now: datetime, once: bool = True
) -> TerminalRow:
    """The terminal that signed this request, once: its nonce is remembered as long as the proof could be shown again.

    Without ``once`` the request may come again: it gets the same answer.

    Raises ``UnknownTerminal``, ``ProofReplayed`` or ``CredentialRefused``.
    """
    before = False  # whether the key before the last renewal made the proof

    def key_of(terminal_id: str) -> credentials.PublicKey:
        row = terminal_row(session, terminal_id, now=now)
        return credentials.public_from_raw(row.previous_key if before and row.previous_key else row.public_key)

    try:
        proof = credentials.verify_proof(authorization, key_of, method=method, path=path, body=body, now=now)
    except CredentialRefused as refusal:
        if refusal.reason is not credentials.Reason.BAD_SIGNATURE:
            raise
        before = True
        proof = credentials.verify_proof(authorization, key_of, method=method, path=path, body=body, now=now)
    row = terminal_row(session, proof.terminal_id, now=now)
    if not before and row.previous_key is not None:
        row.previous_key = None  # the fresh key has arrived
    if not once:
        return row
    session.execute(delete(TerminalNonce).where(TerminalNonce.terminal_id == row.id, TerminalNonce.expires_at < now))
    fresh = session.execute(
        insert(TerminalNonce)
        .values(terminal_id=row.id, nonce=proof.nonce, expires_at=proof.at + 2 * PROOF_AGE_MAX)
        .on_conflict_do_nothing()
        .returning(TerminalNonce.nonce)
    ).one_or_none()
    if fresh is None:
        raise ProofReplayed
    return row


def bundle(
    session: Session, *, terminal_id: UUID, since: int | None, held: dict[str, int] | None = None, now: datetime
) -> bytes:
    """The signed bundle for one terminal; ``since`` is the deny list's seq that it holds (none: it holds none).

    ``held`` says the same of partner cities' lists: one that has not changed is not sent again.
    """
    row = session.get_one(TerminalRow, terminal_id, with_for_update=True)
    city = city_of(session)
    deny = cards.deny_part(session, since)
    row.last_seen_at = row.synced_at = now
    row.list_seq = int(cards.deny_current(session).seq)
    document: Json = {
        "seq": int(now.timestamp() * 1000),
        "made_at": int(now.timestamp()),
        "not_after": int((now + BUNDLE_LIFE).timestamp()),
        "city": city.code,
        "tariff_version": _tariff_version(session, row.operator_id),
        "issuer_keys": {code: [[kid, raw] for kid, raw in keys] for code, keys in partners.issuer_keys(session).items()},
        "deny": deny,
        "risk": {
            **RISK,
            **risk.terms(session, row.operator_id),
            "beyond": "open" if _open_when_stale(session, row.operator_id) else "closed",
        },
        "deny_of": _partner_lists(session, held or {}),
        "stops": _stops(session, row),
        "terminal": {"stop_id": row.stop_id, "line": row.line_id, "mode": row.mode},
    }
    return credentials.sign_bundle(city.key(Purpose.BUNDLE).private, document)


def _partner_lists(session: Session, held: dict[str, int]) -> dict[str, Json]:
    asked = select(PartnerDenyList.city, PartnerDenyList.seq, PartnerDenyList.digest).order_by(PartnerDenyList.city)
    found: dict[str, Json] = {}
    for city, seq, digest in session.execute(asked):
        base = b"" if held.get(city, -1) >= seq else session.get_one(PartnerDenyList, city).denied
        found[city] = {"base": base, "digest": digest, "seq": seq, "deltas": []}
    return found


def _open_when_stale(session: Session, operator_id: str) -> bool:
    """The operator's switch for terminals whose lists have run out."""
    return bool(session.scalar(select(OperatorRow.open_when_stale).where(OperatorRow.id == operator_id)))


def _tariff_version(session: Session, operator_id: str) -> str:
    newest = session.scalar(
        select(TariffRow.id)
        .where(TariffRow.operator_id == operator_id)
        .order_by(TariffRow.effective_from.desc(), TariffRow.id)
        .limit(1)
    )
    return newest or ""


def _stops(session: Session, row: TerminalRow) -> list[list[str]]:
    line = session.get(LineRow, row.line_id) if row.line_id else None
    ids = [stop for stop, _ in line.path["stops"]] if line else [row.stop_id]
    names = {stop.id: stop for stop in session.scalars(select(StopRow).where(StopRow.id.in_(ids)))}
    return [[stop, names[stop].name_en, names[stop].name_zh] for stop in ids if stop in names]


def view(row: TerminalRow, *, now: datetime) -> TerminalView:
    """A row as its operator sees it."""
    return TerminalView(
        id=row.id,
        operator_id=row.operator_id,
        stop_id=row.stop_id,
        line_id=row.line_id,
        mode=row.mode,
        software=row.software,
        enrolled_at=row.enrolled_at,
        certificate_until=row.certificate_until,
        last_seen_at=row.last_seen_at,
        synced_at=row.synced_at,
        list_seq=row.list_seq,
        skew_ms=row.skew_ms,
        last_tap_at=row.last_tap_at,
        freshness=freshness(synced_at=row.synced_at, revoked=row.revoked_at is not None, now=now),
    )


def terminals_of(session: Session, operator_id: str, *, now: datetime) -> list[TerminalView]:
    """The terminals of an operator, the newest first."""
    rows = session.scalars(select(TerminalRow).where(TerminalRow.operator_id == operator_id).order_by(TerminalRow.id.desc()))
    return [view(row, now=now) for row in rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class TerminalKey:
    """A terminal's key: ``fingerprint`` is the beginning of its SHA-256 in hex."""

    terminal_id: UUID
    stop_id: str
    line_id: str
    software: str
    fingerprint: str
    enrolled_at: datetime
    certificate_until: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenEnrolment:
    """A token that still works. The token itself was shown once and is nowhere."""

    id: UUID
    stop_id: str
    line_id: str
    mode: str
    created_by: str
    created_at: datetime
    expires_at: datetime


def terminal_keys(session: Session, operator_id: str) -> list[TerminalKey]:
    """The keys of an operator's terminals, the newest first."""
    rows = session.scalars(select(TerminalRow).where(TerminalRow.operator_id == operator_id).order_by(TerminalRow.id.desc()))
    return [
        TerminalKey(
            terminal_id=row.id,
            stop_id=row.stop_id,
            line_id=row.line_id,
            software=row.software,
            fingerprint=hashlib.sha256(row.public_key).hexdigest()[:FINGERPRINT],
            enrolled_at=row.enrolled_at,
            certificate_until=row.certificate_until,
            revoked_at=row.revoked_at,
        )
        for row in rows
    ]


def enrolments_of(session: Session, operator_id: str, *, now: datetime) -> list[OpenEnrolment]:
    """An operator's tokens that still work, the newest first."""
    rows = session.scalars(
        select(Enrolment)
        .where(Enrolment.operator_id == operator_id, Enrolment.used_at.is_(None), Enrolment.expires_at > now)
        .order_by(Enrolment.id.desc())
    )
    return [
        OpenEnrolment(
            id=row.id,
            stop_id=row.stop_id,
            line_id=row.line_id,
            mode=row.mode,
            created_by=row.created_by,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )
        for row in rows
    ]


def revoke_enrolment(session: Session, *, enrolment_id: UUID, operator_id: str, by: str, now: datetime) -> None:
    """Let a token enrol nothing any more. Raises ``UnknownEnrolment`` where it is not the operator's; twice is quiet."""
    row = session.scalars(select(Enrolment).where(Enrolment.id == enrolment_id).with_for_update()).one_or_none()
    if row is None or row.operator_id != operator_id:
        raise UnknownEnrolment(str(enrolment_id))
    if row.used_at is None and row.expires_at > now:
        row.expires_at = now
        audit.record(session, actor=by, action="enrolment.revoke", subject=f"enrolment:{enrolment_id}", at=now)
        session.flush()


def count_terminals(session: Session) -> int:
    """How many terminals are enrolled and not revoked."""
    return session.scalar(select(func.count()).select_from(TerminalRow).where(TerminalRow.revoked_at.is_(None))) or 0


def deny_list_document(session: Session) -> Json:
    """Our deny list for a partner city: the whole of it, base64, with the digest that its chain has reached."""
    current = cards.deny_current(session)
    return {
        "city": current.city,
        "seq": current.seq,
        "digest": base64.b64encode(current.digest).decode(),
        "denied": base64.b64encode(current.base()).decode(),
    }


def keep_partner_list(session: Session, *, city: str, document: Json, now: datetime) -> int:
    """Take a partner's deny list in; an older one than we hold changes nothing. Answers how many it denies."""
    try:
        found = DenyList(
            city=city,
            seq=int(document["seq"]),
            digest=base64.b64decode(document["digest"], validate=True),
            denied=credentials.denials.unpack(base64.b64decode(document["denied"], validate=True)),
        )
    except (KeyError, ValueError, TypeError, CredentialRefused) as error:
        raise Invalid("deny list", fields={"denied": msg("This is not a deny list.")}) from error
    values = {"seq": found.seq, "digest": found.digest, "denied": found.base(), "fetched_at": now}
    session.execute(
        insert(PartnerDenyList)
        .values(city=city, **values)
        .on_conflict_do_update(constraint="pk_partner_deny_list", set_=values, where=PartnerDenyList.seq <= found.seq)
    )
    return len(found)
