"""Signing in: by password, with a one-time code, and what happens when it goes wrong."""

from datetime import UTC, datetime, timedelta

import pyotp
import pytest
import time_machine
from flask.testing import FlaskClient

from app.kernel.db import Database
from app.web.auth import Role
from app.web.security import limiter
from services import people
from tests.signing_in import PASSWORD, enter, resident

NOON = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


def sign_in(client: FlaskClient, username: str, password: str = PASSWORD, **form: str):
    return client.post("/sign-in?lang=en", data={"username": username, "password": password, **form})


@pytest.fixture
def lin(database: Database):
    return resident(database, username="lin", password=PASSWORD)


@pytest.mark.parametrize(
    ("role", "home"),
    [
        (Role.OFFICER, "/staff"),
        (Role.SUPERVISOR, "/staff"),
        (Role.ADMINISTRATOR, "/staff"),
        (Role.OPERATOR, "/operator"),
        (Role.HOSPITAL, "/hospital"),
        (Role.PARTNER, "/partner"),
    ],
)
def test_each_role_lands_at_its_home(client: FlaskClient, database: Database, role: Role, home: str) -> None:
    with database.transaction() as session:
        people.create_staff(session, username="chen", name="演示·陈", password=PASSWORD, role=role, now=NOON)
    answer = sign_in(client, "Chen ")
    assert (answer.status_code, answer.location) == (303, home)


@pytest.mark.parametrize(
    ("asked", "goes"),
    [
        ("/me/card?x=1", "/me/card?x=1"),
        ("", "/me"),
        ("https://elsewhere.example/", "/me"),
        ("//elsewhere.example/", "/me"),
        ("/\\elsewhere.example", "/me"),
        ("/sign-out", "/me"),
        ("/\n/elsewhere", "/me"),
    ],
)
def test_after_signing_in_one_goes_on_where_one_was_going_and_never_elsewhere(
    client: FlaskClient, lin, asked: str, goes: str
) -> None:
    assert sign_in(client, "lin", next=asked).location == goes


def test_a_page_that_needs_a_person_asks_for_sign_in_and_comes_back(client: FlaskClient, lin) -> None:
    answer = client.get("/me/security?tab=1")
    assert (answer.status_code, answer.location) == (303, "/sign-in?next=%2Fme%2Fsecurity%3Ftab%3D1")
    page = client.get(answer.location).text
    assert 'value="/me/security?tab=1"' in page


@pytest.mark.parametrize(("username", "password"), [("lin", "wrong words here"), ("nobody", PASSWORD), ("", ""), ("lin", "")])
def test_every_failure_says_the_same(client: FlaskClient, lin, username: str, password: str) -> None:
    answer = sign_in(client, username, password)
    assert answer.status_code == 422
    assert "The user name or the password is not right." in answer.text
    assert client.get("/me/security").status_code == 303


@pytest.mark.parametrize("username", ["lin", "somebody.unknown"])
def test_sign_in_pauses_after_five_failures_even_for_the_right_password(client: FlaskClient, lin, username: str) -> None:
    with time_machine.travel(NOON, tick=False) as traveller:
        for _ in range(4):
            assert sign_in(client, username, "wrong words here").status_code == 422
        answer = sign_in(client, username, "wrong words here")
        assert answer.status_code == 429
        assert "Try again in 1 min." in answer.text
        assert sign_in(client, username).status_code == 429
        traveller.shift(timedelta(seconds=61))
        assert sign_in(client, username).status_code == (303 if username == "lin" else 429)


def test_an_address_that_tries_too_often_waits(client: FlaskClient, lin) -> None:
    limiter.enabled = True
    try:
        statuses = [sign_in(client, f"name{n}", "wrong words here").status_code for n in range(31)]
    finally:
        limiter.enabled = False
        limiter.reset()
    assert statuses == [422] * 30 + [429]


