"""Live taps over HTTP: what a stream says, where it goes on, whose taps it tells, and what happens when there are too many."""

import json
from datetime import timedelta
from threading import Thread
from time import monotonic

import pytest
from flask import Flask
from flask.testing import FlaskClient
from lxml import html

from app.factory import create_app
from app.kernel import clock
from app.kernel.db import Database
from app.web import streams
from app.web.auth import Role
from tests.conftest import make_settings
from tests.gates import Gate, Phone, gate, import_feed, minutes, phone
from tests.signing_in import sign_in_as
from tests.web.strictly import parse

EN = "?lang=en"
STREAM, NEWS = "/operator/taps/stream", "/operator/taps/news"


@pytest.fixture
def street(app: Flask, database: Database) -> tuple[Gate, Gate, Phone]:
    """A gate of the metro, a bus, a rider; streams that end at once."""
    app.config[streams.LENGTH] = 0
    now = clock.now()
    with database.transaction() as session:
        import_feed(session, "320100", now=now)
        rider = phone(session, now=now - timedelta(hours=2), money_minor=100_000)
        metro = gate(session, "nj-metro", stop="nj-gulou", now=now)
        bus = gate(session, "nj-bus", line="nj-bus-you2", mode="ride", now=now)
    return metro, bus, rider


def tap(database: Database, at: Gate, rider: Phone, kind: str, *, ago: float) -> None:
    now = clock.now()
    with database.transaction() as session:
        at.send(session, [at.tap(rider, kind, now - minutes(ago))], now=now)


def opened(client: FlaskClient) -> str:
    """The place at which the page of taps goes on."""
    page = client.get(f"/operator/taps{EN}")
    parse(page.text)
    (live,) = html.fromstring(page.text).xpath("//*[@data-live]")
    return str(live.get("data-place"))


def events(text: str) -> list[dict]:
    """The events of a stream, as a browser reads it: their data, with the id beside it."""
    found = []
    for block in text.split("\n\n"):
        fields = [line.partition(": ")[::2] for line in block.splitlines() if line and not line.startswith(":")]
        data = "\n".join(value for name, value in fields if name == "data")
        if data:
            found.append({**json.loads(data), "id": dict(fields)["id"], "event": dict(fields)["event"]})
    return found


def listen(client: FlaskClient, *, after: str = "", last: str = "") -> list[dict]:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last} if last else {"Accept": "text/event-stream"}
    answer = client.get(STREAM, query_string={"after": after} if after else {}, headers=headers)
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream"), answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Accel-Buffering"] == "no"
    text = answer.text
    answer.close()
    assert text.startswith("retry: ")
    return events(text)


def test_a_tap_comes_to_the_page_once_and_a_reconnect_goes_on_behind_it(
    client: FlaskClient, database: Database, street: tuple[Gate, Gate, Phone]
) -> None:
    metro, _, rider = street
    sign_in_as(client, database, Role.OPERATOR, organisation="nj-metro")
    tap(database, metro, rider, "entry", ago=50)
    place = opened(client)
    (greeting,) = listen(client, after=place)
    assert (greeting["count"], greeting["rows"].strip(), greeting["id"]) == (0, "", greeting["place"])
    tap(database, metro, rider, "exit", ago=20)
    (heard,) = listen(client, after=place)
    assert (heard["count"], heard["event"], heard["last"]) == (1, "news", "Gulou, Out, Accepted")
    (row,) = html.fragments_fromstring(heard["rows"].strip())
    assert "Gulou" in row.text_content()
    assert listen(client, after=place, last=heard["id"])[0]["count"] == 0, "the browser's word counts, not the page's old place"
    tap(database, metro, rider, "entry", ago=10)
    assert [one["count"] for one in listen(client, last=heard["id"])] == [1]
    assert client.get(NEWS, query_string={"after": place}).json["count"] == 2, "who asks gets the same"
    assert client.get(NEWS, query_string={"after": heard["id"]}).json["count"] == 1


