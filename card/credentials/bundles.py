"""What a city signs for its terminals: the certificate at enrolment and the bundle at every sync (both with its BUNDLE key)."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from card.credentials import cose, wire
from card.credentials.cose import Sign1
from card.credentials.keys import PrivateKey, PublicKey, key_id, public_from_raw, public_of, raw_public
from card.credentials.reasons import CredentialRefused, Reason

CERTIFICATE_LIFE: Final = timedelta(days=90)
_CERTIFICATE: Final = b"citizen-card/terminal-certificate/1"
_INSPECTION: Final = b"citizen-card/inspection-bundle/1"
_RENEWAL: Final = b"citizen-card/terminal-renewal/1"
_BUNDLE: Final = b"citizen-card/bundle/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """What a terminal may be: its key, bound to operator, stop and line, until ``expires_at``.

    ``bundle_key`` is the city's raw BUNDLE key: the terminal learns it here, at enrolment, and trusts bundles by it.
    """

    terminal_id: str
    operator_id: str
    city: str
    stop_id: str
    line: str
    key: bytes
    issued_at: datetime
    expires_at: datetime
    bundle_key: bytes


def certify(
    signer: PrivateKey,
    *,
    terminal_id: str,
    operator_id: str,
    city: str,
    stop_id: str,
    line: str,
    key: bytes,
    now: datetime,
    life: timedelta = CERTIFICATE_LIFE,
) -> Sign1:
    """A terminal's certificate signed with the city's BUNDLE key. ``key`` is the terminal's raw public key."""
    bundle_key = raw_public(public_of(signer))
    claims = {
        "terminal_id": terminal_id,
        "operator_id": operator_id,
        "city": city,
        "stop_id": stop_id,
        "line": line,
        "key": key,
        "issued_at": int(now.timestamp()),
        "expires_at": int((now + life).timestamp()),
        "bundle_key": bundle_key,
    }
    return cose.sign(signer, wire.write(claims), kid=key_id(bundle_key), external=_CERTIFICATE)


def read_certificate(data: bytes, *, trusted: PublicKey | None = None) -> Certificate:
    """A certificate whose signature holds under ``trusted``, or at enrolment (none yet) under the key it names itself."""
    message = cose.parse(data)
    claims = wire.read(message.payload)
    bundle_key = wire.field(claims, "bundle_key", bytes)
    cose.check(message, trusted or public_from_raw(bundle_key), external=_CERTIFICATE)
    texts = {name: wire.field(claims, name, str) for name in ("terminal_id", "operator_id", "city", "stop_id", "line")}
    return Certificate(
        **texts,
        key=wire.field(claims, "key", bytes),
        issued_at=_instant(wire.field(claims, "issued_at", int)),
        expires_at=_instant(wire.field(claims, "expires_at", int)),
        bundle_key=bundle_key,
    )


def _instant(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise CredentialRefused(Reason.MALFORMED, "time") from error


def renewal_proof(fresh: PrivateKey, *, terminal_id: str, current: bytes) -> bytes:
    """That the terminal holds the key it wants a certificate for: the fresh key signs the terminal's id and ``current``."""
    return cose.raw_sign(fresh, _renewal(terminal_id, current))


def check_renewal(proof: bytes, *, terminal_id: str, current: bytes, fresh: bytes) -> None:
    """Refuses as ``bad-signature`` where ``proof`` was not made by the raw key ``fresh``."""
    if not cose.raw_verify(public_from_raw(fresh), proof, _renewal(terminal_id, current)):
        raise CredentialRefused(Reason.BAD_SIGNATURE, "proof of the fresh key")


def _renewal(terminal_id: str, current: bytes) -> bytes:
    return wire.write([_RENEWAL, terminal_id, current])


def sign_bundle(signer: PrivateKey, document: dict[str, Any]) -> Sign1:
    """A bundle signed with the city's BUNDLE key; :class:`Bundle` says what it holds."""
    return cose.sign(signer, wire.write(document), kid=key_id(raw_public(public_of(signer))), external=_BUNDLE)


def sign_inspection(signer: PrivateKey, document: dict[str, Any]) -> Sign1:
    """What an inspector's phone checks cards with, signed with the city's BUNDLE key; no gate takes it for its own."""
    return cose.sign(signer, wire.write(document), kid=key_id(raw_public(public_of(signer))), external=_INSPECTION)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """Everything a terminal needs to decide alone until ``not_after``.

    ``issuer_keys``: ``{city: [[kid, raw key, not_after?, beside?]]}``.
    ``deny``: ``{base, digest, seq, deltas}`` of the city itself; ``deny_of``: the same per partner city.
    ``risk``: the staleness rules (``card/validator/rules.py`` has the defaults).
    ``terminal``: ``{stop_id, mode}`` with mode ``entry``, ``exit``, ``both`` or ``ride``.
    """

    seq: int
    made_at: datetime
    not_after: datetime
    city: str
    tariff_version: str
    issuer_keys: dict[str, list[list[Any]]]
    deny: dict[str, Any]
    deny_of: dict[str, dict[str, Any]]
    risk: dict[str, Any]
    stops: Any
    terminal: dict[str, Any]
    raw: bytes


def read_bundle(data: bytes, trusted: Iterable[PublicKey]) -> Bundle:
    """A bundle signed by one of the ``trusted`` BUNDLE keys; refuses as ``unknown-key``, ``bad-signature`` or ``malformed``.

    Whether it is newer than the one before and still within ``not_after`` is for the terminal to judge.
    """
    by_id = {key_id(raw_public(key)): key for key in trusted}
    message = cose.parse(data)
    key = by_id.get(message.kid)
    if key is None:
        raise CredentialRefused(Reason.UNKNOWN_KEY, message.kid.hex())
    document = wire.read(cose.check(message, key, external=_BUNDLE))
    return Bundle(
        seq=wire.field(document, "seq", int),
        made_at=_moment(document, "made_at"),
        not_after=_moment(document, "not_after"),
        city=wire.field(document, "city", str),
        tariff_version=str(document.get("tariff_version") or ""),
        issuer_keys=wire.field(document, "issuer_keys", dict),
        deny=wire.field(document, "deny", dict),
        deny_of=document.get("deny_of") or {},
        risk=document.get("risk") or {},
        stops=document.get("stops") or [],
        terminal=document.get("terminal") or {},
        raw=data,
    )


def _moment(document: Any, name: str) -> datetime:
    """An instant sent as unix seconds, as ISO 8601 text or as CBOR's own time."""
    found = wire.field(document, name, (int, str, datetime))
    if isinstance(found, datetime):
        return found.astimezone(UTC)
    if isinstance(found, int):
        return _instant(found)
    try:
        return datetime.fromisoformat(found).astimezone(UTC)
    except ValueError as error:
        raise CredentialRefused(Reason.MALFORMED, name) from error


def to_base64url(data: bytes) -> str:
    """Bytes as they travel in JSON: base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The reverse; refuses as ``malformed``."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise CredentialRefused(Reason.MALFORMED, "not base64url") from error
