"""The resident's own pages: home, messages, who saw my data."""

from flask.testing import FlaskClient

from app.kernel import clock
from app.kernel.db import Database
from app.web.auth import Role
from services import messages, people
from tests.signing_in import enter, resident, sign_in_as


def test_a_new_resident_sees_what_to_do_first(client: FlaskClient, database: Database) -> None:
    sign_in_as(client, database)
    page = client.get("/me?lang=en").text
    for words in ("Hello, Demo Lin Xiaoman", "You have no card yet", "¥0.00", "Top up"):
        assert words in page


def test_a_message_is_new_until_it_is_opened(client: FlaskClient, database: Database) -> None:
    person_id = sign_in_as(client, database)
    with database.transaction() as session:
        message_id = messages.send(session, person_id=person_id, template="welcome", params={}, at=clock.now())
    assert "1 new" in client.get("/me/messages?lang=en").text
    assert "Your account is ready." in client.get(f"/me/messages/{message_id}").text
    assert "1 new" not in client.get("/me/messages").text
    assert "欢迎" in client.get("/me/messages?lang=zh_Hans_CN").text


def test_a_look_up_by_an_officer_is_read_by_the_resident(app, client: FlaskClient, database: Database) -> None:
    lin = resident(database)
    with database.transaction() as session:
        number = people.identity_number(session, lin)
    sign_in_as(client, database, Role.OFFICER)
    form = {"identity_number": number, "purpose": "case-work", "reference": "320100-2026-000017"}
    for missing, sentence in (("purpose", "Say what you need"), ("reference", "Enter the case number")):
        answer = client.post("/staff/people?lang=en", data={**form, missing: ""})
        assert answer.status_code == 422
        assert sentence in answer.text
    assert "We know no such person." in client.post("/staff/people", data={**form, "identity_number": "990000"}).text
    found = client.post("/staff/people", data=form).text
    assert "Demo Lin Xiaoman" in found
    assert number not in found, "only masked"

    home = app.test_client()
    enter(home, database, lin)
    page = home.get("/me/data?lang=en").text
    for words in ("Handling an application", "Officer, city desk", "320100-2026-000017", "PIPL, Articles 13(3) and 34"):
        assert words in page
    assert page.count("320100-2026-000017") == 1, "a look-up that was refused showed nothing"


def test_an_officers_home_shows_the_desks_that_are_open_to_them(client: FlaskClient, database: Database) -> None:
    sign_in_as(client, database, Role.OFFICER)
    assert "Look a resident up" in client.get("/staff?lang=en").text
    sign_in_as(client, database, Role.ADMINISTRATOR)
    page = client.get("/staff?lang=en").text
    assert "Administrator" in page
    assert 'href="/staff/people"' not in page
