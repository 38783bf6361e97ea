"""Somebody who uses the pages: over plain HTTP as a browser without JavaScript would, or in a real Chromium.

Both speak of a page in the same few verbs, so that the day in two cities is written once and played either way.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urljoin
from xml.etree.ElementTree import Element

import html5lib
import httpx

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


class Lost(Exception):
    """The page is not what a visitor expected: the address, what was looked for, and what the page says instead."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file to hand in."""

    name: str
    content: bytes
    media_type: str


Value = str | File


class Visitor(Protocol):
    """One person's browser at one city."""

    @property
    def address(self) -> str:
        """Where the visitor is."""

    def open(self, path: str) -> None:
        """Go to a path of the city; a page that refuses is not where we wanted to be."""

    def follow(self, pattern: str) -> None:
        """Follow the first link whose address matches the pattern."""

    def send(self, fields: Mapping[str, Value] | None = None, *, form: str = "", press: str = "") -> None:
        """Fill the first form that has all ``fields`` (and whose action matches ``form``) and send it.

        ``press`` is a pattern of the button's words; without it the form's first button is pressed.
        """

    def text(self) -> str:
        """What the page says, white space folded."""

    def attribute(self, name: str) -> str:
        """The value of the first element on the page that carries the attribute ``name``."""

    def choices(self, name: str) -> list[str]:
        """The values that the first list called ``name`` offers."""

    def fetch(self, path: str) -> bytes:
        """What the city answers at ``path``, as it is."""

    def shoot(self, name: str) -> None:
        """Keep a picture of the page, where that is possible."""


def folded(text: str) -> str:
    """``text`` with runs of white space made one."""
    return re.sub(r"\s+", " ", text).strip()


@dataclass
class HttpVisitor:
    """A browser without JavaScript: cookies, redirects, links and forms over HTTP."""

    base: str
    language: str = "en"
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30, trust_env=False, follow_redirects=True))
    page: Element | None = None
    address: str = ""

    def open(self, path: str) -> None:
        """Go to a path."""
        self._load(self.client.get(urljoin(self.base, path), headers={"Accept-Language": self.language}))

    def _load(self, response: httpx.Response) -> None:
        self.address = str(response.url)
        self.page = html5lib.parse(response.text, namespaceHTMLElements=False)
        if response.is_error:
            raise Lost(f"{response.status_code} at {self.address}: {self.text()[:300]}")

    def _all(self, tag: str) -> Iterator[Element]:
        assert self.page is not None, "open a page first"
        return self.page.iter(tag)

    def follow(self, pattern: str) -> None:
        """Follow a link."""
        for link in self._all("a"):
            if re.search(pattern, link.get("href", "")):
                self.open(urljoin(self.address, link.get("href", "")))
                return
        raise Lost(f"no link {pattern!r} at {self.address}")

    def send(self, fields: Mapping[str, Value] | None = None, *, form: str = "", press: str = "") -> None:
        """Fill and send a form."""
        wanted = dict(fields or {})
        for candidate in self._all("form"):
            if not re.search(form, candidate.get("action") or self.address):
                continue
            names = {item.get("name") for tag in ("input", "select", "textarea") for item in candidate.iter(tag)}
            buttons = [item for item in candidate.iter("button") if item.get("type", "submit") == "submit"]
            button = next((b for b in buttons if re.search(press, folded("".join(b.itertext())))), None)
            is_language = candidate.get("method", "get").lower() != "post"
            if wanted.keys() <= names and button is not None and not (is_language and not form):
                self._submit(candidate, button, wanted)
                return
        raise Lost(f"no form with {sorted(wanted)} {form!r} {press!r} at {self.address}: {self.text()[:300]}")

    def _submit(self, form: Element, button: Element, wanted: Mapping[str, Value]) -> None:
        data: dict[str, list[str]] = {}
        files: dict[str, tuple[str, bytes, str]] = {}
        for name, value in _standing(form):
            if name not in wanted:
                data.setdefault(name, []).append(value)
        for name, given in wanted.items():
            if isinstance(given, File):
                files[name] = (given.name, given.content, given.media_type)
            else:
                data[name] = [given]
        if button.get("name"):
            data[button.get("name", "")] = [button.get("value", "")]
        target = urljoin(self.address, button.get("formaction") or form.get("action") or self.address)
        headers = {"Accept-Language": self.language, "Referer": self.address}
        if form.get("method", "get").lower() == "post":
            self._load(self.client.post(target, data=data, files=files or None, headers=headers))
        else:
            self._load(self.client.get(target, params=data, headers=headers))

    def text(self) -> str:
        """What the page says."""
        assert self.page is not None, "open a page first"
        main = next(iter(self._all("main")), self.page)
        return folded(" ".join(main.itertext()))

    def attribute(self, name: str) -> str:
        """An attribute's value."""
        assert self.page is not None, "open a page first"
        for item in self.page.iter():
            if item.get(name) is not None:
                return str(item.get(name))
        raise Lost(f"nothing carries {name} at {self.address}")

    def choices(self, name: str) -> list[str]:
        """What a list offers."""
        for item in self._all("select"):
            if item.get("name") == name:
                return [option.get("value", option.text or "") for option in item.iter("option")]
        raise Lost(f"no list {name} at {self.address}")

    def fetch(self, path: str) -> bytes:
        """The raw answer."""
        response = self.client.get(urljoin(self.base, path))
        if response.is_error:
            raise Lost(f"{response.status_code} at {response.url}")
        return response.content

    def shoot(self, name: str) -> None:
        """There is nothing to take a picture with."""


