"""Taps in the database: once each, in any order, priced again at every arrival; the ledger gets only the difference."""

from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from app.kernel.db import Database
from app.kernel.errors import Invalid
from app.kernel.outbox import OutboxEvent
from card import cards, credentials, fares, ledger, transit
from card.credentials import Decision
from card.transit.models import FarePosting, JourneyRow, TapAlarm, TapRow
from tests.gates import account, books_are_right, gate, import_feed, minutes, phone, purse, top_up, travelling

NOW = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)  # 08:00 in Suzhou
CHART = ledger.chart


@pytest.fixture
def suzhou(database: Database, database_url: str, tmp_path: Path) -> Database:
    """Suzhou with its feed."""
    return travelling(database, database_url, tmp_path, code="320500", now=NOW)


@pytest.fixture
def nanjing(database: Database, database_url: str, tmp_path: Path) -> Database:
    """Nanjing with its feed."""
    return travelling(database, database_url, tmp_path, code="320100", now=NOW)


def test_late_and_out_of_order_taps_move_only_the_difference(suzhou: Database) -> None:
    with suzhou.transaction() as session:
        rider = phone(session, now=NOW, money_minor=10_000)
        a, b, c = (gate(session, "sz-metro", stop=stop, now=NOW) for stop in ("sz-mudu", "sz-nanshijie", "sz-leqiao"))
    entry_a = a.tap(rider, "entry", NOW)
    exit_b = b.tap(rider, "exit", NOW + minutes(40))
    entry_b = b.tap(rider, "entry", NOW + minutes(50))
    exit_c = c.tap(rider, "exit", NOW + minutes(80))
    arrivals = [(b, exit_b), (b, exit_b), (b, entry_b), (c, exit_c), (a, entry_a)]
    charged = []
    for step, (where, tap) in enumerate(arrivals):
        with suzhou.transaction() as session:
            before = purse(session, rider.holder_id)
            where.send(session, [tap], now=NOW + minutes(100 + step))
            charged.append(before - purse(session, rider.holder_id))
    assert charged == [1000, 0, 1000, -620, -430]
    with suzhou.transaction() as session:
        assert purse(session, rider.holder_id) == 10_000 - 950
        assert account(session, CHART.operator("sz-metro"), now=NOW) == 950
        journeys = transit.journeys_of_holder(session, rider.holder_id)
        assert [(one.from_stop, one.to_stop, one.charged_minor) for one in journeys] == [
            ("sz-nanshijie", "sz-leqiao", 380),
            ("sz-mudu", "sz-nanshijie", 570),
        ]
        history = transit.postings_of_day(session, card_number=rider.number, day=journeys[0].card_day, operator_id="sz-metro")
        assert [posting.amount_minor for posting in history] == [1000, 1000, -620, -430]
    assert books_are_right(suzhou)


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_arrival_ends_at_the_same_money(suzhou: Database, seed: int) -> None:
    random = Random(seed)
    with suzhou.transaction() as session:
        rider = phone(session, now=NOW, money_minor=20_000)
        a, b, c = (gate(session, "sz-metro", stop=stop, now=NOW) for stop in ("sz-mudu", "sz-nanshijie", "sz-leqiao"))
        bus = gate(session, "sz-bus", line="sz-bus-you1", mode="ride", now=NOW)
    day = 24 * 60
    taps = [
        (a, a.tap(rider, "entry", NOW)),
        (b, b.tap(rider, "exit", NOW + minutes(40))),
        (b, b.tap(rider, "entry", NOW + minutes(50))),
        (a, a.tap(rider, "exit", NOW + minutes(90))),
        (bus, bus.tap(rider, "ride", NOW + minutes(100))),
        (a, a.tap(rider, "entry", NOW + minutes(200))),
        (c, c.tap(rider, "exit", NOW + minutes(240))),  # the third long ride of the day meets the cap of 15.00
        (b, b.tap(rider, "entry", NOW + minutes(day + 10))),
        (c, c.tap(rider, "exit", NOW + minutes(day + 60))),  # the next day looks back on this one
    ]
    arriving = taps + [one for one in taps if random.random() < 0.4]
    random.shuffle(arriving)
    for step, (where, tap) in enumerate(arriving):
        with suzhou.transaction() as session:
            where.send(session, [tap], now=NOW + minutes(2 * day + step))
    with suzhou.transaction() as session:
        # 5.70 + 5.70 + 2.00 bus + 3.60 of 3.80 under the cap; next day 12.2 km: what is left of 24 hours decides
        charged = {one.started_at: one.charged_minor for one in transit.journeys_of_holder(session, rider.holder_id)}
        assert [charged[at] for at in sorted(charged)] == [570, 570, 200, 360, 380]
        assert purse(session, rider.holder_id) == 20_000 - 2080
        assert session.scalar(select(func.sum(FarePosting.amount_minor))) == 2080
    assert books_are_right(suzhou)


