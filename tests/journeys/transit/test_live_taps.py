"""The page of live taps in a real browser: a tap appears by itself, once, by stream or by asking; it can be held still."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from app.kernel import clock
from app.web import streams
from app.web.auth import Role
from tests.gates import Gate, Phone, gate, import_feed, minutes, phone
from tests.journeys.conftest import City, assert_accessible, picture

ROWS = "[data-live-table] tbody tr"


@pytest.fixture
def street(city: City) -> tuple[Gate, Phone]:
    """A gate of the metro and a rider."""
    now = clock.now()
    with city.database.transaction() as session:
        import_feed(session, "320100", now=now)
        rider = phone(session, now=now - timedelta(hours=2), money_minor=100_000)
        return gate(session, "nj-metro", stop="nj-gulou", now=now), rider


def tap(city: City, at: Gate, rider: Phone, kind: str, *, ago: float) -> str:
    """A tap that arrives now; the hour that stands beside it, whatever day it was."""
    now = clock.now()
    with city.database.transaction() as session:
        at.send(session, [at.tap(rider, kind, now - minutes(ago))], now=now)
    return f"{clock.local(now - minutes(ago)):%H:%M:%S}"


def opened(visit: Callable[..., Page], **how: object) -> Page:
    page = visit(role=Role.OPERATOR, organisation="nj-metro", **how)
    page.goto("/operator/taps")
    return page


@pytest.mark.browser
@pytest.mark.parametrize(("size", "language", "word"), [("desktop", "en", "Live"), ("phone", "zh", "实时")])
def test_a_tap_appears_by_itself_and_once(
    city: City, visit: Callable[..., Page], street: tuple[Gate, Phone], size: str, language: str, word: str
) -> None:
    city.app.config[streams.LENGTH] = 2.0  # so that the browser comes again several times while we look
    page = opened(visit, size=size, language=language)
    expect(page.locator("[data-live-state]")).to_have_text(word)
    expect(page.locator("[data-live-empty]")).to_be_visible()
    hours = []
    for number in range(1, 5):
        hours.append(tap(city, *street, "entry" if number % 2 else "exit", ago=60 - 10 * number))
        expect(page.locator(ROWS)).to_have_count(number)
        page.wait_for_timeout(1300)
    expect(page.locator("[data-live-empty]")).to_have_count(0)
    expect(page.locator("[aria-live=polite]")).not_to_be_empty()
    expect(page.locator(ROWS)).to_have_count(4)
    times = page.locator(f"{ROWS} th").all_inner_texts()
    assert [time[-8:] for time in times] == hours[::-1], "each once, the newest first"
    assert_accessible(page)
    picture(page, f"operator-taps-live-{size}-{language}")


@pytest.mark.browser
def test_it_stands_still_by_keyboard_and_goes_on_with_all_that_came_meanwhile(
    city: City, visit: Callable[..., Page], street: tuple[Gate, Phone]
) -> None:
    page = opened(visit, language="en")
    state, pause = page.locator("[data-live-state]"), page.locator("[data-live-pause]")
    expect(state).to_have_text("Live")
    pause.focus()
    page.keyboard.press("Enter")
    expect(state).to_have_text("Paused")
    expect(pause).to_have_text("Go on")
    for number in range(3):
        tap(city, *street, "exit" if number % 2 else "entry", ago=50 - 10 * number)
    page.wait_for_timeout(2500)
    expect(page.locator(ROWS)).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.locator(ROWS)).to_have_count(3)
    expect(state).to_have_text("Live")


@pytest.mark.browser
def test_where_no_stream_is_free_the_page_asks(city: City, visit: Callable[..., Page], street: tuple[Gate, Phone]) -> None:
    free = city.app.extensions["streams"]
    taken = 0
    while free.acquire(blocking=False):
        taken += 1
    page = opened(visit, language="en")
    expect(page.locator("[data-live-state]")).to_have_text("Asked for every five seconds")
    tap(city, *street, "entry", ago=20)
    expect(page.locator(ROWS)).to_have_count(1, timeout=15_000)
    tap(city, *street, "exit", ago=10)
    expect(page.locator(ROWS)).to_have_count(2, timeout=15_000)
    assert_accessible(page)
    free.release(taken)


@pytest.mark.browser
def test_without_a_script_it_is_a_list_with_a_link_to_load_it_again(
    city: City, visit: Callable[..., Page], street: tuple[Gate, Phone]
) -> None:
    page = opened(visit, language="en", javascript=False)
    expect(page.locator("[data-live-pause]")).to_be_hidden()
    expect(page.locator("[data-live-state]")).to_be_hidden()
    tap(city, *street, "entry", ago=20)
    page.get_by_role("link", name="Load again").click()
    expect(page.locator(ROWS)).to_have_count(1)
    expect(page.get_by_role("link", name="Alarms not looked at")).to_be_visible()