def test_signing_in_begins_a_new_session_and_signing_out_ends_it(client: FlaskClient, lin) -> None:
    with client.session_transaction() as cookie:
        cookie["planted"] = "by somebody else"
    sign_in(client, "lin")
    with client.session_transaction() as cookie:
        assert "planted" not in cookie
    assert client.get("/me/security").status_code == 200
    assert client.get("/sign-in").location == "/me"
    assert client.post("/sign-out").location == "/"
    assert client.get("/me/security").status_code == 303


def turn_codes_on(client: FlaskClient, database: Database, person_id) -> tuple[pyotp.TOTP, list[str]]:
    enter(client, database, person_id)
    page = client.get("/me/security/codes?lang=en").text
    secret = page.split("type this secret into it:")[1].split("<strong>")[1].split("</strong>")[0].replace(" ", "")
    totp = pyotp.TOTP(secret)
    assert "This code is not right" in client.post("/me/security/codes", data={"code": "000000"}).text
    done = client.post("/me/security/codes", data={"code": totp.now()}).text
    codes = [part.split("</strong>")[0] for part in done.split("<li><strong>")[1:]]
    assert len(codes) == 10
    client.post("/sign-out")
    return totp, codes


def test_a_one_time_code_is_asked_for_and_counts_once(client: FlaskClient, database: Database, lin) -> None:
    with time_machine.travel(NOON, tick=False) as traveller:
        totp, recovery = turn_codes_on(client, database, lin)
        assert client.get("/sign-in/code").location == "/sign-in", "the password comes first"
        used = totp.now()
        assert sign_in(client, "lin", next="/me/security").location == "/sign-in/code"
        assert client.get("/me/security").status_code == 303, "half signed in is not signed in"
        assert client.post("/sign-in/code", data={"code": used}).status_code == 422, "the code that turned it on is used up"
        traveller.shift(timedelta(seconds=30))
        answer = client.post("/sign-in/code", data={"code": totp.now()})
        assert answer.location == "/me/security"
        client.post("/sign-out")

        sign_in(client, "lin")
        assert client.post("/sign-in/code", data={"code": recovery[3].upper()}).location == "/me"
        client.post("/sign-out")
        sign_in(client, "lin")
        assert client.post("/sign-in/code", data={"code": recovery[3]}).status_code == 422, "each opens once"

        traveller.shift(timedelta(minutes=11))
        assert client.post("/sign-in/code", data={"code": totp.now()}).location == "/sign-in", "the first step is too old"


def test_codes_are_turned_off_against_the_password_only(client: FlaskClient, database: Database, lin) -> None:
    turn_codes_on(client, database, lin)
    enter(client, database, lin)
    assert client.post("/me/security/codes/remove", data={"current_for_codes": "wrong words"}).status_code == 422
    assert client.post("/me/security/codes/remove", data={"current_for_codes": PASSWORD}).status_code == 303
    client.post("/sign-out")
    assert sign_in(client, "lin").location == "/me"


def test_another_password_ends_every_other_session(client: FlaskClient, app, database: Database, lin) -> None:
    elsewhere = app.test_client()
    for browser in (client, elsewhere):
        assert sign_in(browser, "lin").location == "/me"
    wrong = client.post("/me/security/password?lang=en", data={"current": "wrong words", "password": "another good one"})
    assert "This is not your present password." in wrong.text
    short = client.post("/me/security/password?lang=en", data={"current": PASSWORD, "password": "short"})
    assert "Use at least 10 characters." in short.text
    assert elsewhere.get("/me/security").status_code == 200
    done = client.post("/me/security/password", data={"current": PASSWORD, "password": "another good one"})
    assert done.status_code == 303
    assert client.get("/me/security").status_code == 200
    assert elsewhere.get("/me/security").status_code == 303
    assert sign_in(elsewhere, "lin").status_code == 422
    assert sign_in(elsewhere, "lin", "another good one").location == "/me"


def test_a_form_without_its_token_is_refused(app, lin) -> None:
    app.config["WTF_CSRF_ENABLED"] = True
    answer = sign_in(app.test_client(), "lin")
    assert answer.status_code == 400
    assert "This form was open for too long." in answer.text
