"""The processes that a run hurts: ``python -m tests.chaos.programs load|web|worker FOLDER …``; a file steps their clock.

What a process needs to know is in ``FOLDER/facts.json``; the settings of the city are in the environment.
"""

import dataclasses
import json
import os
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app import cli
from app.factory import create_app
from app.kernel import clock
from app.kernel.db import Database, Right
from app.kernel.settings import Settings
from app.web.security import limiter
from card import ledger
from tests.chaos import asking
from tests.chaos.work import Accounts, Work
from tests.cities import serve

THREADS = 3
PAUSE_SECONDS = 0.01  # between a caller's answers: the faults are what is tried here, not the speed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What every load of a run knows."""

    seed: int
    begins: datetime

    @classmethod
    def read(cls, folder: Path) -> "Facts":
        """From ``facts.json``."""
        found = json.loads((folder / "facts.json").read_text())
        return cls(seed=found["seed"], begins=datetime.fromisoformat(found["begins"]))

    def write(self, folder: Path) -> None:
        """To ``facts.json``."""
        (folder / "facts.json").write_text(json.dumps({"seed": self.seed, "begins": self.begins.isoformat()}))


def step_the_clock(folder: Path) -> None:
    """Let this process's clock be wrong by the seconds that ``clock`` says, from the instant it says so."""

    def now() -> datetime:
        try:
            wrong = float((folder / "clock").read_text() or 0)
        except (FileNotFoundError, ValueError):
            wrong = 0.0
        return datetime.now(UTC) + timedelta(seconds=wrong)

    clock.now = now


def answers(folder: Path, name: str) -> dict[int, tuple[str, ...]]:
    """What a load has been answered so far; a line that was cut off by a kill counts as nothing."""
    file = folder / f"{name}.answers"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return {int(number): tuple(found.split(",")) for number, _, found in (line.partition(" ") for line in lines)}


def load(folder: Path, name: str) -> None:
    """Post group after group through one poster and three callers until stopped; write down each answer as it comes."""
    facts, settings = Facts.read(folder), Settings.from_env()
    database = Database.of(settings, Right.APPLICATION)
    accounts = Accounts.of(json.loads((folder / "accounts.json").read_text()))
    work = Work(seed=facts.seed, name=name, begins=facts.begins, accounts=accounts)
    poster = ledger.Poster(database)
    book = os.open(folder / f"{name}.answers", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    if (cut := (folder / f"{name}.answers").read_bytes()) and not cut.endswith(b"\n"):
        os.write(book, b"\n")
    answered = answers(folder, name)

    def caller(number: int) -> None:
        while True:
            if number not in answered:
                found = asking.settle(poster, database, work.group(number))
                os.write(book, f"{number} {','.join(outcome.status.value for outcome in found)}\n".encode())
                time.sleep(PAUSE_SECONDS)
            number += THREADS

    callers = [threading.Thread(target=caller, args=(number,)) for number in range(THREADS)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()


def web(port: int) -> None:
    """The city's web server."""
    limiter.enabled = False
    with serve(create_app(Settings.from_env()), port):
        threading.Event().wait()


def worker() -> None:
    """The city's worker: it seals, expires holds, makes months, delivers events."""
    with create_app(Settings.from_env()).app_context():
        cli.worker_command.main(args=[], standalone_mode=False)


def main() -> None:
    """Be one of them."""
    kind, folder, *rest = sys.argv[1:]
    step_the_clock(Path(folder))
    match kind:
        case "load":
            load(Path(folder), rest[0])
        case "web":
            web(int(rest[0]))
        case "worker":
            worker()


if __name__ == "__main__":
    main()
