"""What a service item is made of: the shape of the files in ``items/``, checked when they are loaded.

A definition carries both languages, its legal basis and its conditions (JsonLogic). It is data: a city changes a service by
publishing a new version, and an application keeps the version it began with.
"""

from collections.abc import Iterator
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,40}$")]
Rule = bool | dict[str, JsonValue]
"""A JsonLogic condition over ``answers`` (this form) and ``person`` (what the city knows), or plainly true or false."""

TEXT_KINDS: Final = frozenset({"text", "long-text", "phone", "digits"})


class Part(BaseModel):
    """A piece of a definition: nothing unknown in it, and nobody changes it after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Words(Part):
    """One text in both languages of the city."""

    en: str = Field(min_length=1)
    zh_Hans_CN: str = Field(min_length=1)  # noqa: N815  the locale's name

    def said(self, language: str) -> str:
        """The text in ``language`` (``en`` or ``zh_Hans_CN``)."""
        return self.en if language == "en" else self.zh_Hans_CN


class Source(Part):
    """Where a rule comes from: the act, and the article in it."""

    act: Words
    article: Words | None = None
    url: str | None = None


class Place(Part):
    """A service hall where the item is also handled."""

    code: Code
    name: Words
    address: Words
    hours: Words


class Fee(Part):
    """What the service costs: ``amount_minor`` in fen, and why."""

    amount_minor: int = Field(gt=0)
    basis: Source


class Material(Part):
    """A paper that is needed: who issues it, and whether the city already holds it (then nobody is asked for it)."""

    code: Code
    name: Words
    issuer: Words
    note: Words | None = None
    held_by_city: bool = False
    required: bool = True


class Fact(Part):
    """Something that decides whether a resident qualifies, as a question that can be asked before signing in."""

    code: Code
    kind: Literal["years", "yes-no"]
    question: Words
    known: bool = False  # the city knows it of a resident who has signed in
    from_answers: Rule | None = None  # a yes-no fact that the form answers, once every answer it reads is there


class Criterion(Part):
    """One condition of eligibility: ``when`` over the ``needs`` facts, its source, and what is said if it is not met."""

    code: Code
    requires: Words
    when: Rule
    needs: tuple[Code, ...]
    otherwise: Words
    source: Source


class Option(Part):
    """One answer to choose."""

    value: Code
    label: Words
    hint: Words | None = None


class FormField(Part):
    """One question of a form.

    ``missing`` is said when a required answer is not there, ``invalid`` when it has the wrong shape. ``pattern`` is a full
    match. ``accepts`` lists media types of an upload. ``when`` hides the question unless its condition holds.
    """

    code: Code
    kind: Literal["text", "long-text", "phone", "digits", "date", "choice", "confirm", "upload"]
    label: Words
    hint: Words | None = None
    required: bool = True
    missing: Words | None = None
    invalid: Words | None = None
    pattern: str | None = None
    length_max: int = Field(200, gt=0, le=4000)
    options: tuple[Option, ...] = ()
    accepts: tuple[Literal["image/jpeg", "image/png", "application/pdf"], ...] = ()
    files_max: int = Field(1, gt=0, le=10)
    material: Code | None = None
    when: Rule = True

    @model_validator(mode="after")
    def says_what_is_wrong(self) -> Self:
        """A question that can be answered wrongly says how to answer it."""
        if self.required and self.missing is None:
            raise ValueError(f"{self.code}: say what is missing")
        if self.kind in TEXT_KINDS | {"date"} and self.invalid is None:
            raise ValueError(f"{self.code}: say what is invalid")
        if (self.kind == "choice") != bool(self.options):
            raise ValueError(f"{self.code}: a choice, and nothing else, has options")
        if (self.kind == "upload") != bool(self.accepts):
            raise ValueError(f"{self.code}: an upload, and nothing else, accepts media types")
        return self


class Step(Part):
    """One page of the form: one thing to answer."""

    code: Code
    title: Words
    guidance: Words | None = None
    fields: tuple[FormField, ...] = Field(min_length=1)
    when: Rule = True


class Entitled(Part):
    """An entitlement that comes with a card where ``when`` holds; it ends on the birthday of ``until_age``."""

    code: Code
    when: Rule = True
    until_age: int | None = None


class IssueCard(Part):
    """Approval issues a card of each of ``card_kinds`` with the ``entitlements`` whose condition holds."""

    kind: Literal["issue-card"]
    card_kinds: tuple[Code, ...]
    entitlements: tuple[Entitled, ...] = ()


class GrantEntitlement(Part):
    """Approval entitles the holder of a card to ``entitlement`` in this city, for ``years`` years or for life."""

    kind: Literal["grant-entitlement"]
    entitlement: Code
    years: int | None = None
    when: Rule = True


class StartAllowance(Part):
    """Approval starts a monthly allowance; ``monthly_minor`` is JsonLogic that gives fen."""

    kind: Literal["start-allowance"]
    allowance: Code
    monthly_minor: int | dict[str, JsonValue]


Effect = Annotated[IssueCard | GrantEntitlement | StartAllowance, Field(discriminator="kind")]


class Letter(Part):
    """The decision as a document: its title and the sentence that decides, by outcome."""

    title: Words
    approved: Words
    refused: Words


class Item(Part):
    """A service item (事项) in one version. Days are working days."""

    code: Code
    version: int = Field(gt=0)
    name: Words
    summary: Words
    description: Words
    audience: Words
    department: Words
    legal_basis: tuple[Source, ...] = Field(min_length=1)
    statutory_days: int = Field(gt=0)
    statutory_source: Source
    promised_days: int = Field(gt=0)
    online: bool = True
    places: tuple[Place, ...] = ()
    fee: Fee | None = None
    materials: tuple[Material, ...] = ()
    facts: tuple[Fact, ...] = ()
    eligibility: tuple[Criterion, ...] = ()
    steps: tuple[Step, ...] = Field(min_length=1)
    declaration: Words
    effects: tuple[Effect, ...] = Field(min_length=1)
    letter: Letter

    def fields(self) -> Iterator[FormField]:
        """Every question, in order."""
        for step in self.steps:
            yield from step.fields

    def field(self, code: str) -> FormField:
        """The question ``code``; ``KeyError`` where there is none."""
        for found in self.fields():
            if found.code == code:
                return found
        raise KeyError(code)

    def step(self, code: str) -> Step:
        """The page ``code``; ``KeyError`` where there is none."""
        for found in self.steps:
            if found.code == code:
                return found
        raise KeyError(code)

    def step_of(self, field_code: str) -> Step:
        """The page on which the question ``field_code`` stands."""
        for found in self.steps:
            if any(field.code == field_code for field in found.fields):
                return found
        raise KeyError(field_code)

    @model_validator(mode="after")
    def hangs_together(self) -> Self:
        """Codes are unique, the promise keeps within the law, and every condition names what exists."""
        for kind, codes in (
            ("step", [step.code for step in self.steps]),
            ("field", [field.code for field in self.fields()]),
            ("fact", [fact.code for fact in self.facts]),
            ("criterion", [criterion.code for criterion in self.eligibility]),
            ("material", [material.code for material in self.materials]),
        ):
            if len(set(codes)) != len(codes):
                raise ValueError(f"a {kind} is defined twice")
        if self.promised_days > self.statutory_days:
            raise ValueError("the promised time is longer than the law allows")
        self._conditions_ask_what_is_answered()
        return self

    def _conditions_ask_what_is_answered(self) -> None:
        answers = {f"answers.{field.code}" for field in self.fields()}
        known = {f"person.{fact.code}" for fact in self.facts}
        conditions: list[tuple[str, JsonValue]] = [
            *((step.code, step.when) for step in self.steps),
            *((field.code, field.when) for field in self.fields()),
            *(("effects", effect.model_dump(mode="json")) for effect in self.effects),
            *((fact.code, fact.from_answers) for fact in self.facts),
        ]
        for where, condition in conditions:
            if unknown := set(variables(condition)) - answers - known:
                raise ValueError(f"{where}: the condition asks for {sorted(unknown)}, which nobody answers")
        for criterion in self.eligibility:
            needed = {f"person.{code}" for code in criterion.needs}
            if set(variables(criterion.when)) != needed or not needed <= known:
                raise ValueError(f"{criterion.code}: the condition, the facts it needs and those defined differ")
        materials = {material.code for material in self.materials}
        if unknown := {field.material for field in self.fields() if field.material} - materials:
            raise ValueError(f"a question gives materials that are not listed: {sorted(unknown)}")


def variables(rule: JsonValue) -> Iterator[str]:
    """The variables that a JsonLogic rule reads, as dotted paths."""
    if isinstance(rule, dict):
        for operator, operand in rule.items():
            if operator == "var":
                name = operand[0] if isinstance(operand, list) else operand
                yield str(name)
            else:
                yield from variables(operand)
    elif isinstance(rule, list):
        for element in rule:
            yield from variables(element)
