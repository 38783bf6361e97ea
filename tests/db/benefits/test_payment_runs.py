"""Pensions and payment runs on a real ledger: the worked pension, the worked run of December 2026, four eyes, re-issue."""

from datetime import UTC, date, datetime
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from app.demo.scene import benefits as scene
from app.kernel.db import Database
from app.kernel.errors import FourEyes, IllegalMove, Invalid
from card import benefits, ledger

NOW = datetime(2026, 12, 1, 1, 0, tzinfo=UTC)
DECEMBER = date(2026, 12, 1)
BIRTH_OF_A = date(1966, 11, 2)
OFFICER, SUPERVISOR = "person:officer", "person:supervisor"


def people(session: Session) -> dict[str, UUID]:
    holders = {letter: uuid4() for letter in "ABCDE"}
    scene.endow_funds(session, now=NOW)
    scene.worked_run(session, holders=holders, birth_of_a=BIRTH_OF_A, now=NOW)
    return holders


def purse(session: Session, holder_id: UUID) -> int:
    try:
        return ledger.balance(session, ledger.account_id(session, ledger.chart.purse(holder_id))).posted_minor
    except ledger.UnknownAccount:
        return 0


def fund(session: Session) -> int:
    spec = ledger.chart.pension_fund()
    return ledger.balance(session, ledger.account_id(session, spec)).posted_minor - scene.FUND_OPENING_MINOR


def sent(session: Session) -> tuple[dict[str, UUID], UUID, str]:
    holders = people(session)
    run_id = benefits.prepare_run(session, month=DECEMBER, by=OFFICER, now=NOW)
    benefits.approve_run(session, run_id=run_id, by=SUPERVISOR, now=NOW)
    return holders, run_id, benefits.send_run(session, run_id=run_id, by=OFFICER, now=NOW)


def item_of(session: Session, run_id: UUID, holder_id: UUID) -> benefits.ItemView:
    return next(item for item in benefits.run(session, run_id).items if item.award.holder_id == holder_id)


def test_the_worked_pension_is_computed_by_one_and_approved_by_another(session: Session) -> None:
    holder_id = uuid4()
    scene.worked_life(session, holder_id=holder_id)
    award_id = benefits.claim_pension(
        session, holder_id=holder_id, birth=BIRTH_OF_A, from_month=date(2026, 11, 1), by=OFFICER, now=NOW
    )
    found = benefits.award(session, award_id)
    assert (found.monthly_minor, found.state) == (523_590, "computed")
    assert [step.code for step in found.steps] == ["basic", "account", "transitional", "total"]
    with pytest.raises(FourEyes):
        benefits.approve_pension(session, award_id=award_id, by=OFFICER, now=NOW)
    benefits.approve_pension(session, award_id=award_id, by=SUPERVISOR, now=NOW)
    assert benefits.award(session, award_id).state is benefits.AwardState.APPROVED


@pytest.mark.parametrize(
    ("birth", "from_month", "field"),
    [(date(1976, 9, 1), date(2026, 11, 1), "from_month"), (date(1966, 11, 2), date(2026, 10, 1), "from_month")],
)
def test_nobody_draws_a_pension_before_the_earliest_age(session: Session, birth: date, from_month: date, field: str) -> None:
    holder_id = uuid4()
    scene.worked_life(session, holder_id=holder_id)
    with pytest.raises(Invalid) as refused:
        benefits.claim_pension(session, holder_id=holder_id, birth=birth, from_month=from_month, by=OFFICER, now=NOW)
    assert list(refused.value.fields) == [field]


