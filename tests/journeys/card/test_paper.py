"""Codes on paper, scanned from the page: one for gates for five minutes, one for desks and inspection for a year."""

from collections.abc import Callable
from datetime import timedelta
from io import BytesIO

import pytest
import zxingcpp
from PIL import Image
from playwright.sync_api import Page, expect

from app.kernel import clock
from app.kernel.city import city_of
from app.kernel.signing import Purpose
from app.web.auth import Role
from card import cards
from card.credentials import CredentialRefused, KeyRing, Reason, Use, Verifier
from tests.journeys.conftest import City, assert_accessible, picture
from tests.signing_in import new_person

pytestmark = pytest.mark.browser


def text_on(page: Page) -> str:
    (found,) = zxingcpp.read_barcodes(Image.open(BytesIO(page.locator(".card-sheet__qr").screenshot())))
    return str(found.text)


def verifier(city: City) -> Verifier:
    with city.database.transaction() as session:
        key = city_of(session).key(Purpose.CARD_ISSUER)
    return Verifier(KeyRing.of({"320100": [(key.kid, key.public_bytes)]}))


@pytest.mark.parametrize(("language", "button"), [("zh", "生成乘车码"), ("en", "Make a code")])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_a_desk_makes_a_code_that_gates_take_for_five_minutes(
    city: City, visit: Callable[..., Page], language: str, button: str, size: str
) -> None:
    holder = new_person(city.database, Role.RESIDENT)
    with city.database.transaction() as session:
        card = cards.issue(session, holder_id=holder, now=clock.now())
    page = visit(size=size, language=language, role=Role.OFFICER)
    page.goto(f"/staff/cards/{card.id}")
    picture(page, f"staff card {size} {language}")
    page.get_by_role("button", name=button).click()
    expect(page.locator("h1")).to_be_visible()
    assert_accessible(page)
    picture(page, f"paper code {size} {language}")
    text, gate, now = text_on(page), verifier(city), clock.now()
    seen = gate.verify_text(text, now=now)
    assert (seen.static.use, seen.number, seen.static.status_index) == (Use.KIOSK, card.number, card.status_index)
    with pytest.raises(CredentialRefused) as refused:
        gate.verify_text(text, now=now + timedelta(minutes=5, seconds=5))
    assert refused.value.reason is Reason.EXPIRED


def test_the_printed_card_is_for_inspection_and_never_for_gates(city: City, visit: Callable[..., Page]) -> None:
    holder = new_person(city.database, Role.RESIDENT)
    with city.database.transaction() as session:
        card = cards.issue(session, holder_id=holder, now=clock.now())
    page = visit(size="phone", language="en", person_id=holder)
    page.goto("/me/card")
    page.get_by_role("link", name="Print it for desks").click()
    assert_accessible(page)
    picture(page, "printed card")
    text, gate, now = text_on(page), verifier(city), clock.now()
    with pytest.raises(CredentialRefused) as refused:
        gate.verify_text(text, now=now)
    assert refused.value.reason is Reason.USE_NOT_ACCEPTED
    later = now + timedelta(days=364)
    assert gate.verify_text(text, now=later, uses=frozenset(Use)).number == card.number
