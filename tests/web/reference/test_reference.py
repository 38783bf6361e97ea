"""The reference says what the code says."""

import re
from collections import Counter

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import reference
from app.web.i18n import DEFAULT, load
from portal.kit.navigation import MENU, Audience
from tests.web.strictly import parse


def test_the_reference_in_docs_is_what_the_code_declares(app: Flask) -> None:
    old = [
        name
        for name, text in reference.pages(app).items()
        if not (reference.FOLDER / name).exists() or (reference.FOLDER / name).read_text(encoding="utf-8") != text
    ]
    assert old == [], "run: flask reference"


def test_an_error_code_is_permanent_so_it_is_given_once() -> None:
    codes = Counter(kind.code for kind in reference.refusals())
    assert [code for code, count in codes.items() if count > 1] == []


def test_an_error_code_is_kebab_case() -> None:
    assert [kind.code for kind in reference.refusals() if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", kind.code)] == []


def test_every_refusal_speaks_chinese() -> None:
    chinese = load(DEFAULT)
    assert [kind.code for kind in reference.refusals() if chinese.gettext(kind.sentence) == kind.sentence] == []


def test_the_errors_page_has_an_anchor_for_every_code(client: FlaskClient) -> None:
    ids = {element.get("id") for element in parse(client.get("/reference/errors").text).iter()}
    assert [kind.code for kind in reference.refusals() if kind.code not in ids] == []


def test_every_screen_of_the_navigation_exists(app: Flask) -> None:
    named = {item.endpoint for items in MENU.values() for item in items}
    hub_only = {item.endpoint for item in MENU[Audience.HUB]}
    assert sorted(named - hub_only - app.view_functions.keys()) == []


@pytest.mark.parametrize("path", ["/openapi.json", "/reference/api"])
def test_the_api_describes_itself(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert "/api/federation/" in answer.text
