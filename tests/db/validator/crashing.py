"""A gate that is killed at chosen instructions: run by ``test_crashes.py``, one fork a crash. Speaks JSON lines.

``python -m tests.db.validator.crashing <home> <act> <seed> <points>`` forks ``points`` children; each performs ``act``
and kills itself (SIGKILL) at the n-th line of the validator's own code, n drawn from the seed.
"""

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from card.validator import CityRefused, CityUnreachable, Terminal


def acts(home: Path, codes: list[str], spoken: int) -> dict[str, Callable[[Terminal], None]]:
    def decide(terminal: Terminal) -> None:
        for code in codes:
            outcome = terminal.decide(code)
            os.write(spoken, json.dumps([outcome.boot_id, outcome.seq]).encode() + b"\n")

    return {
        "decide": decide,
        "sync": lambda terminal: terminal.sync() and None,
        "upload": lambda terminal: terminal.upload(batch=3) and None,
        "renew": lambda terminal: terminal.renew() and None,
        "prune": lambda terminal: terminal.journal.prune(now_ms=0, keep_taps=2) and None,
    }


def child(home: Path, act: str, codes: list[str], spoken: int, die_at: int | None) -> int:
    """Perform; how many lines of the validator ran, where it was not to die."""
    lines = 0

    def trace(frame: object, event: str, _: object) -> object:
        nonlocal lines
        if "/card/validator/" not in frame.f_code.co_filename:  # type: ignore[attr-defined]
            return None
        if event == "line":
            lines += 1
            if lines == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        terminal = Terminal(home)
        acts(home, codes, spoken)[act](terminal)
        terminal.close()
    except (CityUnreachable, CityRefused):
        pass
    finally:
        sys.settrace(None)
    return lines


def in_a_fork(work: Callable[[], int]) -> int:
    """The small number that ``work`` answered, through a pipe; -1 where it was killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writing, str(work()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    said = os.read(reading, 100)
    os.close(reading)
    os.waitpid(pid, 0)
    return int(said) if said else -1


def main() -> None:
    home, act, seed, points = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    batches: list[list[str]] = json.loads(sys.stdin.read())
    spoken = sys.stdout.fileno()
    chance = random.Random(seed)
    whole = in_a_fork(lambda: child(home, act, batches.pop(0), spoken, None))
    batches.pop(0)
    killed = 0
    for codes in batches[:points]:
        die_at = chance.randint(1, max(whole, 1))
        killed += in_a_fork(lambda codes=codes, die_at=die_at: child(home, act, codes, spoken, die_at)) == -1  # type: ignore[misc]
    sys.stderr.write(json.dumps({"lines": whole, "killed": killed}))


if __name__ == "__main__":
    main()
