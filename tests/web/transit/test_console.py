"""Every page of the console shows an operator its own and nothing of another; the desk decides copied codes and debts."""

import csv
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pypdfium2
import pytest
import time_machine
from flask.testing import FlaskClient
from pyiso20022.camt.camt_053_001_08 import Document
from sqlalchemy import select
from xsdata.formats.dataclass.parsers import XmlParser

from app.kernel import clock
from app.kernel.db import Database
from app.web.auth import Role
from card import credentials, ledger, transit
from card.transit.models import Enrolment, TapAlarm
from portal.operator import console
from tests.gates import Gate, books_are_right, gate, import_feed, phone, purse, some_rides
from tests.signing_in import resident, sign_in_as
from tests.web.strictly import parse

EN = "?lang=en"
PAGES = (
    "",
    "/terminals",
    "/taps",
    "/alarms",
    "/journeys",
    "/revenue",
    "/statement",
    "/statement.csv",
    "/statement.xml",
    "/shares",
    "/questions",
    "/tariffs",
    "/keys",
)


@pytest.fixture(autouse=True)
def afternoon() -> Iterator[None]:
    """A card's day ends at three at night; these rides are all of one day."""
    with time_machine.travel(datetime(2026, 11, 22, 6, tzinfo=UTC), tick=True):
        yield


def two_operators(database: Database) -> tuple[Gate, Gate, str]:
    """A metro and a bus with a rider's taps at both, a copied code, a gap and a clock that is off; the card's last digits."""
    now = clock.now()
    with database.transaction() as session:
        import_feed(session, "320100", now=now)
        rider = phone(session, now=now - timedelta(hours=2), money_minor=5_000)
        metro = gate(session, "nj-metro", stop="nj-gulou", now=now)
        bus = gate(session, "nj-bus", line="nj-bus-you2", mode="ride", now=now)
        metro.send(session, [metro.tap(rider, "entry", now - timedelta(minutes=60))], now=now)
        bus.seq = 7  # seven records never came
        bus.skew_ms = -600_000
        bus.send(session, [bus.tap(rider, "ride", now - timedelta(minutes=20))], now=now)
        bus.send(session, [bus.tap(rider, "ride", now - timedelta(minutes=19.8), counter=rider.counter)], now=now)
    return metro, bus, rider.number[-4:]


def operator(client: FlaskClient, database: Database, organisation: str) -> None:
    sign_in_as(client, database, Role.OPERATOR, organisation=organisation)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_shows_an_operator_its_own_only(client: FlaskClient, database: Database, path: str) -> None:
    metro, bus, _ = two_operators(database)
    seen = {}
    for organisation in ("nj-metro", "nj-bus"):
        operator(client, database, organisation)
        page = client.get(f"/operator{path}{EN}")
        assert page.status_code == 200, page.text
        if "." not in path:
            parse(page.text)
        seen[organisation] = page.text
    mine = {"nj-metro": metro.terminal_id[-12:], "nj-bus": bus.terminal_id[-12:]}
    assert mine["nj-bus"] not in seen["nj-metro"]
    assert mine["nj-metro"] not in seen["nj-bus"]
    if path in ("/terminals", "/alarms"):
        assert mine["nj-bus"] in seen["nj-bus"]
    if path in ("", "/revenue", "/statement"):
        assert "¥10.00" in seen["nj-metro"]
        assert "¥10.00" not in seen["nj-bus"].replace("¥10.00 ", "")
        assert "¥2.00" in seen["nj-bus"]
    if path == "/statement.csv":
        assert seen["nj-metro"].strip().endswith("10.00")
        assert seen["nj-bus"].strip().endswith("2.00")


def test_what_is_not_ones_own_cannot_be_changed(client: FlaskClient, database: Database) -> None:
    _, bus, _ = two_operators(database)
    now = clock.now()
    with database.transaction() as session:
        alarm = session.scalars(select(TapAlarm.id).where(TapAlarm.operator_id == "nj-bus")).first()
        made = transit.create_enrolment(session, operator_id="nj-bus", line_id="nj-bus-you2", mode="ride", by="x", now=now)
        journey = transit.journeys_of_operator(session, "nj-bus")[0]
    operator(client, database, "nj-metro")
    assert client.post(f"/operator/alarms/{alarm}", data={"note": "x"}).status_code == 404
    assert client.post(f"/operator/keys/tokens/{made.id}/revoke").status_code == 404
    assert client.post(f"/operator/terminals/{bus.terminal_id}/revoke").status_code == 401
    assert client.get(f"/operator/journeys/{journey.id}").status_code == 404
    assert client.post(f"/operator/questions/{UUID(int=3)}", data={"decision": "accept"}).status_code == 404