def test_an_operator_hears_nothing_of_another(
    client: FlaskClient, database: Database, street: tuple[Gate, Gate, Phone]
) -> None:
    metro, bus, rider = street
    sign_in_as(client, database, Role.OPERATOR, organisation="nj-metro")
    place = opened(client)
    tap(database, metro, rider, "entry", ago=20)
    tap(database, bus, rider, "ride", ago=10)
    assert [one["last"] for one in listen(client, after=place)] == ["Gulou, In, Accepted"]
    sign_in_as(client, database, Role.OPERATOR, organisation="nj-bus")
    (heard,) = listen(client, after=place)
    assert (heard["count"], "Gulou" in heard["rows"]) == (1, False)


def test_an_alarm_is_counted_as_it_comes(client: FlaskClient, database: Database, street: tuple[Gate, Gate, Phone]) -> None:
    metro, _, rider = street
    sign_in_as(client, database, Role.OPERATOR, organisation="nj-metro")
    place = opened(client)
    metro.skew_ms = -600_000
    tap(database, metro, rider, "entry", ago=20)
    (heard,) = listen(client, after=place)
    assert (heard["alarms"], "Clock off" in heard["rows"]) == (1, True)


def test_a_stream_goes_on_by_itself_while_it_lasts_and_says_something_every_second(
    app: Flask, client: FlaskClient, database: Database, street: tuple[Gate, Gate, Phone]
) -> None:
    metro, _, rider = street
    app.config[streams.LENGTH] = 2.5
    sign_in_as(client, database, Role.OPERATOR, organisation="nj-metro")
    answer = client.get(STREAM, query_string={"after": opened(client)})
    pieces = iter(answer.response)
    assert next(pieces) == f"retry: {streams.RETRY_MS}\n\n".encode()
    assert events(next(pieces).decode())[0]["count"] == 0
    assert next(pieces) == b":\n\n"
    tap(database, metro, rider, "entry", ago=20)
    assert events(next(pieces).decode())[0]["count"] == 1
    rest = list(pieces)
    assert rest, "the stream goes on after news"
    assert set(rest) == {b":\n\n"}
    answer.close()


@pytest.mark.parametrize("place", ["x", "1/2:"])
def test_whose_place_is_lost_is_told_to_load_the_list_again(
    client: FlaskClient, database: Database, street: tuple[Gate, Gate, Phone], place: str
) -> None:
    sign_in_as(client, database, Role.OPERATOR, organisation="nj-metro")
    answer = client.get(NEWS, query_string={"after": place, "lang": "en"}, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json["code"]) == (410, "cannot-resume")
    assert answer.json["title"] == "This list cannot go on from where it was. Load it again."
    assert client.get(STREAM, headers={"Last-Event-ID": place}).status_code == 410


@pytest.mark.parametrize("allowed", [0, 2])
def test_more_streams_than_allowed_are_told_when_to_come_again_and_asking_works_all_the_time(
    database_url: str, database: Database, tmp_path, allowed: int
) -> None:
    app = create_app(make_settings(database_url, tmp_path, live_streams_max=allowed), database=database)
    app.config.update(TESTING=True, RATELIMIT_ENABLED=False, WTF_CSRF_ENABLED=False)
    with database.transaction() as session:
        import_feed(session, "320100", now=clock.now())
    client = app.test_client()
    sign_in_as(client, database, Role.OPERATOR, organisation="nj-metro")
    held = [client.get(STREAM) for _ in range(allowed)]
    assert [one.status_code for one in held] == [200] * allowed
    for _ in range(2):
        refused = client.get(STREAM, headers={"Accept": "application/json"})
        assert (refused.status_code, refused.json["code"], refused.headers["Retry-After"]) == (503, "streams-taken", "20")
    assert client.get(NEWS).status_code == 200
    for one in held:
        one.close()
        again = client.get(STREAM)
        assert again.status_code == 200, "whoever goes makes room"
        again.close()


def test_a_stream_ends_by_itself(app: Flask, client: FlaskClient, database: Database, street: tuple[Gate, Gate, Phone]) -> None:
    app.config[streams.LENGTH] = 1.5
    sign_in_as(client, database, Role.OPERATOR, organisation="nj-metro")
    began = monotonic()
    reader = Thread(target=lambda: client.get(STREAM).text)
    reader.start()
    reader.join(30)
    assert not reader.is_alive()
    assert 1 <= monotonic() - began < 20
