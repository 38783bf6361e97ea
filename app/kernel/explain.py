"""Explanations: a result carries the steps that led to it, so that anybody can follow it years later.

A step is an English message id with its figures already written out; screens translate the sentence, records keep both parts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from app.kernel.db import Json
from app.kernel.errors import msg

__all__ = ["Step", "as_amount", "as_percent", "msg", "steps_from_json", "steps_to_json"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a computation.

    ``code`` names the step permanently, ``sentence`` is a message id with ``%(name)s`` placeholders, ``params`` fills
    them, ``result`` is what the step yields (major units of money, or a number as the sentence says), ``source`` where the
    rule can be read.
    """

    code: str
    sentence: str
    params: dict[str, str] = field(default_factory=dict)
    result: Decimal | None = None
    source: str = ""


def as_amount(amount: Decimal) -> str:
    """An amount in major units for people: thousands separated, two places, more only where it has more."""
    exact = amount.normalize()
    exponent = exact.as_tuple().exponent
    places = max(2, -exponent if isinstance(exponent, int) else 2)
    return f"{amount:,.{places}f}"


def as_percent(ratio: Decimal) -> str:
    """A ratio as a bare percentage: ``0.78`` is ``78``, ``0.125`` is ``12.5``."""
    return f"{(ratio * 100).normalize():f}"


def steps_to_json(steps: Iterable[Step]) -> list[Json]:
    """Steps as JSON documents; decimals become strings."""
    return [
        {
            "code": step.code,
            "sentence": step.sentence,
            "params": step.params,
            "result": None if step.result is None else f"{step.result:f}",
            "source": step.source,
        }
        for step in steps
    ]


def steps_from_json(documents: Iterable[Json]) -> tuple[Step, ...]:
    """The inverse of :func:`steps_to_json`."""
    return tuple(
        Step(
            code=str(document["code"]),
            sentence=str(document["sentence"]),
            params={str(name): str(value) for name, value in document["params"].items()},
            result=None if document["result"] is None else Decimal(document["result"]),
            source=str(document["source"]),
        )
        for document in documents
    )
