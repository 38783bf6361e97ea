"""What terminals and cities say to each other: proofs, certificates, bundles, taps."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from card.credentials import (
    CHAIN_START,
    CredentialRefused,
    Decision,
    Reason,
    Receipt,
    Received,
    Tap,
    TapKind,
    TapResult,
    Unreadable,
    cbor,
    certify,
    decode_batch,
    encode_batch,
    from_base64url,
    prove,
    raw_public,
    read_batch,
    read_bundle,
    read_certificate,
    receipt_from,
    sign_bundle,
    to_base64url,
    verify_proof,
)

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
GATE = Ed25519PrivateKey.from_private_bytes(b"g" * 32)
CITY = Ed25519PrivateKey.from_private_bytes(b"b" * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
TAP = Tap(
    boot_id="b1",
    seq=1,
    kind=TapKind.ENTRY,
    device_at=1_795_334_400_000,
    skew_ms=-40,
    card_number="3132010000000000017",
    counter=5,
    device_kid=b"12345678",
    decision=Decision.ACCEPTED,
    reason="",
    list_seq=3,
    tariff_version="v1",
    prev=CHAIN_START,
    qr=b"evidence",
)


def reason_of(act: Callable[[], object]) -> Reason:
    with pytest.raises(CredentialRefused) as refused:
        act()
    return refused.value.reason


def proof(*, key: Ed25519PrivateKey = GATE, **changes: object) -> str:
    said: dict[str, object] = {"terminal_id": "T1", "method": "POST", "path": "/api/transit/taps", "body": b"taps", "at": NOW}
    return prove(key, **{**said, **changes})  # type: ignore[arg-type]


def check(header: str, *, body: bytes = b"taps", now: datetime = NOW) -> str:
    return verify_proof(
        header, lambda _id: GATE.public_key(), method="POST", path="/api/transit/taps", body=body, now=now
    ).terminal_id


def test_a_proof_holds_for_exactly_its_request() -> None:
    assert check(proof()) == "T1"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (proof(method="GET"), Reason.WRONG_REQUEST),
        (proof(path="/api/transit/bundle"), Reason.WRONG_REQUEST),
        (proof(body=b"other"), Reason.WRONG_REQUEST),
        (proof(at=NOW - timedelta(minutes=6)), Reason.CODE_TOO_OLD),
        (proof(at=NOW + timedelta(minutes=6)), Reason.CODE_TOO_OLD),
        (
            prove(STRANGER, terminal_id="T1", method="POST", path="/api/transit/taps", body=b"taps", at=NOW),
            Reason.BAD_SIGNATURE,
        ),
        ("Bearer x", Reason.MALFORMED),
        ("COSE !", Reason.MALFORMED),
        ("", Reason.MALFORMED),
    ],
)
def test_a_proof_for_anything_else_is_refused(header: str, reason: Reason) -> None:
    assert reason_of(lambda: check(header)) is reason


def test_a_certificate_binds_the_terminals_key_and_brings_the_citys() -> None:
    signed = certify(
        CITY,
        terminal_id="T1",
        operator_id="njmetro",
        city="320100",
        stop_id="S1",
        line="1",
        key=raw_public(GATE.public_key()),
        now=NOW,
    )
    found = read_certificate(signed)
    assert (found.terminal_id, found.expires_at, found.key) == ("T1", NOW + timedelta(days=90), raw_public(GATE.public_key()))
    assert found.bundle_key == raw_public(CITY.public_key())
    assert reason_of(lambda: read_certificate(signed, trusted=STRANGER.public_key())) is Reason.BAD_SIGNATURE


def _bundle(signer: Ed25519PrivateKey = CITY) -> bytes:
    document = {
        "seq": 4,
        "made_at": int(NOW.timestamp()),
        "not_after": (NOW + timedelta(days=3)).isoformat(),
        "city": "320100",
        "tariff_version": "2026-1",
        "issuer_keys": {"320100": [["k", raw_public(CITY.public_key())]]},
        "deny": {"base": b"", "digest": b"", "seq": 0, "deltas": []},
        "terminal": {"stop_id": "S1", "mode": "entry"},
    }
    return sign_bundle(signer, document)


def test_a_bundle_is_read_only_under_the_citys_bundle_key() -> None:
    found = read_bundle(_bundle(), [CITY.public_key()])
    assert (found.seq, found.made_at, found.not_after, found.terminal["mode"]) == (4, NOW, NOW + timedelta(days=3), "entry")
    assert reason_of(lambda: read_bundle(_bundle(STRANGER), [CITY.public_key()])) is Reason.UNKNOWN_KEY


def test_a_certificate_is_never_a_bundle() -> None:
    signed = certify(
        CITY, terminal_id="T", operator_id="o", city="320100", stop_id="", line="", key=raw_public(GATE.public_key()), now=NOW
    )
    assert reason_of(lambda: read_bundle(signed, [CITY.public_key()])) is Reason.BAD_SIGNATURE


def test_taps_travel_and_chain() -> None:
    second = TAP._replace(seq=2, prev=TAP.digest(), kind=TapKind.EXIT)
    terminal_id, found = decode_batch(encode_batch("T1", [TAP, second]))
    assert (terminal_id, found) == ("T1", [TAP, second])
    assert TAP._replace(counter=6).digest() != TAP.digest()
    assert TAP.at_ms == TAP.device_at - 40


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": 0},
        {"seq": "1"},
        {"seq": True},
        {"kind": "sideways"},
        {"decision": "perhaps"},
        {"prev": b"short"},
        {"boot_id": ""},
        {"counter": -1},
        {"device_at": 2**64},
        {"device_at": 2**60},
        {"device_at": -1},
        {"skew_ms": 2**50},
        {"seq": 2**63},
        {"counter": 2**80},
        {"list_seq": -1},
        {"boot_id": "a\x00b"},
        {"reason": "\x00"},
        {"tariff_version": "x" * 65},
        {"card_number": "31320100'; --"},
        {"device_kid": "text"},
        {"qr": b"x" * 5000},
        {"colour": "red"},
        {"reason": None},
    ],
)
def test_a_malformed_tap_is_refused_in_its_place_and_the_good_ones_stay(changes: dict[str, object]) -> None:
    body = cbor.write({"terminal_id": "T1", "batch": [{**TAP.document(), **changes}, TAP.document(), 7]})
    _, (bad, good, noise) = decode_batch(body)
    assert isinstance(bad, CredentialRefused)
    assert isinstance(noise, CredentialRefused)
    assert good == TAP


def test_a_record_that_is_damaged_inside_harms_no_other_and_keeps_its_key_where_that_can_be_read() -> None:
    whole, late = TAP.encoded(), cbor.write({**TAP.document(), "device_at": 2**60})
    body = cbor.write({"terminal_id": "T1", "batch": [whole[:-9], whole, late, whole + b"\x00", b""]})
    _, (torn, good, far, more, empty) = read_batch(body)
    assert [(one.boot_id, one.seq) for one in (torn, far, more, empty) if isinstance(one, Unreadable)] == [
        ("", 0),
        (TAP.boot_id, TAP.seq),
        ("", 0),
        ("", 0),
    ]
    assert good == Received(tap=TAP, digest=TAP.digest())
    assert TAP.encoded() == cbor.write(TAP.document()), "written in order, without sorting"


def test_a_receipt_travels() -> None:
    receipt = Receipt(
        contiguous={"b1": 2},
        gaps={"b1": [(3, 5)]},
        results=(TapResult(boot_id="b1", seq=1, outcome="stored"), TapResult(boot_id="b1", seq=2, outcome="refused", code="x")),
    )
    assert receipt_from(receipt.encoded()) == receipt
    assert receipt.encoded() == cbor.write(cbor.read(receipt.encoded()))


def test_base64url_goes_there_and_back_and_refuses_the_rest() -> None:
    assert from_base64url(to_base64url(b"\xff\xfe")) == b"\xff\xfe"
    assert reason_of(lambda: from_base64url("+/==!")) is Reason.MALFORMED
