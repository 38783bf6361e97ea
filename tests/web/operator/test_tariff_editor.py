"""New fares on the operator's pages: begun, edited, compared, tried on past taps, published by a second person."""

import io
import re
from datetime import date
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app.kernel import clock
from app.kernel.db import Database
from app.web.auth import Role
from card import transit
from card.transit import jobs
from tests.conftest import make_settings
from tests.gates import some_rides
from tests.signing_in import sign_in_as
from tests.web.strictly import parse

EN = "?lang=en"
DRAFTS = "/operator/tariffs/drafts"


def operator(client: FlaskClient, database: Database, organisation: str = "nj-metro") -> None:
    sign_in_as(client, database, Role.OPERATOR, organisation=organisation)


def begun(client: FlaskClient, database: Database) -> str:
    """The address of a new draft of the metro, whose maker is signed in."""
    some_rides(database, sign_in_as(client, database))
    operator(client, database)
    made = client.post(DRAFTS)
    assert made.status_code == 302, made.text
    return made.location.removesuffix("/edit")


def cells(page: str) -> dict[str, str]:
    """The form of the page as it would be sent: every input's name and value."""
    found = {}
    for tag in re.findall(r"<input[^>]*>", page):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        if name and 'type="file"' not in tag:
            found[name[1]] = value[1] if value else ""
    for name, body in re.findall(r'<select[^>]*name="([^"]*)"[^>]*>(.*?)</select>', page, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', body)
        found[name] = chosen[1] if chosen else ""
    return found


@pytest.mark.parametrize("language", ["en", "zh_Hans_CN"])
def test_a_draft_is_edited_compared_and_tried(
    client: FlaskClient, database: Database, database_url: str, tmp_path: Path, language: str
) -> None:
    draft = begun(client, database)
    page = client.get(f"{draft}/edit?lang={language}")
    assert page.status_code == 200
    parse(page.text)
    form = cells(page.text)
    assert date.fromisoformat(form["tariffs.txt:0:effective_from"]) > clock.now().date()
    form |= {"distance_bands.txt:0:step_amount": "3.00", "note": "one yuan more"}
    saved = client.post(f"{draft}/edit", data=form)
    assert saved.status_code == 302, saved.text
    shown = client.get(f"{draft}?lang={language}")
    parse(shown.text)
    assert '<del class="fares-before">¥2.00</del>' in shown.text
    assert '<ins class="fares-after">¥3.00</ins>' in shown.text
    assert "<polyline" in shown.text
    assert "one yuan more" in shown.text
    with database.transaction() as session:
        [ride, *_] = transit.journeys_of_operator(session, "nj-metro")
    days = {"first": ride.card_day.isoformat(), "last": ride.card_day.isoformat()}
    run = client.post(f"{draft}/what-if", data=days)
    waiting = client.get(f"{run.location}?lang={language}")
    parse(waiting.text)
    assert waiting.headers["Refresh"] == "3"
    jobs.price_what_ifs(database, make_settings(database_url, tmp_path))
    done = client.get(f"{run.location}?lang={language}")
    parse(done.text)
    assert "Refresh" not in done.headers
    assert "+" in done.text
    assert "<rect" in done.text
    parse(client.get(f"{DRAFTS}?lang={language}").text)


def test_a_wrong_cell_is_named_and_what_was_typed_stays(client: FlaskClient, database: Database) -> None:
    draft = begun(client, database)
    form = cells(client.get(f"{draft}/edit{EN}").text)
    answer = client.post(f"{draft}/edit{EN}", data=form | {"distance_bands.txt:1:step_amount": "cheap"})
    assert answer.status_code == 422
    parse(answer.text)
    assert "Distance bands, row 2, Amount of a step: is not an amount of zero or more with at most two decimals" in answer.text
    assert 'value="cheap"' in answer.text
    taken = client.post(f"{draft}/edit{EN}", data=form | {"tariffs.txt:0:tariff_id": "nj-metro-2026"})
    assert (taken.status_code, "This name belongs to a version" in taken.text) == (422, True)


def test_the_maker_hands_over_and_somebody_else_publishes(client: FlaskClient, database: Database) -> None:
    draft = begun(client, database)
    assert client.post(f"{draft}/steps/submit").status_code == 302
    assert "Publish these fares" not in client.get(f"{draft}{EN}").text
    refused = client.post(f"{draft}/steps/publish{EN}", follow_redirects=True)
    assert "Somebody else has to approve this" in refused.text
    operator(client, database)
    assert "Publish these fares" in client.get(f"{draft}{EN}").text
    back = client.post(f"{draft}/steps/send_back{EN}", data={"answer": ""}, follow_redirects=True)
    assert "Say in a sentence what has to change." in back.text
    done = client.post(f"{draft}/steps/publish{EN}", follow_redirects=True)
    assert "Published. It is in force from its first day on." in done.text
    with database.transaction() as session:
        assert len(transit.tariff_views(session, "nj-metro")) == 2


def test_a_file_replaces_a_table_and_another_operator_sees_nothing(client: FlaskClient, database: Database) -> None:
    draft = begun(client, database)
    form = cells(client.get(f"{draft}/edit{EN}").text)
    file = tmp_csv("from_stop_id,to_stop_id,amount\nnj-gulou,nj-nanjingnanzhan,3.50\n", "od_fares.txt")
    assert client.post(f"{draft}/edit", data=form | {"file": file}).status_code == 302
    assert "Gulou · Nanjing South Railway Station" in client.get(f"{draft}{EN}").text
    form = cells(client.get(f"{draft}/edit{EN}").text)
    wrong = client.post(f"{draft}/edit{EN}", data=form | {"file": tmp_csv("a\n1\n", "stops.txt")})
    assert "Only files that say something about fares" in wrong.text
    operator(client, database, "nj-bus")
    assert client.get(draft).status_code == 404
    assert client.post(f"{draft}/steps/withdraw{EN}", follow_redirects=True).status_code == 404


def tmp_csv(text: str, name: str) -> tuple:
    return (io.BytesIO(text.encode()), name)