def test_a_receipt_tells_how_far_it_got_and_what_is_missing(suzhou: Database) -> None:
    with suzhou.transaction() as session:
        rider = phone(session, now=NOW, money_minor=10_000)
        where = gate(session, "sz-metro", stop="sz-mudu", now=NOW)
    taps = [where.tap(rider, kind, NOW + minutes(3 * step)) for step, kind in enumerate(("entry", "exit", "entry", "exit"))]
    with suzhou.transaction() as session:
        first = where.send(session, [taps[0], taps[3]], now=NOW + minutes(30))
    assert (first.contiguous, first.gaps) == ({where.boot_id: 1}, {where.boot_id: [(2, 3)]})
    assert [result.outcome for result in first.results] == ["stored", "stored"]
    with suzhou.transaction() as session:
        second = where.send(session, taps, now=NOW + minutes(31))
    assert (second.contiguous, second.gaps) == ({where.boot_id: 4}, {})
    assert [result.outcome for result in second.results] == ["repeated", "stored", "stored", "repeated"]


def test_what_is_wrong_with_one_tap_leaves_the_others(suzhou: Database) -> None:
    with suzhou.transaction() as session:
        rider, other = phone(session, now=NOW, money_minor=10_000), phone(session, now=NOW, money_minor=10_000)
        a, b = (gate(session, "sz-metro", stop=stop, now=NOW) for stop in ("sz-mudu", "sz-nanshijie"))
    good = a.tap(rider, "entry", NOW)
    stale = a.tap(rider, "entry", NOW + minutes(5), qr=rider.show(NOW)[0], counter=99)
    forged = a.tap(rider, "entry", NOW + minutes(6))
    forged = forged._replace(card_number=other.number)
    refused = a.tap(rider, "exit", NOW + minutes(7), decision=Decision.REFUSED, reason="passback", qr=b"")
    body = credentials.wire.read(credentials.encode_batch(a.terminal_id, [good, stale, forged, refused]))
    body["batch"].append({"boot_id": "x"})
    with suzhou.transaction() as session:
        receipt = transit.receive(
            session,
            terminal_id=UUID(a.terminal_id),
            body=credentials.wire.write(body),
            proof="",
            now=NOW + minutes(9),
        )
    answers = [(result.seq, result.outcome, result.code) for result in receipt.results]
    assert answers == [
        (1, "stored", ""),
        (2, "refused", "code-too-old"),
        (3, "refused", "other-card"),
        (4, "stored", ""),
        (0, "refused", "malformed"),
    ]
    assert receipt.contiguous == {a.boot_id: 4}, "a refused record is received; nobody sends it again for ever"
    with suzhou.transaction() as session:
        b.send(session, [b.tap(rider, "exit", NOW + minutes(40))], now=NOW + minutes(50))
        assert purse(session, rider.holder_id) == 10_000 - 570
        assert purse(session, other.holder_id) == 10_000
        kinds = session.scalars(select(TapAlarm.kind).order_by(TapAlarm.id)).all()
    assert sorted(kinds) == ["code-too-old", "malformed", "other-card"]


