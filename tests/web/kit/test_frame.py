"""The frame that every page shares."""

import pytest
from flask.testing import FlaskClient


def test_a_page_carries_its_language_and_leads_to_the_other_one(client: FlaskClient) -> None:
    chinese = client.get("/?lang=zh_Hans_CN&page=2").text
    assert '<html lang="zh-CN"' in chinese
    assert 'href="/?page=2&amp;lang=en"' in chinese
    english = client.get("/?lang=en").text
    assert '<html lang="en"' in english
    assert "演示" not in english.replace("中文", "")


def test_a_language_once_chosen_stays(client: FlaskClient) -> None:
    client.get("/?lang=en")
    assert '<html lang="en"' in client.get("/", headers={"Accept-Language": "zh-CN"}).text


def test_larger_text_once_chosen_stays_until_it_is_given_back(client: FlaskClient) -> None:
    assert "city-text-large" in client.get("/?text=large").text
    assert "city-text-large" in client.get("/").text
    assert "city-text-large" not in client.get("/?text=usual").text
    assert "city-text-large" not in client.get("/").text


def test_a_refusal_is_a_plain_page_with_its_code(client: FlaskClient) -> None:
    answer = client.get("/nowhere?lang=zh_Hans_CN")
    assert answer.status_code == 404
    assert "没有找到您要的内容" in answer.text
    assert "not-found" in answer.text


@pytest.mark.parametrize("name", ["kit/kit.css", "kit/kit.js", "kit/mark.svg"])
def test_a_file_is_kept_for_a_year_under_the_address_of_its_contents(client: FlaskClient, name: str) -> None:
    page = client.get("/").text
    address = next(part.split('"')[0] for part in page.split('"/') if part.startswith(f"static/{name}?v="))
    with client.get("/" + address) as answer:
        assert "immutable" in answer.headers["Cache-Control"]


def test_the_page_is_no_heavier_than_it_must_be(client: FlaskClient) -> None:
    assert len(client.get("/").data) < 100_000
