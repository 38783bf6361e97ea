"""The phone is a card: its own key, its own codes, with the network off, in a real browser."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO
from uuid import UUID

import pytest
import zxingcpp
from PIL import Image
from playwright.sync_api import Page, expect

from app.kernel import clock
from app.kernel.city import city_of
from app.kernel.signing import Purpose
from app.web.auth import Role
from card import cards
from card.credentials import Presentation, key_id, verify
from tests.journeys.conftest import City, assert_accessible, picture
from tests.signing_in import new_person

pytestmark = pytest.mark.browser

WITHOUT_ED25519 = """
const make = crypto.subtle.generateKey.bind(crypto.subtle)
crypto.subtle.generateKey = (kind, ...rest) =>
  kind.name === 'Ed25519' ? Promise.reject(new DOMException('no')) : make(kind, ...rest)
"""


def scanned(city: City, page: Page, *, later: timedelta = timedelta()) -> Presentation:
    """What a scanner sees of the screen, verified as a gate would."""
    (found,) = zxingcpp.read_barcodes(Image.open(BytesIO(page.locator(".card-code__paper").screenshot())))
    with city.database.transaction() as session:
        key = city_of(session).key(Purpose.CARD_ISSUER)
    return verify(found.text, issuer_keys={"320100": [(key.kid, key.public_bytes)]}, now=clock.now() + later)


@pytest.mark.parametrize("curve", ["Ed25519", "P-256"])
def test_a_phone_makes_its_key_and_shows_codes_with_the_network_off(city: City, visit: Callable[..., Page], curve: str) -> None:
    person_id = new_person(city.database, Role.RESIDENT)
    with city.database.transaction() as session:
        card = cards.issue(session, holder_id=person_id, now=clock.now())
    page = visit(size="phone", language="en", person_id=person_id)
    if curve == "P-256":
        page.add_init_script(WITHOUT_ED25519)
    page.goto("/me/card/phone")
    expect(page.get_by_role("button", name="Use this phone as my card")).to_be_visible()
    expect(page.get_by_text("That did not work.")).to_be_hidden()
    assert_accessible(page)
    picture(page, f"phone unbound {curve}")
    page.get_by_role("button", name="Use this phone as my card").click()
    expect(page.get_by_text("Works without a network until")).to_be_visible()
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    first = scanned(city, page)
    assert first.number == card.number
    with city.database.transaction() as session:
        (device,) = cards.devices_of(session, card.id)
    assert (first.device_kid, device.kept_here) == (device.kid, False)
    assert len(first.static.device_key) == (32 if curve == "Ed25519" else 33)
    assert first.device_kid == key_id(first.static.device_key)
    assert_accessible(page)
    picture(page, f"phone bound {curve}")

    page.context.set_offline(True)
    page.reload()
    expect(page.get_by_text("Works without a network until")).to_be_visible()
    second = scanned(city, page)
    assert second.counter > first.counter
    picture(page, f"phone offline {curve}")

    # Signed out, the card is still in the phone.
    page.context.set_offline(False)
    page.context.clear_cookies()
    page.reload()
    expect(page.get_by_text("Works without a network until")).to_be_visible()
    assert scanned(city, page).counter > second.counter


def test_a_phone_that_is_removed_is_denied_and_the_card_is_not(city: City, visit: Callable[..., Page]) -> None:
    person_id = new_person(city.database, Role.RESIDENT)
    with city.database.transaction() as session:
        card = cards.issue(session, holder_id=person_id, now=clock.now())
    page = visit(size="phone", language="zh", person_id=person_id)
    page.goto("/me/card/phone")
    page.get_by_role("button", name="用这部手机作为市民卡").click()
    expect(page.get_by_text("无网络可用至")).to_be_visible()
    index = scanned(city, page).static.status_index
    page.get_by_text("放到桌面或从手机移除").click()
    page.get_by_role("button", name="从这部手机移除市民卡").click()
    expect(page.get_by_role("button", name="用这部手机作为市民卡")).to_be_visible()
    with city.database.transaction() as session:
        cards.publish_deny_list(session, now=clock.now())
        denied = cards.deny_current(session)
        assert index in denied
        assert card.status_index not in denied


def test_a_blocked_card_leaves_the_phone_at_the_next_contact(city: City, visit: Callable[..., Page]) -> None:
    person_id = new_person(city.database, Role.RESIDENT)
    with city.database.transaction() as session:
        card = cards.issue(session, holder_id=person_id, now=clock.now())
    page = visit(size="phone", language="en", person_id=person_id)
    page.goto("/me/card/phone")
    page.get_by_role("button", name="Use this phone as my card").click()
    expect(page.get_by_text("Works without a network until")).to_be_visible()
    with city.database.transaction() as session:
        cards.block(session, card_id=card.id, reason="lost", by="person:test", now=clock.now())
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(
        page.get_by_text("You do not have an active card.").or_(page.get_by_text("Let this phone be your card"))
    ).to_be_visible()


def bound(city: City, visit: Callable[..., Page], person_id: UUID, *, clock_at: datetime | None = None) -> Page:
    """A phone that is the card of ``person_id``, its service worker in place."""
    page = visit(size="phone", language="en", person_id=person_id)
    if clock_at is not None:
        page.clock.install(time=clock_at)
    page.goto("/me/card/phone")
    page.get_by_role("button", name="Use this phone as my card").click()
    expect(page.get_by_text("Works without a network until")).to_be_visible()
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    return page


def test_the_phone_is_the_card_for_thirty_days_without_a_network_and_not_longer(city: City, visit: Callable[..., Page]) -> None:
    person_id = new_person(city.database, Role.RESIDENT)
    begun = clock.now()
    with city.database.transaction() as session:
        cards.issue(session, holder_id=person_id, now=begun)
    page = bound(city, visit, person_id, clock_at=begun)
    page.context.set_offline(True)
    counters = [scanned(city, page).counter]
    for days in (1, 15, 29.9):
        page.clock.set_system_time(begun + timedelta(days=days))
        page.reload()
        expect(page.get_by_text("Works without a network until")).to_be_visible()
        seen = scanned(city, page, later=timedelta(days=days))
        counters.append(seen.counter)
    assert counters == sorted(set(counters)), "each code is a new one"
    picture(page, "phone on day 30")

    page.clock.set_system_time(begun + timedelta(days=30, minutes=5))
    page.reload()
    expect(page.get_by_text("This phone was without a network for too long.")).to_be_visible()
    expect(page.locator("svg.card-code__qr")).to_be_hidden()
    assert_accessible(page)
    picture(page, "phone after day 30")

    page.clock.set_system_time(clock.now())
    page.context.set_offline(False)
    page.reload()
    expect(page.get_by_text("Works without a network until")).to_be_visible()
    assert scanned(city, page).counter > counters[-1], "back in the network it is the card again"


def test_a_lost_phone_is_blocked_from_another_device_and_the_person_is_not(city: City, visit: Callable[..., Page]) -> None:
    person_id = new_person(city.database, Role.RESIDENT)
    with city.database.transaction() as session:
        card = cards.issue(session, holder_id=person_id, now=clock.now())
    lost = bound(city, visit, person_id)
    index = scanned(city, lost).static.status_index
    lost.context.set_offline(True)

    desk = visit(size="desktop", language="en", person_id=person_id)
    desk.goto("/me/card")
    picture(desk, "card page with a phone")
    desk.get_by_role("button", name="I lost this phone: block it").click()
    expect(desk.get_by_text("Your card stays good: use it on another phone.")).to_be_visible()
    here = scanned(city, desk).static.status_index  # the code on the page itself
    fresh = bound(city, visit, person_id)
    there = scanned(city, fresh).static.status_index
    with city.database.transaction() as session:
        cards.publish_deny_list(session, now=clock.now())
        denied = cards.deny_current(session)
        assert [one in denied for one in (index, here, there, card.status_index)] == [True, False, False, False]
        assert cards.get(session, card.id).status is cards.Status.ACTIVE
    assert scanned(city, lost).static.status_index == index, "offline it still shows a code, and gates refuse it"


def test_the_card_installs_as_an_app_that_opens_without_a_network(city: City, visit: Callable[..., Page]) -> None:
    person_id = new_person(city.database, Role.RESIDENT)
    with city.database.transaction() as session:
        cards.issue(session, holder_id=person_id, now=clock.now())
    page = bound(city, visit, person_id)
    browser = page.context.new_cdp_session(page)
    manifest = json.loads(browser.send("Page.getAppManifest")["data"])
    assert (manifest["start_url"], manifest["scope"], manifest["display"]) == ("/me/card/phone", "/me/card/", "standalone")
    troubles = [one["errorId"] for one in browser.send("Page.getInstallabilityErrors")["installabilityErrors"]]
    assert set(troubles) <= {"in-incognito"}, "a test's window is a private one; nothing else is in the way"
    page.context.set_offline(True)
    page.goto(manifest["start_url"])
    expect(page.get_by_text("Works without a network until")).to_be_visible()
    assert scanned(city, page).counter > 1
