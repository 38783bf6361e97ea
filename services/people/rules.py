"""What a person's facts must satisfy. Pure: no clock, no table."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from stdnum import numdb
from stdnum.cn import ric
from stdnum.exceptions import ValidationError

from app.kernel.errors import Conflict, Invalid, TooMany, Unauthenticated, msg
from app.web.auth import Role

DEMONSTRATION_AREA: Final = "990000"  # no such division exists, so no such person can
USERNAME: Final = re.compile(r"^[a-z0-9][a-z0-9._-]{2,39}$")
PASSWORD_LENGTH_MIN: Final = 10
PASSWORD_LENGTH_MAX: Final = 200
STAFF_ROLES: Final = frozenset(Role) - {Role.RESIDENT}


class Sex(StrEnum):
    """As the identity number states it: its seventeenth digit is odd for men (GB 11643-1999)."""

    FEMALE = "female"
    MALE = "male"


class InvalidIdentityNumber(Invalid):
    """Not a resident identity number (GB 11643-1999): form, area, date or check digit (ISO 7064 MOD 11-2) is wrong."""

    code = "invalid-identity-number"
    sentence = msg("This is not a valid identity number. Check the 18 characters, the birth date and the last digit.")


class AlreadyRegistered(Conflict):
    """A person with this identity number is registered."""

    code = "already-registered"
    sentence = msg("A person with this identity number is already registered here.")


class UsernameTaken(Conflict):
    """Another person signs in under this name."""

    code = "username-taken"
    sentence = msg("This user name is taken. Choose another.")


class SignInFailed(Unauthenticated):
    """User name, password, code or passkey is wrong. It never says which."""

    code = "sign-in-failed"
    sentence = msg("The user name or the password is not right. Check both and try again.")


class SignInLocked(TooMany):
    """Too many failures in a row under one name; a right password is refused as well until the time has passed."""

    code = "sign-in-locked"
    sentence = msg(
        "Sign-in is paused because a wrong password was entered several times. "
        "Your account is safe. Try again in %(minutes)s min."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class IdentityNumber:
    """A valid resident identity number and what it says."""

    text: str
    birth_date: date
    sex: Sex

    @property
    def masked(self) -> str:
        """First six and last two characters, the rest as stars."""
        return masked(self.text)


def masked(number: str) -> str:
    """An identity number with its middle ten characters as stars."""
    return f"{number[:6]}{'*' * 10}{number[-2:]}"


def compact(text: str) -> str:
    """An identity number as people type it, without separators, with a capital X."""
    return "".join(text.split()).replace("-", "").upper()


def parse_identity_number(text: str, *, demonstration: bool = False) -> IdentityNumber:
    """``text`` as an identity number. ``demonstration`` also accepts the area 990000, which does not exist.

    Raises :class:`InvalidIdentityNumber`.
    """
    number = compact(text)
    fields = {"identity_number": InvalidIdentityNumber.sentence}
    if re.fullmatch(r"[0-9]{17}[0-9X]", number) is None:
        raise InvalidIdentityNumber("form", fields=fields)
    if number[-1] != ric.calc_check_digit(number):
        raise InvalidIdentityNumber("check digit", fields=fields)
    if not (_is_area(number[:6]) or (demonstration and number[:6] == DEMONSTRATION_AREA)):
        raise InvalidIdentityNumber("area", fields=fields)
    try:
        born = ric.get_birth_date(number)
    except ValidationError as error:
        raise InvalidIdentityNumber("birth date", fields=fields) from error
    sex = Sex.MALE if int(number[16]) % 2 else Sex.FEMALE
    return IdentityNumber(text=number, birth_date=born, sex=sex)


def _is_area(code: str) -> bool:
    """Whether a division ever had this code.

    ``ric.validate`` also asks that it had it in the year of birth, and so refuses the many people who were born before
    numbers were first given out, in 1984, and hold one of a division that was named later.
    """
    return any("county" in facts for _, facts in numdb.get("cn/loc").info(code))


def demonstration_number(born: date, sequence: int) -> str:
    """A number that passes every check of form and that nobody can hold: area 990000.

    ``sequence`` (0 to 999) tells people born on one day apart; odd means a man.
    """
    head = f"{DEMONSTRATION_AREA}{born:%Y%m%d}{sequence:03d}"
    return head + str(ric.calc_check_digit(head + "0"))


def username(text: str) -> str:
    """``text`` as a user name: 3 to 40 of a-z, 0-9, dot, hyphen, underscore. Raises ``Invalid`` naming the field."""
    name = text.strip().lower()
    if USERNAME.fullmatch(name) is None:
        raise Invalid(
            "username",
            fields={"username": msg("Use 3 to 40 letters, digits, dots, hyphens or underscores.")},
        )
    return name


def acceptable_password(text: str, *, name: str) -> str:
    """``text`` where it may serve as the password of the user ``name``. Raises ``Invalid`` naming the field.

    Length is what counts (NIST SP 800-63B-4, 3.1.1); no composition rules.
    """
    if not PASSWORD_LENGTH_MIN <= len(text) <= PASSWORD_LENGTH_MAX:
        raise Invalid("password", fields={"password": msg("Use at least 10 characters. Several words are easy to remember.")})
    if text.lower() == name.lower() or len(set(text)) <= 2:  # noqa: PLR2004
        raise Invalid("password", fields={"password": msg("This password is too easy to guess.")})
    return text


FAILURES_FREE: Final = 5  # wrong answers in a row before sign-in pauses
PAUSE_FIRST: Final = timedelta(minutes=1)
PAUSE_LONGEST: Final = timedelta(hours=1)
FAILURES_FORGOTTEN_AFTER: Final = timedelta(hours=24)


def locked_until(*, failures: int, last_failure_at: datetime) -> datetime | None:
    """Until when sign-in pauses after this many failures in a row: doubling from a minute to an hour, or not at all."""
    if failures < FAILURES_FREE:
        return None
    doublings = min(failures - FAILURES_FREE, 10)
    pause: timedelta = min(PAUSE_FIRST * int(2**doublings), PAUSE_LONGEST)
    return last_failure_at + pause


def home_of(roles: frozenset[Role]) -> str:
    """The path where somebody with these roles begins."""
    if roles & {Role.OFFICER, Role.SUPERVISOR, Role.ADMINISTRATOR, Role.AUDITOR}:
        return "/staff"
    for role, path in ((Role.OPERATOR, "/operator"), (Role.HOSPITAL, "/hospital"), (Role.PARTNER, "/partner")):
        if role in roles:
            return path
    return "/me"
