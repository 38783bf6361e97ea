"""Two cities and the hub over real HTTP: charges filed, matched, disputed, answered, corrected, netted and settled."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from app.kernel import clock
from app.kernel.errors import FourEyes
from card import clearing, ledger, partners
from card.clearing import Move, manifest
from card.clearing.models import FileRow
from card.ledger import chart
from tests.charges import HOLDER, HUB, NANJING, SUZHOU, balances, book, card_of_nanjing, charge, deliver
from tests.cities import Running, federate, running


@pytest.fixture
def cities(server_url: str, template: str, worker_id: str, tmp_path: Path) -> Iterator[dict[str, Running]]:
    codes = (HUB, NANJING, SUZHOU)
    with running(codes, server_url=server_url, template=template, worker_id=worker_id, folder=tmp_path) as made:
        federate(made)
        yield made


def close(city: Running) -> None:
    with city.database.transaction() as session:
        clearing.close_window(session, window=clock.civil_date(clock.now()), by="person:officer", now=clock.now())


def settle(cities: dict[str, Running]) -> clearing.Cycle:
    hub = cities[HUB]
    with hub.database.transaction() as session:
        number = clearing.prepare_cycle(session, by="person:hub-1", now=clock.now())
    with pytest.raises(FourEyes), hub.database.transaction() as session:
        clearing.approve_cycle(session, number=number, by="person:hub-1", now=clock.now())
    with hub.database.transaction() as session:
        assert clearing.approve_cycle(session, number=number, by="person:hub-2", now=clock.now()) == "instructed"
    deliver(cities)
    with hub.database.transaction() as session:
        clearing.settle_cycle(session, number=number, by="person:hub-1", now=clock.now())
    deliver(cities)
    with hub.database.transaction() as session:
        return clearing.cycle(session, number)


def test_a_day_of_charges_is_filed_matched_disputed_corrected_netted_and_settled(  # noqa: PLR0915  one story
    cities: dict[str, Running],
) -> None:
    hub, nanjing, suzhou = cities[HUB], cities[NANJING], cities[SUZHOU]
    card = card_of_nanjing(nanjing)
    at = clock.now() - timedelta(minutes=30)
    kept = charge("t1", 400, card_number=card, at=at)
    lost = charge("t2", 500, card_number=card, at=at)  # its presentment never reached the issuer
    differs = charge("t3", 150, card_number=card, at=at)
    unclaimed = charge("t4", 90, card_number=card, at=at)  # the acquirer lost it
    for found in (kept, lost, differs):
        book(suzhou, found)
    for found in (kept, replace(differs, amount_minor=105), unclaimed):
        book(nanjing, found)

    close(suzhou)
    close(nanjing)  # a zero file
    deliver(cities)
    for city in (nanjing, suzhou):
        with city.database.transaction() as session:
            sent = clearing.files(session)
            assert sorted((file.acquirer, file.count, file.matched_count, file.break_count) for file in sent) == [
                (NANJING, 0, 0, 0),
                (SUZHOU, 3, 1, 3),
            ]
            assert sorted((item.kind, item.claimed_minor, item.debited_minor) for item in clearing.breaks(session)) == [
                ("acquirer-only", 500, None),
                ("amount", 150, 105),
                ("issuer-only", None, 90),
            ]
    # what is broken waits in suspense; what the cities owe each other is what they agree on
    assert balances(suzhou, chart.due_from(NANJING), chart.suspense()) == [-400, -650]
    assert balances(nanjing, chart.due_to(SUZHOU), chart.suspense()) == [400, 195]

    first = settle(cities)
    assert first.figures["finals"] == {NANJING: -400, SUZHOU: 399}
    assert first.figures["clearing_minor"] == 1
    assert balances(suzhou, chart.due_from(NANJING), chart.settlement(), chart.bank()) == [0, 0, -399]
    assert balances(nanjing, chart.due_to(SUZHOU), chart.settlement()) == [0, 0]
    assert balances(hub, chart.due_from(NANJING), chart.due_to(SUZHOU), chart.settlement(), chart.clearing_fees()) == [
        0,
        0,
        0,
        1,
    ]

    # the acquirer asks; the issuer answers and, by two people, gives a credit adjustment
    by_kind = {}
    with suzhou.database.transaction() as session:
        for item in clearing.breaks(session):
            by_kind[str(item.kind)] = item.id
    now = clock.now
    with suzhou.database.transaction() as session:
        dispute = clearing.open_on_break(
            session,
            break_id=by_kind["acquirer-only"],
            asked_minor=None,
            note="Tap 2 is in the journal.",
            by="person:s1",
            now=now(),
        )
        amount = clearing.open_on_break(
            session, break_id=by_kind["amount"], asked_minor=150, note="Tariff 7 applies.", by="person:s1", now=now()
        )
    deliver(cities)
    with nanjing.database.transaction() as session:
        assert clearing.dispute(session, dispute).moves == (Move.ANSWER,)
        clearing.make_move(session, dispute_id=dispute, move=Move.ANSWER, note="It was lost.", by="person:n1", now=now())
        proposal = clearing.propose(
            session, dispute_id=dispute, move=Move.ADJUST, given_minor=500, note="Agreed.", by="person:n1", now=now()
        )
        partly = clearing.propose(
            session, dispute_id=amount, move=Move.ADJUST, given_minor=120, note="The child fare.", by="person:n1", now=now()
        )
    with pytest.raises(FourEyes), nanjing.database.transaction() as session:
        clearing.decide(session, proposal_id=proposal, approve=True, by="person:n1", now=now())
    with nanjing.database.transaction() as session:
        clearing.decide(session, proposal_id=proposal, approve=True, by="person:n2", now=now())
        clearing.decide(session, proposal_id=partly, approve=True, by="person:n2", now=now())
    deliver(cities)
    # the issuer asks about the charge that nobody claims; the acquirer agrees that it is not owed
    with nanjing.database.transaction() as session:
        ours = next(item.id for item in clearing.breaks(session) if item.kind == "issuer-only")
        unowed = clearing.open_on_break(session, break_id=ours, asked_minor=0, note="Yours?", by="person:n1", now=now())
    deliver(cities)
    with suzhou.database.transaction() as session:
        nothing = clearing.propose(
            session, dispute_id=unowed, move=Move.ADJUST, given_minor=0, note="We do not.", by="person:s1", now=now()
        )
    with suzhou.database.transaction() as session:
        clearing.decide(session, proposal_id=nothing, approve=True, by="person:s2", now=now())
    deliver(cities)

    for city in (nanjing, suzhou):
        with city.database.transaction() as session:
            assert {(item.kind, item.state, item.agreed_minor) for item in clearing.breaks(session)} == {
                ("acquirer-only", "resolved", 500),
                ("amount", "resolved", 120),
                ("issuer-only", "resolved", 0),
            }
            assert {item.state for item in clearing.disputes(session)} == {"closed"}
            assert len(ledger.transfers_by_reference(session, f"dispute:{dispute}")) >= 1
    assert balances(suzhou, chart.due_from(NANJING), chart.suspense()) == [-620, -30]
    # the rider owes 500 (the ride was real) and 15 (120 was agreed, 105 debited), and gets 90 back
    assert balances(nanjing, chart.due_to(SUZHOU), chart.suspense(), chart.receivable(HOLDER)) == [620, 0, -515]
    assert balances(nanjing, chart.purse(HOLDER)) == [10_000 - 400 - 105 - 90 + 90]

    second = settle(cities)
    assert second.figures["finals"] == {NANJING: -620, SUZHOU: 618}
    assert balances(suzhou, chart.due_from(NANJING), chart.settlement()) == [0, 0]
    assert balances(nanjing, chart.due_to(SUZHOU), chart.settlement(), chart.bank()) == [0, 0, -10_000 + 400 + 620]
    assert balances(hub, chart.settlement(), chart.clearing_fees(), chart.bank()) == [0, 3, -3]


def test_a_day_too_large_for_one_file_goes_in_several_and_nothing_is_broken_between_them(
    cities: dict[str, Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    monkeypatch.setattr(manifest, "ROWS_CUT", 3)
    card = card_of_nanjing(nanjing)
    begin = clock.now() - timedelta(minutes=30)
    minutes = (0, 1, 2, 2, 3, 4, 5)  # two were accepted at one instant, on the border of a file
    made = [charge(f"t{n}", 100 + n, card_number=card, at=begin + timedelta(minutes=at)) for n, at in enumerate(minutes, 1)]
    for found in reversed(made):
        book(suzhou, found)
        book(nanjing, found)
    close(suzhou)
    deliver(cities)
    for city in (nanjing, suzhou):
        with city.database.transaction() as session:
            sent = sorted((file.number, file.count, file.matched_count) for file in clearing.files(session))
            assert sent == [(1, 2, 2), (2, 3, 3), (3, 2, 2)]
            assert clearing.breaks(session) == []
            files = session.query(FileRow).order_by(FileRow.number).all()
            assert [file.previous for file in files] == [None, files[0].digest, files[1].digest]
            assert [file.cut_off for file in files[:2]] == [made[1].accepted_at, made[4].accepted_at]


def test_a_replayed_file_changes_nothing_and_a_changed_one_is_a_manifest_break(cities: dict[str, Running]) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    card = card_of_nanjing(nanjing)
    found = charge("t1", 400, card_number=card, at=clock.now())
    book(suzhou, found)
    book(nanjing, found)
    close(suzhou)
    deliver(cities)
    with suzhou.database.transaction() as session:
        file = session.query(FileRow).one()
        token, records = file.manifest, file.records
        said = partners.verify_document(session, token, city=SUZHOU, typ="clearing-manifest+jwt")
        changed = partners.sign_document(session, {**said, "sum_minor": 399}, typ="clearing-manifest+jwt")

    def send(manifest: str) -> object:
        body = {"manifest": manifest, "records": base64.b64encode(records).decode()}
        return partners.send(suzhou.database, NANJING, "POST", "/api/federation/clearing/files", body)

    before = balances(nanjing, chart.due_to(SUZHOU), chart.suspense())
    assert send(token) == send(token)
    deliver(cities)
    with pytest.raises(partners.PartnerRefused) as refused:
        send(changed)
    assert (refused.value.answer_code, refused.value.answer_status) == ("manifest-break", 409)
    with nanjing.database.transaction() as session:
        assert [item.kind for item in clearing.breaks(session)] == ["manifest"]
        assert [file.matched_minor for file in clearing.files(session)] == [400]
    assert balances(nanjing, chart.due_to(SUZHOU), chart.suspense()) == before


def test_what_arrives_late_resolves_its_break_by_itself_and_settles_in_the_next_cycle(cities: dict[str, Running]) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    card = card_of_nanjing(nanjing)
    at = clock.now() - timedelta(minutes=5)
    slow_debit, slow_claim = (charge(name, 200, card_number=card, at=at) for name in ("t1", "t2"))
    book(suzhou, slow_debit)
    book(nanjing, slow_claim)
    close(suzhou)
    deliver(cities)
    with nanjing.database.transaction() as session:
        assert {(item.kind, item.state) for item in clearing.breaks(session)} == {
            ("acquirer-only", "open"),
            ("issuer-only", "open"),
        }
    book(nanjing, slow_debit)
    book(suzhou, slow_claim)
    close(suzhou)
    deliver(cities)
    for city in (nanjing, suzhou):
        with city.database.transaction() as session:
            assert {(item.resolution, item.agreed_minor) for item in clearing.breaks(session)} == {
                ("arrived-late", 200),
                ("claimed-late", 200),
            }
    assert balances(nanjing, chart.due_to(SUZHOU), chart.suspense()) == [400, 0]
    assert balances(suzhou, chart.due_from(NANJING), chart.suspense()) == [-400, 0]
    assert settle(cities).figures["finals"] == {NANJING: -400, SUZHOU: 399}


def test_a_contested_charge_goes_through_chargeback_and_representment_to_arbitration(cities: dict[str, Running]) -> None:
    hub, nanjing, suzhou = cities[HUB], cities[NANJING], cities[SUZHOU]
    card = card_of_nanjing(nanjing)
    found = charge("t1", 500, card_number=card, at=clock.now())
    book(suzhou, found)
    book(nanjing, found)
    close(suzhou)
    deliver(cities)
    now = clock.now
    with nanjing.database.transaction() as session:
        dispute = clearing.open_on_record(
            session, record_id=found.id, asked_minor=0, note="The rider was elsewhere.", by="person:n1", now=now()
        )
    deliver(cities)

    def quiet(city: Running, move: Move) -> None:
        with city.database.transaction() as session:
            clearing.make_move(session, dispute_id=dispute, move=move, note="", by="person:1", now=now())
        deliver(cities)

    def money(city: Running, move: Move, given_minor: int | None = None) -> None:
        with city.database.transaction() as session:
            proposal = clearing.propose(
                session, dispute_id=dispute, move=move, given_minor=given_minor, note="", by="person:1", now=now()
            )
        with city.database.transaction() as session:
            clearing.decide(session, proposal_id=proposal, approve=True, by="person:2", now=now())
        deliver(cities)

    owed = []
    quiet(suzhou, Move.ANSWER)
    money(nanjing, Move.CHARGE_BACK)
    owed.append(balances(nanjing, chart.due_to(SUZHOU)) + balances(suzhou, chart.due_from(NANJING)))
    money(suzhou, Move.REPRESENT)
    owed.append(balances(nanjing, chart.due_to(SUZHOU)) + balances(suzhou, chart.due_from(NANJING)))
    money(nanjing, Move.CHARGE_BACK_AGAIN)
    quiet(suzhou, Move.ARBITRATE)
    with hub.database.transaction() as session:
        assert clearing.dispute(session, dispute).money_moves == (Move.DECIDE,)
    money(hub, Move.DECIDE, given_minor=200)
    owed.append(balances(nanjing, chart.due_to(SUZHOU)) + balances(suzhou, chart.due_from(NANJING)))
    assert owed == [[0, 0], [500, -500], [200, -200]]
    assert balances(nanjing, chart.purse(HOLDER), chart.suspense()) == [10_000 - 500 + 300, 0]
    states = set()
    for city in (hub, nanjing, suzhou):
        with city.database.transaction() as session:
            told = clearing.dispute(session, dispute)
            states.add((told.state, told.effective_minor))
    assert states == {("closed", 200)}
    assert settle(cities).figures["finals"] == {NANJING: -200, SUZHOU: 199}
