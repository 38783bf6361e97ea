"""Parameters of formulas: effective-dated YAML in which every figure stands beside its source.

A file holds ``versions``, each with ``effective_from``; the version of a civil date is the last one that had begun.
Numbers are read as exact decimals, never as floats.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from importlib.resources.abc import Traversable
from typing import Protocol, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict

from app.kernel.errors import Refusal, msg


class NoParameters(Refusal):
    """No version of the parameters was in force on that day."""

    code = "no-parameters"
    sentence = msg("No rules are known for that place and day.")
    status = 422


class Figure(BaseModel):
    """A number with the place where it can be looked up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Decimal
    source: str


class Dated(Protocol):
    """Something in force from a civil date on."""

    @property
    def effective_from(self) -> date:
        """The first day."""


T = TypeVar("T", bound=Dated)


class _ExactLoader(yaml.SafeLoader):
    """YAML without floats: ``0.88`` becomes ``Decimal("0.88")``."""


def _decimal(loader: yaml.SafeLoader, node: yaml.Node) -> Decimal:
    assert isinstance(node, yaml.ScalarNode)
    return Decimal(str(loader.construct_scalar(node)))


_ExactLoader.add_constructor("tag:yaml.org,2002:float", _decimal)


def read(file: Traversable) -> object:
    """The document in ``file`` with exact numbers."""
    return yaml.load(file.read_text(encoding="utf-8"), Loader=_ExactLoader)  # noqa: S506  a SafeLoader with exact decimals


def version_on(versions: Sequence[T], on: date, *, what: str) -> T:
    """The version in force on ``on``; raises :class:`NoParameters` naming ``what`` before the first."""
    begun = [version for version in versions if version.effective_from <= on]
    if not begun:
        raise NoParameters(f"{what} on {on}")
    return max(begun, key=lambda version: version.effective_from)
