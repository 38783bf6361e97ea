"""Moves, four eyes, and when a decision may be made."""

from datetime import date

import pytest

from app.kernel import ids
from app.kernel.errors import FourEyes, IllegalMove, Invalid
from services.applications import AgainstTheRule, Outcome, OwnCase, State, effects, rules
from services.catalogue import eligibility
from services.catalogue.gateway import definitions

ALLOWANCE = next(item for item in definitions() if item.code == "older-residents-allowance")
A, B, C = ids.new_id(), ids.new_id(), ids.new_id()


@pytest.mark.parametrize(
    ("state", "to", "legal"),
    [
        (State.DRAFT, State.FEE_DUE, True),
        (State.DRAFT, State.SUBMITTED, True),
        (State.DRAFT, State.APPROVED, False),
        (State.FEE_DUE, State.SUBMITTED, True),
        (State.SUBMITTED, State.PREPARED, False),
        (State.IN_REVIEW, State.CORRECTION, True),
        (State.IN_REVIEW, State.APPROVED, False),  # never without a second person
        (State.CORRECTION, State.PREPARED, False),  # never while the resident corrects
        (State.PREPARED, State.APPROVED, True),
        (State.PREPARED, State.WITHDRAWN, False),
        (State.APPROVED, State.REFUSED, False),
        (State.REFUSED, State.IN_REVIEW, False),
    ],
)
def test_a_case_goes_only_where_the_table_says(state: State, to: State, legal: bool) -> None:
    if legal:
        assert rules.move(state, to) is to
    else:
        with pytest.raises(IllegalMove):
            rules.move(state, to)


@pytest.mark.parametrize(
    ("preparer", "approver", "applicant", "refusal"),
    [(A, B, C, None), (A, A, C, FourEyes), (A, B, B, OwnCase)],
)
def test_whoever_approves_neither_prepared_it_nor_asked_for_it(preparer, approver, applicant, refusal) -> None:
    if refusal is None:
        rules.second_pair_of_eyes(prepared_by=preparer, approver=approver, applicant=applicant)
    else:
        with pytest.raises(refusal):
            rules.second_pair_of_eyes(prepared_by=preparer, approver=approver, applicant=applicant)


@pytest.mark.parametrize(
    ("facts", "outcome", "refused"),
    [
        ({"age": 79, "settled-here": True, "paid-elsewhere": False}, Outcome.APPROVED, True),
        ({"age": 79, "settled-here": True, "paid-elsewhere": False}, Outcome.REFUSED, False),
        ({"age": 80, "settled-here": True, "paid-elsewhere": False}, Outcome.APPROVED, False),
        ({"age": 80, "settled-here": True}, Outcome.APPROVED, False),  # still open: the officer judges
    ],
)
def test_nothing_is_approved_against_a_criterion(facts: dict[str, int | bool], outcome: Outcome, refused: bool) -> None:
    if refused:
        with pytest.raises(AgainstTheRule):
            rules.may_decide(outcome, eligibility(ALLOWANCE, facts))
    else:
        rules.may_decide(outcome, eligibility(ALLOWANCE, facts))


@pytest.mark.parametrize(
    ("outcome", "reason", "refused"),
    [(Outcome.REFUSED, "  ", True), (Outcome.REFUSED, "No proof.", False), (Outcome.APPROVED, "", False)],
)
def test_a_refusal_gives_its_reason(outcome: Outcome, reason: str, refused: bool) -> None:
    if refused:
        with pytest.raises(Invalid) as raised:
            rules.reason_of(outcome, reason)
        assert list(raised.value.fields) == ["reason"]
    else:
        assert rules.reason_of(outcome, reason) == reason.strip()


@pytest.mark.parametrize(
    ("born", "today", "age"),
    [
        (date(1946, 11, 23), date(2026, 11, 22), 79),
        (date(1946, 11, 23), date(2026, 11, 23), 80),
        (date(1948, 2, 29), date(2027, 2, 28), 78),
        (date(1948, 2, 29), date(2027, 3, 1), 79),
        (None, date(2026, 1, 1), None),
    ],
)
def test_an_age_is_reached_on_the_birthday(born: date | None, today: date, age: int | None) -> None:
    assert rules.age_on(born, today) == age


@pytest.mark.parametrize(
    ("born", "until_age", "last_day"),
    [
        (date(1960, 5, 8), 70, date(2030, 5, 7)),
        (date(1960, 2, 29), 70, date(2030, 2, 28)),
        (date(1960, 5, 8), None, date(2036, 12, 31)),
        (None, 70, date(2036, 12, 31)),
    ],
)
def test_an_entitlement_ends_the_day_before_a_birthday(born: date | None, until_age: int | None, last_day: date) -> None:
    assert effects.entitled_until(born, until_age, date(2026, 11, 23)) == last_day


@pytest.mark.parametrize(("on", "first"), [(date(2026, 11, 30), date(2026, 12, 1)), (date(2026, 12, 1), date(2027, 1, 1))])
def test_an_allowance_begins_with_the_next_month(on: date, first: date) -> None:
    assert effects.next_month(on) == first
