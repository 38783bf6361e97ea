"""Officers of two cities and of the province clear a day in the browser: files, a difference, a dispute, a cycle."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page

from app.kernel import clock
from app.web.auth import Role
from card import clearing
from tests.charges import HUB, NANJING, SUZHOU, balances, book, card_of_nanjing, charge, deliver
from tests.cities import Running, federate, running
from tests.journeys.conftest import LANGUAGES, SIZES, City, assert_accessible, picture
from tests.signing_in import new_person

pytestmark = pytest.mark.browser


@pytest.fixture
def cities(server_url: str, template: str, worker_id: str, tmp_path: Path) -> Iterator[dict[str, Running]]:
    codes = (HUB, NANJING, SUZHOU)
    with running(codes, server_url=server_url, template=template, worker_id=worker_id, folder=tmp_path) as made:
        federate(made)
        yield made


@pytest.fixture
def at_desk(browser: Browser, cities: dict[str, Running]) -> Iterator[Callable[..., Page]]:
    """A browser at a city's desk: ``at_desk("320500", Role.OFFICER)``."""
    contexts = []

    def sit(code: str, role: Role, *, size: str = "desktop", language: str = "en", organisation: str | None = None) -> Page:
        city = cities[code]
        context = browser.new_context(viewport=SIZES[size], base_url=city.url)  # type: ignore[arg-type]
        contexts.append(context)
        person: UUID = new_person(city.database, role, organisation=organisation)
        served = City(city.url, city.app, city.database)
        context.add_cookies([{"name": "language", "value": LANGUAGES[language], "url": city.url}, served.cookie_of(person)])  # type: ignore[list-item]
        return context.new_page()

    yield sit
    for context in contexts:
        context.close()


def look(page: Page, name: str) -> None:
    assert_accessible(page)
    picture(page, f"clearing-{name}")


def test_a_difference_is_found_disputed_corrected_and_settled_in_the_browser(  # noqa: PLR0915  one story
    cities: dict[str, Running], at_desk: Callable[..., Page]
) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    card = card_of_nanjing(nanjing)
    at = clock.now() - timedelta(minutes=30)
    for found in (kept := charge("t1", 400, card_number=card, at=at), charge("t2", 500, card_number=card, at=at)):
        book(suzhou, found)
    book(nanjing, kept)

    officer = at_desk(SUZHOU, Role.OFFICER)
    officer.goto("/staff/clearing")
    look(officer, "suzhou-before")
    officer.get_by_role("button", name="Send the next file now").click()
    officer.get_by_text("1 files are on their way.").wait_for()
    deliver(cities)
    officer.reload()
    look(officer, "suzhou-sent")
    officer.get_by_role("link", name="No. 1").click()
    look(officer, "file")
    officer.get_by_role("link", name="Only the acquirer has it").click()
    look(officer, "difference")
    officer.get_by_label("Reason").fill("The gate's journal holds the tap and its signature.")
    officer.get_by_role("button", name="Send the inquiry").click()
    officer.get_by_text("The other city has been asked.").wait_for()
    look(officer, "dispute-asked")
    deliver(cities)

    answering = at_desk(NANJING, Role.OFFICER, language="zh", size="phone")
    answering.goto("/staff/clearing")
    look(answering, "nanjing-phone")
    answering.locator("table", has_text="查询方").get_by_role("link").first.click()
    answering.get_by_label("理由").fill("报文丢失，同意付款。")
    answering.get_by_label("贷记调整").check()
    look(answering, "dispute-phone")
    answering.get_by_role("button", name="继续").click()
    answering.get_by_text("您提交的").wait_for()
    dispute = answering.url.removeprefix(nanjing.url)

    supervisor = at_desk(NANJING, Role.SUPERVISOR, language="zh")
    supervisor.goto(dispute)
    look(supervisor, "dispute-approval")
    supervisor.get_by_role("button", name="同意", exact=True).click()
    supervisor.get_by_text("已复核").first.wait_for()
    deliver(cities)
    officer.goto(dispute)
    assert officer.get_by_text("Closed").count() == 1
    look(officer, "dispute-closed")

    visitor = at_desk(NANJING, Role.PARTNER, organisation=SUZHOU, language="zh")
    visitor.goto("/partner")
    look(visitor, "partner")
    visitor.get_by_role("link", name="仅受理地有记录").click()
    look(visitor, "partner-difference")
    stranger = at_desk(NANJING, Role.PARTNER, organisation="320200")
    assert stranger.goto(visitor.url.removeprefix(nanjing.url)).status == 404  # type: ignore[union-attr]

    preparing, approving = at_desk(HUB, Role.OFFICER), at_desk(HUB, Role.SUPERVISOR, language="zh")
    preparing.goto("/hub")
    look(preparing, "hub")
    preparing.get_by_role("button", name="Prepare a settlement cycle").click()
    preparing.get_by_text("A supervisor has to approve it.").or_(preparing.get_by_text("You prepared this")).first.wait_for()
    approving.goto("/hub/cycles/1")
    look(approving, "hub-cycle")
    approving.get_by_role("button", name="复核并下达指令").click()
    approving.get_by_text("已下达指令，各市将分别入账。").wait_for()
    deliver(cities)
    preparing.goto("/hub/cycles/1")
    preparing.get_by_role("button", name="The bank confirmed every payment").click()
    preparing.get_by_text("Settled. The cities are told.").wait_for()
    deliver(cities)
    preparing.goto("/hub/cycles/1")
    look(preparing, "hub-cycle-settled")
    approving.goto("/hub/directory")
    look(approving, "hub-directory")
    officer.goto("/staff/clearing")
    look(officer, "suzhou-after")

    assert balances(suzhou) == balances(nanjing) == balances(cities[HUB]) == []
    with cities[HUB].database.transaction() as session:
        assert clearing.cycle(session, 1).figures["finals"] == {NANJING: -900, SUZHOU: 897}


def test_a_claim_by_hand_needs_two_people(cities: dict[str, Running], at_desk: Callable[..., Page]) -> None:
    suzhou = cities[SUZHOU]
    officer = at_desk(SUZHOU, Role.SUPERVISOR)
    officer.goto("/staff/clearing")
    officer.get_by_text("Claim by hand").click()
    officer.get_by_label("Card number").fill("3132010012345678901")
    officer.get_by_label("Amount").fill("4.50")
    officer.get_by_label("Reason").fill("Read from gate 7's journal.")
    officer.get_by_role("button", name="Prepare the claim").click()
    officer.get_by_role("button", name="Approve").click()
    officer.get_by_text("Somebody else has to approve this").first.wait_for()
    second = at_desk(SUZHOU, Role.SUPERVISOR)
    second.goto("/staff/clearing")
    look(second, "claim-by-hand")
    second.get_by_role("button", name="Approve").click()
    second.get_by_text("Approved.").wait_for()
    deliver(cities)
    with suzhou.database.transaction() as session:
        assert [(issuer, count, total) for issuer, _, count, total in clearing.waiting_claims(session)] == [(NANJING, 1, 450)]
