"""SM3 and SM2 against their published examples, and against everything that must not verify."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.kernel import sm2
from app.kernel.sm2 import BadSm2, PrivateKey, PublicKey

# GB/T 32918.5 (GM/T 0003.5), annex A.2: the signature over "message digest" by 1234567812345678.
KEY = PrivateKey(secret=0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8)
NONCE = 0x59276E27D506861A16680F3AD9C02DCCEF3CC1FA3CDBE4CE6D54B80DEAC1BC21
MESSAGE = b"message digest"
PUBLIC = (
    "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
    "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
)
IDENTITY = "b2e14c5c79c6df5b85f4fe7ed8db7a262b9da7e07ccb0ea9f4747b8ccda8a4f3"
SIGNATURE = (
    "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
    "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
)


@pytest.mark.parametrize(
    ("message", "digest"),
    [  # GB/T 32905, annex A
        (b"abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
        (b"abcd" * 16, "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"),
    ],
)
def test_the_published_digests_come_out(message: bytes, digest: str) -> None:
    assert sm2.sm3(message).hex() == digest


def test_the_published_signature_comes_out_number_by_number() -> None:
    assert KEY.public.to_bytes().hex() == f"04{PUBLIC}"
    assert KEY.public.identity_digest().hex() == IDENTITY
    assert sm2.sm3(KEY.public.identity_digest() + MESSAGE).hex() == (
        "f0b43e94ba45accaace692ed534382eb17e6ab5a19ce7b31f4486fdfc0d28640"
    )
    assert KEY.sign(MESSAGE, nonce=NONCE).hex() == SIGNATURE


@pytest.mark.parametrize("familiar", [False, True])
def test_the_published_signature_verifies_and_nothing_beside_it(familiar: bool) -> None:
    public, signature = KEY.public, bytes.fromhex(SIGNATURE)
    public.verify(signature, MESSAGE, familiar=familiar)
    order = sm2.N.to_bytes(32, "big")
    for changed, message, signer in [
        (signature, b"message digesu", sm2.DEFAULT_ID),
        (signature, MESSAGE, b"ALICE123@YAHOO.COM"),
        (signature[:63] + bytes([signature[63] ^ 1]), MESSAGE, sm2.DEFAULT_ID),
        (bytes([signature[0] ^ 128]) + signature[1:], MESSAGE, sm2.DEFAULT_ID),
        (signature[32:] + signature[:32], MESSAGE, sm2.DEFAULT_ID),
        (signature[:63], MESSAGE, sm2.DEFAULT_ID),
        (signature + b"\x00", MESSAGE, sm2.DEFAULT_ID),
        (bytes(64), MESSAGE, sm2.DEFAULT_ID),
        (signature[:32] + bytes(32), MESSAGE, sm2.DEFAULT_ID),
        (signature[:32] + order, MESSAGE, sm2.DEFAULT_ID),
        (bytes(31) + b"\x01" + (sm2.N - 1).to_bytes(32, "big"), MESSAGE, sm2.DEFAULT_ID),  # r + s is the order
    ]:
        with pytest.raises(BadSm2):
            public.verify(changed, message, signer=signer, familiar=familiar)
    with pytest.raises(BadSm2):
        PrivateKey(secret=7).public.verify(signature, MESSAGE, familiar=familiar)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        KEY.public.to_bytes()[:64],
        b"\x05" + KEY.public.to_bytes()[1:],
        KEY.public.to_bytes()[:-1] + b"\x00",  # beside the curve
        b"\x04" + bytes(64),
        b"\x04" + sm2.P.to_bytes(32, "big") + bytes(32),
    ],
)
def test_what_is_no_point_of_the_curve_is_no_key(data: bytes) -> None:
    with pytest.raises(BadSm2):
        PublicKey.from_bytes(data)


@pytest.mark.parametrize("secret", [0, sm2.N - 1, sm2.N, -1])
def test_a_private_key_has_its_range(secret: int) -> None:
    with pytest.raises(BadSm2):
        PrivateKey(secret=secret)


@given(st.integers(1, sm2.N - 2), st.binary(max_size=80), st.binary(max_size=20))
@settings(max_examples=25, deadline=None)
def test_what_a_key_signs_its_public_half_verifies_both_ways(secret: int, message: bytes, signer: bytes) -> None:
    key = PrivateKey.from_bytes(PrivateKey(secret=secret).to_bytes())
    signature = key.sign(message, signer=signer)
    public = PublicKey.from_bytes(key.public.to_bytes())
    public.verify(signature, message, signer=signer)
    with pytest.raises(BadSm2):
        public.verify(signature, message + b"\x00", signer=signer)


def test_two_signatures_of_one_message_never_share_a_nonce() -> None:
    assert KEY.sign(MESSAGE)[:32] != KEY.sign(MESSAGE)[:32]


def test_the_edges_of_the_group_are_added_rightly() -> None:
    generator = sm2.G
    twice = sm2._affine([sm2._twice((*generator, 1))])[0]
    assert sm2._affine([sm2._plus((*generator, 1), generator)])[0] == twice  # a point and itself
    assert not sm2._plus((*generator, 1), (generator[0], sm2.P - generator[1]))[2]  # a point and its opposite
    assert not sm2._times(sm2.N, generator)[2]
    assert sm2._affine([sm2._times(sm2.N - 1, generator)])[0] == (generator[0], sm2.P - generator[1])
    assert sm2._times_known(0, generator) == sm2.INFINITY
