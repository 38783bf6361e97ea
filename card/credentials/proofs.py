"""A terminal's proof over one request: ``Authorization: COSE <base64url>``.

COSE_Sign1 by the terminal's key over ``{"m": method, "p": path, "t": unix time, "n": nonce, "d": SHA-256 of the body}``; the
key id is the terminal's id. It binds the body, so it is also the signature of an uploaded batch and worth keeping beside it.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from card.credentials import cose, wire
from card.credentials.keys import PrivateKey, PublicKey
from card.credentials.reasons import CredentialRefused, Reason

SCHEME: Final = "COSE"
PROOF_AGE_MAX: Final = timedelta(minutes=5)
TOKEN_MAX: Final = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """A verified proof. ``nonce`` must not come twice from one terminal within ``PROOF_AGE_MAX``: the server remembers it."""

    terminal_id: str
    at: datetime
    nonce: bytes


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def prove(key: PrivateKey, *, terminal_id: str, method: str, path: str, body: bytes, at: datetime) -> str:
    """The header's value for one request; ``path`` carries the query, as in ``/api/transit/bundle?since=4``."""
    claims = {
        "m": method,
        "p": path,
        "t": int(at.timestamp()),
        "n": secrets.token_bytes(12),
        "d": hashlib.sha256(body).digest(),
    }
    return f"{SCHEME} {_base64url(cose.sign(key, wire.write(claims), kid=terminal_id.encode()))}"


def verify_proof(
    authorization: str, find_key: Callable[[str], PublicKey], *, method: str, path: str, body: bytes, now: datetime
) -> Proof:
    """Who proved this request. ``find_key`` gives the key of a terminal id and refuses unknown or revoked ones.

    Refuses as ``malformed``, ``algorithm-not-allowed``, ``bad-signature``, ``wrong-request`` or ``code-too-old`` (more than
    five minutes from ``now`` on either side).
    """
    scheme, _, token = authorization.partition(" ")
    if scheme != SCHEME or not token or len(token) > TOKEN_MAX:
        raise CredentialRefused(Reason.MALFORMED, "Authorization: COSE <base64url>")
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError) as error:
        raise CredentialRefused(Reason.MALFORMED, "not base64url") from error
    message = cose.parse(data)
    try:
        terminal_id = message.kid.decode()
    except UnicodeDecodeError as error:
        raise CredentialRefused(Reason.MALFORMED, "kid") from error
    claims = wire.read(cose.check(message, find_key(terminal_id)))
    same = (
        wire.field(claims, "m", str) == method
        and wire.field(claims, "p", str) == path
        and hmac.compare_digest(wire.field(claims, "d", bytes), hashlib.sha256(body).digest())
    )
    if not same:
        raise CredentialRefused(Reason.WRONG_REQUEST, f"{method} {path}")
    at = datetime.fromtimestamp(wire.field(claims, "t", int), tz=UTC)
    if abs(now - at) > PROOF_AGE_MAX:
        raise CredentialRefused(Reason.CODE_TOO_OLD, f"made at {at.isoformat()}")
    return Proof(terminal_id=terminal_id, at=at, nonce=wire.field(claims, "n", bytes))
