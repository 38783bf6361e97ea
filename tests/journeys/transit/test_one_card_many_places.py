"""A Nanjing senior rides in Suzhou: two cities over real HTTP, two sets of books, one ride (worked case 4)."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from app import wiring
from app.kernel import clock, signing
from app.kernel.outbox import OutboxEvent
from app.kernel.signing import Purpose
from card import cards, credentials, ledger, partners, transit
from card.credentials import Entitlement
from card.transit import jobs
from tests.cities import Running, federate, running
from tests.gates import account, books_are_right, gate, import_feed, in_one_card_day, minutes, phone, purse

HUB, NANJING, SUZHOU = "320000", "320100", "320500"
CHART = ledger.chart


@pytest.fixture
def cities(server_url: str, template: str, worker_id: str, tmp_path: Path) -> Iterator[dict[str, Running]]:
    with running(
        (HUB, NANJING, SUZHOU), server_url=server_url, template=template, worker_id=worker_id, folder=tmp_path
    ) as made:
        federate(made)
        yield made


def deliver(city: Running, name: str) -> None:
    """Deliver the waiting events called ``name`` as the worker does."""
    with city.database.transaction() as session:
        waiting = session.scalars(select(OutboxEvent).where(OutboxEvent.name == name, OutboxEvent.done_at.is_(None))).all()
    for event in waiting:
        wiring.COURIERS[name](city.database, event.payload)
        with city.database.transaction() as session:
            session.get_one(OutboxEvent, event.id).done_at = clock.now()


def test_a_nanjing_senior_pays_half_at_home_and_six_yuan_in_suzhou(  # noqa: PLR0915  one story
    cities: dict[str, Running],
) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    now = clock.now()
    earlier = in_one_card_day(now - timedelta(hours=3), minutes(140))
    senior = Entitlement(code="senior-60", scope_city=NANJING, expires_on=date(2030, 1, 1))
    with nanjing.database.transaction() as session:
        import_feed(session, NANJING, now=now)
        rider = phone(session, now=earlier, entitlements=(senior,), money_minor=2000)
        home = [gate(session, "nj-metro", stop=stop, now=now) for stop in ("nj-gulou", "nj-nanjingnanzhan")]
        home[0].send(session, [home[0].tap(rider, "entry", earlier + timedelta(minutes=5))], now=now)
        home[1].send(session, [home[1].tap(rider, "exit", earlier + timedelta(minutes=35))], now=now)
        assert purse(session, rider.holder_id) == 1800, "13.2 km is 4.00; half of it at home"
    with suzhou.database.transaction() as session:
        import_feed(session, SUZHOU, now=now)
        away = [gate(session, "sz-metro", stop=stop, now=now) for stop in ("sz-mudu", "sz-nanshijie")]
    # The exit arrives first: claimed as 10.00, corrected to 6.00 when the entry is known.
    exit_tap = away[1].tap(rider, "exit", earlier + timedelta(minutes=140))
    entry_tap = away[0].tap(rider, "entry", earlier + timedelta(minutes=100))
    with suzhou.database.transaction() as session:
        away[1].send(session, [exit_tap], now=now)
    deliver(suzhou, "presentment.written")
    with suzhou.database.transaction() as session:
        away[0].send(session, [entry_tap], now=now)
        assert account(session, CHART.operator("sz-metro"), now=now) == 600
        assert account(session, CHART.due_from(NANJING), now=now) == -600
        (journey,) = transit.journeys_of_operator(session, "sz-metro")
        assert (journey.charged_minor, str(journey.km.normalize()), journey.holder_id) == (600, "23.4", None)
        events = session.scalars(select(OutboxEvent).where(OutboxEvent.name == "charge.foreign").order_by(OutboxEvent.id)).all()
        assert [event.payload["amount_minor"] for event in events] == [1000, -400]
        claim = events[0].payload
    deliver(suzhou, "presentment.written")
    with nanjing.database.transaction() as session:
        assert purse(session, rider.holder_id) == 1200
        assert transit.debts_of(session, rider.holder_id) == 0
        assert account(session, CHART.due_to(SUZHOU), now=now) == 600
        (ride,) = transit.rides_elsewhere(session, [rider.number])
        assert ([amount for _, amount, _ in ride.parts], ride.amount_minor, ride.settled) == ([1000, -400], 600, True)
        (told,) = ride.explanation["journeys"]
        assert (told["charged_minor"], told["km"], told["tariff"]["id"]) == (600, "23.4", "sz-metro-2026")
        assert [(tap["kind"], tap["stop"]) for tap in told["taps"]] == [("entry", "sz-mudu"), ("exit", "sz-nanshijie")]
        assert ride.explanation["stops"]["sz-mudu"] == {"en": "Mudu", "zh_Hans_CN": "木渎"}
        assert transit.ride_elsewhere(session, ride.id, ["3132010000000000000"]) is None, "only its holder sees it"
        mine: dict = {"ride_id": ride.id, "holder_id": rider.holder_id, "card_numbers": [rider.number], "now": now}
        asked = transit.contest_elsewhere(session, words="I was at home.", **mine)
        with pytest.raises(transit.AlreadyContested):
            transit.contest_elsewhere(session, words="Again.", **mine)
        with pytest.raises(transit.UnknownJourney):
            transit.contest_elsewhere(session, words="Not mine.", **{**mine, "card_numbers": ["3132010000000000000"]})
        assert [one.id for one in transit.contests_elsewhere(session, ride)] == [asked.id]
        answered = transit.decide_contest(
            session, contest_id=asked.id, operator_id="city:320500", upheld=False, answer="Asked.", by="person:a", now=now
        )
        assert answered.state is transit.ContestState.REJECTED
    # The same claim again gets the same answer and moves nothing; another under its id is a conflict.
    again = partners.send(suzhou.database, NANJING, "POST", "/api/federation/presentments", claim)
    assert again["outcome"] == "debited"
    with pytest.raises(partners.PartnerRefused):
        partners.send(suzhou.database, NANJING, "POST", "/api/federation/presentments", {**claim, "amount_minor": 1})
    with nanjing.database.transaction() as session:
        assert account(session, CHART.due_to(SUZHOU), now=now) == 600
    assert books_are_right(nanjing.database)
    assert books_are_right(suzhou.database)


def test_a_gate_learns_of_cards_that_another_city_blocked(cities: dict[str, Running]) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    now = clock.now()
    with nanjing.database.transaction() as session:
        rider = phone(session, now=now)
        index = cards.devices_of(session, rider.card_id)[0].status_index
        cards.block(session, card_id=rider.card_id, reason="lost", by="person:test", now=now)
        cards.publish_deny_list(session, now=now)
    jobs.fetch_partner_lists(suzhou.database, suzhou.settings)
    with suzhou.database.transaction() as session:
        import_feed(session, SUZHOU, now=now)
        where = gate(session, "sz-metro", stop="sz-mudu", now=now)
        signed = transit.bundle(session, terminal_id=UUID(where.terminal_id), since=None, now=now)
    key = signing.load_or_create(suzhou.settings.keys_dir, Purpose.BUNDLE)
    bundle = credentials.read_bundle(signed, [key.public])
    assert index in credentials.denials.take(NANJING, None, bundle.deny_of[NANJING])
