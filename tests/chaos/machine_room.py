"""A PostgreSQL that can be killed and a disk that can be filled."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from app.demo import postgres

VOLUME_MEGABYTES = 1024


@contextmanager
def volume(folder: Path) -> Iterator[bool]:
    """A small disk of its own at ``folder`` for the length of the block; whether the system lets us mount one."""
    folder.mkdir(parents=True)
    mounted = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={VOLUME_MEGABYTES}m", "chaos", folder], capture_output=True, check=False
        ).returncode
        == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=True)


class Postgres:
    """The embedded server with durability on, on a volume of its own."""

    def __init__(self, folder: Path, *, own_volume: bool) -> None:
        self._ballast = folder / "ballast"
        self._own_volume = own_volume
        self._server = postgres.start(folder / "pg")
        self.url = postgres.ensure_database(self._server, "city")

    @property
    def processes(self) -> list[psutil.Process]:
        """The postmaster first, then its children; none where it is dead."""
        with suppress(FileNotFoundError, psutil.NoSuchProcess, IndexError, ValueError):
            pid = int((self._server.pgdata / "postmaster.pid").read_text().split("\n")[0])
            found = psutil.Process(pid)
            if "postgres" in found.name():
                return [found, *found.children()]
        return []

    def kill(self) -> None:
        """kill -9 the postmaster; its children see that it is gone and end."""
        for process in self.processes[:1]:
            process.kill()

    def kill_one(self, choice: int) -> str:
        """kill -9 one of its processes; all others are then ended by the postmaster, and the log is replayed."""
        victims = self.processes[1:]
        if not victims:
            return "none lived"
        victim = victims[choice % len(victims)]
        with suppress(psutil.NoSuchProcess):
            name = " ".join(victim.cmdline())[:60]
            victim.kill()
            return name
        return "it had ended"

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """None of its processes gets the processor."""
        stopped = self.processes
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """No byte more fits on its disk; where we may not mount one, none of its files may grow."""
        if self._own_volume:
            self._ballast.touch()
            with suppress(OSError), self._ballast.open("wb") as file:
                while True:
                    file.write(b"\0" * 2**20)
                    file.flush()
            try:
                yield
            finally:
                self._ballast.unlink()
            return
        limited = self.processes
        for process in limited:
            with suppress(psutil.NoSuchProcess):
                process.rlimit(psutil.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            for process in [*limited, *self.processes]:
                with suppress(psutil.NoSuchProcess):
                    process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def cut_connections(self) -> None:
        """End every connection but ours."""
        with suppress(psycopg.Error), psycopg.connect(self.url, autocommit=True, connect_timeout=2) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    def revive(self, *, within_seconds: float = 30) -> bool:
        """Start it again if it is dead, as a service manager would; whether it was."""
        was_dead = not self.processes
        until = time.monotonic() + within_seconds
        while True:
            try:
                if not self.processes:
                    self._server.start()
                with psycopg.connect(self.url, connect_timeout=2):
                    return was_dead
            except (psycopg.Error, subprocess.SubprocessError, AssertionError, OSError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop it for good."""
        self.revive()
        self._server.cleanup()
