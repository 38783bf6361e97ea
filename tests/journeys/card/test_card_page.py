"""The card on a phone, in a real browser: a code that a scanner reads, that renews itself, and that says when it cannot."""

from collections.abc import Callable
from datetime import date
from io import BytesIO
from uuid import UUID

import pytest
import zxingcpp
from PIL import Image
from playwright.sync_api import Page, expect

from app.kernel import clock
from app.kernel.city import city_of
from app.kernel.ids import new_id
from app.kernel.signing import Purpose
from app.web.auth import Role
from card import cards, ledger
from card.credentials import Presentation, numbers, verify
from tests.journeys.conftest import City, assert_accessible, picture
from tests.signing_in import new_person

pytestmark = pytest.mark.browser


def holder_with_card(city: City) -> tuple[UUID, cards.Card]:
    person_id = new_person(city.database, Role.RESIDENT)
    now = clock.now()
    with city.database.transaction() as session:
        card = cards.issue(session, holder_id=person_id, now=now)
        for code, scope in (("senior-70", "320100"), ("veteran", "320000")):
            cards.grant_entitlement(
                session, holder_id=person_id, code=code, scope_city=scope, expires_on=date(2030, 6, 30), now=now
            )
        purse = ledger.open_account(session, ledger.chart.purse(person_id), now=now)
        bank = ledger.open_account(session, ledger.chart.bank(), now=now)
        metro = ledger.open_account(session, ledger.chart.operator("njmetro"), now=now)
        for debit, credit, amount, code_ in (
            (bank, purse, 10_000, ledger.TransferCode.TOP_UP),
            (purse, metro, 400, ledger.TransferCode.FARE),
            (bank, purse, 12_000, ledger.TransferCode.ALLOWANCE),
            (purse, metro, 285, ledger.TransferCode.FARE),
        ):
            transfer = ledger.Transfer(id=new_id(), debit=debit, credit=credit, amount_minor=amount, code=code_, event_at=now)
            ledger.post_all(session, [transfer], now=now)
    return person_id, card


def scanned(city: City, page: Page) -> Presentation:
    """What a scanner sees of the screen, verified as a gate would."""
    drawn = page.locator(".card-code__paper").screenshot()
    (found,) = zxingcpp.read_barcodes(Image.open(BytesIO(drawn)))
    with city.database.transaction() as session:
        key = city_of(session).key(Purpose.CARD_ISSUER)
    return verify(found.text, issuer_keys={"320100": [(key.kid, key.public_bytes)]}, now=clock.now())


@pytest.mark.parametrize("size", ["phone", "desktop"])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_card_page_reads_well_and_its_code_scans(city: City, visit: Callable[..., Page], size: str, language: str) -> None:
    person_id, card = holder_with_card(city)
    page = visit(size=size, language=language, person_id=person_id)
    page.goto("/me/card")
    assert scanned(city, page).number == card.number
    assert_accessible(page)
    picture(page, f"card {size} {language}")
    for address in (f"/me/card/{card.id}/block", f"/me/card/{card.id}/replace", "/me/card/statement"):
        page.goto(address)
        assert_accessible(page)
        picture(page, f"card {address.rsplit('/', 1)[-1]} {size} {language}")


def test_the_code_renews_itself_and_says_when_it_cannot(city: City, visit: Callable[..., Page]) -> None:
    person_id, _ = holder_with_card(city)
    page = visit(size="phone", language="en", person_id=person_id)
    page.clock.install()
    page.goto("/me/card")
    first = scanned(city, page)
    with page.expect_response("**/me/card/qr.json"):
        page.clock.fast_forward(16_000)
    expect(page.locator(".card-code")).not_to_have_class("card-code--offline")
    page.wait_for_function("() => true")
    second = scanned(city, page)
    assert second.counter > first.counter
    page.context.set_offline(True)
    page.clock.fast_forward(16_000)
    expect(page.locator("[data-card-say]")).to_contain_text("No connection. This code works until")
    page.clock.fast_forward(60_000)
    expect(page.locator("[data-card-say]")).to_contain_text("This code is too old")
    picture(page, "card phone offline")
    page.context.set_offline(False)
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.locator("[data-card-say]")).to_contain_text("Hold this to the reader")


def test_the_card_works_without_scripts(city: City, visit: Callable[..., Page]) -> None:
    person_id, card = holder_with_card(city)
    page = visit(size="phone", language="en", person_id=person_id, javascript=False)
    page.goto("/me/card")
    first = scanned(city, page)
    page.get_by_role("link", name="New code").click()
    assert scanned(city, page).counter > first.counter
    page.get_by_role("link", name="Lost or stolen? Block it").click()
    page.get_by_label("I lost it").check()
    page.get_by_role("button", name="Block it now").click()
    expect(page.get_by_text("Your card is blocked.")).to_be_visible()
    picture(page, "card phone blocked")
    page.get_by_role("link", name="Replace this card").first.click()
    page.get_by_role("button", name="Replace it").click()
    expect(page.get_by_text("You have a new card with a new number.")).to_be_visible()
    assert scanned(city, page).number != card.number


def test_an_officer_finds_and_blocks_a_card(city: City, visit: Callable[..., Page]) -> None:
    _, card = holder_with_card(city)
    page = visit(size="desktop", language="zh", role=Role.OFFICER)
    page.goto("/staff/cards")
    page.get_by_label("卡号、姓名或身份证号码").fill(numbers.spaced(card.number))
    page.get_by_role("button", name="查找").click()
    assert_accessible(page)
    picture(page, "staff card zh")
    page.get_by_label("原因").select_option("misuse")
    page.get_by_role("button", name="挂失").first.click()
    expect(page.get_by_text("已挂失。闸机下次更新后即拒绝此卡。")).to_be_visible()
