"""A real browser at a real server: fixtures and checks for the journeys.

``city`` serves one city over HTTP on a loopback port with a database of its own; ``visit`` opens it in Chromium.
In CI a missing browser is a failure; elsewhere the journeys are left out and say so.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from uuid import UUID

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from werkzeug.serving import make_server

from app.factory import create_app
from app.kernel.db import Database
from app.web.auth import Role
from portal.kit import build
from services import people
from tests.build.browser import find
from tests.conftest import make_settings
from tests.signing_in import new_person

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "artifacts" / "pages"
SIZES = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 800}}
LANGUAGES = {"zh": "zh_Hans_CN", "en": "en"}
STREAM_ENDS_SECONDS = 30
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@dataclass(frozen=True)
class City:
    """A served city: where it is, its application, its database."""

    url: str
    app: Flask
    database: Database

    def cookie_of(self, person_id: UUID) -> dict[str, str]:
        """The session cookie of somebody who has signed in, as playwright's ``add_cookies`` takes it."""
        with self.database.transaction() as session:
            key = people.session_key(session, person_id)
        signer = SecureCookieSessionInterface().get_signing_serializer(self.app)
        assert signer is not None
        value = signer.dumps({"_user_id": key, "_fresh": True, "_permanent": True})
        return {"name": self.app.config["SESSION_COOKIE_NAME"], "value": str(value), "url": self.url}


@pytest.fixture(scope="session", autouse=True)
def face() -> None:
    """The front-end files; nothing to do where they are built already."""
    build.build()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, once a module: while it is open this thread counts as inside an event loop, where nobody else may begin one."""
    path = find()
    if path is None:
        assert not os.environ.get("CI"), "CI has a Chromium"
        pytest.skip("left out: there is no Chromium here")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield opened
        opened.close()


@pytest.fixture
def serve(database_url: str, tmp_path: Path) -> Iterator[Callable[..., City]]:
    """Serve a city with these settings; it stops at the end of the test."""
    running: list[tuple[object, Thread, Flask, Database]] = []

    def start(**changes: object) -> City:
        database = Database(database_url, pool_size=8)
        app = create_app(make_settings(database_url, tmp_path, **changes), database=database)
        app.config.update(RATELIMIT_ENABLED=False)
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        running.append((server, thread, app, database))
        return City(f"http://127.0.0.1:{server.server_port}", app, database)

    yield start
    for server, thread, app, database in running:
        server.shutdown()  # type: ignore[attr-defined]
        thread.join()
        streams_end(app)
        server.server_close()  # type: ignore[attr-defined]
        database.close()


def streams_end(app: Flask) -> None:
    """Wait for the threads of live pages, which end with the first write to a browser that has gone: they use the database."""
    for _ in range(app.extensions["settings"].live_streams_max):
        assert app.extensions["streams"].acquire(timeout=STREAM_ENDS_SECONDS), "a stream goes on without a reader"


@pytest.fixture
def city(serve: Callable[..., City]) -> City:
    """Nanjing."""
    return serve()


@pytest.fixture
def visit(browser: Browser, city: City) -> Iterator[Callable[..., Page]]:
    """Open a browser of its own at the city: ``visit(size="phone", language="en", role=Role.OFFICER)``.

    A script's error on the page fails the test at its end.
    """
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def open_page(
        *,
        size: str = "desktop",
        language: str = "zh",
        role: Role | None = None,
        organisation: str | None = None,
        person_id: UUID | None = None,
        javascript: bool = True,
    ) -> Page:
        context = browser.new_context(viewport=SIZES[size], base_url=city.url, java_script_enabled=javascript)  # type: ignore[arg-type]
        contexts.append(context)
        context.add_cookies([{"name": "language", "value": LANGUAGES[language], "url": city.url}])
        if role is not None:
            person_id = new_person(city.database, role, organisation=organisation)
        if person_id is not None:
            context.add_cookies([city.cookie_of(person_id)])  # type: ignore[list-item]
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))
        page.on(
            "console",
            lambda message: faults.append(f"{page.url}: {message.text}") if "Content Security Policy" in message.text else None,
        )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def assert_accessible(page: Page) -> None:
    """Axe finds nothing on the page, and nothing sticks out of it sideways."""
    found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": RULES})
    problems = [
        f"{violation['id']}: {node['html'][:160]} {node.get('failureSummary', '').splitlines()[-1:]}"
        for violation in found.response["violations"]
        for node in violation["nodes"]
    ]
    assert problems == [], page.url
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, (
        f"{page.url} is wider than the screen"
    )


def picture(page: Page, name: str) -> None:
    """Keep a picture of the whole page in ``artifacts/pages`` for people to look at."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{re.sub(r'[^a-z0-9-]+', '-', name.lower()).strip('-')}.png", full_page=True)
