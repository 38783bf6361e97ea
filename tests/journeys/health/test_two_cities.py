"""The worked claim between two running cities: insured in Nanjing, treated in Suzhou, FHIR over signed HTTP."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from app.demo.scene import health as scene
from app.kernel import clock
from app.web.auth import Role
from card import cards, health, ledger, partners
from card.health import desk, gateway
from card.partners.models import Message
from tests.cities import Running, federate, running
from tests.signing_in import enter, resident, sign_in_as

HUB, NANJING, SUZHOU = "320000", "320100", "320500"
ADMITTED = date(2026, 11, 10)


@pytest.fixture
def cities(server_url: str, template: str, worker_id: str, tmp_path: Path) -> Iterator[dict[str, Running]]:
    with running(
        (HUB, NANJING, SUZHOU), server_url=server_url, template=template, worker_id=worker_id, folder=tmp_path
    ) as made:
        federate(made)
        for code in (NANJING, SUZHOU):
            with made[code].database.transaction() as session:
                scene.hospital_of(session, code, now=clock.now())
        yield made


def card_of_worked_claimant(nanjing: Running) -> tuple[UUID, str]:
    holder_id = uuid4()
    with nanjing.database.transaction() as session:
        card = cards.issue(session, holder_id=holder_id, kind=cards.Kind.PHONE, now=clock.now())
        scene.worked_claimant(session, holder_id=holder_id, now=clock.now())
    return holder_id, card.number


def worked_claim(suzhou: Running, number: str) -> UUID:
    with suzhou.database.transaction() as session:
        claim_id = health.register(
            session, hospital_id="sz-first", card_number=number, admitted_on=ADMITTED, by="person:desk", now=clock.now()
        )
        health.set_lines(session, claim_id=claim_id, lines=scene.worked_lines())
    return claim_id


def balance(city: Running, spec: ledger.AccountSpec) -> int:
    with city.database.transaction() as session:
        return ledger.balance(session, ledger.account_id(session, spec)).posted_minor


def test_the_worked_claim_from_eligibility_to_reversal(cities: dict[str, Running]) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    holder_id, number = card_of_worked_claimant(nanjing)

    insured, found = health.check(suzhou.database, card_number=number, on=ADMITTED, now=clock.now())
    assert (insured, found.in_force, found.filing, found.own_account_minor) == (NANJING, True, "referral", 300_000)
    assert found.self_pay_minor == 1_200_000

    claim_id = worked_claim(suzhou, number)
    foreseen = health.pre_settle(suzhou.database, claim_id=claim_id, now=clock.now())
    assert foreseen.split is not None
    assert foreseen.split.owed_minor == 2_537_040
    assert balance(nanjing, ledger.chart.medical(holder_id)) == 300_000, "pre-settlement moves nothing"

    settled = health.settle(suzhou.database, claim_id=claim_id, by="person:desk", now=clock.now())
    assert settled.split == foreseen.split
    assert balance(nanjing, ledger.chart.due_to(SUZHOU)) == 2_537_040
    assert balance(suzhou, ledger.chart.due_from(NANJING)) == -2_537_040
    assert balance(suzhou, ledger.chart.hospital("sz-first")) == 2_537_040
    with nanjing.database.transaction() as session:
        (told,) = health.settlements_of(session, holder_id)
        assert told.split == settled.split
        assert session.scalar(select(Message.path).where(Message.path == f"{gateway.BASE}/Claim").limit(1))

    back = health.reverse(suzhou.database, claim_id=claim_id, reason="entered twice", by="person:desk", now=clock.now())
    assert back.state is health.ClaimState.REVERSED
    for city, spec in (
        (nanjing, ledger.chart.due_to(SUZHOU)),
        (suzhou, ledger.chart.due_from(NANJING)),
        (suzhou, ledger.chart.hospital("sz-first")),
    ):
        assert balance(city, spec) == 0
    for city in (nanjing, suzhou):
        with city.database.transaction() as session:
            assert not ledger.check_books(session).findings


def test_a_crash_after_the_answer_is_healed_by_asking_again(cities: dict[str, Running]) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    _, number = card_of_worked_claimant(nanjing)
    claim_id = worked_claim(suzhou, number)
    health.pre_settle(suzhou.database, claim_id=claim_id, now=clock.now())
    with suzhou.database.transaction() as session:
        request = desk.actions.ask_settlement(session, claim_id=claim_id, by="person:desk", now=clock.now())
    assert request is not None
    gateway.ask_split(suzhou.database, request, use="claim")  # Nanjing has settled; here the process dies

    with suzhou.database.transaction() as session:
        assert health.claim(session, claim_id).waiting
    with pytest.raises(health.ClaimWaiting):
        health.pre_settle(suzhou.database, claim_id=claim_id, now=clock.now())
    assert health.resume(suzhou.database, now=clock.now()) == 1
    assert balance(suzhou, ledger.chart.hospital("sz-first")) == 2_537_040
    assert balance(nanjing, ledger.chart.due_to(SUZHOU)) == 2_537_040


def test_a_refusal_of_the_insured_city_leaves_the_claim_open(cities: dict[str, Running]) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    holder_id, number = card_of_worked_claimant(nanjing)
    claim_id = worked_claim(suzhou, number)
    health.pre_settle(suzhou.database, claim_id=claim_id, now=clock.now())
    with nanjing.database.transaction() as session:
        (filing,) = health.filings_of(session, holder_id)
        health.cancel_filing(session, filing_id=filing.id, by="person:x", now=clock.now())
    with pytest.raises(partners.PartnerRefused) as refused:
        health.settle(suzhou.database, claim_id=claim_id, by="person:desk", now=clock.now())
    assert refused.value.params["code"] == "filing-required"
    with suzhou.database.transaction() as session:
        found = health.claim(session, claim_id)
    assert not found.waiting
    assert found.state is health.ClaimState.PRE_SETTLED
    assert health.resume(suzhou.database, now=clock.now()) == 0


def test_a_city_sees_and_reverses_only_its_own_claims(cities: dict[str, Running]) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    _, number = card_of_worked_claimant(nanjing)
    with nanjing.database.transaction() as session:
        claim_id = health.register(
            session, hospital_id="nj-first", card_number=number, admitted_on=ADMITTED, by="person:desk", now=clock.now()
        )
        health.set_lines(session, claim_id=claim_id, lines=scene.worked_lines())
    health.pre_settle(nanjing.database, claim_id=claim_id, now=clock.now())
    view = health.settle(nanjing.database, claim_id=claim_id, by="person:desk", now=clock.now())
    with pytest.raises(partners.PartnerRefused) as refused:
        gateway.ask_reversal(suzhou.database, view.request(clock.now()), reversal_id=uuid4(), reason="not ours", at=clock.now())
    assert refused.value.params["code"] == "no-such-claim"
    with nanjing.database.transaction() as session:
        assert session.scalar(text("SELECT count(*) FROM card.health_settlement WHERE reversed_at IS NULL")) == 1


def test_the_worked_claim_on_the_screens_of_both_cities(cities: dict[str, Running]) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    english = {"Accept-Language": "en"}
    holder_id = resident(nanjing.database)
    with nanjing.database.transaction() as session:
        card = cards.issue(session, holder_id=holder_id, kind=cards.Kind.PHONE, now=clock.now())
        scene.worked_claimant(session, holder_id=holder_id, now=clock.now())

    desk = suzhou.app.test_client()
    sign_in_as(desk, suzhou.database, Role.HOSPITAL, organisation="sz-first")
    answer = desk.post("/hospital/claims", data={"card_number": card.number, "admitted_on": "2026-11-10"}, headers=english)
    claim = answer.headers["Location"]
    page = desk.get(claim, headers=english).text
    for told in ("Nanjing", "Referral", "¥12,000.00", "¥3,000.00 · ¥1,500.00"):
        assert told in page
    rows = {f"code-{n}": line.code for n, line in enumerate(scene.worked_lines(), 1)}
    desk.post(f"{claim}/bill", data=rows, headers=english)
    desk.post(f"{claim}/settle", headers=english)
    page = desk.get(claim, headers=english).text
    for told in ("¥6,629.60", "Nanjing owes us ¥25,370.40 for this bill.", "(25,200.00 − 1,000.00) × 78 % = 18,876.00"):
        assert told in page

    phone = nanjing.app.test_client()
    enter(phone, nanjing.database, holder_id)
    page = phone.get("/me/health", headers=english).text
    assert "Demo First Hospital, Suzhou" in page
    page = phone.get(f"/me/health/claims/{claim.rsplit('/', 1)[1]}", headers=english).text
    for told in ("Suzhou · Tertiary hospital", "¥18,876.00", "¥1,994.40", "¥3,000.00", "¥1,500.00", "¥6,629.60"):
        assert told in page

    assert suzhou.deliver() >= 1, "the clearing takes the claim"
    assert nanjing.deliver() >= 1, "and the debit"
