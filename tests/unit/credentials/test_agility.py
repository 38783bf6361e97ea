"""One verifier for three suites: what each signs is accepted; what is stripped, swapped or retired is refused, and why."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cbor2 import CBORTag, dumps, loads
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.kernel import sm2
from card.credentials import (
    SENTENCES,
    CredentialRefused,
    KeyRing,
    Reason,
    Static,
    Verifier,
    dynamic_part,
    from_text,
    key_id,
    numbers,
    present,
    public_from_raw,
    public_of,
    raw_public,
    sign1,
    sign_static,
    to_text,
)

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
EDWARDS = Ed25519PrivateKey.from_private_bytes(b"c" * 32)
NIST = ec.derive_private_key(7, ec.SECP256R1())
NATIONAL = sm2.PrivateKey.from_bytes(b"n" * 32)
STRANGER = sm2.PrivateKey.from_bytes(b"s" * 32)
PHONE = Ed25519PrivateKey.from_private_bytes(b"p" * 32)
SUITES = {"EdDSA": EDWARDS, "ES256": NIST, "SM2 with SM3": NATIONAL}
STATIC = Static(
    issuer="320100",
    number=numbers.make("320100", 1),
    issued_at=NOW - timedelta(days=1),
    expires_at=NOW + timedelta(days=29),
    status_index=7,
    device_key=raw_public(PHONE.public_key()),
)


def kid(key: object) -> bytes:
    return key_id(raw_public(public_of(key)))  # type: ignore[arg-type]


def entry(key: object, *, until: int | None = None, beside: object = None) -> list[object]:
    return [b"", raw_public(public_of(key)), until, kid(beside) if beside is not None else None]  # type: ignore[arg-type]


def ring(*entries: list[object]) -> KeyRing:
    return KeyRing.of({"320100": entries})


HYBRID = ring(entry(EDWARDS, beside=NATIONAL), entry(NATIONAL))


def reason_of(raw: bytes, keys: KeyRing, **more: object) -> Reason | None:
    try:
        Verifier(keys, **more).verify(raw, now=NOW)  # type: ignore[arg-type]
    except CredentialRefused as refusal:
        return refusal.reason
    return None


def shown(static: bytes, *, device: object = PHONE) -> bytes:
    return present(static, device=device, at=NOW, counter=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("suite", SUITES)
def test_each_suite_signs_for_a_city_and_for_a_device_under_one_verifier(suite: str) -> None:
    key = SUITES[suite]
    keys = ring(entry(key))
    assert reason_of(shown(sign_static(STATIC, key)), keys) is None
    device = replace(STATIC, device_key=raw_public(public_of(key)))  # type: ignore[arg-type]
    raw = shown(sign_static(device, key), device=key)
    assert reason_of(raw, keys) is None
    parts = loads(raw)
    forged = dumps([parts[0], dynamic_part(at=NOW, counter=2), parts[2]])
    assert reason_of(forged, keys) is Reason.BAD_DEVICE_SIGNATURE


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_that_is_off_the_list_is_refused_although_it_would_verify(suite: str) -> None:
    key = SUITES[suite]
    others = frozenset(sign1.ALLOWED - {sign1.algorithm_of(key)})  # type: ignore[arg-type]
    raw = shown(sign_static(STATIC, key))
    assert reason_of(raw, ring(entry(key)), algorithms=others) is Reason.ALGORITHM_NOT_ALLOWED


@pytest.mark.parametrize("suite", SUITES)
def test_a_raw_key_reads_back_and_has_an_id_of_its_own(suite: str) -> None:
    raw = raw_public(public_of(SUITES[suite]))  # type: ignore[arg-type]
    assert raw_public(public_from_raw(raw)) == raw
    assert len({kid(key) for key in SUITES.values()}) == 3


def test_a_message_never_chooses_how_it_is_verified() -> None:
    """The algorithm is rewritten to each other's number: the key decides, and refuses."""
    message = loads(sign_static(STATIC, EDWARDS))
    for number in (-7, -65537, -8 - 1, "EdDSA", None):
        protected = {1: number, 4: kid(EDWARDS)} if number is not None else {4: kid(EDWARDS)}
        changed = dumps(CBORTag(18, [dumps(protected), *message.value[1:]]))
        assert reason_of(shown(changed), ring(entry(EDWARDS))) is Reason.ALGORITHM_NOT_ALLOWED, number


def both() -> bytes:
    return sign_static(STATIC, EDWARDS, NATIONAL)


def taken_apart() -> tuple[bytes, list[list[object]]]:
    """The payload and the signatures of the two."""
    _, _, payload, signatures = loads(both()).value
    return payload, [list(entry) for entry in signatures]


def together(payload: bytes, signatures: list[list[object]]) -> bytes:
    return dumps(CBORTag(98, [b"", {}, payload, signatures]))


def without(place: int) -> bytes:
    """The COSE_Sign with one of its signatures taken out."""
    payload, signatures = taken_apart()
    del signatures[place]
    return together(payload, signatures)


