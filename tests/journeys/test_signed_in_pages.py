"""Everybody's pages in a real browser: nothing for axe to find on a phone or a desk, and pictures to look at."""

from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.sync_api import Page

from app.demo.cities import NANJING
from app.demo.scene import people as cast
from tests.journeys.conftest import City, assert_accessible, picture
from tests.web.walk.test_every_page import NOT_PAGES, kind_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOMES = {
    "lin": "/me",
    "zhou": "/me",
    "officer": "/staff",
    "supervisor": "/staff",
    "admin": "/staff",
    "operator": "/operator",
    "hospital": "/hospital",
    "partner": "/partner",
}

HREFS = "links => links.map(link => link.getAttribute('href'))"


@pytest.mark.parametrize(("username", "size", "language"), [
    ("lin", "phone", "zh"), ("zhou", "desktop", "en"), ("officer", "desktop", "zh"), ("supervisor", "phone", "en"),
    ("admin", "desktop", "zh"), ("operator", "desktop", "en"), ("hospital", "phone", "zh"), ("partner", "desktop", "zh"),
])  # fmt: skip
def test_everybodys_pages_are_accessible(
    city: City, visit: Callable[..., Page], username: str, size: str, language: str
) -> None:
    with city.database.transaction() as session:
        settled = cast.settle_in(session, NANJING, now=datetime(2026, 1, 5, tzinfo=UTC))
    page = visit(size=size, language=language, person_id=settled[username])
    home = HOMES[username]
    queue, known, seen = deque([home]), {home}, Counter[str]()
    while queue:
        address = queue.popleft()
        endpoint = kind_of(city.app, urlsplit(address).path)
        if endpoint is None or endpoint in NOT_PAGES or seen[endpoint]:
            continue
        seen[endpoint] += 1
        answer = page.request.get(address)
        if "text/html" not in answer.headers.get("content-type", "") or answer.status >= 400:
            continue
        page.goto(address)
        assert_accessible(page)
        picture(page, f"{username}{urlsplit(address).path.replace('/', '-')[:80]}-{language}-{size}")
        for href in page.eval_on_selector_all(
            "main a[href], nav.city-line a[href]", "links => links.map(a => a.getAttribute('href'))"
        ):
            target = urljoin(address, str(href).split("#")[0])
            if target.startswith(home) and target not in known:
                known.add(target)
                queue.append(target)


def stops_of_the_menu(page: Page) -> list[tuple[str, float]]:
    """Where each entry of the menu stands, from the left."""
    stops = page.locator(".city-line__stop a").all()
    return [(stop.inner_text().strip(), stop.bounding_box()["x"]) for stop in stops]  # type: ignore[index]


@pytest.mark.parametrize(
    ("username", "addresses"),
    [
        ("operator", ("/operator", "/operator/statement", "/operator/questions")),
        ("admin", ("/staff", "/staff/ledger", "/staff/ledger/find?q=nobody")),
    ],
)
def test_the_menu_stands_still_from_page_to_page(
    city: City, visit: Callable[..., Page], username: str, addresses: tuple[str, ...]
) -> None:
    with city.database.transaction() as session:
        settled = cast.settle_in(session, NANJING, now=datetime(2026, 1, 5, tzinfo=UTC))
    page = visit(language="en", person_id=settled[username])
    page.set_viewport_size({"width": 1700, "height": 900})
    seen = []
    for address in addresses:
        page.goto(address)
        seen.append(stops_of_the_menu(page))
    assert len(seen[0]) > 3
    assert all(there == seen[0] for there in seen)
