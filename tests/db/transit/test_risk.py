"""Rides let through and not paid: who bears each tap, what the next top-up pays, what is given up, and copied codes."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError

from app import wiring
from app.kernel.city import city_of
from app.kernel.db import Database
from app.kernel.errors import FourEyes
from app.kernel.signing import Purpose
from card import cards, credentials, ledger, transit
from card.transit.models import FraudCase, JourneyRow, TapAlarm
from tests.gates import Phone, account, books_are_right, gate, minutes, phone, purse, top_up, travelling

NOW = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)  # 08:00 in Nanjing
CHART = ledger.chart


@pytest.fixture
def nanjing(database: Database, database_url: str, tmp_path: Path) -> Database:
    """Nanjing with its feed."""
    return travelling(database, database_url, tmp_path, code="320100", now=NOW)


@pytest.mark.parametrize(
    ("at", "held", "bearer", "reason"),
    [
        (20, 0, "issuer", "before-deadline"),
        (35, 0, "issuer", "before-deadline"),  # published at 25, ten minutes of grace
        (35.1, 0, "operator", "after-deadline"),
        (26, 1, "operator", "held-list"),
    ],
)
def test_the_bearer_of_a_tap_is_kept_with_its_reason(nanjing: Database, at: float, held: int, bearer: str, reason: str) -> None:
    with nanjing.transaction() as session:
        rider = phone(session, now=NOW)
        bus = gate(session, "nj-bus", line="nj-bus-you2", mode="ride", now=NOW)
        cards.block(session, card_id=rider.card_id, reason="lost", by="person:test", now=NOW)
        cards.publish_deny_list(session, now=NOW + minutes(25))
        bus.list_seq = held * cards.deny_current(session).seq
        tap = bus.tap(rider, "ride", NOW + minutes(at))
        bus.send(session, [tap], now=NOW + minutes(60))
        found, why, deadline = transit.ruling_of(session, f"{bus.terminal_id}/{bus.boot_id}/{tap.seq}")
        assert (found.value, why.value, deadline) == (bearer, reason, NOW + minutes(35))
        (debt,) = transit.open_debts(session)
        assert (debt.liability.value, debt.reason.value, debt.amount_minor) == (bearer, reason, 200)
        alarms = session.scalars(select(TapAlarm.kind)).all()
        assert alarms == (["denied-card-accepted"] if bearer == "operator" else [])
    with pytest.raises(ProgrammingError), nanjing.transaction() as session:
        session.execute(text("UPDATE card.tap_ruling SET bearer = 'issuer'"))


def three_debts(database: Database) -> Phone:
    """A rider who owes 2.00, 2.00 and 2.00 for three bus rides."""
    with database.transaction() as session:
        rider = phone(session, now=NOW)
        bus = gate(session, "nj-bus", line="nj-bus-you2", mode="ride", now=NOW)
        for ride in range(3):
            at = NOW + minutes(30 * ride)
            bus.send(session, [bus.tap(rider, "ride", at)], now=at)
    return rider


def test_a_top_up_pays_the_oldest_ride_first_to_the_fen(nanjing: Database) -> None:
    rider = three_debts(nanjing)
    payload = {"purpose": "top-up", "person_id": str(rider.holder_id), "payment_id": "x"}
    steps = [(100, [100, 200, 200]), (350, [0, 0, 150]), (1000, [0, 0, 0])]
    for step, (paid_in, left) in enumerate(steps):
        with nanjing.transaction() as session:
            top_up(session, rider.holder_id, paid_in, now=NOW + minutes(200 + step))
            transit.on_payment_settled(session, payload)
            transit.on_payment_settled(session, payload)  # delivered twice, paid once
            debts = sorted(transit.debts_of_holder(session, rider.holder_id), key=lambda debt: debt.id)
            assert [debt.left_minor for debt in debts] == left
            assert all(sum(part.amount_minor for part in d.recoveries) == d.amount_minor - d.left_minor for d in debts)
            assert account(session, CHART.receivable(rider.holder_id), now=NOW) == -sum(left)
    with nanjing.transaction() as session:
        assert purse(session, rider.holder_id) == 1450 - 600
        settled = sorted(transit.debts_of_holder(session, rider.holder_id), key=lambda debt: debt.id)
        assert [len(debt.recoveries) for debt in settled] == [2, 1, 2]
    assert books_are_right(nanjing)


def test_a_fee_paid_is_not_asked_for_debts(nanjing: Database) -> None:
    rider = three_debts(nanjing)
    with nanjing.transaction() as session:
        top_up(session, rider.holder_id, 600, now=NOW)
        transit.on_payment_settled(session, {"purpose": "service-fee", "person_id": str(rider.holder_id)})
        assert transit.debts_of(session, rider.holder_id) == 600
    assert wiring.HANDLERS["payment.settled"] is not transit.on_payment_settled, "the payer is told as well"


@pytest.mark.parametrize(("bearer", "loser"), [("issuer", CHART.losses()), ("operator", CHART.operator("nj-bus"))])
def test_giving_up_a_debt_needs_two_and_costs_its_bearer(nanjing: Database, bearer: str, loser: ledger.AccountSpec) -> None:
    with nanjing.transaction() as session:
        rider = phone(session, now=NOW)
        bus = gate(session, "nj-bus", line="nj-bus-you2", mode="ride", now=NOW)
        if bearer == "operator":
            cards.block(session, card_id=rider.card_id, reason="lost", by="person:test", now=NOW)
            cards.publish_deny_list(session, now=NOW)
        bus.send(session, [bus.tap(rider, "ride", NOW + minutes(40))], now=NOW + minutes(60))
        (debt,) = transit.open_debts(session, bearer="nj-bus" if bearer == "operator" else "issuer")
        made = transit.propose_write_off(session, debt_id=debt.id, reason="died", by="person:a", now=NOW)
        with pytest.raises(transit.DebtSettled):
            transit.propose_write_off(session, debt_id=debt.id, reason="again", by="person:a", now=NOW)
        with pytest.raises(FourEyes):
            transit.decide_write_off(session, write_off_id=made, approve=True, by="person:a", now=NOW)
        top_up(session, rider.holder_id, 50, now=NOW + minutes(61))
        assert transit.recover_debts(session, holder_id=rider.holder_id, now=NOW + minutes(61)) == 50
        before = account(session, loser, now=NOW)
        transit.decide_write_off(session, write_off_id=made, approve=True, by="person:b", now=NOW + minutes(62))
        assert account(session, loser, now=NOW) == before - 150, "what was paid back is not given up"
        assert transit.debts_of(session, rider.holder_id) == 0
        assert account(session, CHART.receivable(rider.holder_id), now=NOW) == 0
        with pytest.raises(transit.UnknownWriteOff):
            transit.decide_write_off(session, write_off_id=made, approve=True, by="person:b", now=NOW)
    assert books_are_right(nanjing)


def test_a_used_up_budget_closes_gates_without_network_to_unknown_cards(nanjing: Database) -> None:
    three_debts(nanjing)
    with nanjing.transaction() as session:
        limits = []
        for limit in (None, 601, 600):
            if limit is not None:
                transit.set_budget(session, bearer="issuer", limit_minor=limit, by="person:a", now=NOW)
            limits.append(transit.risk_terms(session, "nj-metro")["first_seen_limit"])
        assert limits == [50, 50, 0]
        found = transit.exposure(session, "issuer")
        assert (found.open_minor, found.debts, found.exhausted) == (600, 3, True)
        where = gate(session, "nj-metro", stop="nj-gulou", now=NOW)
        signed = transit.bundle(session, terminal_id=UUID(where.terminal_id), since=None, now=NOW)
        key = city_of(session).key(Purpose.BUNDLE)
        assert credentials.read_bundle(signed, [key.public]).risk["first_seen_limit"] == 0


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_a_copied_code_opens_one_case_and_the_rider_pays_once_in_any_order(nanjing: Database, order: tuple[int, ...]) -> None:
    with nanjing.transaction() as session:
        rider = phone(session, now=NOW, money_minor=10_000)
        a, b, c = (gate(session, "nj-metro", stop=stop, now=NOW) for stop in ("nj-gulou", "nj-xianlin", "nj-nanjingnanzhan"))
    taps = [
        (a, a.tap(rider, "entry", NOW)),
        (c, c.tap(rider, "entry", NOW + minutes(0.5), counter=rider.counter)),
        (b, b.tap(rider, "exit", NOW + minutes(40))),
    ]
    for step, index in enumerate(order):
        where, tap = taps[index]
        with nanjing.transaction() as session:
            where.send(session, [tap], now=NOW + minutes(60 + step))
    with nanjing.transaction() as session:
        case = session.scalars(select(FraudCase)).one()
        assert (case.state, case.bearer, case.reason, case.loss_minor) == ("open", "issuer", "disconnected", 1000)
        assert case.genuine.startswith(a.terminal_id)
        assert [tap["stop_id"] for tap in case.evidence["taps"]] == ["nj-gulou", "nj-nanjingnanzhan"]
        assert session.scalars(select(JourneyRow.charged_minor)).all() == [500]
        assert purse(session, rider.holder_id) == 9_500
        assert session.scalars(select(TapAlarm.kind)).all() == ["replayed"]
    assert books_are_right(nanjing)


@pytest.mark.parametrize(
    ("stop", "late", "bearer", "reason"),
    [
        ("nj-gulou", 0.5, "operator", "same-station"),
        ("nj-xianlin", 0.5, "issuer", "disconnected"),
        ("nj-xianlin", 5, "operator", "out-of-window"),
    ],
)
def test_who_bears_a_copied_code(nanjing: Database, stop: str, late: float, bearer: str, reason: str) -> None:
    with nanjing.transaction() as session:
        rider = phone(session, now=NOW, money_minor=10_000)
        a, b = gate(session, "nj-metro", stop="nj-gulou", now=NOW), gate(session, "nj-metro", stop=stop, now=NOW)
        shown = rider.show(NOW)[0]
        a.send(session, [a.tap(rider, "entry", NOW, counter=rider.counter, qr=shown)], now=NOW + minutes(10))
        b.send(session, [b.tap(rider, "entry", NOW + minutes(late), counter=rider.counter, qr=shown)], now=NOW + minutes(11))
        case = session.scalars(select(FraudCase)).one()
        assert (case.bearer, case.reason) == (bearer, reason)
        assert purse(session, rider.holder_id) == 9_000
