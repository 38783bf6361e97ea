"""Diversified keys and CMAC against the published vectors: NXP AN10922 (section 2.2.1) and RFC 4493 (section 4)."""

import pytest

from card.chip import AID, KeyUse, card_key, cmac, diversify, packed

MASTER = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
UID, APPLICATION, SYSTEM = "04782E21801D80", "3042F5", "4E585020416275"

RFC_KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
RFC_MESSAGE = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)


def test_an10922s_example_gives_an10922s_key() -> None:
    found = diversify(MASTER, bytes.fromhex(UID + APPLICATION + SYSTEM))
    assert found.hex().upper() == "A8DD63A3B89D54B37CA802473FDA9175"


@pytest.mark.parametrize(
    ("size", "mac"),
    [
        (0, "bb1d6929e95937287fa37d129b756746"),
        (16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (40, "dfa66747de9ae63030ca32611497c827"),
        (64, "51f0bebf7e3b9d92fc49741779363cfe"),
    ],
)
def test_the_mac_is_rfc_4493s(size: int, mac: str) -> None:
    assert cmac(RFC_KEY, RFC_MESSAGE[:size]).hex() == mac


@pytest.mark.parametrize("size", [1, 14, 15, 16, 17, 30, 31])
def test_a_key_is_plain_cmac_where_two_blocks_are_needed_anyway_and_something_else_below(size: int) -> None:
    data = bytes(range(1, size + 1))
    assert (diversify(MASTER, data) == cmac(MASTER, b"\x01" + data)) is (size >= 16)


def test_every_card_and_every_use_has_a_key_of_its_own() -> None:
    numbers = ["3132010000000000017", "3132010000000000025"]
    assert len({card_key(MASTER, packed(number), AID, use) for number in numbers for use in KeyUse}) == 4
