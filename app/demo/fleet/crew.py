"""One process with its share of the gates: it carries out its steps, and where the plan says so it dies in the middle.

What it has begun is on the disk before it begins, so that the process that takes over goes on behind it. Riders' phones
count in microseconds, which no restart sets back.
"""

import json
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from card.credentials import from_base64url, present, to_text
from card.validator import CityUnreachable, Terminal

WAVE_SECONDS: Final = 0.6
PATIENCE_SECONDS: Final = 120.0


def clock(offset_ms: int) -> int:
    """A gate's own clock: unix milliseconds, and as wrong as planned."""
    return time.time_ns() // 1_000_000 + offset_ms


class Crew:
    """The gates of one process, opened when they are needed."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self._folder, self._gates = folder, {int(number): gate for number, gate in document["gates"].items()}
        self._riders = {int(number): rider for number, rider in document["riders"].items()}
        self._open: dict[int, Terminal] = {}
        self._steps, self._programs = document["steps"], document["programs"]

    def gate(self, number: int) -> Terminal:
        """A gate, awake."""
        if number not in self._open:
            offset = self._gates[number]["clock_ms"]
            self._open[number] = Terminal(self._folder / f"gate-{number}", clock_ms=partial(clock, offset))
        return self._open[number]

    def sleep(self, number: int) -> None:
        """Close a gate."""
        if number in self._open:
            self._open.pop(number).close()

    def prepare(self, server: str) -> None:
        """Enrol and sync every gate."""
        for number, gate in self._gates.items():
            self.gate(number).enrol(server, gate["token"])
            self.gate(number).sync()

    def work(self) -> None:
        """Go on behind the last step that was begun."""
        place = self._folder / f"begun-{os.environ['CREW']}"
        begun = int(place.read_text()) if place.exists() else 0
        for number, (do, gate, rider, whom) in enumerate(self._steps[begun:], start=begun + 1):
            place.write_text(str(number))
            self.step(do, gate, rider, whom)
        self.finish()

    def step(self, do: str, gate: int, rider: int, whom: str) -> None:
        """One step of the plan."""
        match do:
            case "tap":
                self.tap(self.gate(gate), rider)
            case "upload":
                with suppress(CityUnreachable):  # the taps wait in the journal
                    self.gate(gate).upload()
            case "forget":
                self.forget(gate)
            case "restart":
                self.sleep(gate)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "strike":
                self.strike(whom)
            case _:
                time.sleep(WAVE_SECONDS)

    def tap(self, gate: Terminal, rider: int) -> None:
        """A rider shows a fresh code."""
        phone = self._riders[rider]
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(phone["key"]))
        now = datetime.now(UTC)
        shown = present(from_base64url(phone["static"]), device=key, at=now, counter=time.time_ns() // 1000)
        gate.decide(to_text(shown))

    def forget(self, number: int) -> None:
        """Upload, and wake up with the disk as it was before: everything is sent again."""
        self.sleep(number)
        home = self._folder / f"gate-{number}"
        kept = self._folder / f"kept-{number}"
        shutil.copytree(home, kept, dirs_exist_ok=True)
        with suppress(CityUnreachable):
            self.gate(number).upload(batch=50)
        self.sleep(number)
        for file in home.glob("journal*"):
            file.unlink()
        shutil.copytree(kept, home, dirs_exist_ok=True)
        shutil.rmtree(kept)

    def strike(self, program: str) -> None:
        """Kill a city's program with all its processes, without a warning, and write down that it lived until then."""
        found = {name: pid for name, pid, _ in json.loads(Path(self._programs).read_text())}
        with suppress(ProcessLookupError):  # struck twice before it was started again
            os.killpg(found[program], signal.SIGKILL)
            with (self._folder / f"struck-{os.environ['CREW']}").open("a") as book:
                book.write(f"{program}\n")

    def finish(self) -> None:
        """The network is back everywhere: send what waits until nothing does."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        for number in self._gates:
            while not self.rid(number):
                assert time.monotonic() < deadline, f"gate {number} does not get rid of its taps"
                time.sleep(0.2)
            self.sleep(number)

    def rid(self, number: int) -> bool:
        """Whether a gate has handed in everything."""
        with suppress(CityUnreachable):
            return not self.gate(number).upload().waiting
        return False


def main() -> None:
    """``crew prepare|work`` with the crew's document on the way."""
    verb, file = sys.argv[1], Path(sys.argv[2])
    document = json.loads(file.read_text())
    crew = Crew(file.parent, document)
    with suppress(KeyboardInterrupt):
        if verb == "prepare":
            crew.prepare(document["server"])
        else:
            crew.work()


if __name__ == "__main__":
    main()
