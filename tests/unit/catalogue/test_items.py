"""The two services as data: who qualifies, which pages they have, what an answer may be, what approval does."""

import copy

import pytest
from pydantic import ValidationError

from services import catalogue
from services.catalogue import Item, Verdict
from services.catalogue.gateway import definitions

ITEMS = {item.code: item for item in definitions()}
CARD, ALLOWANCE = ITEMS["citizen-card"], ITEMS["older-residents-allowance"]
COLLECTED = {"tie": "work", "phone": "13800000000", "photo": ["1"], "delivery": "collect", "hall": "central-hall"}
POSTED = {**COLLECTED, "delivery": "post", "address": "示范路1号", "postcode": "210000"}


@pytest.mark.parametrize(
    ("facts", "verdict", "open_facts"),
    [
        ({"age": 80, "settled-here": True, "paid-elsewhere": False}, Verdict.YES, []),
        ({"age": 79, "settled-here": True, "paid-elsewhere": False}, Verdict.NO, []),
        ({"age": 80, "settled-here": False, "paid-elsewhere": False}, Verdict.NO, []),
        ({"age": 80, "settled-here": True}, Verdict.MAYBE, ["paid-elsewhere"]),
        ({}, Verdict.MAYBE, ["age", "settled-here", "paid-elsewhere"]),
        ({"age": 79}, Verdict.NO, ["settled-here", "paid-elsewhere"]),
    ],
)
def test_eligibility_is_yes_no_or_maybe_and_says_what_decides(
    facts: dict[str, int | bool], verdict: Verdict, open_facts: list[str]
) -> None:
    found = catalogue.eligibility(ALLOWANCE, facts)
    assert found.verdict is verdict
    assert [fact for finding in found.findings for fact in finding.open_facts] == open_facts
    assert all(finding.criterion.source.act.en and finding.criterion.source.act.zh_Hans_CN for finding in found.findings)


@pytest.mark.parametrize(
    ("answers", "shown"),
    [
        ({}, ["residence", "phone", "photo", "delivery"]),
        ({"delivery": "collect"}, ["residence", "phone", "photo", "delivery", "hall"]),
        ({"delivery": "post"}, ["residence", "phone", "photo", "delivery", "address"]),
    ],
)
def test_a_page_is_shown_only_when_its_condition_holds(answers: dict[str, str], shown: list[str]) -> None:
    assert [step.code for step in catalogue.pages(CARD, answers, {})] == shown


@pytest.mark.parametrize(
    ("answers", "wrong"),
    [
        (COLLECTED, []),
        (POSTED, []),
        ({**COLLECTED, "hall": "moon"}, ["hall"]),
        ({**POSTED, "postcode": "21000"}, ["postcode"]),
        ({**POSTED, "address": "x" * 201}, ["address"]),
        ({**COLLECTED, "phone": "12345"}, ["phone"]),
        ({**COLLECTED, "phone": "23800000000"}, ["phone"]),
        ({**COLLECTED, "photo": []}, ["photo"]),
        ({**COLLECTED, "photo": ["1", "2"]}, ["photo"]),
        ({**COLLECTED, "photo": "1"}, ["photo"]),
        ({}, ["tie", "phone", "photo", "delivery"]),
    ],
)
def test_every_wrong_answer_is_named_with_what_to_do(answers: dict[str, str | list[str]], wrong: list[str]) -> None:
    found = catalogue.problems(CARD, answers, {})
    assert list(found) == wrong
    assert all(words.en and words.zh_Hans_CN for words in found.values())


def test_what_a_later_choice_made_irrelevant_is_left_out() -> None:
    answers = {**POSTED, "delivery": "collect", "hall": "central-hall"}
    assert "postcode" in answers
    assert catalogue.relevant(CARD, answers, {}) == COLLECTED


@pytest.mark.parametrize(
    ("answers", "known", "established"),
    [
        ({}, {"age": 81}, {"age": 81}),
        ({"household": "permit"}, {}, {"settled-here": True}),
        ({"household": "elsewhere", "paid-elsewhere": "unpaid"}, {}, {"settled-here": False, "paid-elsewhere": False}),
        ({"household": "here"}, {"settled-here": False}, {"settled-here": False}),  # what the city knows goes first
    ],
)
def test_the_forms_answers_establish_facts_that_the_city_does_not_know(
    answers: dict[str, str], known: dict[str, int | bool], established: dict[str, int | bool]
) -> None:
    assert catalogue.facts_from(ALLOWANCE, answers, known) == established


def test_numbers_are_kept_without_spaces_and_dashes() -> None:
    assert catalogue.tidy(CARD.field("phone"), " 138-0000 0000 ") == "13800000000"
    assert catalogue.tidy(CARD.field("address"), " 1 Demonstration-Road ") == "1 Demonstration-Road"


@pytest.mark.parametrize(
    ("age", "granted"), [(59, []), (60, [("senior-60", 70)]), (69, [("senior-60", 70)]), (70, [("senior-70", None)])]
)
def test_approval_of_a_card_issues_two_with_the_entitlements_of_the_holder(
    age: int, granted: list[tuple[str, int | None]]
) -> None:
    entitlements = [{"code": code, "until_age": until} for code, until in granted]
    assert catalogue.effects(CARD, COLLECTED, {"age": age}) == [
        {"kind": "issue-card", "card_kinds": ["phone", "physical"], "entitlements": entitlements}
    ]


@pytest.mark.parametrize(("age", "monthly_minor"), [(80, 10000), (89, 10000), (90, 20000), (99, 20000), (100, 50000)])
def test_the_allowance_rises_with_age(age: int, monthly_minor: int) -> None:
    assert catalogue.effects(ALLOWANCE, {}, {"age": age}) == [
        {"kind": "start-allowance", "allowance": "older-residents", "monthly_minor": monthly_minor}
    ]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"promised_days": 21}, "longer than the law allows"),
        ({"surprise": 1}, "surprise"),
        ({"steps": [CARD.steps[0].model_dump(), CARD.steps[0].model_dump()]}, "a step is defined twice"),
        ({"steps": [{**CARD.steps[0].model_dump(), "when": {"==": [{"var": "answers.nothing"}, 1]}}]}, "which nobody answers"),
    ],
)
def test_a_definition_that_does_not_hang_together_is_refused(change: dict[str, object], complaint: str) -> None:
    definition = {**copy.deepcopy(CARD.model_dump()), **change}
    with pytest.raises(ValidationError, match=complaint):
        Item.model_validate(definition)
