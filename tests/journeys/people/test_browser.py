"""What needs a browser's script: a passkey, and paying by card with the fields that Stripe's script draws."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from playwright.sync_api import Browser, Page

from app.factory import create_app
from app.kernel.db import Database
from tests.cities import free_port, serve
from tests.conftest import make_settings
from tests.payments import SECRET, localstripe
from tests.signing_in import PASSWORD, resident

pytestmark = pytest.mark.browser

AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


class Place(NamedTuple):
    """A city at a name that a passkey may belong to, with its Stripe."""

    url: str
    database: Database


@pytest.fixture
def place(database_url: str, database: Database, tmp_path: Path) -> Iterator[Place]:
    port = free_port()
    url = f"http://localhost:{port}"
    with localstripe() as stripe:
        settings = make_settings(
            database_url,
            tmp_path,
            public_url=url,
            stripe_api_base=stripe,
            stripe_public_base=stripe,
            stripe_webhook_secret=SECRET,
        )
        app = create_app(settings, database=database)
        with serve(app, port):
            httpx.post(
                f"{stripe}/_config/webhooks/city", json={"url": f"{url}/webhooks/stripe", "secret": SECRET}
            ).raise_for_status()
            yield Place(url, database)


@pytest.fixture
def page(browser: Browser, place: Place) -> Iterator[Page]:
    resident(place.database, username="lin", password=PASSWORD)
    context = browser.new_context(base_url=place.url, viewport={"width": 390, "height": 844})
    context.add_cookies([{"name": "language", "value": "en", "url": place.url}])
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    yield opened
    context.close()
    assert faults == []


def sign_in(page: Page) -> None:
    page.goto("/sign-in")
    page.get_by_label("User name").fill("lin")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.locator("form[action='/sign-in'] button[type=submit]").click()
    page.wait_for_url("**/me")


def test_a_passkey_is_added_and_signs_in_without_a_password(page: Page) -> None:
    sign_in(page)
    tools = page.context.new_cdp_session(page)
    tools.send("WebAuthn.enable")
    tools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    page.goto("/me/security")
    page.get_by_label("Name of this device").fill("my phone")
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_text("The passkey is added.").wait_for()
    assert page.get_by_text("my phone", exact=True).first.is_visible()

    page.get_by_role("button", name="Sign out", exact=True).click()
    page.goto("/sign-in?next=/me/security")
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_text("Last used").wait_for()
    assert page.url.endswith("/me/security")

    page.get_by_role("button", name="Remove").click()
    page.get_by_text("The passkey is removed.").wait_for()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.goto("/sign-in")
    page.get_by_role("button", name="Use a passkey").click()
    page.locator("[data-passkey-trouble]").get_by_text("The user name or the password is not right.").wait_for()


@pytest.mark.parametrize(
    ("number", "ends"),
    [
        ("4242424242424242", "¥50.00 is paid"),
        ("4000002500003155", "¥50.00 is paid"),  # the bank asks first (3-D Secure)
        ("4000000000000341", "Your bank did not accept the payment. Nothing was charged."),
    ],
)
def test_a_top_up_by_card_in_the_browser(page: Page, number: str, ends: str) -> None:
    sign_in(page)
    page.goto("/me/card/top-up")
    page.get_by_role("button", name="Continue").click()
    for label, value in (
        ("Card number", number),
        ("Month of expiry", "12"),
        ("Year of expiry", "30"),
        ("Security code", "123"),
        ("Postal code", "210000"),
    ):
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Pay ¥50.00", exact=True).click()
    if number == "4000002500003155":
        page.get_by_role("button", name="Answer my bank").click()
        page.get_by_role("button", name="Complete authentication").click()
    page.get_by_text(ends).first.wait_for(timeout=30_000)