def test_alarms_stand_until_mended_and_are_noted_once(client: FlaskClient, database: Database) -> None:
    two_operators(database)
    operator(client, database, "nj-bus")
    page = client.get(f"/operator/alarms{EN}").text
    standing = ("Records are missing", "lacks records 1–7", "The clock is off")
    for text in (*standing, "A code was shown twice", "Copied codes to decide"):
        assert text in page, text
    with database.transaction() as session:
        (replayed,) = session.scalars(select(TapAlarm.id).where(TapAlarm.kind == "replayed"))
    assert (
        "Say in a few words" in client.post(f"/operator/alarms/{replayed}{EN}", data={"note": " "}, follow_redirects=True).text
    )
    client.post(f"/operator/alarms/{replayed}", data={"note": "two phones, one code"})
    client.post(f"/operator/alarms/{replayed}", data={"note": "another story"})
    page = client.get(f"/operator/alarms{EN}").text
    assert "two phones, one code" in page
    assert "another story" not in page


def test_a_token_is_revoked_before_it_is_used(client: FlaskClient, database: Database) -> None:
    two_operators(database)
    operator(client, database, "nj-metro")
    made = client.post(f"/operator/terminals/enrolments{EN}", data={"mode": "both", "stop_id": "nj-gulou"})
    token = made.text.split("--token ")[1].split("<")[0]
    with database.transaction() as session:
        (waiting,) = session.scalars(select(Enrolment.id).where(Enrolment.used_at.is_(None)))
    page = client.get(f"/operator/keys{EN}").text
    assert token not in page, "a token is shown once"
    assert re.search(r"[0-9a-f]{16}", page)
    with database.transaction() as session:
        enrolled = [str(one.terminal_id) for one in transit.terminal_keys(session, "nj-metro")]
    assert enrolled
    assert all(f"…{number[-12:]}" in page for number in enrolled)
    assert "revoked" in client.post(f"/operator/keys/tokens/{waiting}/revoke{EN}", follow_redirects=True).text
    key = credentials.to_base64url(b"k" * 32)
    answer = client.post("/api/transit/terminals/enrol", json={"token": token, "public_key": key})
    assert (answer.status_code, answer.json["code"]) == (401, "enrolment-refused")


