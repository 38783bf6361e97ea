"""COSE_Sign1 and COSE_Sign (RFC 9052, sections 4.1 and 4.2) with an algorithm allow-list.

Small on purpose: embedded payload; EdDSA on Ed25519 and ES256 on P-256 (RFC 9053), and SM2 with SM3 (GB/T 32918, 32905) under a
number for private use, since IANA has given it none. The algorithm is read from the protected header only, must be on the
allow-list, and must fit the key: a message never chooses how it is verified. How many signatures are demanded is the key ring's
to say, never the message's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any, Final, NewType

from cbor2 import CBORTag
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.kernel import sm2
from card.credentials import ed25519, wire
from card.credentials.keys import PrivateKey, PublicKey, key_id, public_of, raw_public
from card.credentials.reasons import CredentialRefused, Reason

SIGN1_TAG: Final = 18
SIGN_TAG: Final = 98
SIGNATURES_MAX: Final = 4
HEADER_ALGORITHM: Final = 1
HEADER_CRITICAL: Final = 2
HEADER_KEY_ID: Final = 4
HEADER_TYPE: Final = 16
P256_COORDINATE_BYTES: Final = 32

Sign1 = NewType("Sign1", bytes)
Verifies = Callable[[bytes, bytes], bool]
"""Whether a signature (first) over a message (second) is by the key it was made for."""


class Algorithm(IntEnum):
    """Signature algorithms by their IANA COSE numbers."""

    EDDSA = -8
    ES256 = -7
    SM2_SM3 = -65537  # for private use (RFC 9053, section 11.1)


ALLOWED: Final = frozenset(Algorithm)


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A COSE_Sign1, or one signature of a COSE_Sign, taken apart and not yet verified: trust nothing in it before then.

    ``body`` is the COSE_Sign's own protected header, ``None`` for a COSE_Sign1.
    """

    protected: bytes
    headers: Mapping[Any, Any]
    unprotected: Mapping[Any, Any]
    payload: bytes
    signature: bytes
    body: bytes | None = None

    def signed(self, external: bytes = b"") -> bytes:
        """What the signature is over: ``Sig_structure`` (RFC 9052, section 4.4)."""
        if self.body is None:
            return signature_structure(self.protected, self.payload, external)
        return wire.write(["Signature", self.body, self.protected, external, self.payload])

    @property
    def kid(self) -> bytes:
        """The key id, from the protected header, else the unprotected one; empty when there is none."""
        found = self.headers.get(HEADER_KEY_ID, self.unprotected.get(HEADER_KEY_ID))
        return found if isinstance(found, bytes) else b""


def algorithm_of(key: PrivateKey | PublicKey) -> Algorithm:
    """The one algorithm a key signs with."""
    if isinstance(key, sm2.PrivateKey | sm2.PublicKey):
        return Algorithm.SM2_SM3
    return Algorithm.EDDSA if isinstance(key, Ed25519PrivateKey | Ed25519PublicKey) else Algorithm.ES256


def raw_sign(key: PrivateKey, message: bytes) -> bytes:
    """The bare 64-byte signature: Ed25519, or ECDSA (RFC 9053, section 2.1) and SM2 as r ‖ s."""
    if isinstance(key, Ed25519PrivateKey | sm2.PrivateKey):
        return key.sign(message)
    r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(P256_COORDINATE_BYTES, "big") + s.to_bytes(P256_COORDINATE_BYTES, "big")


def raw_verify(key: PublicKey, signature: bytes, message: bytes, *, familiar: bool = False) -> bool:
    """Whether a bare signature verifies. A ``familiar`` key is one that is met again and again: SM2 keeps a table of it."""
    return verifying(key, familiar=familiar)(signature, message)


def verifying(key: PublicKey, *, familiar: bool = False) -> Verifies:
    """As :func:`raw_verify`, made ready for one key: ``(signature, message)`` to whether it verifies."""
    if isinstance(key, Ed25519PublicKey):
        raw = key.public_bytes_raw()
        return partial(ed25519.verifies, raw) if ed25519.sound(raw) else _refuses
    if isinstance(key, sm2.PublicKey):
        return partial(_verifies_sm2, key, familiar)
    return partial(_verifies_p256, key)


def _verifies_sm2(key: sm2.PublicKey, familiar: bool, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message, familiar=familiar)
    except sm2.BadSm2:
        return False
    return True


