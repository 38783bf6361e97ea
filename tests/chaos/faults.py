"""The plan of a run: which fault strikes when, from a seed alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    """What can go wrong in a city's machine room."""

    KILL_LOAD = "kill -9 a poster's process"
    KILL_WEB = "kill -9 the web server"
    KILL_WORKER = "kill -9 the worker, which seals"
    KILL_BACKEND = "kill -9 a process of PostgreSQL"
    KILL_POSTGRES = "kill -9 PostgreSQL"
    CUT_CONNECTIONS = "cut every connection"
    STALL_POSTGRES = "stop PostgreSQL's processes for a second"
    FULL_DISK = "fill the disk for a second"
    STEP_CLOCK = "step the clock"
    JUMP_CLOCK = "let the clock jump more than a year ahead"


@dataclass(frozen=True, kw_only=True)
class Strike:
    """One fault: how long the city has worked in peace before it, and a number that chooses among its victims or amounts."""

    after_seconds: float
    fault: Fault
    choice: int


def plan(seed: int) -> Iterator[Strike]:
    """Strikes without end: every fault once in a shuffled order, and again in another."""
    random = Random(seed)
    while True:
        faults = list(Fault)
        random.shuffle(faults)
        for fault in faults:
            yield Strike(after_seconds=random.uniform(0, 0.5), fault=fault, choice=random.randrange(10**6))
