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
    raw = (
        bytes.fromhex(described[f"{name}_hex"]) if f"{name}_hex" in described else _b64(described[name]) for name in ("x", "y")
    )
    x, y = (int.from_bytes(value, "big") for value in raw)
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


LEFT_OUT = {  # what we do not speak, each with its reason: a file that comes new must be tried or named here
    "encryption": ["CWT/A_5", "CWT/A_6", "RFC8152/Appendix_B", "RFC8152/Appendix_C_4_1", "RFC8152/Appendix_C_4_2"]
    + [f"RFC8152/Appendix_C_3_{number}" for number in (1, 2, 3, 4)],
    "MAC": ["CWT/A_4", "CWT/A_7", "RFC8152/Appendix_C_6_1"] + [f"RFC8152/Appendix_C_5_{number}" for number in (1, 2, 3, 4)],
}
OTHER_CURVES = [  # P-384, P-521, Ed448, and P-256 under SHA-512: signed well, and on no list of ours
    "ecdsa-examples/ecdsa-02",
    "ecdsa-examples/ecdsa-03",
    "ecdsa-examples/ecdsa-04",
    "ecdsa-examples/ecdsa-sig-02",
    "ecdsa-examples/ecdsa-sig-03",
    "ecdsa-examples/ecdsa-sig-04",
    "eddsa-examples/eddsa-02",
    "eddsa-examples/eddsa-sig-02",
]
TOGETHER = [  # COSE_Sign: (file, which of its signatures is ours)
    ("RFC8152/Appendix_C_1_1", 0),
    ("RFC8152/Appendix_C_1_2", 0),
    ("RFC8152/Appendix_C_1_3", 0),
    ("ecdsa-examples/ecdsa-01", 0),
    ("eddsa-examples/eddsa-01", 0),
]
ALONE = ["RFC8152/Appendix_C_2_1", "CWT/A_3"]
CRITICAL = ["RFC8152/Appendix_C_1_4"]


def test_every_published_vector_is_tried_or_left_out_by_name(shared_data: Path) -> None:
    folder = shared_data / "vectors" / "cose"
    there = {str(path.relative_to(folder).with_suffix("")) for path in folder.glob("*/*.json")}
    tried = {f"sign1-tests/{name}" for name in ("sign-pass-01", "sign-pass-02", "sign-pass-03")}
    tried |= {f"sign1-tests/sign-fail-{number:02d}" for number in (1, 2, 3, 4, 6, 7)}
    tried |= {"eddsa-examples/eddsa-sig-01", "ecdsa-examples/ecdsa-sig-01"}
    tried |= {name for name, _ in TOGETHER} | set(OTHER_CURVES) | set(ALONE) | set(CRITICAL)
    assert there == tried | {name for names in LEFT_OUT.values() for name in names}


@pytest.mark.parametrize(("name", "place"), TOGETHER)
def test_a_signature_among_several_verifies_over_the_published_bytes(shared_data: Path, name: str, place: int) -> None:
    document = json.loads((shared_data / "vectors" / "cose" / f"{name}.json").read_text())
    signed = document["input"]["sign"]
    messages = sign1.parse_all(bytes.fromhex(document["output"]["cbor"]))
    assert len(messages) == len(signed["signers"])
    message, signer = messages[place], signed["signers"][place]
    external = bytes.fromhex(signer.get("external", ""))
    assert message.signed(external).hex().upper() == document["intermediates"]["signers"][place]["ToBeSign_hex"].upper()
    assert sign1.check(message, _key(signer["key"]), external=external) == document["input"]["plaintext"].encode()
    others = [other for number, other in enumerate(messages) if number != place]
    for other in others:  # ES512 stands beside it in Appendix C.1.2
        with pytest.raises(CredentialRefused) as refused:
            sign1.check(other, _key(signer["key"]))
        assert refused.value.reason is Reason.ALGORITHM_NOT_ALLOWED


@pytest.mark.parametrize("name", ALONE)
def test_a_sign1_of_the_standards_appendices_verifies(shared_data: Path, name: str) -> None:
    document = json.loads((shared_data / "vectors" / "cose" / f"{name}.json").read_text())
    message = sign1.parse(bytes.fromhex(document["output"]["cbor"]))
    given = document["input"]
    plain = given["plaintext"].encode() if "plaintext" in given else bytes.fromhex(given["plaintext_hex"])
    assert sign1.check(message, _key(given["sign0"]["key"])) == plain


@pytest.mark.parametrize("name", CRITICAL)
def test_a_critical_header_that_we_do_not_know_is_refused(shared_data: Path, name: str) -> None:
    document = json.loads((shared_data / "vectors" / "cose" / f"{name}.json").read_text())
    with pytest.raises(CredentialRefused) as refused:
        sign1.parse_all(bytes.fromhex(document["output"]["cbor"]))
    assert refused.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("name", OTHER_CURVES)
def test_another_curve_or_digest_is_off_the_list(shared_data: Path, name: str) -> None:
    document = json.loads((shared_data / "vectors" / "cose" / f"{name}.json").read_text())
    (message,) = sign1.parse_all(bytes.fromhex(document["output"]["cbor"]))
    for key in (Ed25519PrivateKey.generate().public_key(), ec.generate_private_key(ec.SECP256R1()).public_key()):
        with pytest.raises(CredentialRefused) as refused:
            sign1.check(message, key)
        # Ed448 shares its number with Ed25519 (RFC 9053, section 2.2): there it is the key that does not fit.
        eddsa = "eddsa" in name and isinstance(key, Ed25519PublicKey)
        assert refused.value.reason is (Reason.BAD_SIGNATURE if eddsa else Reason.ALGORITHM_NOT_ALLOWED)
