"""Card numbers in the T-Union form (交通联合): 19 digits from 31, the issuing city's code, a serial, a Luhn check digit."""

from typing import Final, NewType

from card.credentials.reasons import CredentialRefused, Reason

CardNumber = NewType("CardNumber", str)

DIGITS: Final = 19
PREFIX: Final = "31"
CITY: Final = slice(2, 8)
SERIAL_DIGITS: Final = 10
SERIAL_MAX: Final = 10**SERIAL_DIGITS - 1


def check_digit(body: str) -> str:
    """The Luhn digit (ISO/IEC 7812-1, annex B) that follows ``body``."""
    total = 0
    for position, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if position % 2 == 0 else 1)
        total += value - 9 if value > 9 else value  # noqa: PLR2004  the digits of a two-digit product, added
    return str(-total % 10)


def make(city: str, serial: int) -> CardNumber:
    """The number of ``city`` (six digits) with ``serial`` (0 to 9,999,999,999)."""
    assert len(city) == 6, city  # noqa: PLR2004
    assert city.isdigit(), city
    assert 0 <= serial <= SERIAL_MAX, serial
    body = f"{PREFIX}{city}{serial:0{SERIAL_DIGITS}d}"
    return CardNumber(body + check_digit(body))


def parse(text: str) -> CardNumber:
    """``text`` as a number, spaces ignored; refuses as ``malformed`` where form or check digit is wrong."""
    number = "".join(text.split())
    well_formed = len(number) == DIGITS and number.isascii() and number.isdigit() and number.startswith(PREFIX)
    if not well_formed or check_digit(number[:-1]) != number[-1]:
        raise CredentialRefused(Reason.MALFORMED, "not a card number")
    return CardNumber(number)


def issuing_city(number: str) -> str:
    """The six-digit code of the city that issued a card: digits 3 to 8. A foreign card routes like a local one."""
    return number[CITY]


def spaced(number: str) -> str:
    """A number as people read it: ``3132 0100 0000 0000 017``."""
    return " ".join(number[start : start + 4] for start in range(0, len(number), 4))


def masked(number: str) -> str:
    """A number that may stand in a list: the first four and the last four digits."""
    return f"{number[:4]} ···· {number[-4:]}"
