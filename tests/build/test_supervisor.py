"""The demonstration refuses to start where it cannot, with a clear sentence and a way out."""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from app.demo import supervisor
from app.demo.children import Children, Program
from app.demo.cities import NANJING, Place, environment_of, settings_of
from app.kernel.settings import Settings


def test_a_taken_port_is_named_with_a_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = Place(port_base=taken.getsockname()[1] - NANJING.offset, folder=tmp_path)
        with pytest.raises(supervisor.CannotStart) as refused:
            supervisor.check_ports(place)
    assert f"{place.port(NANJING)} (Nanjing)" in str(refused.value)
    assert f"PORT_BASE={place.port_base + 1000}" in str(refused.value)


def test_two_demonstrations_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        supervisor.only_one(tmp_path),
        pytest.raises(supervisor.CannotStart, match="already runs"),
        supervisor.only_one(tmp_path),
    ):
        pass


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FREE_BYTES_MIN", 2**62)
    with pytest.raises(supervisor.CannotStart, match="DATA_DIR"):
        supervisor.check_disk(tmp_path)


def test_what_a_killed_start_left_running_is_ended_by_the_next(tmp_path: Path) -> None:
    first = Children(tmp_path)
    first.start(Program(name="sleeper", run=(sys.executable, "-c", "import time; time.sleep(600)"), environment={}))
    (pid,) = [child.pid for _, child in first._running.values()]

    assert Children(tmp_path).clear_leftovers() == 1

    assert first._running["sleeper"][1].wait(5)
    assert not psutil.pid_exists(pid)
    assert Children(tmp_path).clear_leftovers() == 0, "and not looked for again"


def end_at_once() -> None:
    """A program of ours that is over as soon as it begins."""


@pytest.mark.parametrize("run", [end_at_once, (sys.executable, "-c", "pass")])
def test_a_program_that_dies_is_seen_and_started_again(tmp_path: Path, run: object) -> None:
    children = Children(tmp_path)
    children.start(Program(name="brief", run=run, environment={}))
    first = children._running["brief"][1]
    assert first.wait(10)
    assert children.dead() == ["brief"]
    children.restart("brief")
    assert children._running["brief"][1].pid != first.pid
    children.stop()


def leave_one_behind() -> None:
    """A program of ours with a child, as the web server is; its own end is not its child's."""
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(started.pid, flush=True)
    time.sleep(600)


@pytest.mark.parametrize("end", ["restart", "stop"])
def test_what_a_killed_program_leaves_behind_is_ended_too(tmp_path: Path, end: str) -> None:
    children = Children(tmp_path)
    children.start(Program(name="parent", run=leave_one_behind, environment={}))
    left = psutil.Process(int(first_line(tmp_path / "log" / "parent.log")))
    child = children._running["parent"][1]
    psutil.Process(child.pid).kill()
    assert child.wait(5)
    assert left.is_running()
    children.restart("parent") if end == "restart" else children.stop()
    with suppress(psutil.NoSuchProcess):
        left.wait(5)
    assert not left.is_running()
    children.stop()


def first_line(log: Path) -> str:
    """What a program says first."""
    for _ in range(100):
        if "\n" in (said := log.read_text()):
            break
        time.sleep(0.05)
    return said.splitlines()[0]


def speak_and_wait() -> None:
    """A program of ours that says what it was given and then waits."""
    print(os.environ["WORD"], flush=True)
    time.sleep(600)


def test_a_program_of_ours_has_a_log_and_an_environment_of_its_own_and_stops_when_asked(tmp_path: Path) -> None:
    children = Children(tmp_path)
    children.start(Program(name="speaker", run=speak_and_wait, environment={"WORD": "heard"}))
    assert first_line(tmp_path / "log" / "speaker.log") == "heard"
    child = children._running["speaker"][1]
    children.stop()
    assert child.ended
    assert "WORD" not in os.environ


def test_a_citys_settings_survive_the_way_through_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(port_base=8000, folder=tmp_path)
    settings = settings_of(place, NANJING, "postgresql:///nanjing")
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env() == settings
    assert settings_of(place, NANJING, "postgresql:///nanjing") == settings, "secrets are made once"


def test_reset_forgets_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place(port_base=8000, folder=tmp_path / "var")
    (place.folder / "nanjing").mkdir(parents=True)
    supervisor.reset(place)
    assert "Forgotten" in capsys.readouterr().out
    assert not (place.folder / "nanjing").exists()


def test_help_lists_every_verb() -> None:
    printed = subprocess.run(["make", "help"], capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in printed.splitlines()} >= {"run", "day", "reset", "test", "check", "bench", "lock"}
