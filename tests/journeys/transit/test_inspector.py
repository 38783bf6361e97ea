"""An inspector's phone in Chromium, its camera held over a real QR: valid, blocked, expired, forged; online and offline."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
import segno
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from pyroaring import BitMap

from app.kernel import clock
from app.kernel.city import city_of
from app.kernel.ids import new_id
from app.kernel.signing import Purpose
from app.web.auth import Role
from card import cards, credentials
from card.credentials import Entitlement, Static, Use, denials, numbers, present, raw_public, sign_static, to_text
from tests.build.browser import find
from tests.gates import gate, import_feed, phone
from tests.journeys.conftest import LANGUAGES, SIZES, City, assert_accessible, picture
from tests.signing_in import new_person

pytestmark = pytest.mark.browser


@dataclass
class Camera:
    """What Chromium's fake camera films: a sheet with a QR, slightly turned. It is read anew at every start."""

    file: Path
    frames: int = field(default=3)

    def show(self, text: str) -> None:
        drawn = io.BytesIO()
        segno.make(text, error="m", micro=False).save(drawn, kind="png", scale=6, border=4)
        code = Image.open(drawn).convert("RGB")
        sheet = Image.new("RGB", (1280, 720), (150, 152, 149))
        turned = code.rotate(4, expand=True, fillcolor=(150, 152, 149), resample=Image.Resampling.BICUBIC)
        sheet.paste(turned, ((1280 - turned.width) // 2, (720 - turned.height) // 2))
        jpeg = io.BytesIO()
        sheet.save(jpeg, "JPEG", quality=85)
        fresh = self.file.with_suffix(".new")
        fresh.write_bytes(jpeg.getvalue() * self.frames)
        fresh.replace(self.file)


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Camera:
    made = Camera(tmp_path_factory.mktemp("camera") / "film.mjpeg")
    made.show("nothing yet")
    return made


@pytest.fixture(scope="module")
def inspecting(camera: Camera, browser: Browser) -> Iterator[Browser]:
    """A Chromium with the fake camera."""
    path = find()
    assert path is not None
    opened = browser.browser_type.launch(
        executable_path=path,
        args=[
            "--no-sandbox",
            "--disable-gpu",
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={camera.file}",
        ],
    )
    yield opened
    opened.close()


@pytest.fixture
def open_page(inspecting: Browser, city: City) -> Iterator[Callable[..., Page]]:
    opened = []

    def visit(*, size: str = "phone", language: str = "en") -> Page:
        context = inspecting.new_context(viewport=SIZES[size], base_url=city.url, permissions=["camera"])  # type: ignore[arg-type]
        opened.append(context)
        person = new_person(city.database, Role.OPERATOR, organisation="nj-metro")
        context.add_cookies(
            [{"name": "language", "value": LANGUAGES[language], "url": city.url}, city.cookie_of(person)]  # type: ignore[list-item]
        )
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.faults = faults  # type: ignore[attr-defined]
        page.goto("/operator/inspect/")
        expect(page.locator("[data-inspect]")).to_have_attribute("data-ready", "yes")
        return page

    yield visit
    faults = [fault for context in opened for page in context.pages for fault in page.faults]  # type: ignore[attr-defined]
    for context in opened:
        context.close()
    assert faults == []


def film(page: Page, camera: Camera, text: str) -> None:
    """Hold the camera over a code."""
    camera.show(text)
    stop = page.locator("[data-part=stop]")
    if stop.is_visible():
        stop.click()
    page.locator("[data-part=start]").click()


def typed(page: Page, text: str) -> None:
    field_ = page.locator("#text")
    field_.fill(text)
    field_.press("Enter")


def verdict(page: Page, state: str, why: str = "") -> None:
    panel = page.locator("[data-part=verdict]")
    expect(panel).to_have_attribute("data-verdict", state)
    if why:
        expect(panel.locator("[data-why]")).to_have_text(why)


def riders(city: City) -> tuple[object, object, dict[str, str]]:
    """A good rider who has tapped in, a blocked one, and codes that are not good."""
    now = clock.now()
    with city.database.transaction() as session:
        import_feed(session, "320100", now=now)
        senior = Entitlement(code="senior-60", scope_city="320100", expires_on=now.date() + timedelta(days=400))
        elsewhere = Entitlement(code="student", scope_city="320500", expires_on=now.date() + timedelta(days=400))
        good = phone(session, now=now, entitlements=(senior, elsewhere), money_minor=5000)
        lost = phone(session, now=now)
        cards.block(session, card_id=lost.card_id, reason="lost", by="system", now=now)
        cards.publish_deny_list(session, now=now)
        entry = gate(session, "nj-metro", stop="nj-gulou", mode="entry", now=now)
        entry.send(session, [entry.tap(good, "entry", now - timedelta(minutes=12))], now=now)
        key = city_of(session).key(Purpose.CARD_ISSUER).private
        printed = cards.one_layer(session, card_id=good.card_id, use=Use.PRINTED, now=now)

    def made(signer: object, serial: int, **changes: object) -> str:
        device = Ed25519PrivateKey.generate()
        facts: dict = {
            "issuer": "320100",
            "number": numbers.make("320100", serial),
            "issued_at": now - timedelta(days=40),
            "expires_at": now + timedelta(days=10),
            "status_index": 900_000 + serial,
            "device_key": raw_public(device.public_key()),
        }
        static = Static(**{**facts, **changes})
        return to_text(present(sign_static(static, signer), device=device, at=now, counter=1))  # type: ignore[arg-type]

    codes = {
        "expired": made(key, 77_001, expires_at=now - timedelta(days=10)),
        "forged": made(Ed25519PrivateKey.generate(), 77_002),
        "printed": printed,
    }
    return good, lost, codes


def test_the_camera_reads_a_riders_code_and_the_page_says_valid_or_not_and_why(
    city: City, camera: Camera, open_page: Callable[..., Page]
) -> None:
    good, lost, codes = riders(city)
    page = open_page()
    film(page, camera, to_text(good.show(clock.now())[0]))  # type: ignore[attr-defined]
    verdict(page, "valid")
    panel = page.locator("[data-part=verdict]")
    expect(panel).to_contain_text("In at Gulou")
    expect(panel).to_contain_text("Aged 60 to 69")
    expect(panel).to_contain_text("Student fares: not here")
    assert_accessible(page)
    picture(page, "inspect valid phone en")
    film(page, camera, to_text(lost.show(clock.now())[0]))  # type: ignore[attr-defined]
    verdict(page, "invalid", "The card is blocked")
    picture(page, "inspect blocked phone en")
    film(page, camera, codes["expired"])
    verdict(page, "invalid", "The card has expired")
    film(page, camera, codes["forged"])
    verdict(page, "invalid", "The card is signed with an unknown key")


def test_without_a_network_the_phone_decides_alone(city: City, camera: Camera, open_page: Callable[..., Page]) -> None:
    good, lost, codes = riders(city)
    page = open_page(language="zh")
    page.wait_for_function("() => navigator.serviceWorker.controller !== null")
    page.context.set_offline(True)
    page.reload()
    expect(page.locator("[data-inspect]")).to_have_attribute("data-ready", "yes")
    expect(page.locator("[data-part=offline]")).to_be_visible()
    film(page, camera, to_text(good.show(clock.now())[0]))  # type: ignore[attr-defined]
    verdict(page, "valid")
    expect(page.locator("[data-part=verdict]")).to_contain_text("断网时无法得知")
    assert_accessible(page)
    picture(page, "inspect offline phone zh")
    film(page, camera, to_text(lost.show(clock.now())[0]))  # type: ignore[attr-defined]
    verdict(page, "invalid", "卡片已挂失或停用")
    film(page, camera, codes["forged"])
    verdict(page, "invalid", "签发密钥未知")
    old = to_text(good.show(clock.now() - timedelta(seconds=90))[0])  # type: ignore[attr-defined]
    copied = good.show(clock.now())[0]  # type: ignore[attr-defined]
    layers = credentials.cbor.read(copied)
    stripped = to_text(credentials.cbor.write(layers[:1]))
    other = to_text(credentials.cbor.write([*layers[:2], bytes(64)]))
    for text, state, why in (
        (old, "invalid", "二维码已超时，请刷新"),
        (stripped, "invalid", "缺少手机签名"),
        (other, "invalid", "手机签名不符"),
        ("https://example.org", "invalid", "这不是市民卡二维码"),
        ("CC1:ABC", "invalid", "二维码已损坏"),
        (codes["expired"], "invalid", "卡片已过期"),
        (codes["printed"], "valid", ""),
    ):
        typed(page, text)
        verdict(page, state, why)


def test_the_desktop_page_and_a_hand_scanner(city: City, camera: Camera, open_page: Callable[..., Page]) -> None:
    good, _, codes = riders(city)
    page = open_page(size="desktop", language="zh")
    page.locator("#text").focus()
    page.keyboard.type(to_text(good.show(clock.now())[0]) + "\n")  # type: ignore[attr-defined]
    verdict(page, "valid")
    assert_accessible(page)
    picture(page, "inspect desktop zh")
    typed(page, codes["forged"])
    verdict(page, "invalid")
    picture(page, "inspect forged desktop zh")


def test_the_browser_reads_the_same_sets_and_curves_as_the_gate(city: City, open_page: Callable[..., Page]) -> None:
    """Roaring containers of all three kinds, and a phone whose key is on P-256."""
    page = open_page()
    sets = {
        "few": BitMap([1, 5, 70_000, 4_000_000_000]),
        "runs": BitMap([*range(100, 9_000), *range(200_000, 200_050), 65_535, 65_536]),
        "dense": BitMap(range(0, 1_000_000, 3)),
        "mixed": BitMap([*range(0, 200_000, 3), *range(300_000, 390_000), 1_000_000, 2**32 - 1]),
        "empty": BitMap(),
    }
    for name, numbers_ in sets.items():
        asked = [0, 1, 2, 3, 5, 99, 100, 8_999, 9_000, 65_535, 65_536, 70_000, 200_049, 200_050, 389_999, 999_999, 2**32 - 1]
        found = page.evaluate(
            "async ([packed, asked]) => {"
            " const { roaring, fromBase64url } = await import(document.querySelector('[data-inspect]').dataset.credential);"
            " const list = roaring(fromBase64url(packed)); return [list.size, asked.map(list.has)] }",
            [credentials.to_base64url(denials.pack(numbers_)), asked],
        )
        assert found == [len(numbers_), [one in numbers_ for one in asked]], name
    now = clock.now()
    with city.database.transaction() as session:
        card = cards.issue(session, holder_id=new_id(), now=now)
        key = ec.generate_private_key(ec.SECP256R1())
        static = cards.bind_device(session, card.id, raw_public(key.public_key()), now)
    typed(page, to_text(present(static, device=key, at=now, counter=1)))
    verdict(page, "valid")
