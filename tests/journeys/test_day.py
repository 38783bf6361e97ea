"""The day in two cities, as ``make run`` starts them, in a real browser: pictures kept, every page looked at by axe."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext

from app.demo.cities import NANJING, STRIPE_OFFSET, Place
from app.demo.day import Cast, Diary, play
from app.demo.visitor import BrowserVisitor, Visitor
from tests.journeys.conftest import SIZES, assert_accessible

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "artifacts" / "day"
START_SECONDS = 180


def free_base() -> int:
    """A port base whose four ports nobody holds."""
    for base in range(21_000, 29_000, 500):
        with socket.socket() as one, socket.socket() as two, socket.socket() as three, socket.socket() as four:
            try:
                for probe, offset in ((one, 0), (two, 1), (three, 2), (four, STRIPE_OFFSET)):
                    probe.bind(("127.0.0.1", base + offset))
            except OSError:
                continue
            return base
    raise AssertionError("no free ports")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """The province and two cities, started as a newcomer would, stopped with Ctrl-C."""
    place = Place(port_base=free_base(), folder=tmp_path / "var")
    environment = {**os.environ, "PORT_BASE": str(place.port_base), "DATA_DIR": str(place.folder)}
    log = (tmp_path / "run.log").open("w+")
    running = subprocess.Popen([sys.executable, "-m", "app.demo"], env=environment, stdout=log, stderr=log, cwd=ROOT)
    try:
        deadline = time.monotonic() + START_SECONDS
        while "Ready." not in Path(log.name).read_text():
            assert running.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < deadline, Path(log.name).read_text()
            time.sleep(0.5)
        yield place
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
        said = Path(log.name).read_text()
        assert "started again" not in said, said
        assert "Stopped." in said
        with pytest.raises(httpx.ConnectError):
            httpx.get(place.url(NANJING), trust_env=False)
    finally:
        if running.poll() is None:
            running.kill()
        log.close()


def test_a_day_in_two_cities_ends_with_the_books_balanced(place: Place, browser: Browser, tmp_path: Path) -> None:
    contexts: list[BrowserContext] = []

    def enter(address: str) -> Visitor:
        # Residents hold a phone: the first at Nanjing is Lin's.
        size = "phone" if not contexts else "desktop"
        context = browser.new_context(viewport=SIZES[size], locale="en-GB")  # type: ignore[arg-type]
        contexts.append(context)
        return BrowserVisitor(base=address, page=context.new_page(), pictures=PICTURES, look=assert_accessible)

    said: list[str] = []
    diary = Diary(say=said.append)
    gates = tmp_path / "gates"
    gates.mkdir()
    play(Cast(place=place, enter=enter, folder=gates, diary=diary))
    for context in contexts:
        context.close()

    facts = diary.facts
    assert facts["cash"] == "¥6,629.60", "the worked claim"
    assert facts["pension"] == "¥10,471.80", "the worked pension with its arrears"
    assert facts["balance"] == "¥42.00", "50.00 less 2.00 at home (half fare) and 6.00 in Suzhou (no senior scope there)"
    assert facts["dispute"] == "closed"
    assert {facts[name] for name in ("hub", "nanjing", "suzhou")} == {"¥0.00"}
    assert len(list(PICTURES.glob("*.png"))) > 30
