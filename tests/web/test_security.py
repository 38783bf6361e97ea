"""Headers, form tokens, limits, cookies and logs."""

import json
import re

import pytest
import structlog
from flask import Flask, request
from flask.testing import FlaskClient

from app.factory import create_app
from app.kernel import logs
from app.kernel.db import Database
from app.kernel.settings import Settings
from app.web.auth import public
from app.web.security import limiter


@pytest.fixture
def client(settings: Settings, database: Database) -> FlaskClient:
    """A city with form tokens and limits on, as it runs."""
    app = create_app(settings, database=database)

    @app.post("/change")
    @public
    def change() -> str:
        return request.form.get("word", "")

    @app.get("/often")
    @public
    @limiter.limit("2/minute")
    def often() -> str:
        return "yes"

    return app.test_client()


def test_every_answer_carries_a_strict_policy_with_a_fresh_nonce(client: FlaskClient) -> None:
    policies = [client.get(path).headers["Content-Security-Policy"] for path in ("/", "/", "/no-such-page")]
    for policy in policies:
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert "unsafe-eval" not in policy
        assert "frame-ancestors 'none'" in policy
    nonces = [re.findall(r"'nonce-([^']+)'", policy)[0] for policy in policies]
    assert len(set(nonces)) == len(nonces)


@pytest.mark.parametrize(
    ("header", "value"),
    [("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"), ("Referrer-Policy", "same-origin")],
)
def test_the_quiet_headers_are_there(client: FlaskClient, header: str, value: str) -> None:
    assert client.get("/healthz").headers[header] == value


def test_a_form_without_its_token_is_refused_with_a_sentence(client: FlaskClient) -> None:
    answer = client.post("/change", data={"word": "x"}, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json["code"]) == (400, "form-expired")


def test_a_caller_that_asks_too_often_is_told_so(client: FlaskClient) -> None:
    headers = {"Accept": "application/json"}
    answers = [client.get("/often", headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].json["code"] == "too-many-requests"


@pytest.mark.parametrize(
    ("key", "hidden"),
    [("password", True), ("access_token", True), ("identity_number", True), ("pinned_version", False), ("path", False)],
)
def test_no_secret_reaches_a_log(capsys: pytest.CaptureFixture[str], key: str, hidden: bool) -> None:
    logs.configure("INFO")
    structlog.get_logger().info("something", **{key: "the-value"})
    line = json.loads(capsys.readouterr().out)
    assert (line[key] == "[redacted]") is hidden


def test_cookies_are_kept_from_scripts_and_foreign_sites(app: Flask) -> None:
    assert app.config["SESSION_COOKIE_HTTPONLY"]
    assert app.config["SESSION_COOKIE_SAMESITE"] == "Lax"


@pytest.mark.parametrize("secure", [True, False])
def test_outside_a_demonstration_cookies_travel_encrypted(settings: Settings, database: Database, secure: bool) -> None:
    made = create_app(settings.model_copy(update={"cookie_secure": secure}), database=database)
    assert made.config["SESSION_COOKIE_SECURE"] is secure
    assert ("Strict-Transport-Security" in made.test_client().get("/healthz").headers) is secure
