"""Who qualifies, which pages a form has, and whether an answer is one. Pure; conditions are JsonLogic, run here again."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final

from json_logic import jsonLogic
from pydantic import JsonValue

from app.kernel.errors import Conflict, NotFound, msg
from services.catalogue.definition import (
    TEXT_KINDS,
    Criterion,
    FormField,
    GrantEntitlement,
    IssueCard,
    Item,
    Rule,
    Step,
    Words,
    variables,
)

Answers = Mapping[str, str | list[str]]
"""What a resident answered, by the question's code. An upload's answer is the list of its documents' ids."""

Facts = Mapping[str, int | bool | None]
"""What is known of a person by a fact's code; absent or ``None`` is *not known*."""

CONFIRMED: Final = "yes"
_SHAPES: Final = {"phone": r"1[3-9]\d{9}", "digits": r"\d+"}


class NoSuchItem(NotFound):
    """There is no service of this code, or not in this version."""

    code = "no-such-service"
    sentence = msg("There is no such service.")


class ItemChanged(Conflict):
    """A published version of a service item is loaded again with other content."""

    code = "service-version-changed"
    sentence = msg("Version %(version)s of “%(item)s” is published and cannot change. Publish a new version.")


class Verdict(StrEnum):
    """Whether somebody qualifies."""

    YES = "yes"
    NO = "no"
    MAYBE = "maybe"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """How one criterion stands, and the facts that are still open when that is *maybe*."""

    criterion: Criterion
    verdict: Verdict
    open_facts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Eligibility:
    """The verdict and every finding that led to it."""

    verdict: Verdict
    findings: tuple[Finding, ...]


def holds(rule: Rule, *, answers: Answers, facts: Facts) -> bool:
    """Whether a condition holds for these answers and facts."""
    if isinstance(rule, bool):
        return rule
    return bool(_evaluate(rule, answers=answers, facts=facts))


def _evaluate(rule: JsonValue, *, answers: Answers, facts: Facts) -> object:
    known: dict[str, Any] = {code: value for code, value in facts.items() if value is not None}
    return jsonLogic(rule, {"answers": dict[str, Any](answers), "person": known})


def facts_from(item: Item, answers: Answers, known: Facts) -> dict[str, int | bool | None]:
    """``known`` facts and those that the form's answers establish; what the city knows goes before what is answered."""
    found = dict(known)
    for fact in item.facts:
        if fact.from_answers is None or found.get(fact.code) is not None:
            continue
        read = [name.removeprefix("answers.") for name in variables(fact.from_answers)]
        if all(answers.get(name) for name in read):
            found[fact.code] = holds(fact.from_answers, answers=answers, facts=known)
    return found


def eligibility(item: Item, facts: Facts) -> Eligibility:
    """Whether a person with these facts qualifies: *no* if one criterion fails, *maybe* while a fact is open, else *yes*."""
    findings = []
    for criterion in item.eligibility:
        open_facts = tuple(code for code in criterion.needs if facts.get(code) is None)
        if open_facts:
            findings.append(Finding(criterion=criterion, verdict=Verdict.MAYBE, open_facts=open_facts))
        else:
            met = holds(criterion.when, answers={}, facts=facts)
            findings.append(Finding(criterion=criterion, verdict=Verdict.YES if met else Verdict.NO))
    verdicts = {finding.verdict for finding in findings}
    overall = Verdict.NO if Verdict.NO in verdicts else Verdict.MAYBE if Verdict.MAYBE in verdicts else Verdict.YES
    return Eligibility(verdict=overall, findings=tuple(findings))


def pages(item: Item, answers: Answers, facts: Facts) -> tuple[Step, ...]:
    """The pages this resident sees, given what is answered so far."""
    shown = (step for step in item.steps if holds(step.when, answers=answers, facts=facts))
    return tuple(step for step in shown if questions(step, answers, facts))


def questions(step: Step, answers: Answers, facts: Facts) -> tuple[FormField, ...]:
    """The questions of a page that this resident sees."""
    return tuple(field for field in step.fields if holds(field.when, answers=answers, facts=facts))


def check(field: FormField, answer: str | list[str] | None) -> Words | None:
    """What is wrong with an answer, in words, or none."""
    if not answer:
        return field.missing if field.required else None
    if isinstance(answer, list):
        return None if field.kind == "upload" and len(answer) <= field.files_max else field.missing
    return None if _fits(field, answer) else field.invalid or field.missing


def _fits(field: FormField, answer: str) -> bool:
    if field.kind == "choice":
        return answer in {option.value for option in field.options}
    if field.kind == "confirm":
        return answer == CONFIRMED
    if field.kind == "date":
        return _is_date(answer)
    shapes = [shape for shape in (_SHAPES.get(field.kind), field.pattern) if shape]
    return field.kind in TEXT_KINDS and len(answer) <= field.length_max and all(re.fullmatch(shape, answer) for shape in shapes)


def _is_date(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def tidy(field: FormField, raw: str) -> str:
    """An answer as it is kept: trimmed; spaces and dashes inside numbers taken out."""
    text = raw.strip()
    return re.sub(r"[\s-]", "", text) if field.kind in ("phone", "digits") else text


def problems(item: Item, answers: Answers, facts: Facts) -> dict[str, Words]:
    """Every question that is not well answered yet, in order, with what to do about it."""
    wrong: dict[str, Words] = {}
    for step in pages(item, answers, facts):
        for field in questions(step, answers, facts):
            found = check(field, answers.get(field.code))
            if found is not None:
                wrong[field.code] = found
    return wrong


def relevant(item: Item, answers: Answers, facts: Facts) -> dict[str, str | list[str]]:
    """The answers to questions that are asked: what a later choice made irrelevant is left out."""
    asked = {field.code for step in pages(item, answers, facts) for field in questions(step, answers, facts)}
    return {code: answer for code, answer in answers.items() if code in asked}


def effects(item: Item, answers: Answers, facts: Facts) -> list[dict[str, JsonValue]]:
    """What approval brings about, with every condition and amount worked out."""
    worked: list[dict[str, JsonValue]] = []
    for effect in item.effects:
        if isinstance(effect, IssueCard):
            granted: list[JsonValue] = [
                {"code": each.code, "until_age": each.until_age}
                for each in effect.entitlements
                if holds(each.when, answers=answers, facts=facts)
            ]
            worked.append({"kind": effect.kind, "card_kinds": list(effect.card_kinds), "entitlements": granted})
        elif isinstance(effect, GrantEntitlement):
            if holds(effect.when, answers=answers, facts=facts):
                worked.append({"kind": effect.kind, "entitlement": effect.entitlement, "years": effect.years})
        else:
            amount = _evaluate(effect.monthly_minor, answers=answers, facts=facts)
            assert isinstance(amount, int), f"{effect.allowance}: the amount is not a whole number of fen"
            worked.append({"kind": effect.kind, "allowance": effect.allowance, "monthly_minor": amount})
    return worked


def next_page(item: Item, answers: Answers, facts: Facts, *, after: str) -> Step | None:
    """The page that follows the page ``after``, or none when that was the last."""
    codes: Sequence[Step] = pages(item, answers, facts)
    order = [step.code for step in item.steps]
    later = [step for step in codes if order.index(step.code) > order.index(after)]
    return later[0] if later else None
