"""A refusal is a problem document for a machine and a plain page for a person; a bug is neither explained nor lost."""

from collections.abc import Callable
from typing import Never

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from pydantic import Field

from app.kernel.errors import Conflict, IllegalMove, Invalid, Unavailable, msg
from app.web.auth import Role, allow, public
from app.web.schema import Input
from card.ledger import LedgerBusy, OutcomeUnknown


class Order(Input):
    amount_minor: int = Field(gt=0)


def later(kind: type[Unavailable]) -> Callable[[], Never]:
    """A view that cannot answer now."""

    def view() -> Never:
        raise kind("not now")

    return view


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/api/bug")
    @public
    def bug() -> str:
        raise RuntimeError("the secret of the house")

    @app.get("/move")
    @public
    def move() -> str:
        raise IllegalMove(state="closed")

    for kind in (Unavailable, LedgerBusy, OutcomeUnknown):
        for start in ("/api/", "/"):
            app.add_url_rule(f"{start}{kind.code}", f"{start}{kind.code}", public(later(kind)))

    @app.post("/api/order")
    @public
    def order() -> dict[str, int]:
        return {"amount_minor": Order.model_validate(request.get_json()).amount_minor}

    @app.get("/api/forgotten")
    def forgotten() -> str:
        return "open to the world"

    @app.get("/staff-only")
    @allow(Role.OFFICER)
    def staff_only() -> str:
        return "in"

    return app.test_client()


def test_a_machine_reads_the_code_the_field_and_the_reason(client: FlaskClient) -> None:
    answer = client.post("/api/order?lang=en", json={"amount_minor": 0, "colour": "red"})
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
    assert answer.json["code"] == "invalid-input"
    assert {error["field"] for error in answer.json["errors"]} == {"amount_minor", "colour"}


@pytest.mark.parametrize(("language", "words"), [("en", "the state is “closed”"), ("zh_Hans_CN", "closed")])
def test_a_person_reads_a_sentence_in_their_language(client: FlaskClient, language: str, words: str) -> None:
    answer = client.get(f"/move?lang={language}", headers={"Accept": "text/html"})
    assert answer.status_code == 409
    assert words in answer.text
    assert 'lang="zh' in answer.text if language != "en" else 'lang="en' in answer.text


def test_a_bug_gives_a_reference_and_nothing_of_its_inside(client: FlaskClient) -> None:
    answer = client.get("/api/bug")
    assert answer.status_code == 500
    assert answer.json["code"] == "fault"
    assert "secret of the house" not in answer.text
    assert answer.json["params"]["reference"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/forgotten", 403, "access-not-declared"),
        ("/api/no-such", 404, "not-found"),
        ("/api/order", 405, "method-not-allowed"),
    ],
)
def test_what_is_not_declared_or_not_there_is_refused(client: FlaskClient, path: str, status: int, code: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json["code"]) == (status, code)


def test_a_body_that_is_not_json_is_refused_not_lost(client: FlaskClient) -> None:
    answer = client.post("/api/order", data="amount=5")
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported-media-type")


@pytest.mark.parametrize("start", ["/api/", "/"])
@pytest.mark.parametrize(("code", "seconds"), [("unavailable", "5"), ("ledger-busy", "1"), ("outcome-unknown", "1")])
def test_who_comes_at_a_bad_moment_is_told_when_to_come_again(client: FlaskClient, start: str, code: str, seconds: str) -> None:
    answer = client.get(f"{start}{code}")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, seconds)
    if start == "/api/":
        assert (answer.content_type, answer.json["code"]) == ("application/problem+json", code)


def test_refusals_of_one_family_keep_their_status() -> None:
    class Taken(Conflict):
        code = "taken-in-test"
        sentence = msg("It is taken.")

    assert (Taken.status, Invalid.status) == (409, 422)