def test_the_same_key_with_other_content_is_an_alarm_and_never_an_overwrite(suzhou: Database) -> None:
    with suzhou.transaction() as session:
        rider = phone(session, now=NOW, money_minor=10_000)
        where = gate(session, "sz-metro", stop="sz-mudu", now=NOW)
    tap = where.tap(rider, "entry", NOW)
    with suzhou.transaction() as session:
        where.send(session, [tap], now=NOW)
    with suzhou.transaction() as session:
        receipt = where.send(session, [tap._replace(list_seq=7)], now=NOW)
        assert [(result.outcome, result.code) for result in receipt.results] == [("refused", "tap-conflict")]
        assert session.scalars(select(TapRow.list_seq)).one() == 0
        assert session.scalars(select(TapAlarm.kind)).one() == "tap-conflict"
        assert purse(session, rider.holder_id) == 9_000
    with pytest.raises(ProgrammingError), suzhou.transaction() as session:
        session.execute(text("UPDATE card.tap SET list_seq = 9"))


def test_a_code_shown_at_two_disconnected_stations_travels_once(suzhou: Database) -> None:
    with suzhou.transaction() as session:
        rider = phone(session, now=NOW, money_minor=10_000)
        a, b, c = (gate(session, "sz-metro", stop=stop, now=NOW) for stop in ("sz-mudu", "sz-nanshijie", "sz-leqiao"))
    taps = [
        (a, a.tap(rider, "entry", NOW)),
        (c, c.tap(rider, "entry", NOW + minutes(0.5), counter=rider.counter)),
        (b, b.tap(rider, "exit", NOW + minutes(40))),
    ]
    for where, tap in reversed(taps):
        with suzhou.transaction() as session:
            where.send(session, [tap], now=NOW + minutes(60))
    with suzhou.transaction() as session:
        assert purse(session, rider.holder_id) == 10_000 - 570
        assert session.scalars(select(JourneyRow.charged_minor)).all() == [570]


def test_first_ride_risk_is_shared_by_list_and_grace_and_recovered_at_the_top_up(nanjing: Database) -> None:
    """Worked case 5: 6.00 at the issuer's risk, 2.00 at the operator's; a top-up of 20 leaves 12."""
    with nanjing.transaction() as session:
        rider = phone(session, now=NOW - minutes(60))
        begin, end = (gate(session, "nj-metro", stop=stop, now=NOW) for stop in ("nj-nanjingzhan", "nj-baijiahu"))
        bus = gate(session, "nj-bus", line="nj-bus-you2", mode="ride", now=NOW)
    with nanjing.transaction() as session:  # 08:00, offline; 23.4 km
        begin.send(session, [begin.tap(rider, "entry", NOW - minutes(35))], now=NOW)
        end.send(session, [end.tap(rider, "exit", NOW)], now=NOW)
    with nanjing.transaction() as session:
        cards.block(session, card_id=rider.card_id, reason="misuse", by="person:test", now=NOW + minutes(20))
        cards.publish_deny_list(session, now=NOW + minutes(25))
    with nanjing.transaction() as session:  # the bus last synced at 06:00
        bus.send(session, [bus.tap(rider, "ride", NOW + minutes(40))], now=NOW + minutes(45))
    with nanjing.transaction() as session:
        risks = session.execute(text("SELECT liability, sum(left_minor) FROM card.debt GROUP BY 1 ORDER BY 1")).all()
        assert [tuple(risk) for risk in risks] == [("issuer", 600), ("operator", 200)]
        assert transit.debts_of(session, rider.holder_id) == 800
        assert account(session, CHART.receivable(rider.holder_id), now=NOW) == -800
        top_up(session, rider.holder_id, 2000, now=NOW + minutes(60))
        assert transit.recover_debts(session, holder_id=rider.holder_id, now=NOW + minutes(61)) == 800
        assert transit.recover_debts(session, holder_id=rider.holder_id, now=NOW + minutes(62)) == 0
        assert purse(session, rider.holder_id) == 1200
        assert account(session, CHART.receivable(rider.holder_id), now=NOW) == 0
        assert account(session, CHART.operator("nj-metro"), now=NOW) == 600
        assert account(session, CHART.operator("nj-bus"), now=NOW) == 200
    assert books_are_right(nanjing)


