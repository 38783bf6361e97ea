"""The city's private keys (Ed25519, RFC 8032) and the signatures made with them.

One key a purpose, kept as PEM in ``keys_dir``. A key id is the RFC 7638 thumbprint of its public half, so two cities can
never disagree about what an id means. Rotation: ``docs/runbooks/rotate-a-key.md``.
"""

import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry

from app.kernel import sm2
from app.kernel.db import Json
from app.kernel.errors import Unauthenticated, msg

PAYLOAD_BYTES_MAX: Final = 2**20  # a clearing manifest with all its 4,096 buckets has 0.3 MB; the library would stop at 0.1


def _registry() -> JWSRegistry:
    found = JWSRegistry(algorithms=["Ed25519"])
    found.max_payload_length = PAYLOAD_BYTES_MAX
    return found


class BadSignature(Unauthenticated):
    """A signature that does not verify, or that no known key made."""

    code = "bad-signature"
    sentence = msg("The signature does not verify.")


class Purpose(StrEnum):
    """What a key may sign. A key never serves two purposes."""

    FEDERATION = "federation"  # entity statements and messages between cities
    CARD_ISSUER = "card-issuer"  # static credentials
    BUNDLE = "bundle"  # terminal bundles, deny lists
    DOCUMENT = "document"  # certificates and decisions
    TOKEN = "token"  # noqa: S105  access tokens of machines
    ARCHIVE = "archive"  # archived months of the ledger and the reports that close them
    CHECKPOINT = "checkpoint"  # the ledger's tree heads
    COSIGNER = "cosigner"  # other ledgers' tree heads, once they are seen to continue


@dataclass(frozen=True, kw_only=True)
class Key:
    """A private key with its public id."""

    kid: str
    private: Ed25519PrivateKey

    @property
    def public(self) -> Ed25519PublicKey:
        """The public half."""
        return self.private.public_key()

    @property
    def public_bytes(self) -> bytes:
        """The 32 raw bytes of the public half."""
        return public_bytes(self.public)

    @property
    def jwk(self) -> Json:
        """The public half as a JSON Web Key with ``kid``."""
        return {**public_jwk(self.public), "kid": self.kid, "alg": "Ed25519", "use": "sig"}

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of ``message``."""
        return self.private.sign(message)


@dataclass(frozen=True, kw_only=True)
class Sm2Key:
    """A private key of the national suite. It signs where a city chose SM3 and SM2."""

    private: sm2.PrivateKey

    @property
    def public_bytes(self) -> bytes:
        """The 65 bytes of the public half."""
        return self.private.public.to_bytes()

    def sign(self, message: bytes) -> bytes:
        """The 64-byte SM2 signature of ``message``."""
        return self.private.sign(message)


def public_bytes(key: Ed25519PublicKey) -> bytes:
    """The 32 raw bytes of a public key."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def public_jwk(key: Ed25519PublicKey) -> Json:
    """A public key as a bare JSON Web Key (RFC 8037)."""
    return dict(
        OKPKey.import_key(
            key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        ).as_dict(private=False)
    )


def thumbprint(key: Ed25519PublicKey) -> str:
    """The RFC 7638 thumbprint of a public key: its id everywhere."""
    return OKPKey.import_key(public_jwk(key)).thumbprint()


def key_from_jwk(document: Json) -> Ed25519PublicKey:
    """The public key of a JSON Web Key; refuses anything that is not Ed25519."""
    try:
        if document.get("kty") != "OKP" or document.get("crv") != "Ed25519":
            raise BadSignature("only Ed25519 keys are accepted")
        public = OKPKey.import_key(document).public_key
    except (JoseError, ValueError, TypeError) as error:
        raise BadSignature(f"not a key: {error}") from error
    assert isinstance(public, Ed25519PublicKey)
    return public


def _keep(path: Path, content: bytes) -> None:
    """Write a key that is not there yet; the first process to get here wins, and nobody overwrites a key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.write_bytes(content)
    fresh.chmod(0o600)
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def load_or_create_sm2(keys_dir: Path, purpose: Purpose) -> Sm2Key:
    """The city's current SM2 key for ``purpose``, kept as 64 hexadecimal digits; made on first use."""
    path = keys_dir / f"{purpose}.sm2"
    if not path.exists():
        _keep(path, sm2.PrivateKey.generate().to_bytes().hex().encode() + b"\n")
    return Sm2Key(private=sm2.PrivateKey.from_bytes(bytes.fromhex(path.read_text())))


def load_or_create(keys_dir: Path, purpose: Purpose) -> Key:
    """The city's current key for ``purpose``; made on first use, readable by its owner only."""
    path = keys_dir / f"{purpose}.pem"
    if not path.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _keep(path, pem)
    private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(private, Ed25519PrivateKey), f"{path} is not an Ed25519 key"
    return Key(kid=thumbprint(private.public_key()), private=private)


def sign_jws(key: Key, payload: Json, *, typ: str) -> str:
    """``payload`` as a compact JWS (RFC 7515) with ``typ`` and ``kid`` in its header."""
    signer = OKPKey.import_key(
        key.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    header = {"alg": "Ed25519", "kid": key.kid, "typ": typ}
    return jws.serialize_compact(header, json.dumps(payload, ensure_ascii=False), signer, algorithms=["Ed25519"])


def read_jws(token: str, keys: dict[str, Ed25519PublicKey], *, typ: str) -> Json:
    """The payload of a compact JWS made by one of ``keys`` (by ``kid``) with exactly this ``typ``."""
    try:
        header = jws.extract_compact(token.encode(), registry=_registry()).headers()
        public = keys.get(str(header.get("kid")))
        if public is None:
            raise BadSignature(f"unknown key {header.get('kid')!r}")
        if header.get("typ") != typ:
            raise BadSignature(f"typ is {header.get('typ')!r}, not {typ!r}")
        verified = jws.deserialize_compact(token, OKPKey.import_key(public_jwk(public)), registry=_registry())
        document = json.loads(verified.payload)
    except (JoseError, ValueError, KeyError) as error:
        raise BadSignature(str(error)) from error
    if not isinstance(document, dict):
        raise BadSignature("the payload is not an object")
    return document
