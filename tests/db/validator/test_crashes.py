"""Power goes away: at chosen lines of the program, at any byte of the log, amid a checkpoint. Nothing spoken is lost."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from card.validator import Terminal
from card.validator.journal import Journal
from tests.db.validator.small_city import SmallCity

ROOT = Path(__file__).parents[3]
SEED = int(os.environ.get("CRASH_SEED", "20261122"))
POINTS = int(os.environ.get("CRASH_POINTS", "40"))  # many more: CRASH_POINTS=2000
PAGE = 4096


def crash(home: Path, act: str, batches: list[list[str]]) -> tuple[list[tuple[str, int]], dict[str, int]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.db.validator.crashing", str(home), act, str(SEED), str(len(batches) - 2)],
        cwd=ROOT,
        input=json.dumps(batches),
        capture_output=True,
        text=True,
        check=True,
        timeout=280,
    )
    spoken = [(boot, seq) for boot, seq in map(json.loads, done.stdout.splitlines())]
    return spoken, json.loads(done.stderr.splitlines()[-1])


def records(home: Path) -> set[tuple[str, int]]:
    journal = Journal(home / "journal.sqlite")
    assert journal.verify_chain() is None
    journal.close()
    with sqlite3.connect(home / "journal.sqlite") as file:
        found = set(file.execute("SELECT boot_id, seq FROM tap"))
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    file.close()
    return found


def test_killed_at_any_line_of_a_decision_nothing_spoken_is_lost_and_every_tap_arrives_once(
    city: SmallCity, enrolled: Callable[..., Terminal]
) -> None:
    gate = enrolled("gate")
    batches = [[city.phone(1000 + 3 * batch + place).show() for place in range(3)] for batch in range(POINTS + 2)]
    spoken, told = crash(gate.home, "decide", batches)
    assert told["killed"] == POINTS
    assert told["lines"] > 100
    kept = records(gate.home)
    assert set(spoken) <= kept
    assert len(kept) <= len(spoken) + POINTS  # at most the one that was on the disk and not yet spoken
    gate.upload()
    assert set(city.taps) == kept


@pytest.mark.parametrize("act", ["sync", "upload", "renew", "prune"])
def test_killed_at_any_line_of_what_it_does_with_its_city_it_goes_on(
    city: SmallCity, enrolled: Callable[..., Terminal], act: str
) -> None:
    gate = enrolled("gate")
    for serial in range(40):
        gate.decide(city.phone(serial).show())
        if serial % 4 == 0:
            city.deny(5000 + serial)
    if act == "prune":
        gate.upload()
    points = max(POINTS // 3, 8)
    _, told = crash(gate.home, act, [[]] * (points + 2))
    assert told["lines"] > 20
    city.deny(6000)
    again = Terminal(gate.home)
    again.sync()
    again.renew()
    assert again.decide(city.phone(100).show()).reason is None
    again.upload()
    state = again.state()
    assert (state.denied, state.chain_holds, state.taps.waiting) == (11, True, 0)
    assert len(city.taps) == 41
    again.close()


def written(home: Path, city: SmallCity, gate: Terminal, count: int) -> list[int]:
    """The size of the log after each of ``count`` decisions was spoken: everything up to there was flushed to the disk."""
    log = home / "journal.sqlite-wal"
    sizes = []
    for serial in range(count):
        gate.decide(city.phone(2000 + serial).show())
        sizes.append(log.stat().st_size)
    return sizes


def test_a_log_torn_at_any_byte_behind_the_last_flush_keeps_all_that_was_spoken(
    city: SmallCity, enrolled: Callable[..., Terminal], tmp_path: Path
) -> None:
    gate = enrolled("gate")
    gate.journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = len(records(gate.home))
    sizes = written(gate.home, city, gate, 40)
    log = (gate.home / "journal.sqlite-wal").read_bytes()
    main = (gate.home / "journal.sqlite").read_bytes()
    chance = random.Random(SEED)
    for turn in range(POINTS * 3):
        last = chance.randrange(len(sizes))
        end = sizes[last + 1] if last + 1 < len(sizes) else len(log)
        torn = bytearray(log[: chance.randint(sizes[last], max(end, sizes[last]))])
        damage = chance.choice(("cut", "zeros", "garbage", "old"))
        if damage == "zeros":
            torn += bytes(chance.randint(1, 3 * PAGE))
        elif damage == "garbage":
            torn += chance.randbytes(chance.randint(1, 3 * PAGE))
        elif damage == "old":  # sectors of the commit under way reached the disk in another order
            torn += log[sizes[0] : sizes[0] + chance.randint(1, 2 * PAGE)]
        folder = tmp_path / f"torn{turn}"
        folder.mkdir()
        (folder / "journal.sqlite").write_bytes(main)
        (folder / "journal.sqlite-wal").write_bytes(bytes(torn))
        found = len(records(folder))
        assert before + last + 1 <= found <= before + last + 2, (turn, damage)
        shutil.rmtree(folder)


def test_power_lost_in_the_middle_of_a_checkpoint_harms_nothing(
    city: SmallCity, enrolled: Callable[..., Terminal], tmp_path: Path
) -> None:
    gate = enrolled("gate")
    gate.journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    written(gate.home, city, gate, 60)
    before = (gate.home / "journal.sqlite").read_bytes()
    log = (gate.home / "journal.sqlite-wal").read_bytes()
    gate.journal._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    after = (gate.home / "journal.sqlite").read_bytes()
    chance = random.Random(SEED)
    expected = records(gate.home)
    for turn in range(POINTS):
        mixed = bytearray(before.ljust(len(after), b"\0"))
        for sector in range(0, len(after), 512):  # any sectors of the checkpoint may have reached the disk
            if chance.random() < 0.5:
                mixed[sector : sector + 512] = after[sector : sector + 512]
        folder = tmp_path / f"mixed{turn}"
        folder.mkdir()
        (folder / "journal.sqlite").write_bytes(bytes(mixed))
        (folder / "journal.sqlite-wal").write_bytes(log)
        assert records(folder) == expected
        shutil.rmtree(folder)
