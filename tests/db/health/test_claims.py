"""Claims on a real ledger: settled once, explained, computed again, taken back; at home and between two cities."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError

from app.demo.scene import health as scene
from app.kernel import city, outbox
from app.kernel.db import Database, Json
from app.kernel.errors import FourEyes, IllegalMove, Invalid
from card import cards, health, ledger
from card.health import actions, rules
from card.health.rules import ClaimRequest
from tests.conftest import fresh

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
ADMITTED = date(2026, 11, 10)


@pytest.fixture
def suzhou(server_url: str, template: str, worker_id: str, tmp_path: Path) -> Iterator[Database]:
    """A second city, with its catalogue and hospital."""
    opened = Database(fresh(server_url, template, f"suzhou_{worker_id}"), pool_size=3)
    city.equip(opened, city.City(code="320500", keys_dir=tmp_path / "suzhou" / "keys"))
    with opened.transaction() as session:
        scene.hospital_of(session, "320500", now=NOW)
    yield opened
    opened.close()


def insured(database: Database) -> tuple[UUID, str]:
    """The person of the worked claim in Nanjing, and their card."""
    holder_id = uuid4()
    with database.transaction() as session:
        scene.hospital_of(session, "320100", now=NOW)
        card = cards.issue(session, holder_id=holder_id, kind=cards.Kind.PHONE, now=NOW)
        scene.worked_claimant(session, holder_id=holder_id, now=NOW)
    return holder_id, card.number


def register(database: Database, card_number: str, hospital_id: str) -> UUID:
    """The worked bill, entered at a hospital's desk."""
    with database.transaction() as session:
        claim_id = health.register(
            session, hospital_id=hospital_id, card_number=card_number, admitted_on=ADMITTED, by="person:desk", now=NOW
        )
        health.set_lines(session, claim_id=claim_id, lines=scene.worked_lines())
    return claim_id


def ask(database: Database, claim_id: UUID) -> ClaimRequest:
    """What the place of treatment puts to the insured place."""
    with database.transaction() as session:
        request = actions.ask_settlement(session, claim_id=claim_id, by="person:desk", now=NOW)
    assert request is not None
    return request


def balance(database: Database, spec: ledger.AccountSpec) -> int:
    with database.transaction() as session:
        return ledger.balance(session, ledger.account_id(session, spec)).posted_minor


def events(database: Database, name: str) -> list[Json]:
    with database.transaction() as session:
        return list(
            session.scalars(
                select(outbox.OutboxEvent.payload).where(outbox.OutboxEvent.name == name).order_by(outbox.OutboxEvent.id)
            )
        )


def books_balance(database: Database) -> bool:
    with database.transaction() as session:
        return not ledger.check_books(session).findings


def settle_between(database: Database, suzhou: Database, number: str) -> tuple[UUID, rules.Split]:
    claim_id = register(suzhou, number, "sz-first")
    with suzhou.transaction() as session:
        view = health.claim(session, claim_id)
    with database.transaction() as session:
        foreseen = actions.foresee(session, view.request(NOW))
    with suzhou.transaction() as session:
        actions.note_pre_settled(session, claim_id=claim_id, split=foreseen, now=NOW)
    request = ask(suzhou, claim_id)
    with database.transaction() as session:
        split = actions.settle(session, request, now=NOW)
    with suzhou.transaction() as session:
        actions.note_settled(session, claim_id=claim_id, split=split, now=NOW)
    return claim_id, split


def test_the_worked_claim_leaves_the_right_debts_in_both_cities(database: Database, suzhou: Database) -> None:
    holder_id, number = insured(database)
    _, split = settle_between(database, suzhou, number)

    assert (split.owed_minor, split.paid_by(rules.Payer.CASH)) == (2_537_040, 662_960)
    nanjing = {
        "pool": balance(database, ledger.chart.pooled_fund("employee")) - scene.FUNDS_OPENING_MINOR,
        "catastrophic": balance(database, ledger.chart.catastrophic_fund("employee")) - scene.FUNDS_OPENING_MINOR,
        "medical": balance(database, ledger.chart.medical(holder_id)),
        "family": balance(database, ledger.chart.family(holder_id)),
        "due to Suzhou": balance(database, ledger.chart.due_to("320500")),
    }
    assert nanjing == {
        "pool": -1_887_600,
        "catastrophic": -199_440,
        "medical": 0,
        "family": 0,
        "due to Suzhou": 2_537_040,
    }
    assert balance(suzhou, ledger.chart.due_from("320100")) == -2_537_040
    assert balance(suzhou, ledger.chart.hospital("sz-first")) == 2_537_040
    assert books_balance(database)
    assert books_balance(suzhou)


