"""The reference page explains every account and every code."""

import re
from pathlib import Path

from card.ledger import AccountKind, TransferCode
from card.ledger.rules import REFUSALS

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "ledger.md").read_text()


def test_every_kind_of_account_is_in_the_reference() -> None:
    assert re.findall(r"^\| `([a-z-]+)` \|[^|]*\| (?:guarded|open)", PAGE, re.MULTILINE) == [kind.value for kind in AccountKind]


def test_every_code_is_explained_by_its_two_sides() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert [(slug, int(number)) for slug, number, *_ in rows] == [(code.slug, int(code)) for code in TransferCode]


def test_every_refusal_is_named() -> None:
    assert [code for code in REFUSALS if f"`{code}`" not in PAGE] == []
