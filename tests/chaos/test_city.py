"""A city that is hurt in every way once comes through by itself, and its books are right."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos import city, faults
from tests.chaos.faults import Fault


def test_a_plan_repeats_and_leaves_no_fault_out() -> None:
    plans = [[strike for strike, _ in zip(faults.plan(3), range(2 * len(Fault)), strict=False)] for _ in range(2)]
    assert plans[0] == plans[1]
    assert Counter(strike.fault for strike in plans[0]) == dict.fromkeys(Fault, 2)


@pytest.mark.timeout(900)  # a busy machine starts the city's programs slowly
def test_every_fault_once() -> None:
    said: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))  # where the server's own user may go, too
    result = city.run(folder, seed=20261122, strikes=len(Fault), say=said.append)
    assert result.struck == dict.fromkeys(Fault, 1), said
    assert not result.verdict.wrong, said
    for what in ("posted", "refused", "bills paid on the page"):
        assert result.verdict.seen[what] > 0, said
    shutil.rmtree(folder)
