"""The credential: what a gate accepts, and each refusal with its own reason."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from io import BytesIO

import pytest
import segno
import zxingcpp
from cbor2 import dumps, loads
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from card.credentials import (
    PREFIX,
    CityKey,
    CredentialRefused,
    Entitlement,
    KeyRing,
    Reason,
    Static,
    Use,
    Verifier,
    dynamic_message,
    dynamic_part,
    from_text,
    key_id,
    numbers,
    present,
    raw_public,
    sign1,
    sign_static,
    to_text,
    verify,
)

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
CITY = Ed25519PrivateKey.from_private_bytes(b"c" * 32)
PHONE = Ed25519PrivateKey.from_private_bytes(b"p" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
KEYS = {"320100": [("any", raw_public(CITY.public_key()))], "320500": [("any", raw_public(OTHER.public_key()))]}
SENIOR = Entitlement(code="senior-70", scope_city="320100", expires_on=date(2027, 1, 31))
STATIC = Static(
    issuer="320100",
    number=numbers.make("320100", 1),
    issued_at=NOW - timedelta(days=1),
    expires_at=NOW + timedelta(days=29),
    status_index=7,
    entitlements=(SENIOR,),
    device_key=raw_public(PHONE.public_key()),
)


def shown(static: Static = STATIC, *, at: datetime = NOW, counter: int = 1, city: Ed25519PrivateKey = CITY) -> bytes:
    return present(sign_static(static, city), device=PHONE, at=at, counter=counter)


def reason_of(act: Callable[[], object]) -> Reason:
    with pytest.raises(CredentialRefused) as refused:
        act()
    return refused.value.reason


def test_a_good_presentation_says_everything_a_gate_needs() -> None:
    found = verify(to_text(shown(counter=41)), issuer_keys=KEYS, now=NOW)
    assert found.static == STATIC
    assert (found.counter, found.shown_at) == (41, NOW)
    assert found.device_kid == key_id(raw_public(PHONE.public_key()))
    assert found.static.entitlements == (SENIOR,)


def test_it_is_small_enough_for_a_version_11_qr_and_a_scanner_reads_it() -> None:
    raw = shown()
    text = to_text(raw)
    assert len(raw) <= 245
    code = segno.make(text, error="m", micro=False)
    assert code.mode == "alphanumeric"
    assert int(code.version) <= 12
    picture = BytesIO()
    code.save(picture, kind="png", scale=4, border=4)
    picture.seek(0)
    (read,) = zxingcpp.read_barcodes(Image.open(picture))
    assert from_text(read.text) == raw


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        (0, None),
        (60, None),
        (61, Reason.CODE_TOO_OLD),
        (-30, None),
        (-31, Reason.CODE_FROM_THE_FUTURE),
    ],
)
def test_a_code_lives_from_30_seconds_before_to_60_after(seconds: int, reason: Reason | None) -> None:
    text = to_text(shown())
    look = lambda: verify(text, issuer_keys=KEYS, now=NOW + timedelta(seconds=seconds))  # noqa: E731
    assert (reason_of(look) if reason else look() and None) == reason


def _replace(raw: bytes, place: int, part: bytes) -> bytes:
    parts = loads(raw)
    parts[place] = part
    return dumps(parts)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (dumps(loads(shown())[:1]), Reason.DEVICE_SIGNATURE_MISSING),  # the second layer stripped
        (_replace(shown(), 2, b""), Reason.BAD_DEVICE_SIGNATURE),
        (_replace(shown(), 1, dynamic_part(at=NOW, counter=2)), Reason.BAD_DEVICE_SIGNATURE),  # another counter
        (_replace(shown(), 2, OTHER.sign(b"x")), Reason.BAD_DEVICE_SIGNATURE),
        (shown(city=OTHER), Reason.UNKNOWN_KEY),
        (shown(replace(STATIC, number=numbers.make("990000", 1), issuer="990000")), Reason.UNKNOWN_ISSUER),
        (shown(replace(STATIC, expires_at=NOW)), Reason.EXPIRED),
        (shown(replace(STATIC, issued_at=NOW + timedelta(minutes=1))), Reason.NOT_YET_VALID),
        (b"", Reason.MALFORMED),
        (b"\x80", Reason.MALFORMED),
        (shown() + b"\x00", Reason.MALFORMED),
    ],
)
def test_each_refusal_has_its_reason(raw: bytes, reason: Reason) -> None:
    assert reason_of(lambda: Verifier(KeyRing.of(KEYS)).verify(raw, now=NOW)) is reason


def test_a_signature_over_another_domain_is_not_a_presentation() -> None:
    static = sign_static(STATIC, CITY)
    dynamic = dynamic_part(at=NOW, counter=1)
    message = dynamic_message(static, dynamic).replace(b"citizen-card/", b"another-card/")
    assert reason_of(lambda: Verifier(KeyRing.of(KEYS)).verify(dumps([static, dynamic, PHONE.sign(message)]), now=NOW)) is (
        Reason.BAD_DEVICE_SIGNATURE
    )


def test_one_byte_changed_in_the_static_part_is_the_citys_signature_broken() -> None:
    parts = loads(shown())
    static = bytearray(parts[0])
    static[-70] ^= 1  # inside the claims
    raw = dumps([bytes(static), *parts[1:]])
    assert reason_of(lambda: Verifier(KeyRing.of(KEYS)).verify(raw, now=NOW)) in {Reason.BAD_ISSUER_SIGNATURE, Reason.MALFORMED}


def test_a_city_cannot_sign_for_another_citys_number() -> None:
    claims = loads(sign1.parse(sign_static(STATIC, CITY)).payload)
    claims[2] = int(numbers.make("320500", 1))
    forged = sign1.sign(CITY, dumps(claims, canonical=True), kid=key_id(raw_public(CITY.public_key())))
    assert reason_of(lambda: Verifier(KeyRing.of(KEYS)).verify(dumps([forged]), now=NOW)) is Reason.WRONG_ISSUER


@pytest.mark.parametrize(
    ("use", "uses", "reason"),
    [
        (Use.KIOSK, None, None),
        (Use.PRINTED, None, Reason.USE_NOT_ACCEPTED),
        (Use.PRINTED, frozenset({Use.PRINTED}), None),
    ],
)
def test_one_layer_is_for_kiosks_and_desks(use: Use, uses: frozenset[Use] | None, reason: Reason | None) -> None:
    token = sign_static(replace(STATIC, use=use, device_key=b"", entitlements=()), CITY)
    text = to_text(present(token))
    assert len(text) < 210
    look = lambda: verify(text, issuer_keys=KEYS, now=NOW, **({"uses": uses} if uses else {}))  # noqa: E731
    assert (reason_of(look) if reason else look() and None) == reason
    second = dumps([token, dynamic_part(at=NOW, counter=1), PHONE.sign(b"")])
    if reason is None and uses is None:
        assert reason_of(lambda: Verifier(KeyRing.of(KEYS)).verify(second, now=NOW)) is Reason.DEVICE_SIGNATURE_UNEXPECTED


def test_a_phone_may_hold_a_p256_key_under_the_same_verifier() -> None:
    phone = ec.generate_private_key(ec.SECP256R1())
    static = replace(STATIC, device_key=raw_public(phone.public_key()))
    raw = present(sign_static(static, CITY), device=phone, at=NOW, counter=3)
    assert Verifier(KeyRing.of(KEYS)).verify(raw, now=NOW).counter == 3
    only_eddsa = Verifier(KeyRing.of(KEYS), algorithms=frozenset({sign1.Algorithm.EDDSA}))
    assert reason_of(lambda: only_eddsa.verify(raw, now=NOW)) is Reason.ALGORITHM_NOT_ALLOWED


def test_a_retired_issuer_key_stops_at_its_end_also_for_cards_seen_before() -> None:
    raw_key = raw_public(CITY.public_key())
    key = CityKey(city="320100", kid=key_id(raw_key), raw=raw_key, key=CITY.public_key(), not_after=NOW)
    gate = Verifier(KeyRing([key]))
    assert gate.verify(shown(), now=NOW)
    assert reason_of(lambda: gate.verify(shown(), now=NOW + timedelta(seconds=1))) is Reason.ISSUER_KEY_EXPIRED


def test_the_static_part_is_remembered_but_expiry_is_asked_every_time() -> None:
    gate = Verifier(KeyRing.of(KEYS), remember=1)
    assert gate.verify(shown(counter=1), now=NOW).counter == 1
    assert gate.verify(shown(counter=2), now=NOW).counter == 2
    late = STATIC.expires_at
    assert reason_of(lambda: gate.verify(shown(at=late), now=late)) is Reason.EXPIRED


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://example.org/", Reason.NOT_A_CREDENTIAL),
        ("", Reason.NOT_A_CREDENTIAL),
        (PREFIX, Reason.MALFORMED),
        (PREFIX + "a", Reason.MALFORMED),
        (PREFIX + "0" * 3000, Reason.MALFORMED),
        (PREFIX + ":::", Reason.MALFORMED),
    ],
)
def test_other_codes_are_told_apart_from_damaged_ones(text: str, reason: Reason) -> None:
    assert reason_of(lambda: verify(text, issuer_keys=KEYS, now=NOW)) is reason


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_changed_presentation_is_ever_accepted(data: st.DataObject) -> None:
    raw = bytearray(shown())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    reason_of(lambda: Verifier(KeyRing.of(KEYS)).verify(bytes(raw), now=NOW))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_refused_and_never_a_fault(noise: bytes) -> None:
    reason_of(lambda: Verifier(KeyRing.of(KEYS)).verify(noise, now=NOW))


@pytest.mark.parametrize(
    ("scope", "city", "on", "holds"),
    [
        ("320100", "320100", date(2027, 1, 31), True),
        ("320100", "320100", date(2027, 2, 1), False),
        ("320100", "320500", date(2027, 1, 1), False),
        ("320000", "320500", date(2027, 1, 1), True),
        ("320000", "310000", date(2027, 1, 1), False),
    ],
)
def test_an_entitlement_holds_in_its_scope_until_its_last_day(scope: str, city: str, on: date, holds: bool) -> None:
    assert replace(SENIOR, scope_city=scope).holds(city, on) is holds
