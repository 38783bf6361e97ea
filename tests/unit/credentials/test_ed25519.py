"""Ed25519: what is signed verifies, what is changed does not, and a key under which anybody could sign is no key."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult_ed25519_base_noclamp

from card.credentials import cose, ed25519

# RFC 8032, section 7.1, tests 1 to 3: public key, message, signature.
PUBLISHED = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
# Points of order 1, 2, 4 and 8, each in its right encoding.
SMALL = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
]
Verifies = Callable[[bytes, bytes, bytes], bool]
WAYS: list[Verifies] = [ed25519.verifies, ed25519.verifies_in_libsodium]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RAW = KEY.public_key().public_bytes_raw()


@pytest.mark.parametrize("verifies", WAYS)
@pytest.mark.parametrize(("key", "message", "signature"), PUBLISHED)
def test_the_published_signatures_verify(verifies: Verifies, key: str, message: str, signature: str) -> None:
    raw = bytes.fromhex(key)
    assert ed25519.sound(raw)
    assert verifies(raw, bytes.fromhex(signature), bytes.fromhex(message))
    assert not verifies(raw, bytes.fromhex(signature), bytes.fromhex(message) + b"\x00")


@given(st.binary(max_size=300), st.integers(0, 8 * 64 - 1))
def test_both_libraries_agree_on_what_was_signed_and_what_was_changed(message: bytes, bit: int) -> None:
    signature = KEY.sign(message)
    changed = bytearray(signature)
    changed[bit // 8] ^= 1 << bit % 8
    for verifies in WAYS:
        assert verifies(RAW, signature, message)
        assert not verifies(RAW, bytes(changed), message)
        assert not verifies(RAW, signature[:-1], message)
        assert not verifies(RAW, signature + b"\x00", message)
        assert not message or not verifies(RAW, signature + message[:1], message[1:])  # the seam is where we say it is


@pytest.mark.parametrize("key", SMALL)
def test_under_a_key_of_small_order_nothing_verifies(key: str) -> None:
    raw, scalar = bytes.fromhex(key), (5).to_bytes(32, "little")
    forged = crypto_scalarmult_ed25519_base_noclamp(scalar) + scalar  # holds for any message, where the key is taken
    assert not ed25519.sound(raw)
    assert not cose.raw_verify(Ed25519PublicKey.from_public_bytes(raw), forged, b"let me in")


@pytest.mark.parametrize("raw", [b"", RAW[:-1], RAW + b"\x00", b"\xff" * 32])
def test_what_is_no_point_is_no_key(raw: bytes) -> None:
    assert not ed25519.sound(raw)