def test_the_worked_run_pays_holds_ends_and_returns(session: Session) -> None:
    holders, run_id, file = sent(session)
    found = benefits.run(session, run_id)
    assert {letter: (item_of(session, run_id, holders[letter]).state.value,
                     item_of(session, run_id, holders[letter]).amount_minor) for letter in "ABCDE"} == {
        "A": ("paid", 1_047_180),
        "B": ("paid", 462_000),
        "C": ("ended", 0),
        "D": ("held", 410_200),
        "E": ("sent", 388_050),
    }  # fmt: skip
    assert file.splitlines()[-1].split(",")[2:] == ["2026-12", "3", "18972.30", "CNY"]
    assert len(file.splitlines()) == 5, "a heading, three records, a trailer"
    assert (purse(session, holders["A"]), purse(session, holders["B"]), purse(session, holders["E"])) == (1_047_180, 462_000, 0)
    assert fund(session) == -1_897_230

    with pytest.raises(benefits.RunNotComplete) as refused:
        benefits.close_run(session, run_id=run_id, by=OFFICER, now=NOW)
    assert refused.value.params == {"open": 1}
    item = item_of(session, run_id, holders["E"])
    benefits.bank_returned(session, item_id=item.id, reason="account closed", by=OFFICER, now=NOW)
    totals = benefits.run(session, run_id).totals
    assert (totals.records, totals.file_minor, totals.paid_minor, totals.returned_minor) == (3, 1_897_230, 1_509_180, 388_050)
    assert fund(session) == -1_509_180
    benefits.close_run(session, run_id=run_id, by=OFFICER, now=NOW)
    found = benefits.run(session, run_id)
    assert found.state is benefits.RunState.RECONCILED
    assert benefits.file_of(session, run_id).text == file
    states = {letter: benefits.awards_of(session, holders[letter])[0].state.value for letter in "ABCDE"}
    assert states == {"A": "in-payment", "B": "in-payment", "C": "ended", "D": "suspended", "E": "in-payment"}
    assert not ledger.check_books(session).findings


def test_a_returned_payment_is_issued_again_once_onto_the_card(session: Session) -> None:
    holders, run_id, _ = sent(session)
    item = item_of(session, run_id, holders["E"])
    benefits.bank_returned(session, item_id=item.id, reason="account closed", by=OFFICER, now=NOW)
    again = benefits.prepare_reissue(session, by=OFFICER, now=NOW)
    assert item_of(session, run_id, holders["E"]).reissued
    with pytest.raises(FourEyes):
        benefits.approve_run(session, run_id=again, by=OFFICER, now=NOW)
    benefits.approve_run(session, run_id=again, by=SUPERVISOR, now=NOW)
    benefits.send_run(session, run_id=again, by=OFFICER, now=NOW)
    assert purse(session, holders["E"]) == 388_050
    benefits.close_run(session, run_id=again, by=OFFICER, now=NOW)
    with pytest.raises(benefits.NothingToPay):
        benefits.prepare_reissue(session, by=OFFICER, now=NOW)


def test_once_confirmed_what_was_held_is_paid_in_the_next_run(session: Session) -> None:
    holders, run_id, _ = sent(session)
    award_id = item_of(session, run_id, holders["D"]).award.id
    benefits.confirm_qualification(session, award_id=award_id, until=date(2027, 10, 31), by=OFFICER, now=NOW)
    assert benefits.award(session, award_id).state is benefits.AwardState.RESUMED
    january = benefits.prepare_run(session, month=date(2027, 1, 1), by=OFFICER, now=NOW)
    item = item_of(session, january, holders["D"])
    assert (item.state, item.amount_minor, item.months) == ("due", 820_400, ("2026-12", "2027-01"))
    assert all(other.award.holder_id != holders["C"] for other in benefits.run(session, january).items), "C is closed"


def test_the_preparer_does_not_approve(session: Session) -> None:
    people(session)
    run_id = benefits.prepare_run(session, month=DECEMBER, by=OFFICER, now=NOW)
    with pytest.raises(FourEyes):
        benefits.approve_run(session, run_id=run_id, by=OFFICER, now=NOW)
    with pytest.raises(IllegalMove):
        benefits.send_run(session, run_id=run_id, by=OFFICER, now=NOW)