def _standing(form: Element) -> Iterator[tuple[str, str]]:
    """What a form would send untouched."""
    for item in form.iter():
        name = item.get("name")
        if not name:
            continue
        if item.tag == "input":
            kind = item.get("type", "text")
            if kind in ("radio", "checkbox") and item.get("checked") is None:
                continue
            if kind not in ("file", "submit", "button", "image"):
                yield name, item.get("value", "on" if kind in ("radio", "checkbox") else "")
        elif item.tag == "textarea":
            yield name, item.text or ""
        elif item.tag == "select":
            options = list(item.iter("option"))
            chosen = next((o for o in options if o.get("selected") is not None), options[0] if options else None)
            if chosen is not None:
                yield name, chosen.get("value", chosen.text or "")


@dataclass
class BrowserVisitor:
    """A real Chromium, driven through Playwright; pictures go to ``pictures``, and ``look`` sees each page that has one."""

    base: str
    page: "Page"
    pictures: Path
    look: Callable[["Page"], None] = lambda _: None

    @property
    def address(self) -> str:
        """Where the visitor is."""
        return self.page.url

    def _arrived(self, status: int | None) -> None:
        if status is not None and status >= 400:  # noqa: PLR2004
            raise Lost(f"{status} at {self.address}: {self.text()[:300]}")

    def open(self, path: str) -> None:
        """Go to a path."""
        response = self.page.goto(urljoin(self.base, path))
        self._arrived(response.status if response else None)

    def follow(self, pattern: str) -> None:
        """Follow a link."""
        for link in self.page.locator("a[href]").all():
            if re.search(pattern, link.get_attribute("href") or ""):
                self.open(urljoin(self.address, link.get_attribute("href") or ""))
                return
        raise Lost(f"no link {pattern!r} at {self.address}")

    def send(self, fields: Mapping[str, Value] | None = None, *, form: str = "", press: str = "") -> None:
        """Fill and send a form."""
        wanted = dict(fields or {})
        for candidate in self.page.locator("form").all():
            if not re.search(form, candidate.get_attribute("action") or self.address):
                continue
            if (candidate.get_attribute("method") or "get").lower() != "post" and not form:
                continue
            if not all(candidate.locator(f'[name="{name}"]').count() for name in wanted):
                continue
            buttons = candidate.locator('button:not([type="button"])')
            if press:
                buttons = buttons.filter(has_text=re.compile(press))
            if not buttons.count():
                continue
            for summary in candidate.locator("xpath=ancestor::details[not(@open)]/summary").all():
                summary.click()
            for field_name, given in wanted.items():
                _fill(candidate, field_name, given)
            with self.page.expect_navigation() as navigation:
                buttons.first.click()
            self._arrived(navigation.value.status if navigation.value else None)
            return
        raise Lost(f"no form with {sorted(wanted)} {form!r} {press!r} at {self.address}: {self.text()[:300]}")

    def text(self) -> str:
        """What the page says."""
        main = self.page.locator("main")
        return folded((main if main.count() else self.page.locator("body")).first.inner_text())

    def attribute(self, name: str) -> str:
        """An attribute's value."""
        found = self.page.locator(f"[{name}]")
        if not found.count():
            raise Lost(f"nothing carries {name} at {self.address}")
        return found.first.get_attribute(name) or ""

    def choices(self, name: str) -> list[str]:
        """What a list offers."""
        options = self.page.locator(f'select[name="{name}"] option').all()
        return [option.get_attribute("value") or "" for option in options]

    def fetch(self, path: str) -> bytes:
        """The raw answer."""
        response = self.page.request.get(urljoin(self.base, path))
        if not response.ok:
            raise Lost(f"{response.status} at {response.url}")
        return response.body()

    def shoot(self, name: str) -> None:
        """Keep a picture of the whole page, and have it looked at."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self.pictures / f"{name}.png", full_page=True)
        self.look(self.page)


def _fill(form: "Locator", name: str, given: Value) -> None:
    field_ = form.locator(f'[name="{name}"]')
    kind = field_.first.evaluate("item => item.type || item.tagName.toLowerCase()")
    if isinstance(given, File):
        upload: Any = {"name": given.name, "mimeType": given.media_type, "buffer": given.content}
        field_.first.set_input_files(upload)
    elif kind in ("radio", "checkbox"):
        box = form.locator(f'[name="{name}"][value="{given}"]')
        if not box.is_checked():
            form.locator(f'label[for="{box.get_attribute("id")}"]').click()  # what a person clicks: the box itself is drawn
    elif kind.startswith("select"):
        field_.first.select_option(given)
    elif kind != "hidden":
        field_.first.fill(given)