def test_both_sides_tell_the_clearing_the_same(database: Database, suzhou: Database) -> None:
    _, number = insured(database)
    claim_id, _ = settle_between(database, suzhou, number)
    (charge,) = events(suzhou, "charge.foreign")
    (debit,) = events(database, "debit.foreign")
    assert charge == debit
    assert (charge["id"], charge["issuer"], charge["acquirer"], charge["amount_minor"], charge["kind"]) == (
        str(claim_id),
        "320100",
        "320500",
        2_537_040,
        "health",
    )


def test_pre_settlement_moves_nothing(database: Database, suzhou: Database) -> None:
    holder_id, number = insured(database)
    claim_id = register(suzhou, number, "sz-first")
    with suzhou.transaction() as session:
        request = health.claim(session, claim_id).request(NOW)
    with database.transaction() as session:
        split = actions.foresee(session, request)
        assert health.year_of(session, holder_id, 2026).admissions == 0
        assert health.settlements_of(session, holder_id) == []
    assert split.owed_minor == 2_537_040
    assert balance(database, ledger.chart.medical(holder_id)) == 300_000
    assert events(database, "debit.foreign") == []


def test_a_repetition_gets_the_first_answer_and_another_bill_under_its_id_is_refused(
    database: Database, suzhou: Database
) -> None:
    holder_id, number = insured(database)
    claim_id = register(suzhou, number, "sz-first")
    with suzhou.transaction() as session:
        actions.note_pre_settled(session, claim_id=claim_id, split=_any_split(database, suzhou, claim_id), now=NOW)
    request = ask(suzhou, claim_id)
    with database.transaction() as session:
        first = actions.settle(session, request, now=NOW)
    with database.transaction() as session:
        assert actions.settle(session, request, now=NOW + timedelta(hours=1)) == first
    assert ask(suzhou, claim_id).digest == request.digest, "asking later is the same message"
    with database.transaction() as session:
        assert health.year_of(session, holder_id, 2026).admissions == 1
        assert len(events(database, "debit.foreign")) == 1
    with pytest.raises(health.ClaimChanged), database.transaction() as session:
        actions.settle(session, replace(request, hospital_id="sz-second"), now=NOW)


def _any_split(database: Database, suzhou: Database, claim_id: UUID) -> rules.Split:
    with suzhou.transaction() as session:
        request = health.claim(session, claim_id).request(NOW)
    with database.transaction() as session:
        return actions.foresee(session, request)


def test_a_settled_claim_is_computed_again_to_the_same_split(database: Database, suzhou: Database) -> None:
    _, number = insured(database)
    claim_id, split = settle_between(database, suzhou, number)
    with database.transaction() as session:
        assert health.recompute(session, claim_id) == split


