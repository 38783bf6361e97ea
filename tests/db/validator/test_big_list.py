"""Ten million blocked cards on a small gate: fetched, kept, asked, and 64 MB is enough for it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pyroaring import BitMap

from card.credentials import DenyList, Reason
from card.validator import Terminal
from tests.db.validator.small_city import CITY, SmallCity

ROOT = Path(__file__).parents[3]
MEGABYTE = 1024 * 1024
ROOM = 64 * MEGABYTE
GATE = """
import json, resource, sys
from pathlib import Path
from card.validator import Terminal

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

home, codes = Path(sys.argv[1]), json.loads(sys.stdin.read())
terminal = Terminal(home)
terminal.decide(codes[0])
before = peak()
found = terminal.sync()
reasons = [terminal.decide(code).reason for code in codes]
terminal.close()
again = Terminal(home)
reasons += [again.decide(code).reason for code in codes]
print(json.dumps({"denied": found.denied, "grew": peak() - before, "reasons": reasons}))
"""


def test_ten_million_entries_need_less_than_64_megabytes_more(city: SmallCity, enrolled: Callable[..., Terminal]) -> None:
    gate = enrolled("gate")
    city.base = city.denied = DenyList(city=CITY, seq=1, digest=bytes(32), denied=BitMap(range(0, 50_000_000, 5)))
    city.deny(49_999_999)
    codes = [city.phone(serial).show() for serial in (1, 5, 49_999_996, 49_999_995, 49_999_999)]
    command = [sys.executable, "-c", GATE, str(gate.home)]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(codes), capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["denied"] == 10_000_001
    blocked = Reason.CARD_BLOCKED.value
    assert told["reasons"][:5] == ["replayed", blocked, None, blocked, blocked]
    assert told["reasons"][5:] == ["replayed", blocked, "replayed", blocked, blocked]
    assert told["grew"] < ROOM, f"{told['grew'] / MEGABYTE:.0f} MB"
