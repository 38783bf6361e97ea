"""A small city and an enrolled gate, for every test of the validator."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from card.validator import Terminal
from tests.db.validator.small_city import SmallCity, serving


@pytest.fixture
def city() -> Iterator[SmallCity]:
    made = SmallCity()
    with serving(made):
        yield made


@pytest.fixture
def enrolled(city: SmallCity, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Enrol a terminal in a folder of its own and sync it."""
    made: list[Terminal] = []

    def enrol(name: str, *, stop: str = "S1") -> Terminal:
        terminal = Terminal(tmp_path / name)
        city.tokens.add(name)
        city.stop_id = stop
        terminal.enrol(city.address, name)
        terminal.sync()
        made.append(terminal)
        return terminal

    yield enrol
    for terminal in made:
        terminal.close()
