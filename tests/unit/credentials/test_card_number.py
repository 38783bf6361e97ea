"""Card numbers: the T-Union form and its check digit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from card.credentials import CredentialRefused, issuing_city, numbers


@pytest.mark.parametrize(("body", "digit"), [("7992739871", "3"), ("0", "0"), ("1", "8"), ("411111111111111", "1")])
def test_the_check_digit_is_luhns(body: str, digit: str) -> None:
    assert numbers.check_digit(body) == digit


def test_a_number_has_19_digits_from_31_and_routes_to_its_city() -> None:
    number = numbers.make("320500", 42)
    assert (len(number), number[:2], issuing_city(number)) == (19, "31", "320500")
    assert numbers.parse(numbers.spaced(number)) == number
    assert numbers.masked(number) == f"{number[:4]} ···· {number[-4:]}"


@given(st.integers(0, numbers.SERIAL_MAX), st.integers(0, 18), st.integers(1, 9))
def test_one_wrong_digit_is_always_noticed(serial: int, place: int, change: int) -> None:
    number = numbers.make("320100", serial)
    wrong = number[:place] + str((int(number[place]) + change) % 10) + number[place + 1 :]
    with pytest.raises(CredentialRefused):
        numbers.parse(wrong)


@pytest.mark.parametrize("text", ["", "31", "3" * 19, "31320100000000001A9", "٣١٣٢٠١٠٠٠٠٠٠٠٠٠٠٠٠٠"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(CredentialRefused):
        numbers.parse(text)