def swapped(place: int, key: object) -> bytes:
    """One signature replaced by another key's under the same id."""
    payload, signatures = taken_apart()
    structure = dumps(["Signature", b"", signatures[place][0], b"", payload])
    signatures[place][2] = sign1.raw_sign(key, structure)  # type: ignore[arg-type]
    return together(payload, signatures)


def test_two_signatures_are_accepted_together() -> None:
    found = Verifier(HYBRID).verify(shown(both()), now=NOW)
    assert found.static == STATIC
    assert found.issuer_kid == kid(EDWARDS)
    assert len(to_text(shown(both()))) < 620, "a QR still carries it"


@pytest.mark.parametrize(
    ("static", "reason"),
    [
        (without(1), Reason.ISSUER_SIGNATURE_MISSING),
        (without(0), Reason.ISSUER_SIGNATURE_MISSING),
        (sign_static(STATIC, EDWARDS), Reason.ISSUER_SIGNATURE_MISSING),  # as if there had been one only
        (sign_static(STATIC, NATIONAL), Reason.ISSUER_SIGNATURE_MISSING),  # the demand binds both, although one entry states it
        (swapped(0, PHONE), Reason.BAD_ISSUER_SIGNATURE),
        (swapped(1, STRANGER), Reason.BAD_ISSUER_SIGNATURE),
        (sign_static(STATIC, EDWARDS, STRANGER), Reason.UNKNOWN_KEY),
        (sign_static(STATIC, EDWARDS, NATIONAL, STRANGER), Reason.UNKNOWN_KEY),
        (sign_static(STATIC, EDWARDS, EDWARDS), Reason.MALFORMED),
        (dumps(CBORTag(98, [b"", {}, b"", []])), Reason.MALFORMED),
        (dumps(CBORTag(97, loads(both()).value)), Reason.MALFORMED),
    ],
)
def test_a_stripped_or_swapped_second_signature_is_refused_with_its_reason(static: bytes, reason: Reason) -> None:
    assert reason_of(shown(static), HYBRID) is reason


def test_a_signature_of_two_is_none_of_one() -> None:
    """Each is over the context of a COSE_Sign, so it cannot be cut out and passed off as a COSE_Sign1."""
    payload, ((protected, unprotected, signature), _) = taken_apart()
    cut = dumps(CBORTag(18, [protected, unprotected, payload, signature]))
    assert reason_of(shown(cut), ring(entry(EDWARDS))) is Reason.BAD_ISSUER_SIGNATURE


@pytest.mark.parametrize("expired", [EDWARDS, NATIONAL])
def test_an_expired_key_is_refused_also_beside_a_good_one_and_for_cards_seen_before(expired: object) -> None:
    end = int(NOW.timestamp()) - 1
    keys = ring(
        entry(EDWARDS, beside=NATIONAL, until=end if expired is EDWARDS else None),
        entry(NATIONAL, until=end if expired is NATIONAL else None),
    )
    assert reason_of(shown(both()), keys) is Reason.ISSUER_KEY_EXPIRED
    gate = Verifier(keys)
    before = NOW - timedelta(seconds=10)
    raw = present(both(), device=PHONE, at=before, counter=1)
    assert gate.verify(raw, now=before)
    with pytest.raises(CredentialRefused) as refused:
        gate.verify(raw, now=NOW)
    assert refused.value.reason is Reason.ISSUER_KEY_EXPIRED


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        ("CC2:", Reason.UNKNOWN_VERSION),
        ("CC0:", Reason.UNKNOWN_VERSION),
        ("CC10:", Reason.UNKNOWN_VERSION),
        ("cc1:", Reason.NOT_A_CREDENTIAL),
        ("HC1:", Reason.NOT_A_CREDENTIAL),
        ("", Reason.NOT_A_CREDENTIAL),
    ],
)
def test_a_changed_prefix_is_told_apart(prefix: str, reason: Reason) -> None:
    with pytest.raises(CredentialRefused) as refused:
        from_text(prefix + to_text(shown(sign_static(STATIC, EDWARDS)))[4:])
    assert refused.value.reason is reason


def test_every_reason_has_its_sentence_in_both_languages() -> None:
    assert SENTENCES.keys() == set(Reason)
    assert all(sentence.keys() == {"en", "zh_Hans_CN"} for sentence in SENTENCES.values())


def test_a_city_that_signs_with_sm2_costs_a_gate_a_few_milliseconds_once_a_card_and_nothing_after() -> None:
    """CPU time, generously bounded: the first sight of a key makes its table, later cards use it, known cards are free."""
    gate = Verifier(ring(entry(NATIONAL)))
    cards = [shown(sign_static(replace(STATIC, number=numbers.make("320100", serial)), NATIONAL)) for serial in range(12)]
    gate.verify(cards[0], now=NOW)
    began = time.process_time()
    for card in cards[1:]:
        gate.verify(card, now=NOW)
    each_ms = (time.process_time() - began) * 1000 / 11
    began = time.process_time()
    for card in cards[1:]:
        gate.verify(card, now=NOW)
    again_ms = (time.process_time() - began) * 1000 / 11
    assert each_ms < 15
    assert again_ms < each_ms
