"""The processes of the demonstration: started in order, watched, restarted when they die, stopped together."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

STOP_SECONDS: Final = 8.0
RESTART_PAUSE_SECONDS: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run: a name, a command, and what its environment has beside ours."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]


class Children:
    """The running programs of one demonstration, remembered on disk so that a later start finds what a crash left behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._register = folder / "processes.json"
        self._running: dict[str, tuple[Program, subprocess.Popen[bytes]]] = {}

    def clear_leftovers(self) -> int:
        """End what an earlier start left running when it was killed; how many there were."""
        if not self._register.exists():
            return 0
        ended = 0
        for pid, started in json.loads(self._register.read_text()):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if abs(process.create_time() - started) < 1:
                    for member in [*process.children(recursive=True), process]:
                        with suppress(psutil.NoSuchProcess):
                            member.kill()
                    ended += 1
        self._register.unlink()
        return ended

    def start(self, program: Program) -> None:
        """Start one program; what it prints goes to ``log/<name>.log``."""
        logs = self._folder / "log"
        logs.mkdir(exist_ok=True)
        with (logs / f"{program.name}.log").open("ab") as log:
            child = subprocess.Popen(
                program.command,
                env={**os.environ, **program.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches us alone, so that we can stop the others in order
            )
        self._running[program.name] = (program, child)
        self._remember()

    def _remember(self) -> None:
        known = []
        for _, child in self._running.values():
            with suppress(psutil.NoSuchProcess):
                known.append((child.pid, psutil.Process(child.pid).create_time()))
        self._register.write_text(json.dumps(known))

    def dead(self) -> list[str]:
        """The names of programs that have ended by themselves."""
        return [name for name, (_, child) in self._running.items() if child.poll() is not None]

    def restart(self, name: str) -> None:
        """Start a program again after it died."""
        time.sleep(RESTART_PAUSE_SECONDS)
        self.start(self._running[name][0])

    def stop(self) -> None:
        """Ask everything to stop, wait, and end what does not."""
        for _, child in self._running.values():
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for name, (_, child) in self._running.items():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                sys.stderr.write(f"  {name} did not stop in time and was ended\n")
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        self._running.clear()
        self._register.unlink(missing_ok=True)
