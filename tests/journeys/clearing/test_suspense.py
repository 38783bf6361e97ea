"""What a settled claim leaves in suspense reaches its operator, or is given up, by two officers; and nothing stays behind."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from app.kernel import clock
from app.kernel.errors import FourEyes
from card import clearing, transit
from card.clearing import Move
from card.ledger import chart
from tests.charges import HUB, NANJING, SUZHOU, balances, book, card_of_nanjing, charge, deliver
from tests.cities import Running, federate, running
from tests.gates import import_feed


@pytest.fixture
def cities(server_url: str, template: str, worker_id: str, tmp_path: Path) -> Iterator[dict[str, Running]]:
    codes = (HUB, NANJING, SUZHOU)
    with running(codes, server_url=server_url, template=template, worker_id=worker_id, folder=tmp_path) as made:
        federate(made)
        with made[SUZHOU].database.transaction() as session:
            import_feed(session, SUZHOU, now=clock.now())
        yield made


def close(city: Running) -> None:
    with city.database.transaction() as session:
        clearing.close_window(session, window=clock.civil_date(clock.now()), by="person:officer", now=clock.now())


def waiting(city: Running) -> list[clearing.Pending]:
    with city.database.transaction() as session:
        return clearing.pending(session)


def allocate(city: Running, found: clearing.Pending, operator_id: str | None) -> None:
    with city.database.transaction() as session:
        made = clearing.propose_allocation(
            session, record_id=found.record_id, operator_id=operator_id, reason="journal 12", by="person:a", now=clock.now()
        )
        with pytest.raises(clearing.NothingInSuspense):
            clearing.propose_allocation(
                session, record_id=found.record_id, operator_id=None, reason="twice", by="person:b", now=clock.now()
            )
    with city.database.transaction() as session, pytest.raises(FourEyes):
        clearing.decide(session, proposal_id=made, approve=True, by="person:a", now=clock.now())
    with city.database.transaction() as session:
        clearing.decide(session, proposal_id=made, approve=True, by="person:b", now=clock.now())


@pytest.mark.parametrize(("operator_id", "end"), [("sz-metro", chart.operator("sz-metro")), (None, chart.losses())])
def test_an_accepted_claim_by_hand_leaves_suspense(cities: dict[str, Running], operator_id: str | None, end: object) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    card = card_of_nanjing(nanjing)
    at = clock.now() - timedelta(minutes=30)
    with suzhou.database.transaction() as session:
        made = clearing.propose_claim(
            session,
            issuer=NANJING,
            card_number=card,
            amount_minor=450,
            accepted_at=at,
            note="read out of gate 7",
            by="person:a",
            now=clock.now(),
        )
    with suzhou.database.transaction() as session:
        claim_id = next(one for one in clearing.proposals(session) if one.id == made).payload["id"]
        clearing.decide(session, proposal_id=made, approve=True, by="person:b", now=clock.now())
    assert waiting(suzhou) == [], "not before the issuer agrees"
    book(nanjing, replace(charge("t1", 450, card_number=card, at=at), id=UUID(claim_id)))
    close(suzhou)
    deliver(cities)
    (found,) = waiting(suzhou)
    assert (found.amount_minor, found.by_hand, found.operator_id) == (450, True, None)
    with suzhou.database.transaction() as session, pytest.raises(transit.UnknownOperator):
        clearing.propose_allocation(
            session, record_id=found.record_id, operator_id="nj-metro", reason="x", by="person:a", now=clock.now()
        )
    allocate(suzhou, found, operator_id)
    assert waiting(suzhou) == []
    assert balances(suzhou, chart.due_from(NANJING), chart.suspense(), end) == [-450, 0, 450]  # type: ignore[arg-type]


def test_what_a_dispute_took_back_is_taken_from_the_operator(cities: dict[str, Running]) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    card = card_of_nanjing(nanjing)
    lost = charge("t2", 500, card_number=card, at=clock.now() - timedelta(minutes=30))
    lost = replace(lost, reference=f"card-day:{card}:2026-03-02:sz-metro")
    book(suzhou, lost)
    close(suzhou)
    deliver(cities)
    now = clock.now
    with suzhou.database.transaction() as session:
        (item,) = clearing.breaks(session)
        clearing.open_on_break(session, break_id=item.id, asked_minor=None, note="tap 2", by="person:a", now=now())
    deliver(cities)
    with nanjing.database.transaction() as session:
        (dispute,) = clearing.disputes(session)
        made = clearing.propose(
            session, dispute_id=dispute.id, move=Move.ADJUST, given_minor=300, note="partly", by="person:n", now=now()
        )
    with nanjing.database.transaction() as session:
        clearing.decide(session, proposal_id=made, approve=True, by="person:m", now=now())
    deliver(cities)
    (found,) = waiting(suzhou)
    assert (found.owed_minor, found.amount_minor, found.operator_id) == (300, -200, "sz-metro")
    assert balances(suzhou, chart.suspense()) == [-200]
    allocate(suzhou, found, found.operator_id)
    assert waiting(suzhou) == []
    assert balances(suzhou, chart.suspense(), chart.operator("sz-metro")) == [0, -200]
