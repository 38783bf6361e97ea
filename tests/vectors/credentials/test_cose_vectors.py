"""The published COSE examples (cose-wg): what they accept and refuse, our verifier accepts and refuses."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from card.credentials import CredentialRefused, Reason, sign1


def _b64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _key(described: dict[str, Any]) -> Any:
    if described["kty"] == "OKP":
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(described["x_hex"]))
    x, y = (int.from_bytes(_b64(described[name]), "big") for name in ("x", "y"))
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def _vector(folder: Path, name: str) -> tuple[dict[str, Any], bytes, bytes]:
    document = json.loads((folder / "vectors" / "cose" / name).read_text())
    signed = document["input"]["sign0"]
    return document, bytes.fromhex(document["output"]["cbor"]), bytes.fromhex(signed.get("external", ""))


@pytest.mark.parametrize(
    "name",
    [
        "sign1-tests/sign-pass-02.json",
        "sign1-tests/sign-pass-03.json",
        "eddsa-examples/eddsa-sig-01.json",
        "ecdsa-examples/ecdsa-sig-01.json",
    ],
)
def test_a_good_vector_verifies_and_gives_its_payload(shared_data: Path, name: str) -> None:
    document, data, external = _vector(shared_data, name)
    message = sign1.parse(data, untagged=name.endswith("pass-03.json"))
    payload = sign1.check(message, _key(document["input"]["sign0"]["key"]), external=external)
    assert payload == document["input"]["plaintext"].encode()
    assert (
        sign1.signature_structure(message.protected, message.payload, external).hex().upper()
        == document["intermediates"]["ToBeSign_hex"]
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sign-fail-01.json", Reason.MALFORMED),  # another CBOR tag
        ("sign-fail-02.json", Reason.BAD_SIGNATURE),  # another payload
        ("sign-fail-03.json", Reason.ALGORITHM_NOT_ALLOWED),  # algorithm -999
        ("sign-fail-04.json", Reason.ALGORITHM_NOT_ALLOWED),  # algorithm "unknown"
        ("sign-fail-06.json", Reason.BAD_SIGNATURE),  # a protected header added
        ("sign-fail-07.json", Reason.BAD_SIGNATURE),  # a protected header removed
        ("sign-pass-01.json", Reason.ALGORITHM_NOT_ALLOWED),  # RFC 9052 allows an unprotected algorithm; we do not
    ],
)
def test_a_bad_vector_is_refused_with_its_reason(shared_data: Path, name: str, reason: Reason) -> None:
    document, data, external = _vector(shared_data, f"sign1-tests/{name}")
    key = _key(document["input"]["sign0"]["key"])
    with pytest.raises(CredentialRefused) as refused:
        sign1.verify(data, lambda _kid: key, external=external)
    assert refused.value.reason is reason


def test_the_unprotected_algorithm_of_sign_pass_01_is_the_only_thing_we_refuse_in_it(shared_data: Path) -> None:
    document, data, _ = _vector(shared_data, "sign1-tests/sign-pass-01.json")
    message = sign1.parse(data)
    key = _key(document["input"]["sign0"]["key"])
    # The example writes the empty header as h'A0'; the signature covers the empty string (RFC 9052, section 3).
    assert sign1.raw_verify(key, message.signature, sign1.signature_structure(b"", message.payload))


def test_what_we_sign_is_byte_for_byte_the_published_ed25519_signature(shared_data: Path) -> None:
    document, data, _ = _vector(shared_data, "eddsa-examples/eddsa-sig-01.json")
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(document["input"]["sign0"]["key"]["d_hex"]))
    signed = bytes.fromhex(document["intermediates"]["ToBeSign_hex"])
    assert sign1.raw_sign(private, signed) == sign1.parse(data).signature


def test_an_algorithm_off_the_list_is_refused_although_it_would_verify(shared_data: Path) -> None:
    document, data, _ = _vector(shared_data, "ecdsa-examples/ecdsa-sig-01.json")
    key = _key(document["input"]["sign0"]["key"])
    with pytest.raises(CredentialRefused) as refused:
        sign1.verify(data, lambda _kid: key, algorithms=frozenset({sign1.Algorithm.EDDSA}))
    assert refused.value.reason is Reason.ALGORITHM_NOT_ALLOWED


def test_a_p384_key_has_no_place_here(shared_data: Path) -> None:
    document, data, _ = _vector(shared_data, "ecdsa-examples/ecdsa-sig-02.json")
    edwards = Ed25519PrivateKey.generate().public_key()
    assert document["input"]["sign0"]["key"]["crv"] == "P-384"
    with pytest.raises(CredentialRefused) as refused:
        sign1.verify(data, lambda _kid: edwards)
    assert refused.value.reason is Reason.ALGORITHM_NOT_ALLOWED