def test_a_reversal_gives_everything_back_once(database: Database, suzhou: Database) -> None:
    holder_id, number = insured(database)
    claim_id, _ = settle_between(database, suzhou, number)
    for _ in range(2):  # a repetition is quiet
        with suzhou.transaction() as session:
            asked = actions.ask_reversal(session, claim_id=claim_id, reason="wrong patient", by="person:desk", now=NOW)
        if asked is None:
            continue
        _, reversal_id, asked_at = asked
        for _ in range(2):
            with database.transaction() as session:
                actions.take_back(
                    session,
                    settlement_id=claim_id,
                    reversal_id=reversal_id,
                    treating_region="320500",
                    reason="wrong patient",
                    asked_at=asked_at,
                    now=NOW,
                )
        with suzhou.transaction() as session:
            actions.note_reversed(session, claim_id=claim_id, now=NOW)
    assert balance(database, ledger.chart.due_to("320500")) == 0
    assert balance(database, ledger.chart.medical(holder_id)) == 300_000
    assert balance(suzhou, ledger.chart.due_from("320100")) == 0
    assert balance(suzhou, ledger.chart.hospital("sz-first")) == 0
    with database.transaction() as session:
        year = health.year_of(session, holder_id, 2026)
        assert (year.admissions, year.pool_used_minor, year.self_pay_minor) == (0, 0, 1_200_000)
        assert health.settlement(session, claim_id).reversed
    charges, debits = events(suzhou, "charge.foreign"), events(database, "debit.foreign")
    assert charges == debits
    assert [charge["amount_minor"] for charge in charges] == [2_537_040, -2_537_040]
    with pytest.raises(health.AnotherReversal), database.transaction() as session:
        actions.take_back(
            session,
            settlement_id=claim_id,
            reversal_id=uuid4(),
            treating_region="320500",
            reason="again",
            asked_at=NOW,
            now=NOW,
        )
    with pytest.raises(health.NoSuchClaim), database.transaction() as session:
        actions.take_back(
            session,
            settlement_id=claim_id,
            reversal_id=uuid4(),
            treating_region="320200",
            reason="not theirs",
            asked_at=NOW,
            now=NOW,
        )


def test_a_claim_at_home_needs_no_filing_and_no_other_city(database: Database) -> None:
    _, number = insured(database)
    claim_id = register(database, number, "nj-first")
    health.pre_settle(database, claim_id=claim_id, now=NOW)
    found = health.settle(database, claim_id=claim_id, by="person:desk", now=NOW)
    assert found.state is health.ClaimState.SETTLED
    assert found.split is not None
    assert found.split.ratio == Decimal("0.88")
    # (25,200 − 1,000) × 88 % = 21,296; the year's share within scope 12,000 + 3,904 passes 15,000 by 904
    assert [share.amount_minor for share in found.split.shares][:2] == [2_129_600, 54_240]
    assert balance(database, ledger.chart.hospital("nj-first")) == found.split.owed_minor
    assert events(database, "charge.foreign") == events(database, "debit.foreign") == []
    assert health.settle(database, claim_id=claim_id, by="person:desk", now=NOW).settled_at == found.settled_at
    back = health.reverse(database, claim_id=claim_id, reason="entered twice", by="person:desk", now=NOW)
    assert back.state is health.ClaimState.REVERSED
    assert balance(database, ledger.chart.hospital("nj-first")) == 0
    assert books_balance(database)


def test_the_second_admission_of_a_year_has_half_the_deductible(database: Database) -> None:
    _, number = insured(database)
    deductibles = []
    for _ in range(3):
        claim_id = register(database, number, "nj-first")
        health.pre_settle(database, claim_id=claim_id, now=NOW)
        found = health.settle(database, claim_id=claim_id, by="person:desk", now=NOW)
        assert found.split is not None
        deductibles.append(found.split.deductible)
    assert deductibles == [1000, 500, 0]


def test_away_from_home_without_a_filing_or_with_a_blocked_card_nothing_is_settled(
    database: Database, suzhou: Database
) -> None:
    holder_id, number = insured(database)
    claim_id = register(suzhou, number, "sz-first")
    with suzhou.transaction() as session:
        request = health.claim(session, claim_id).request(NOW)
    with database.transaction() as session:
        (filing,) = health.filings_of(session, holder_id)
        health.cancel_filing(session, filing_id=filing.id, by="person:x", now=NOW)
    with pytest.raises(health.FilingRequired), database.transaction() as session:
        actions.foresee(session, request)
    with database.transaction() as session:
        card = cards.by_number(session, number)
        cards.block(session, card_id=card.id, reason=cards.BlockReason.LOST, by="person:x", now=NOW)
    with pytest.raises(cards.CardNotActive), database.transaction() as session:
        actions.foresee(session, request)
    with pytest.raises(cards.UnknownCard), database.transaction() as session:
        actions.foresee(session, replace(request, card_number="3132010099999999997"))


