"""The terminal's private key: made on the device, readable by its owner only, never sent.

``key.pem`` is the key in use, ``next.pem`` one that waits for its certificate. Which of the two counts is said by the
certificate in the journal alone, so that a change of keys happens in one commit: a loss of power before it leaves the old key,
after it the new one.
"""

import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from card.credentials import raw_public

PrivateKey = Ed25519PrivateKey
IN_USE: Final = "key.pem"
NEXT: Final = "next.pem"


class KeyLost(Exception):
    """The folder does not hold the key that the certificate names."""


def prepare(home: Path) -> PrivateKey:
    """The key that waits for a certificate; made when there is none. The same again until :func:`take`."""
    path = home / NEXT
    if path.exists():
        return _load(path)
    key = Ed25519PrivateKey.generate()
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _flush(home)
    return key


def take(home: Path, public: bytes) -> PrivateKey:
    """The private half of the raw key ``public`` that the certificate names, put into its place. Raises ``KeyLost``."""
    for name in (IN_USE, NEXT):
        path = home / name
        if path.exists():
            key = _load(path)
            if raw_public(key.public_key()) == public:
                if name == NEXT:
                    path.replace(home / IN_USE)
                    _flush(home)
                return key
    raise KeyLost(str(home))


def _flush(folder: Path) -> None:
    """Let the names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _load(path: Path) -> PrivateKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey), f"{path} is not an Ed25519 key"
    return key