@pytest.mark.parametrize(("minutes_after", "bearer"), [(34, "issuer"), (35, "issuer"), (35.1, "operator")])
def test_ten_minutes_after_a_list_the_ride_is_the_operators_risk(nanjing: Database, minutes_after: float, bearer: str) -> None:
    with nanjing.transaction() as session:
        rider = phone(session, now=NOW)
        bus = gate(session, "nj-bus", line="nj-bus-you2", mode="ride", now=NOW)
        cards.block(session, card_id=rider.card_id, reason="lost", by="person:test", now=NOW)
        cards.publish_deny_list(session, now=NOW + minutes(25))
        bus.send(session, [bus.tap(rider, "ride", NOW + minutes(minutes_after))], now=NOW + minutes(60))
        assert session.scalars(select(TapRow.liability)).one() == bearer


def test_a_correction_lowers_the_debt_before_it_fills_the_purse(nanjing: Database) -> None:
    with nanjing.transaction() as session:
        rider = phone(session, now=NOW, money_minor=500)
        begin, end = (gate(session, "nj-metro", stop=stop, now=NOW) for stop in ("nj-gulou", "nj-nanjingnanzhan"))
    with nanjing.transaction() as session:
        begin.send(session, [begin.tap(rider, "entry", NOW)], now=NOW)
        assert (purse(session, rider.holder_id), transit.debts_of(session, rider.holder_id)) == (500, 1000)
        end.send(session, [end.tap(rider, "exit", NOW + minutes(30))], now=NOW + minutes(30))
        assert (purse(session, rider.holder_id), transit.debts_of(session, rider.holder_id)) == (500, 400)
        assert transit.recover_debts(session, holder_id=rider.holder_id, now=NOW + minutes(31)) == 400
        assert purse(session, rider.holder_id) == 100
    assert books_are_right(nanjing)


def test_a_clock_that_is_two_minutes_off_is_flagged_and_its_taps_keep_their_true_time(suzhou: Database) -> None:
    with suzhou.transaction() as session:
        rider = phone(session, now=NOW, money_minor=10_000)
        where = gate(session, "sz-metro", stop="sz-mudu", now=NOW)
        where.skew_ms = -3_600_000
        where.send(session, [where.tap(rider, "entry", NOW)], now=NOW)
        row = session.scalars(select(TapRow)).one()
        assert (row.at, row.quarantined) == (NOW, True)
        assert session.scalars(select(TapAlarm.kind)).one() == "clock"


def test_the_statement_of_a_day_is_what_the_ledger_booked(suzhou: Database) -> None:
    with suzhou.transaction() as session:
        rider = phone(session, now=NOW, money_minor=700)
        a, b = (gate(session, "sz-metro", stop=stop, now=NOW) for stop in ("sz-mudu", "sz-nanshijie"))
    for day in range(2):
        at = NOW + minutes(day * 1440)
        with suzhou.transaction() as session:
            b.send(session, [b.tap(rider, "exit", at + minutes(40))], now=at + minutes(41))
        with suzhou.transaction() as session:
            a.send(session, [a.tap(rider, "entry", at)], now=at + minutes(42))
    with suzhou.transaction() as session:
        begin = NOW - minutes(480)
        found = transit.day_statement(session, "sz-metro", begin=begin, end=begin + minutes(1440))
        assert (found.total_minor, found.ledger_minor, found.difference_minor) == (570, 570, 0)
        assert [posting.amount_minor for posting in found.postings] == [1000, -430]
        revenue = transit.revenue_by_line(session, "sz-metro", on=NOW.date())
        assert [(line.line_id, line.journeys, line.charged_minor) for line in revenue] == [("sz-1", 1, 570)]
        assert transit.revenue_by_hour(session, "sz-metro", on=NOW.date())[8] == 570


