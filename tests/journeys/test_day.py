"""The day in two cities, as ``make run`` starts them, in a real browser: pictures kept, every page looked at by axe."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext

from app.demo.cities import Place
from app.demo.day import Cast, Diary, play
from app.demo.visitor import BrowserVisitor, Visitor
from tests.journeys.conftest import SIZES, assert_accessible
from tests.places import AGAIN, demonstration

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "artifacts" / "day"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """The province and two cities, none of whose programs ended before it was told to."""
    with demonstration(tmp_path) as (made, said):
        yield made
    assert AGAIN not in said.read_text(), said.read_text()


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
