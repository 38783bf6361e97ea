"""Public keys of cities, phones and terminals, as raw bytes and by their short ids.

Raw forms: Ed25519, the 32 bytes of RFC 8032; P-256, the 33 bytes of a compressed point (SEC 1, section 2.3.3); SM2, ``S`` and
the 64 bytes of x and y. A key's id on the wire is the first 8 bytes of its RFC 7638 thumbprint: short enough for a QR, and
never a matter of opinion.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.kernel import sm2
from card.credentials.reasons import CredentialRefused, Reason

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | sm2.PrivateKey
PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey | sm2.PublicKey

KID_BYTES: Final = 8
ED25519_BYTES: Final = 32
P256_BYTES: Final = 33
SM2_BYTES: Final = 65
SM2_MARK: Final = b"S"  # no point of SEC 1 begins so


def public_of(key: PrivateKey) -> PublicKey:
    """The public half."""
    return key.public if isinstance(key, sm2.PrivateKey) else key.public_key()


def raw_public(key: PublicKey) -> bytes:
    """A public key in the raw form of this module."""
    if isinstance(key, sm2.PublicKey):
        return SM2_MARK + key.to_bytes()[1:]
    if isinstance(key, Ed25519PublicKey):
        return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert isinstance(key.curve, ec.SECP256R1), "only P-256"
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def public_from_raw(raw: bytes) -> PublicKey:
    """The key of raw bytes; also reads the 65-byte uncompressed point that WebCrypto exports. Refuses as ``malformed``."""
    try:
        if len(raw) == ED25519_BYTES:
            return Ed25519PublicKey.from_public_bytes(raw)
        if raw[:1] == SM2_MARK:
            return sm2.PublicKey.from_bytes(b"\x04" + raw[1:])
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError as error:
        raise CredentialRefused(Reason.MALFORMED, "not a public key") from error


def key_id(raw: bytes) -> bytes:
    """The 8-byte id of a raw public key (the head of its RFC 7638 thumbprint)."""
    if len(raw) == ED25519_BYTES:
        canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{_b64(raw)}"}}'
    else:
        key = public_from_raw(raw)
        assert not isinstance(key, Ed25519PublicKey)
        curve, point = ("SM2", key) if isinstance(key, sm2.PublicKey) else ("P-256", key.public_numbers())
        x, y = (_b64(value.to_bytes(32, "big")) for value in (point.x, point.y))
        canonical = f'{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}'
    return hashlib.sha256(canonical.encode()).digest()[:KID_BYTES]


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True, kw_only=True, slots=True)
class CityKey:
    """A city's public key as others know it; it stops being accepted at ``not_after`` (UTC), if that is given.

    ``beside`` is the id of the key that must have signed too: alone, neither is accepted. So a city goes from one suite to
    another, and nobody strips the signature that he cannot forge.
    """

    city: str
    kid: bytes
    raw: bytes
    key: PublicKey
    not_after: datetime | None = None
    beside: bytes = b""


class KeyRing:
    """The issuer keys of all federated cities, found by city and short id."""

    def __init__(self, keys: Iterable[CityKey]) -> None:
        self._keys = {(key.city, key.kid): key for key in keys}
        for key in list(self._keys.values()):  # a demand binds both: else the other key alone would do
            other = self._keys.get((key.city, key.beside))
            if other is not None and not other.beside:
                self._keys[other.city, other.kid] = replace(other, beside=key.kid)
        self._cities = {city for city, _ in self._keys}

    @classmethod
    def of(cls, document: Mapping[str, Iterable[Sequence[Any]]]) -> "KeyRing":
        """From ``{city: [(kid, raw key)]}``, with ``not_after`` (unix seconds or none) and the ``beside`` key's id if given.

        The id given beside a key is not trusted: it is computed again from the key. Refuses as ``malformed``.
        """
        keys = []
        for city, entries in document.items():
            for entry in entries:
                if len(entry) < 2 or not isinstance(entry[1], bytes):  # noqa: PLR2004  a pair at least
                    raise CredentialRefused(Reason.MALFORMED, f"a key of {city}")
                raw, until = entry[1], entry[2] if len(entry) > 2 else None  # noqa: PLR2004
                keys.append(
                    CityKey(
                        city=str(city),
                        kid=key_id(raw),
                        raw=raw,
                        key=public_from_raw(raw),
                        not_after=datetime.fromtimestamp(until, tz=UTC) if isinstance(until, int) else None,
                        beside=entry[3] if len(entry) > 3 and isinstance(entry[3], bytes) else b"",  # noqa: PLR2004
                    )
                )
        return cls(keys)

    def find(self, city: str, kid: bytes, *, now: datetime) -> CityKey:
        """The key; refuses as ``unknown-issuer``, ``unknown-key`` or ``issuer-key-expired``."""
        key = self._keys.get((city, kid))
        if key is None:
            raise CredentialRefused(
                Reason.UNKNOWN_KEY if city in self._cities else Reason.UNKNOWN_ISSUER, f"{city} {kid.hex()}"
            )
        if key.not_after is not None and now > key.not_after:
            raise CredentialRefused(Reason.ISSUER_KEY_EXPIRED, f"{city} {kid.hex()}")
        return key
