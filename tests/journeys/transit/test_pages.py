"""The rider's and the operator's pages in a real browser: accessible, no wider than the screen, kept as pictures."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page

from app.kernel import clock
from app.web.auth import Role
from card import transit
from tests.gates import gate, import_feed, in_one_card_day, minutes, phone, some_rides
from tests.journeys.conftest import City, assert_accessible, picture
from tests.signing_in import resident

CONSOLE = (
    "",
    "/terminals",
    "/taps",
    "/alarms",
    "/journeys",
    "/revenue",
    "/statement",
    "/shares",
    "/questions",
    "/tariffs",
    "/keys",
)


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
    page.goto("/me/journeys/owed")
    assert_accessible(page)
    picture(page, f"journeys-owed-{size}-{language}")
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


@pytest.mark.browser
@pytest.mark.parametrize(("size", "language"), [("phone", "zh"), ("desktop", "en")])
def test_the_desk_decides_about_copied_and_unpaid_rides_by_keyboard_alone(
    city: City, visit: Callable[..., Page], size: str, language: str
) -> None:
    now = clock.now()
    with city.database.transaction() as session:
        import_feed(session, "320100", now=now)
        rider, poor = (phone(session, now=now - timedelta(hours=2), money_minor=money) for money in (2_000, 0))
        metro = gate(session, "nj-metro", stop="nj-gulou", now=now)
        bus = gate(session, "nj-bus", line="nj-bus-you2", mode="ride", now=now)
        ridden = in_one_card_day(now - minutes(30), minutes(0.5))
        bus.send(session, [bus.tap(one, "ride", ridden) for one in (rider, poor)], now=now)
        copied = metro.tap(rider, "entry", ridden + minutes(0.5), counter=rider.counter)
        metro.send(session, [copied], now=now)
    page = visit(size=size, language=language, role=Role.OFFICER)
    page.goto("/staff/rides")
    assert_accessible(page)
    picture(page, f"staff-rides-{size}-{language}")
    page.locator("a.transit-ride__title").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/cases/*")
    assert_accessible(page)
    picture(page, f"staff-rides-case-{size}-{language}")
    page.locator("#covered").focus()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type("10.00")
    page.keyboard.press("Tab")
    page.keyboard.type("Seen on the camera.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".city-flash--success").wait_for()
    with city.database.transaction() as session:
        (found,) = transit.fraud_cases(session)
    assert (found.state, found.covered_minor) == (transit.FraudState.PREPARED, 1000)
    picture(page, f"staff-rides-prepared-{size}-{language}")
