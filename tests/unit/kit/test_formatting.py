from datetime import UTC, date, datetime

import pytest
from flask import Flask
from flask_babel import Babel, force_locale

from portal.kit import dates
from portal.kit.money import yuan


@pytest.mark.parametrize(
    ("minor", "sign", "shown"),
    [
        (0, False, "¥0.00"),
        (1, False, "¥0.01"),
        (123456789, False, "¥1,234,567.89"),
        (-1230, False, "−¥12.30"),
        (1230, True, "+¥12.30"),
        (-1, True, "−¥0.01"),
        (0, True, "¥0.00"),
    ],
)
def test_an_amount_is_shown_to_the_fen(minor: int, sign: bool, shown: str) -> None:
    assert yuan(minor, sign=sign) == shown


@pytest.mark.parametrize(
    ("language", "day", "instant"),
    [
        ("en", "1 January 2027", "1 January 2027, 00:30"),
        ("zh_Hans_CN", "2027年1月1日", "2027年1月1日 00:30"),
    ],
)
def test_an_instant_falls_on_its_civil_date_in_shanghai(language: str, day: str, instant: str) -> None:
    app = Flask(__name__)
    Babel(app)
    late = datetime(2026, 12, 31, 16, 30, tzinfo=UTC)
    with app.test_request_context(), force_locale(language):
        assert dates.civil_date(late) == dates.civil_date(date(2027, 1, 1)) == day
        assert dates.moment(late) == instant
