"""Everybody walks every page they can reach: each answers, parses strictly and speaks their language.

The walk starts at every address that needs no argument and follows links, a few of each kind of page. Screens that land later
are walked without anybody adding them here.
"""

from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from gettext import NullTranslations
from urllib.parse import urljoin, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException

from app.demo.cities import NANJING
from app.demo.scene import people as cast
from app.kernel.db import Database
from app.web import i18n
from app.web.auth import Caller, Principal, access_of, principal_or_none
from app.web.i18n import DEFAULT
from tests.signing_in import enter
from tests.web.strictly import parse

EACH_KIND = 3  # pages of one view; their texts come from the same template
NOT_PAGES = {"static", "health.metrics", "health.live", "health.ready"}


class Unheard(NullTranslations):
    """Notes what the catalogue could not say."""

    def __init__(self) -> None:
        super().__init__()
        self.sentences: set[str] = set()

    def gettext(self, message: str) -> str:
        """The message as it is, noted."""
        self.sentences.add(message)
        return message

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        """The same for a plural."""
        self.sentences.add(msgid1)
        return msgid1 if n == 1 else msgid2


def starts(app: Flask) -> Iterator[str]:
    """Every address of a page that needs no argument."""
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and not rule.arguments and rule.endpoint not in NOT_PAGES:
            access = access_of(app.view_functions[rule.endpoint])
            if (
                access
                and access.caller in (Caller.ANYONE, Caller.PERSON)
                and not rule.rule.startswith(("/api/", "/.well-known/"))
            ):
                yield rule.rule


def kind_of(app: Flask, path: str) -> str | None:
    """The view behind an address of ours."""
    try:
        return str(app.url_map.bind("localhost").match(path)[0])
    except HTTPException:
        return None


def may(app: Flask, who: Principal | None, endpoint: str) -> bool:
    """Whether ``who`` is let in by the view's declaration; what is open to anybody is walked once, by nobody in particular."""
    access = access_of(app.view_functions[endpoint])
    if access is None or access.caller not in (Caller.ANYONE, Caller.PERSON):
        return False
    if access.caller is Caller.ANYONE:
        return who is None
    return who is not None and (not access.roles or bool(access.roles & who.roles))


def walk(app: Flask, client: FlaskClient, language: str) -> list[str]:
    """Walk; answer what is wrong."""
    with client:
        client.get("/accessibility")
        who = principal_or_none()
    wrong: list[str] = []
    seen: Counter[str] = Counter()
    queue = deque(starts(app))
    known = set(queue)
    while queue:
        address = queue.popleft()
        endpoint = kind_of(app, urlsplit(address).path)
        if endpoint is None:
            wrong.append(f"{address} is linked to and leads nowhere")
            continue
        if endpoint in NOT_PAGES or seen[endpoint] >= EACH_KIND or not may(app, who, endpoint):
            continue
        seen[endpoint] += 1
        with client.get(address, headers={"Accept-Language": language, "Accept": "text/html"}) as answer:
            if answer.status_code >= 500 or (answer.status_code >= 400 and address not in known):
                wrong.append(f"{address} answers {answer.status_code}")
            if answer.mimetype != "text/html" or answer.status_code >= 300:
                continue
            try:
                tree = parse(answer.text)
            except AssertionError as error:
                wrong.append(f"{address}: {str(error).splitlines()[0]}")
                continue
        for link in tree.findall(".//a[@href]"):
            target = urljoin(address, (link.get("href") or "").split("#")[0])
            inside = target.startswith("/") and not target.startswith("//")
            if inside and "lang=" not in target and "text=" not in target and target not in known:
                known.add(target)
                queue.append(target)
    return wrong


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch) -> Unheard:
    """What the Chinese catalogues, each with its room's words first, are asked and cannot say."""
    listening = Unheard()
    for room in {"", *i18n.rooms().values()}:
        monkeypatch.setattr(i18n._catalogue(DEFAULT, room), "_fallback", listening)
    return listening


@pytest.mark.parametrize("username", ["", *(someone.username for someone in cast.everybody_of(NANJING))])
def test_everybody_walks_every_page_they_can_reach(
    app: Flask, client: FlaskClient, database: Database, unheard: Unheard, username: str
) -> None:
    with database.transaction() as session:
        settled = cast.settle_in(session, NANJING, now=datetime(2026, 1, 5, tzinfo=UTC))
    if username:
        enter(client, database, settled[username])
    assert walk(app, client, "zh-CN") == []
    assert sorted(unheard.sentences - {""}) == []
    client.set_cookie("language", "en")
    assert walk(app, client, "en") == []
