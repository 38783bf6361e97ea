"""The processes of the demonstration: started in order, watched, restarted when they die, stopped together.

A program of our own is forked from the supervisor, which has read the whole application once already: seven processes that each
read it themselves would take half a minute on two cores. A foreign program is started by its command.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

STOP_SECONDS: Final = 8.0
RESTART_PAUSE_SECONDS: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run: a name, a command of ours or somebody else's, and what its environment has beside ours.

    ``run`` is either a command line or a function of this program that returns when it is told to stop.
    """

    name: str
    run: tuple[str, ...] | Callable[[], None]
    environment: dict[str, str]


class Child:
    """One running program, forked or started, seen the same way."""

    def __init__(self, program: Program, log: Path) -> None:
        with log.open("ab") as file:
            if callable(program.run):
                context = multiprocessing.get_context("fork")
                self._forked = context.Process(target=_enter, args=(program, file.fileno()), name=program.name)
                self._forked.start()
                self._started = None
                self.pid = self._forked.pid or 0
            else:
                self._started = subprocess.Popen(
                    program.run,
                    env={**os.environ, **program.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,  # Ctrl-C reaches us alone, so that we can stop the others in order
                )
                self.pid = self._started.pid

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._started.poll() is not None if self._started else not self._forked.is_alive()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it came."""
        if self._started is None:
            self._forked.join(seconds)
        else:
            with suppress(subprocess.TimeoutExpired):
                self._started.wait(seconds)
        return self.ended

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and all its own."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def _enter(program: Program, log: int) -> None:
    """The first steps of a forked program: a session, a log and an environment of its own."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115  by number, for the life of the process
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.environ.update(program.environment)
    assert callable(program.run)
    try:
        program.run()
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def register_of(folder: Path) -> Path:
    """Where the demonstration of ``folder`` writes down its running programs: ``[[name, pid, unix seconds of start], …]``."""
    return folder / "processes.json"


class Children:
    """The running programs of one demonstration, remembered on disk so that a later start finds what a crash left behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._register = register_of(folder)
        self._running: dict[str, tuple[Program, Child]] = {}

    def clear_leftovers(self) -> int:
        """End what an earlier start left running when it was killed; how many there were."""
        if not self._register.exists():
            return 0
        ended = 0
        for *_, pid, started in json.loads(self._register.read_text()):
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
        self._running[program.name] = (program, Child(program, logs / f"{program.name}.log"))
        self._remember()

    def _remember(self) -> None:
        known = []
        for name, (_, child) in self._running.items():
            with suppress(psutil.NoSuchProcess):
                known.append((name, child.pid, psutil.Process(child.pid).create_time()))
        fresh = self._register.with_suffix(".new")
        fresh.write_text(json.dumps(known))
        fresh.replace(self._register)

    def dead(self) -> list[str]:
        """The names of programs that have ended by themselves."""
        return [name for name, (_, child) in self._running.items() if child.ended]

    def restart(self, name: str) -> None:
        """Start a program again after it died, and end what it left behind: half a web server would go on answering."""
        program, dead = self._running[name]
        dead.signal(signal.SIGKILL)
        time.sleep(RESTART_PAUSE_SECONDS)
        self.start(program)

    def stop(self) -> None:
        """Ask everything to stop, wait, and end what does not."""
        for _, child in self._running.values():
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for name, (_, child) in self._running.items():
            if not child.wait(max(0.1, deadline - time.monotonic())):
                sys.stderr.write(f"  {name} did not stop in time and was ended\n")
            child.signal(signal.SIGKILL)  # it, or what it left behind
            child.wait(5)
        self._running.clear()
        self._register.unlink(missing_ok=True)