def test_page_table_bank_file_and_paper_of_a_day_say_what_the_ledger_says(
    client: FlaskClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_rides(database, resident(database))
    with database.transaction() as session:
        account = ledger.account_id(session, ledger.chart.operator("nj-metro"))
        booked = ledger.balance(session, account).posted_minor
    assert booked > 0
    operator(client, database, "nj-metro")
    page = client.get(f"/operator/statement{EN}").text
    assert f"The ledger booked the same sum: ¥{booked / 100:.2f}." in page
    table = client.get("/operator/statement.csv").text
    rows = list(csv.DictReader(io.StringIO(table.removeprefix("\ufeff"))))
    assert (rows[-1]["transfer_id"], rows[-1]["amount"], rows[-1]["liability"]) == ("total", *[f"{booked / 100:.2f}"] * 2)
    assert sum(Decimal(row["amount"]) for row in rows[:-1]) * 100 == booked
    monkeypatch.setattr(console, "PIECE", 100)
    pieces = list(client.get("/operator/statement.csv").iter_encoded())
    assert len(pieces) > 1, "a large day goes out as it is read"
    assert b"".join(pieces).decode() == table
    camt = client.get("/operator/statement.xml")
    assert camt.content_type.startswith("application/xml")
    (statement,) = XmlParser().from_bytes(camt.data, Document).bk_to_cstmr_stmt.stmt
    signs = {"CRDT": 1, "DBIT": -1}
    assert sum(entry.amt.value * signs[entry.cdt_dbt_ind.value] for entry in statement.ntry) * 100 == booked
    assert [balance.amt.value * 100 for balance in statement.bal] == [0, booked]
    assert "purse:" not in camt.text, "whose purse it was is not the operator's to know"
    paper = client.get("/operator/statement.pdf", buffered=True)
    assert (paper.content_type, paper.headers["Content-Disposition"].endswith('.pdf"')) == ("application/pdf", True)
    text = pypdfium2.PdfDocument(paper.data)[0].get_textpage().get_text_bounded()
    assert f"¥{booked / 100:.2f}" in text
    assert "演示·南京地铁" in text


def test_journeys_go_on_behind_the_last_one_shown(client: FlaskClient, database: Database) -> None:
    some_rides(database, resident(database))
    with database.transaction() as session:
        first, second = transit.journeys_of_operator(session, "nj-metro")
    operator(client, database, "nj-metro")
    whole = client.get(f"/operator/journeys{EN}").text
    links = [f"/operator/journeys/{one.id}" for one in (first, second)]
    assert [link in whole for link in links] == [True, True]
    rest = client.get("/operator/journeys", query_string={"before": f"{first.started_at.isoformat()} {first.id}"}).text
    assert [link in rest for link in links] == [False, True]
    assert client.get("/operator/journeys?before=x").status_code == 200


def test_revenue_by_product_names_the_rule_that_decided(client: FlaskClient, database: Database) -> None:
    some_rides(database, resident(database))
    with database.transaction() as session:
        day = transit.journeys_of_operator(session, "nj-metro")[0].card_day
        found = {one.product: one for one in transit.revenue_by_product(session, "nj-metro", on=day)}
        lines = transit.revenue_by_line(session, "nj-metro", on=day)
    assert sum(one.charged_minor for one in found.values()) == sum(line.charged_minor for line in lines)
    assert found["incomplete"].charged_minor == 1000
    assert found["concession:senior-60"].charged_minor == 250
    operator(client, database, "nj-metro")
    page = client.get(f"/operator/revenue{EN}&on={day}").text
    assert "Half fare from 60 to 69" in page
    assert "A tap is missing" in page


def test_the_desk_decides_a_copied_code_by_two(client: FlaskClient, database: Database) -> None:
    _, _, last4 = two_operators(database)
    with database.transaction() as session:
        (case,) = transit.fraud_cases(session)
    sign_in_as(client, database, Role.OFFICER)
    page = client.get(f"/staff/rides{EN}")
    parse(page.text)
    assert last4 in page.text
    shown = client.get(f"/staff/rides/cases/{case.id}{EN}")
    parse(shown.text)
    assert "Not charged" in shown.text
    genuine = next(tap.key for tap in case.taps if tap.genuine)
    data = {"decision": "confirm", "genuine": genuine, "covered": "0", "answer": ""}
    assert client.post(f"/staff/rides/cases/{case.id}{EN}", data=data).status_code == 422
    assert client.post(f"/staff/rides/cases/{case.id}/approval").status_code == 403
    done = client.post(f"/staff/rides/cases/{case.id}{EN}", data={**data, "answer": "camera"}, follow_redirects=True)
    assert "Decided." in done.text
    assert books_are_right(database)


def test_a_resident_sees_what_is_owed_and_the_desk_gives_it_up_by_two(client: FlaskClient, database: Database) -> None:
    now = clock.now()
    with database.transaction() as session:
        import_feed(session, "320100", now=now)
    holder = sign_in_as(client, database)
    with database.transaction() as session:
        rider = phone(session, now=now - timedelta(hours=1), holder_id=holder)
        bus = gate(session, "nj-bus", line="nj-bus-you2", mode="ride", now=now)
        bus.send(session, [bus.tap(rider, "ride", now - timedelta(minutes=30))], now=now)
    page = client.get(f"/me/journeys/owed{EN}")
    parse(page.text)
    assert "¥2.00" in page.text
    assert "See which rides" in client.get(f"/me/journeys{EN}").text
    sign_in_as(client, database, Role.OFFICER)
    assert client.get("/me/journeys/owed").status_code == 403
    with database.transaction() as session:
        (debt,) = transit.open_debts(session)
    client.post(f"/staff/rides/debts/{debt.id}/write-off", data={"reason": "moved away"})
    with database.transaction() as session:
        (debt,) = transit.open_debts(session)
    assert debt.waiting is not None
    assert client.post(f"/staff/rides/write-offs/{debt.waiting.id}", data={"decision": "approve"}).status_code == 403
    sign_in_as(client, database, Role.SUPERVISOR)
    page = client.get(f"/staff/rides{EN}")
    parse(page.text)
    assert "moved away" in page.text
    client.post(f"/staff/rides/write-offs/{debt.waiting.id}", data={"decision": "approve"})
    client.post("/staff/rides/budget", data={"limit": "500"})
    with database.transaction() as session:
        assert transit.open_debts(session) == []
        assert purse(session, holder) == 0
        assert transit.exposure(session, "issuer").limit_minor == 50_000