def test_somebody_without_coverage_is_told_so(database: Database) -> None:
    with database.transaction() as session:
        scene.hospital_of(session, "320100", now=NOW)
        card = cards.issue(session, holder_id=uuid4(), kind=cards.Kind.PHONE, now=NOW)
    claim_id = register(database, card.number, "nj-first")
    with pytest.raises(health.NotCovered):
        health.pre_settle(database, claim_id=claim_id, now=NOW)
    _, found = health.check(database, card_number=card.number, on=ADMITTED, now=NOW)
    assert not found.in_force


def test_a_claim_moves_only_along_its_table(database: Database) -> None:
    _, number = insured(database)
    claim_id = register(database, number, "nj-first")
    with pytest.raises(IllegalMove):
        health.settle(database, claim_id=claim_id, by="person:desk", now=NOW)
    with pytest.raises(IllegalMove):
        health.reverse(database, claim_id=claim_id, reason="x", by="person:desk", now=NOW)


def test_an_item_that_the_catalogue_does_not_know_is_refused(database: Database) -> None:
    _, number = insured(database)
    claim_id = register(database, number, "nj-first")
    with pytest.raises(Exception, match="no item"), database.transaction() as session:
        health.set_lines(session, claim_id=claim_id, lines=[health.LineAsked(code="NONE", quantity=Decimal(1))])


def test_an_officer_confirms_a_filing_but_not_their_own(database: Database) -> None:
    holder_id, _ = insured(database)
    with database.transaction() as session:
        filing_id = health.file(
            session,
            holder_id=holder_id,
            kind=health.FilingKind.LONG_TERM,
            region="320200",
            reason="lives with daughter",
            valid_from=date(2026, 12, 1),
            by="person:one",
            now=NOW,
        )
    with pytest.raises(FourEyes), database.transaction() as session:
        health.activate_filing(session, filing_id=filing_id, by="person:one", now=NOW)
    with database.transaction() as session:
        health.activate_filing(session, filing_id=filing_id, by="person:two", now=NOW)
        assert health.filing(session, filing_id).state is health.FilingState.ACTIVE
    with pytest.raises(IllegalMove), database.transaction() as session:
        health.activate_filing(session, filing_id=filing_id, by="person:two", now=NOW)


@pytest.mark.parametrize(
    ("region", "until", "reason", "field"),
    [
        ("320100", None, "x", "region"),
        ("320200", date(2026, 11, 30), "x", "valid_to"),
        ("320200", None, " ", "reason"),
    ],
)
def test_a_filing_that_cannot_be_is_refused_by_field(
    database: Database, region: str, until: date | None, reason: str, field: str
) -> None:
    holder_id, _ = insured(database)
    with pytest.raises(Invalid) as refused, database.transaction() as session:
        health.file(
            session,
            holder_id=holder_id,
            kind=health.FilingKind.SELF,
            region=region,
            reason=reason,
            valid_from=date(2026, 12, 1),
            valid_to=until,
            by="person:one",
            now=NOW,
        )
    assert list(refused.value.fields) == [field]


def test_an_emergency_takes_effect_at_once_and_expires_after_its_last_day(database: Database) -> None:
    holder_id, _ = insured(database)
    with database.transaction() as session:
        filing_id = health.file(
            session,
            holder_id=holder_id,
            kind=health.FilingKind.EMERGENCY,
            region="320200",
            reason="accident",
            valid_from=date(2026, 11, 20),
            valid_to=date(2026, 11, 30),
            by="person:one",
            now=NOW,
        )
        assert health.filing(session, filing_id).state is health.FilingState.ACTIVE
    for day, state in ((30, "active"), (31, "expired")):
        with database.transaction() as session:
            actions.expire_filings(session, now=datetime(2026, 11, 1, 4, tzinfo=UTC) + timedelta(days=day - 1))
            assert health.filing(session, filing_id).state == state


def test_what_a_payer_paid_is_never_edited(database: Database) -> None:
    with pytest.raises(ProgrammingError), database.transaction() as session:
        session.execute(text("UPDATE card.health_fund_line SET amount_minor = 1"))