def _verifies_p256(key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    try:
        if len(signature) != 2 * P256_COORDINATE_BYTES:
            return False
        r = int.from_bytes(signature[:P256_COORDINATE_BYTES], "big")
        s = int.from_bytes(signature[P256_COORDINATE_BYTES:], "big")
        key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _refuses(_signature: bytes, _message: bytes) -> bool:
    return False


def signature_structure(protected: bytes, payload: bytes, external: bytes = b"") -> bytes:
    """What is signed: ``Sig_structure`` with context ``Signature1`` (RFC 9052, section 4.4)."""
    return wire.write(["Signature1", protected, external, payload])


def sign(key: PrivateKey, payload: bytes, *, kid: bytes, external: bytes = b"", typ: str = "") -> Sign1:
    """``payload`` signed by ``key``, tagged, with algorithm, ``kid`` and any ``typ`` (RFC 9596) in the protected header."""
    headers: dict[int, object] = {HEADER_ALGORITHM: int(algorithm_of(key)), HEADER_KEY_ID: kid}
    protected = wire.write({**headers, HEADER_TYPE: typ} if typ else headers)
    signature = raw_sign(key, signature_structure(protected, payload, external))
    return Sign1(wire.write(CBORTag(SIGN1_TAG, [protected, {}, payload, signature])))


def sign_together(keys: Sequence[PrivateKey], payload: bytes, *, external: bytes = b"") -> bytes:
    """A COSE_Sign of ``payload`` with one signature by each of ``keys``, in their order."""
    signatures: list[list[Any]] = []
    for key in keys:
        protected = wire.write({HEADER_ALGORITHM: int(algorithm_of(key)), HEADER_KEY_ID: key_id(raw_public(public_of(key)))})
        signed = wire.write(["Signature", b"", protected, external, payload])
        signatures.append([protected, {}, raw_sign(key, signed)])
    return wire.write(CBORTag(SIGN_TAG, [b"", {}, payload, signatures]))


def _headers(protected: bytes, unprotected: Mapping[Any, Any]) -> dict[Any, Any]:
    """The protected header; refuses as ``malformed`` what is there twice, or critical and unknown to us."""
    headers = wire.read(protected) if protected else {}
    if not isinstance(headers, dict):
        raise CredentialRefused(Reason.MALFORMED, "protected header")
    if headers.keys() & unprotected.keys():
        raise CredentialRefused(Reason.MALFORMED, "a header both protected and not")
    if HEADER_CRITICAL in headers or HEADER_CRITICAL in unprotected:
        raise CredentialRefused(Reason.MALFORMED, "a critical header we do not know")
    return headers


def _sign1(item: object) -> Message:
    match item:
        case [bytes() as protected, Mapping() as unprotected, bytes() as payload, bytes() as signature]:
            return Message(
                protected=protected,
                headers=_headers(protected, unprotected),
                unprotected=unprotected,
                payload=payload,
                signature=signature,
            )
        case _:
            raise CredentialRefused(Reason.MALFORMED, "not a COSE_Sign1 with an embedded payload")


def parse(data: bytes, *, untagged: bool = False) -> Message:
    """Take a COSE_Sign1 apart; refuses as ``malformed``. ``untagged`` also takes the bare array."""
    item = wire.read(data)
    if isinstance(item, CBORTag):
        if item.tag != SIGN1_TAG:
            raise CredentialRefused(Reason.MALFORMED, f"tag {item.tag} is not COSE_Sign1")
        item = item.value
    elif not untagged:
        raise CredentialRefused(Reason.MALFORMED, "no COSE_Sign1 tag")
    return _sign1(item)


def parse_all(data: bytes) -> tuple[Message, ...]:
    """Every signature of a COSE_Sign1 or COSE_Sign, at least one, over one payload; refuses as ``malformed``."""
    item = wire.read(data)
    if not isinstance(item, CBORTag) or item.tag not in (SIGN1_TAG, SIGN_TAG):
        raise CredentialRefused(Reason.MALFORMED, "neither COSE_Sign1 nor COSE_Sign")
    if item.tag == SIGN1_TAG:
        return (_sign1(item.value),)
    match item.value:
        case [bytes() as body, Mapping() as unprotected, bytes() as payload, [*signatures]] if (
            1 <= len(signatures) <= SIGNATURES_MAX
        ):
            _headers(body, unprotected)
            return tuple(_one_of(entry, body=body, payload=payload) for entry in signatures)
        case _:
            raise CredentialRefused(Reason.MALFORMED, "not a COSE_Sign with an embedded payload")


def _one_of(entry: object, *, body: bytes, payload: bytes) -> Message:
    match entry:
        case [bytes() as protected, Mapping() as unprotected, bytes() as signature]:
            return Message(
                protected=protected,
                headers=_headers(protected, unprotected),
                unprotected=unprotected,
                payload=payload,
                signature=signature,
                body=body,
            )
        case _:
            raise CredentialRefused(Reason.MALFORMED, "not a COSE_Signature")


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
    if not raw_verify(key, message.signature, message.signed(external), familiar=True):
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
