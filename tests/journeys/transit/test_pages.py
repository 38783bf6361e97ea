"""The rider's and the operator's pages in a real browser: accessible, no wider than the screen, kept as pictures."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from app.web.auth import Role
from card import transit
from tests.gates import some_rides
from tests.journeys.conftest import City, assert_accessible, picture
from tests.signing_in import resident

CONSOLE = ("", "/terminals", "/taps", "/journeys", "/statement", "/questions", "/tariffs")


@pytest.mark.browser
@pytest.mark.parametrize(("size", "language"), [("phone", "zh"), ("desktop", "en")])
def test_a_rider_reads_a_journey(city: City, visit: Callable[..., Page], size: str, language: str) -> None:
    holder = resident(city.database)
    some_rides(city.database, holder)
    page = visit(size=size, language=language, person_id=holder)
    page.goto("/me/journeys")
    assert_accessible(page)
    picture(page, f"journeys-{size}-{language}")
    with city.database.transaction() as session:
        rides = {
            one.state.value: one.id for one in transit.journeys_of_holder(session, holder) if one.operator_id == "nj-metro"
        }
    for state, ride in rides.items():
        page.goto(f"/me/journeys/{ride}")
        assert page.locator(".transit-map svg").count() == 1
        assert_accessible(page)
        picture(page, f"journey-{state}-{size}-{language}")


@pytest.mark.browser
@pytest.mark.parametrize(("size", "language"), [("phone", "zh"), ("desktop", "en"), ("desktop", "zh")])
def test_an_operator_looks_at_the_day(city: City, visit: Callable[..., Page], size: str, language: str) -> None:
    some_rides(city.database, resident(city.database))
    page = visit(size=size, language=language, role=Role.OPERATOR, organisation="nj-metro")
    for path in CONSOLE:
        page.goto(f"/operator{path}")
        assert_accessible(page)
        picture(page, f"operator{path}-{size}-{language}")
    page.goto("/operator/terminals")
    page.locator("#stop_id").select_option("nj-xinjiekou")
    page.locator("form[action$=enrolments] button").click()
    assert page.locator(".transit-token code").first.inner_text()
    assert_accessible(page)
    picture(page, f"operator-token-{size}-{language}")