def test_a_month_has_one_regular_run_and_may_be_prepared_again_after_a_rejection(database: Database) -> None:
    with database.transaction() as session:
        people(session)
        run_id = benefits.prepare_run(session, month=DECEMBER, by=OFFICER, now=NOW)
    with pytest.raises((benefits.RunOpen, benefits.RunExists)), database.transaction() as session:
        benefits.prepare_run(session, month=DECEMBER, by=OFFICER, now=NOW)
    with pytest.raises(benefits.RunOpen), database.transaction() as session:
        benefits.prepare_run(session, month=date(2027, 1, 1), by=OFFICER, now=NOW)
    with database.transaction() as session:
        benefits.reject_run(session, run_id=run_id, reason="B moved away", by=SUPERVISOR, now=NOW)
        again = benefits.prepare_run(session, month=DECEMBER, by=OFFICER, now=NOW)
        benefits.approve_run(session, run_id=again, by=SUPERVISOR, now=NOW)
        benefits.send_run(session, run_id=again, by=OFFICER, now=NOW)
    with pytest.raises(benefits.RunExists), database.transaction() as session:
        benefits.prepare_run(session, month=DECEMBER, by=OFFICER, now=NOW)
    with pytest.raises(IllegalMove), database.transaction() as session:
        benefits.send_run(session, run_id=again, by=OFFICER, now=NOW)


def test_somebody_who_dies_after_approval_is_not_paid(session: Session) -> None:
    holders = people(session)
    run_id = benefits.prepare_run(session, month=DECEMBER, by=OFFICER, now=NOW)
    benefits.approve_run(session, run_id=run_id, by=SUPERVISOR, now=NOW)
    award_id = item_of(session, run_id, holders["B"]).award.id
    benefits.end_award(session, award_id=award_id, ended_on=date(2026, 11, 30), reason="death", by=OFFICER, now=NOW)
    benefits.send_run(session, run_id=run_id, by=OFFICER, now=NOW)
    assert item_of(session, run_id, holders["B"]).state is benefits.ItemState.HELD
    assert purse(session, holders["B"]) == 0


def test_an_allowance_begins_once_and_is_paid_with_the_run(session: Session) -> None:
    scene.endow_funds(session, now=NOW)
    holder_id = uuid4()
    first, second = (
        benefits.start_allowance(
            session,
            holder_id=holder_id,
            code="older-resident",
            monthly_minor=10_000,
            from_month=DECEMBER,
            now=NOW,
            by=OFFICER,
        )
        for _ in range(2)
    )
    assert first == second
    run_id = benefits.prepare_run(session, month=DECEMBER, by=OFFICER, now=NOW)
    benefits.approve_run(session, run_id=run_id, by=SUPERVISOR, now=NOW)
    benefits.send_run(session, run_id=run_id, by=OFFICER, now=NOW)
    assert purse(session, holder_id) == 10_000
    (paid,) = benefits.payments_to(session, holder_id)
    assert (paid.state, paid.amount_minor, paid.award.code) == ("paid", 10_000, "older-resident")
    assert ledger.balance(session, ledger.account_id(session, ledger.chart.allowance_fund())).posted_minor == (
        scene.FUND_OPENING_MINOR - 10_000
    )


def test_a_forecast_says_when_and_how_much_by_what_is_known_today(session: Session) -> None:
    holder_id = uuid4()
    assert benefits.forecast(session, holder_id, birth=date(1979, 8, 20), on=date(2026, 11, 22)) is None
    scene.working_life(session, holder_id=holder_id, category=benefits.Category.MAN, now=NOW)
    found = benefits.forecast(session, holder_id, birth=date(1976, 9, 20), on=date(2026, 11, 22))
    assert found is not None
    assert found.retirement.month == date(2039, 9, 1)
    assert (found.life.paid_months, found.months_missing) == (243, 0)
    assert found.life.balance_minor == 9_640_000 + 3 * 75_600
    assert found.pension is not None
    assert found.pension.monthly_minor > 0


def test_a_contribution_is_booked_once_a_month(session: Session) -> None:
    holder_id = uuid4()
    scene.working_life(session, holder_id=holder_id, category=benefits.Category.MAN, now=NOW)
    scene.working_life(session, holder_id=holder_id, category=benefits.Category.MAN, now=NOW)
    assert len(benefits.contributions(session, holder_id)) == 3
    spec = ledger.chart.pension_fund()
    assert ledger.balance(session, ledger.account_id(session, spec)).posted_minor == 3 * (151_200 + 75_600)
