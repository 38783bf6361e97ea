"""COSE_Sign1 (RFC 9052, section 4.2) with an algorithm allow-list.

Small on purpose: one signer, embedded payload, EdDSA on Ed25519 and ES256 on P-256 (RFC 9053). The algorithm is read from the
protected header only, must be on the allow-list, and must fit the key: a message never chooses how it is verified.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NewType

from cbor2 import CBORTag
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from nacl.bindings import crypto_sign_BYTES, crypto_sign_open
from nacl.exceptions import BadSignatureError

from card.credentials import wire
from card.credentials.keys import PrivateKey, PublicKey
from card.credentials.reasons import CredentialRefused, Reason

SIGN1_TAG: Final = 18
HEADER_ALGORITHM: Final = 1
HEADER_CRITICAL: Final = 2
HEADER_KEY_ID: Final = 4
P256_COORDINATE_BYTES: Final = 32

Sign1 = NewType("Sign1", bytes)


class Algorithm(IntEnum):
    """Signature algorithms by their IANA COSE numbers."""

    EDDSA = -8
    ES256 = -7


ALLOWED: Final = frozenset({Algorithm.EDDSA, Algorithm.ES256})


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A COSE_Sign1 taken apart and not yet verified: trust nothing in it before :func:`verify`."""

    protected: bytes
    headers: Mapping[Any, Any]
    unprotected: Mapping[Any, Any]
    payload: bytes
    signature: bytes

    @property
    def kid(self) -> bytes:
        """The key id, from the protected header, else the unprotected one; empty when there is none."""
        found = self.headers.get(HEADER_KEY_ID, self.unprotected.get(HEADER_KEY_ID))
        return found if isinstance(found, bytes) else b""


def algorithm_of(key: PrivateKey | PublicKey) -> Algorithm:
    """The one algorithm a key signs with."""
    return Algorithm.EDDSA if isinstance(key, Ed25519PrivateKey | Ed25519PublicKey) else Algorithm.ES256


def raw_sign(key: PrivateKey, message: bytes) -> bytes:
    """The bare 64-byte signature: Ed25519, or ECDSA as r ‖ s (RFC 9053, section 2.1)."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(message)
    r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(P256_COORDINATE_BYTES, "big") + s.to_bytes(P256_COORDINATE_BYTES, "big")


def raw_verify(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether a bare signature verifies."""
    if isinstance(key, Ed25519PublicKey):
        return _verifies(signature, message, key.public_bytes_raw())
    try:
        if len(signature) != 2 * P256_COORDINATE_BYTES:
            return False
        r = int.from_bytes(signature[:P256_COORDINATE_BYTES], "big")
        s = int.from_bytes(signature[P256_COORDINATE_BYTES:], "big")
        key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _verifies(signature: bytes, message: bytes, raw_key: bytes) -> bool:
    """Ed25519 by libsodium, in less than half of OpenSSL's time; it also refuses keys of small order."""
    if len(signature) != crypto_sign_BYTES:
        return False  # the library takes both in one piece: the seam must be where we say it is
    try:
        crypto_sign_open(signature + message, raw_key)
    except BadSignatureError:
        return False
    return True


def signature_structure(protected: bytes, payload: bytes, external: bytes = b"") -> bytes:
    """What is signed: ``Sig_structure`` with context ``Signature1`` (RFC 9052, section 4.4)."""
    return wire.write(["Signature1", protected, external, payload])


def sign(key: PrivateKey, payload: bytes, *, kid: bytes, external: bytes = b"") -> Sign1:
    """``payload`` signed by ``key``, tagged, with algorithm and ``kid`` in the protected header."""
    protected = wire.write({HEADER_ALGORITHM: int(algorithm_of(key)), HEADER_KEY_ID: kid})
    signature = raw_sign(key, signature_structure(protected, payload, external))
    return Sign1(wire.write(CBORTag(SIGN1_TAG, [protected, {}, payload, signature])))


def parse(data: bytes, *, untagged: bool = False) -> Message:
    """Take a COSE_Sign1 apart; refuses as ``malformed``. ``untagged`` also takes the bare array."""
    item = wire.read(data)
    if isinstance(item, CBORTag):
        if item.tag != SIGN1_TAG:
            raise CredentialRefused(Reason.MALFORMED, f"tag {item.tag} is not COSE_Sign1")
        item = item.value
    elif not untagged:
        raise CredentialRefused(Reason.MALFORMED, "no COSE_Sign1 tag")
    match item:
        case [bytes() as protected, Mapping() as unprotected, bytes() as payload, bytes() as signature]:
            headers = wire.read(protected) if protected else {}
        case _:
            raise CredentialRefused(Reason.MALFORMED, "not a COSE_Sign1 with an embedded payload")
    if not isinstance(headers, dict):
        raise CredentialRefused(Reason.MALFORMED, "protected header")
    if headers.keys() & unprotected.keys():
        raise CredentialRefused(Reason.MALFORMED, "a header both protected and not")
    if HEADER_CRITICAL in headers or HEADER_CRITICAL in unprotected:
        raise CredentialRefused(Reason.MALFORMED, "a critical header we do not know")
    return Message(protected=protected, headers=headers, unprotected=unprotected, payload=payload, signature=signature)


def check(
    message: Message,
    key: PublicKey,
    *,
    algorithms: frozenset[Algorithm] = ALLOWED,
    external: bytes = b"",
    refusal: Reason = Reason.BAD_SIGNATURE,
) -> bytes:
    """The payload, once its signature holds under ``key``.

    Refuses as ``algorithm-not-allowed`` where the protected header names no allowed algorithm or one that does not fit the
    key, and as ``refusal`` where the signature does not verify.
    """
    named = message.headers.get(HEADER_ALGORITHM)
    if not isinstance(named, int) or named not in algorithms or named != algorithm_of(key):
        raise CredentialRefused(Reason.ALGORITHM_NOT_ALLOWED, f"alg {named!r}")
    if not raw_verify(key, message.signature, signature_structure(message.protected, message.payload, external)):
        raise CredentialRefused(refusal)
    return message.payload


def verify(
    data: bytes,
    find_key: Callable[[bytes], PublicKey],
    *,
    algorithms: frozenset[Algorithm] = ALLOWED,
    external: bytes = b"",
    refusal: Reason = Reason.BAD_SIGNATURE,
) -> bytes:
    """The verified payload of ``data``, signed by the key that ``find_key`` gives for its key id (it refuses unknown ones)."""
    message = parse(data)
    return check(message, find_key(message.kid), algorithms=algorithms, external=external, refusal=refusal)