def test_a_feed_is_imported_once_and_exported_as_it_came(suzhou: Database) -> None:
    with suzhou.transaction() as session:
        assert import_feed(session, "320500", now=NOW).repeated
        exported = transit.export_feed(session, "320500")
    folder = Path(__file__).parents[3] / "app" / "demo" / "feeds" / "320500"
    assert exported.files == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_wrong_feed_changes_nothing_and_a_version_never_changes(suzhou: Database) -> None:
    folder = Path(__file__).parents[3] / "app" / "demo" / "feeds" / "320500"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    broken = {**files, "stops.txt": files["stops.txt"].replace(b"31.264500", b"x")}
    dearer = {**files, "distance_bands.txt": files["distance_bands.txt"].replace(b"2.00", b"3.00")}
    renamed = {**files, "stops.txt": files["stops.txt"].replace("木渎".encode(), "木渎古镇".encode())}
    with pytest.raises(Invalid), suzhou.transaction() as session:
        transit.import_feed(session, broken, feed_id="320500", by="system", now=NOW)
    with pytest.raises(transit.TariffChanged), suzhou.transaction() as session:
        transit.import_feed(session, dearer, feed_id="320500", by="system", now=NOW)
    with pytest.raises(Invalid), suzhou.transaction() as session:  # another feed may not take this one's stops
        transit.import_feed(session, renamed, feed_id="other", by="system", now=NOW)
    with suzhou.transaction() as session:
        assert transit.stops_by_id(session, ["sz-mudu"])["sz-mudu"].names.zh == "木渎"
        assert not transit.import_feed(session, renamed, feed_id="320500", by="system", now=NOW).repeated
        assert transit.stops_by_id(session, ["sz-mudu"])["sz-mudu"].names.zh == "木渎古镇"


def test_an_enrolment_token_works_once_and_for_ten_minutes(session: Session) -> None:
    import_feed(session, "320100", now=NOW)
    key = b"k" * 32
    first = transit.create_enrolment(session, operator_id="nj-metro", stop_id="nj-gulou", by="person:test", now=NOW)
    done = transit.enrol(session, token=first.token, public_key=key, software="", now=NOW + minutes(9.9))
    assert credentials.read_certificate(done.certificate).operator_id == "nj-metro"
    second = transit.create_enrolment(session, operator_id="nj-metro", stop_id="nj-gulou", by="person:test", now=NOW)
    for token, at in ((first.token, NOW), (second.token, NOW + minutes(10)), ("unknown", NOW)):
        with pytest.raises(transit.EnrolmentRefused):
            transit.enrol(session, token=token, public_key=key, software="", now=at)
    with pytest.raises(Invalid):
        transit.create_enrolment(session, operator_id="nj-metro", stop_id="sz-mudu", by="person:test", now=NOW)
    with pytest.raises(transit.UnknownOperator):
        transit.create_enrolment(session, operator_id="sz-metro", stop_id="sz-mudu", by="person:test", now=NOW)


def test_a_local_ride_claims_nothing_from_another_city(suzhou: Database) -> None:
    with suzhou.transaction() as session:
        rider = phone(session, now=NOW, money_minor=10_000)
        bus = gate(session, "sz-bus", line="sz-bus-you1", mode="ride", now=NOW)
        bus.send(session, [bus.tap(rider, "ride", NOW)], now=NOW)
        names = session.scalars(select(OutboxEvent.name)).all()
    assert "charge.foreign" not in names


def test_a_draft_is_tried_on_real_taps_before_it_is_published(suzhou: Database, tmp_path: Path) -> None:
    with suzhou.transaction() as session:
        riders = [phone(session, now=NOW, money_minor=10_000) for _ in range(3)]
        a, b = (gate(session, "sz-metro", stop=stop, now=NOW) for stop in ("sz-mudu", "sz-nanshijie"))
        for rider in riders:
            a.send(session, [a.tap(rider, "entry", NOW)], now=NOW)
            b.send(session, [b.tap(rider, "exit", NOW + minutes(40))], now=NOW + minutes(41))
    folder = Path(__file__).parents[3] / "app" / "demo" / "feeds" / "320500"
    for path in folder.iterdir():
        content = path.read_text()
        if path.name == "concessions.txt":
            content = content.replace("local-card,95", "local-card,90")
        (tmp_path / path.name).write_text(content)
    [drafted] = [one for one in fares.publish(fares.read_feed(tmp_path), city="320500").tariffs if one.operator == "sz-metro"]
    with suzhou.transaction() as session:
        before = session.scalar(select(func.sum(FarePosting.amount_minor)))
        found = transit.what_if(session, drafted=drafted, first=NOW.date(), last=NOW.date())
        assert session.scalar(select(func.sum(FarePosting.amount_minor))) == before, "nothing is written"
    group = found.groups["local-card"]
    assert (group.cards, group.journeys, group.now_minor, group.draft_minor) == (3, 3, 1710, 1620)
    assert (group.cheaper, group.dearer) == (3, 0)
