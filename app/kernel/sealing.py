"""Fields that must not be readable in a stolen dump: AES-256-GCM with a keyed blind index to find them by.

A sealed field is ``version (1 byte) ‖ nonce (12) ‖ ciphertext ‖ tag (16)``. Its *context* (table, column and row) is
authenticated with it, so that a value copied into another row does not open. The blind index is HMAC-SHA-256 under a key of
its own: equal values give equal indexes, and nothing can be computed from one without the key.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy.orm import Session

from app.kernel.db import Database
from app.kernel.settings import Settings

VERSION: Final = b"\x01"
NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32
INFO: Final = "sealer"


class Tampered(ValueError):
    """A sealed field that does not open under this key in this place. Never shown to a caller: it is a fault of ours."""


def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=purpose.encode()).derive(key)


@dataclass(frozen=True)
class Sealer:
    """Seals, opens and indexes under the city's field key (32 bytes)."""

    key: bytes

    def __repr__(self) -> str:
        return "Sealer(…)"

    def seal(self, text: str, *, context: str) -> bytes:
        """``text`` encrypted for ``context`` (``schema.table.column:row id``)."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        cipher = AESGCM(_derive(self.key, "seal-1"))
        return VERSION + nonce + cipher.encrypt(nonce, text.encode(), context.encode())

    def open(self, sealed: bytes, *, context: str) -> str:
        """What was sealed for ``context``. Raises :class:`Tampered`."""
        if sealed[:1] != VERSION:
            raise Tampered("unknown version")
        nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return AESGCM(_derive(self.key, "seal-1")).decrypt(nonce, body, context.encode()).decode()
        except InvalidTag as error:
            raise Tampered(context) from error

    def index(self, text: str, *, purpose: str) -> bytes:
        """The 32-byte blind index of ``text`` for ``purpose`` (``schema.table.column``)."""
        return hmac.new(_derive(self.key, f"index-1:{purpose}"), text.encode(), hashlib.sha256).digest()


def sealer_from(settings: Settings) -> Sealer:
    """The sealer of a city. Raises ``ValueError`` where ``field_key`` is not the base64 of 32 bytes."""
    try:
        key = base64.b64decode(settings.field_key.get_secret_value(), validate=True)
    except binascii.Error as error:
        raise ValueError("field_key is not base64") from error
    if len(key) != KEY_BYTES:
        raise ValueError(f"field_key has {len(key)} bytes, not {KEY_BYTES}")
    return Sealer(key)


def equip(database: Database, sealer: Sealer) -> None:
    """Give every session of ``database`` the city's sealer."""
    database.info[INFO] = sealer


def sealer_of(session: Session) -> Sealer:
    """The sealer that the session's database was equipped with."""
    found = session.info.get(INFO)
    assert isinstance(found, Sealer), "this database was never equipped with a sealer"
    return found
