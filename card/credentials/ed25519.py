"""Ed25519 (RFC 8032): libsodium says once whether a key is sound; ed25519-zebra verifies what it signs, a third faster.

A key must be a point of the large group in its one right encoding: under one of small order anybody could sign. Where it is,
both libraries refuse what was not signed with it. Only its owner can make signatures about which they differ (with a part of
small order, which zebra's rules, ZIP 215, let pass), and gains nothing: what they are over, they signed.
"""

from functools import lru_cache
from typing import Final

from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign_BYTES, crypto_sign_open
from nacl.exceptions import BadSignatureError

try:
    from ed25519_zebra.ed25519_zebra import ed_verify
except ImportError:  # built for no machine like this one: libsodium can do it too
    ed_verify = None

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = crypto_sign_BYTES


@lru_cache(maxsize=4096)
def sound(raw_key: bytes) -> bool:
    """Whether signatures under the raw public key mean anything."""
    return len(raw_key) == KEY_BYTES and crypto_core_ed25519_is_valid_point(raw_key)


def verifies(raw_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` is over ``message`` by the owner of ``raw_key``, which must be :func:`sound`."""
    if ed_verify is None:
        return verifies_in_libsodium(raw_key, signature, message)
    return len(signature) == SIGNATURE_BYTES and ed_verify(signature, message, raw_key)


def verifies_in_libsodium(raw_key: bytes, signature: bytes, message: bytes) -> bool:
    """As :func:`verifies`."""
    if len(signature) != SIGNATURE_BYTES:
        return False  # the library takes both in one piece: the seam must be where we say it is
    try:
        crypto_sign_open(signature + message, raw_key)
    except BadSignatureError:
        return False
    return True
