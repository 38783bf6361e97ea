"""Every public page, in both languages, on a phone and on a desk: nothing for axe to find, and pictures to look at."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page

from tests.journeys.conftest import LANGUAGES, SIZES, City, assert_accessible, picture

PAGES = (
    "/",
    "/for/residents",
    "/for/operators",
    "/for/hospitals",
    "/for/cities",
    "/for/officers",
    "/accessibility",
    "/privacy",
    "/reference",
    "/reference/api",
    "/reference/errors",
    "/nowhere",
)

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", SIZES)
def test_public_pages_are_accessible(visit: Callable[..., Page], size: str, language: str) -> None:
    page = visit(size=size, language=language)
    for path in PAGES:
        page.goto(path)
        assert_accessible(page)
        picture(page, f"public{path.replace('/', '-')}-{language}-{size}")


def test_larger_text_stays_inside_a_phone(visit: Callable[..., Page]) -> None:
    page = visit(size="phone")
    for path in PAGES:
        page.goto(f"{path}?text=large")
        assert_accessible(page)


def test_the_hub_has_a_start_page_of_its_own(serve: Callable[..., City], browser: Browser) -> None:
    hub = serve(city_code="320000", city_name_en="Jiangsu", city_name_zh="江苏省")
    page = browser.new_page(base_url=hub.url)
    page.goto("/?lang=en")
    assert page.locator("h1").inner_text() == "The province connects the cities"
    assert_accessible(page)
    picture(page, "hub-start")
    page.close()


def test_a_remote_control_walks_the_doors_with_its_arrows(visit: Callable[..., Page]) -> None:
    page = visit(language="en")
    page.goto("/")
    page.wait_for_function("document.body.classList.contains('govuk-frontend-supported')")
    doors = page.locator(".city-grid--doors a")
    doors.first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == doors.nth(1).inner_text()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == doors.nth(4).inner_text()


def test_a_keyboard_reaches_the_content_first(visit: Callable[..., Page]) -> None:
    page = visit(language="en")
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to main content"
