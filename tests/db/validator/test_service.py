"""The gate as a service: codes from a pipe, a serial port or a typing scanner, with polls and uploads behind them."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from card.credentials import Reason
from card.validator import CityUnreachable, Terminal, scanner
from card.validator.rules import Standing
from card.validator.service import Office
from tests.db.validator.small_city import SmallCity

ROOT = Path(__file__).parents[3]


def serve(home: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "card.validator", "run", "--json", "--home", str(home), *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_decides_polls_and_uploads_until_it_is_told_to_stop(city: SmallCity, enrolled: Callable[..., Terminal]) -> None:
    gate = enrolled("gate")
    good, lost = city.phone(1), city.phone(2)
    process = serve(gate.home, "--poll", "0.5", "--upload-every", "0.5")
    assert process.stdin is not None
    assert process.stdout is not None

    def decide(code: str) -> dict[str, object]:
        process.stdin.write(code + "\r\n")
        process.stdin.flush()
        found: dict[str, object] = json.loads(process.stdout.readline())
        return found

    assert decide(good.show())["decision"] == "accepted"
    city.deny(2)
    until = time.monotonic() + 20
    while decide(lost.show())["reason"] != Reason.CARD_BLOCKED:  # from the next poll
        assert time.monotonic() < until
        time.sleep(0.2)
    while not city.taps:
        assert time.monotonic() < until
        time.sleep(0.1)
    last = decide(good.show())
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert (last["boot_id"], last["seq"]) in city.taps  # the last upload, on the way out
    assert gate.state().taps.waiting == 0


def test_without_a_network_it_decides_all_the_same(city: SmallCity, enrolled: Callable[..., Terminal]) -> None:
    gate = enrolled("gate")
    with gate.journal.exclusive():
        gate.journal.remember("server", "http://127.0.0.1:9")
    process = serve(gate.home, "--upload-every", "0.2")
    out, said = process.communicate(city.phone(1).show() + "\n", timeout=30)
    assert process.returncode == 0, said
    assert json.loads(out)["decision"] == "accepted"
    assert "sync: " in said
    assert gate.state().taps.waiting == 1


def test_an_office_renews_in_the_last_thirty_days_and_nothing_that_fails_stops_it(
    city: SmallCity, enrolled: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    gate, now = enrolled("gate"), [0.0]
    office = Office(gate, poll_s=300, upload_s=15, log=said.append, clock=lambda: now[0])
    office.tick()
    assert gate.standing is Standing.ENROLLED
    calls = []

    def down() -> None:
        calls.append(now[0])
        raise CityUnreachable("down")

    monkeypatch.setattr(gate, "sync", down)
    for second in range(1, 1200):
        now[0] = second
        office.tick()
    waits = [after - before for before, after in pairwise(calls)]
    assert calls[0] == 300
    assert 4 <= waits[0] <= 7
    assert max(waits) <= 120 * 1.2 + 1
    assert waits == sorted(waits[:4]) + waits[4:]  # it asks less and less often


def test_a_serial_scanner_and_one_that_types_give_the_same_codes(city: SmallCity) -> None:
    codes = [city.phone(serial).show() for serial in range(3)]
    ours, theirs = pty.openpty()
    path = Path(os.ttyname(theirs))
    descriptor = scanner.open_serial(path, baud=9600)
    stop = threading.Event()
    lines = scanner.device_lines(descriptor, stop)
    heard = []
    for code in codes:
        os.write(ours, code.encode() + b"\r")
        heard.append(next(lines))
    os.close(ours)
    assert list(lines) == []
    os.close(descriptor)
    os.close(theirs)
    assert heard == codes
    keys = {letter: key for key, letter in scanner.PLAIN.items()}
    shifted = {letter: key for key, letter in scanner.SHIFTED.items()}
    reading, writing = os.pipe()
    typed = []
    for code in codes:
        for letter in code:
            events = [(keys[letter], 1), (keys[letter], 0)] if letter in keys else [(42, 1), (shifted[letter], 1), (42, 0)]
            typed += [scanner.EVENT.pack(0, 0, 1, key, value) for key, value in events]
        typed.append(scanner.EVENT.pack(0, 0, 1, 28, 1))

    def type_it() -> None:
        with os.fdopen(writing, "wb") as keyboard:
            keyboard.write(b"".join(typed))

    typist = threading.Thread(target=type_it)
    typist.start()
    assert list(scanner.wedge_lines(reading, stop)) == codes
    typist.join()
    os.close(reading)


def test_a_line_without_an_end_is_dropped_and_the_next_code_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"X" * 5000)
    stop = threading.Event()
    lines = scanner.device_lines(reading, stop)

    def rest() -> None:
        time.sleep(0.3)
        os.write(writing, b"YY\nCC1:GOOD\r\n\r\nCC1:LAST")
        os.close(writing)

    later = threading.Thread(target=rest)
    later.start()
    assert list(lines) == ["CC1:GOOD", "CC1:LAST"]
    later.join()
    os.close(reading)


def test_the_program_is_ready_in_under_a_second_of_processor_time(enrolled: Callable[..., Terminal]) -> None:
    gate = enrolled("gate")
    program = (
        "import resource, sys; from card.validator.__main__ import main; main(sys.argv[1:]);"
        "spent = resource.getrusage(resource.RUSAGE_SELF); print(spent.ru_utime + spent.ru_stime)"
    )
    command = [sys.executable, "-c", program, "status", "--home", str(gate.home)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) < 1.0
