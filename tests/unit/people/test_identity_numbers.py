"""Resident identity numbers: form, date, check digit, and the area that does not exist."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services import people
from services.people import InvalidIdentityNumber, Sex, demonstration_number, parse_identity_number

# 11010519491231002X is the example of GB 11643-1999 itself, 440524188001010014 that of its predecessor's text.
REAL = "11010519491231002X"


@pytest.mark.parametrize(
    ("text", "born", "sex"),
    [
        (REAL, date(1949, 12, 31), Sex.FEMALE),
        ("11010519491231002x", date(1949, 12, 31), Sex.FEMALE),
        (" 110105 19491231 002X ", date(1949, 12, 31), Sex.FEMALE),
        ("440524188001010014", date(1880, 1, 1), Sex.MALE),
    ],
)
def test_a_number_says_when_its_holder_was_born(text: str, born: date, sex: Sex) -> None:
    number = parse_identity_number(text)
    assert (number.birth_date, number.sex) == (born, sex)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "11010519491231002",
        "11010519491231002X0",
        "110105194912310021",  # check digit
        "110105194902310026",  # 31 February
        "1101051949123100AX",
        "９１０１０５１９４９１２３１００２X",  # full-width digits
        "000000194912310021",
    ],
)
def test_a_wrong_number_is_refused_and_the_field_is_named(text: str) -> None:
    with pytest.raises(InvalidIdentityNumber) as refused:
        parse_identity_number(text, demonstration=True)
    assert list(refused.value.fields) == ["identity_number"]


def test_the_area_that_does_not_exist_is_known_in_a_demonstration_only() -> None:
    number = demonstration_number(date(1958, 3, 15), 7)
    assert parse_identity_number(number, demonstration=True).birth_date == date(1958, 3, 15)
    with pytest.raises(InvalidIdentityNumber):
        parse_identity_number(number)


@given(born=st.dates(date(1900, 1, 1), date(2030, 1, 1)), sequence=st.integers(0, 999), place=st.integers(0, 16))
def test_one_wrong_digit_is_always_found(born: date, sequence: int, place: int) -> None:
    number = demonstration_number(born, sequence)
    assert parse_identity_number(number, demonstration=True).birth_date == born
    wrong = number[:place] + str((int(number[place]) + 1) % 10) + number[place + 1 :]
    with pytest.raises(InvalidIdentityNumber):
        parse_identity_number(wrong, demonstration=True)


def test_a_masked_number_hides_the_birth_date() -> None:
    assert people.parse_identity_number(REAL).masked == "110105**********2X"
