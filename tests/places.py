"""The demonstration as a newcomer starts it: the province and two cities in programs of their own, stopped with Ctrl-C."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app.demo.cities import NANJING, STRIPE_OFFSET, Place

ROOT = Path(__file__).parents[1]
START_SECONDS = 180
AGAIN = "started again"  # what the demonstration says of a program that had ended


def free_base() -> int:
    """A port base whose four ports nobody holds."""
    for base in range(21_000, 29_000, 500):
        with socket.socket() as one, socket.socket() as two, socket.socket() as three, socket.socket() as four:
            try:
                for probe, offset in ((one, 0), (two, 1), (three, 2), (four, STRIPE_OFFSET)):
                    probe.bind(("127.0.0.1", base + offset))
            except OSError:
                continue
            return base
    raise AssertionError("no free ports")


@contextmanager
def demonstration(folder: Path) -> Iterator[tuple[Place, Path]]:
    """The cities, running, and the file into which the demonstration speaks; afterwards they have stopped without a trace."""
    place = Place(port_base=free_base(), folder=folder / "var")
    environment = {**os.environ, "PORT_BASE": str(place.port_base), "DATA_DIR": str(place.folder)}
    said = folder / "run.log"
    with said.open("w+") as log:
        running = subprocess.Popen([sys.executable, "-m", "app.demo"], env=environment, stdout=log, stderr=log, cwd=ROOT)
        try:
            deadline = time.monotonic() + START_SECONDS
            while "Ready." not in said.read_text():
                assert running.poll() is None, said.read_text()
                assert time.monotonic() < deadline, said.read_text()
                time.sleep(0.5)
            yield place, said
            running.send_signal(signal.SIGINT)
            assert running.wait(60) == 0
            assert "Stopped." in said.read_text()
            with pytest.raises(httpx.ConnectError):
                httpx.get(place.url(NANJING), trust_env=False)
        finally:
            if running.poll() is None:
                running.kill()
                running.wait()
