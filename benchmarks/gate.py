"""``python -m benchmarks.gate``: what a gate's decision costs, part by part, with ten million cards on the deny list.

CPU time of one thread (``time.thread_time_ns``), the kernel's share of the flush included: what a small device has. The whole
decision, through ``Terminal.decide`` with the record on the disk, by the wall clock as well, which adds the wait for the
disk. Medians and 99th percentiles over ``--codes`` codes. Then the start of the program. Then memory over a million decisions:
3,000 cards with a kiosk's code, every twentieth one a phone's, the journal emptied on the way and not flushed, so that neither
signatures nor the disk decide how long this takes.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pyroaring import BitMap

from card.credentials import (
    DenyList,
    KeyRing,
    Presentation,
    Static,
    TapKind,
    Use,
    Verifier,
    certify,
    from_text,
    numbers,
    present,
    raw_public,
    sign_static,
    to_text,
)
from card.validator import Terminal
from card.validator.journal import Journal
from card.validator.rules import Memory, Risk, Staleness, judge

CITY = "320100"


@dataclass(frozen=True)
class Result:
    """Microseconds."""

    name: str
    median: float
    p99: float


def measure(name: str, work: Callable[[int], object], times: int, clock: Callable[[], int] = time.thread_time_ns) -> Result:
    """``work(0)`` … ``work(times - 1)``, each measured by itself."""
    taken = []
    for step in range(times):
        began = clock()
        work(step)
        taken.append((clock() - began) / 1000)
    return Result(name, statistics.median(taken), statistics.quantiles(taken, n=100)[98])


def codes(issuer: Ed25519PrivateKey, count: int, now: datetime) -> list[str]:
    """``count`` codes of ``count`` cards whose indexes are not on the list."""
    made = []
    for serial in range(count):
        phone = Ed25519PrivateKey.generate()
        static = Static(
            issuer=CITY,
            number=numbers.make(CITY, serial),
            issued_at=now - timedelta(days=1),
            expires_at=now + timedelta(days=29),
            status_index=5 * serial + 1,
            device_key=raw_public(phone.public_key()),
        )
        made.append(to_text(present(sign_static(static, issuer), device=phone, at=now, counter=1)))
    return made


def equip(home: Path, issuer: Ed25519PrivateKey, denied: DenyList, now: datetime) -> Terminal:
    """A terminal as after enrolment and sync, without the network between."""
    terminal, city = Terminal(home), Ed25519PrivateKey.generate()
    certificate = certify(city, terminal_id="T", operator_id="o", city=CITY, stop_id="S", line="", key=bytes(32), now=now)
    journal: Journal = terminal.journal
    with journal.exclusive():
        journal.hold(denied)
        journal.remember("certificate", certificate)
        journal.remember("skew_ms", 0)
        journal.remember("synced_ms", int(now.timestamp() * 1000))
        journal.remember(
            "bundle",
            {
                "seq": 1,
                "made_at": int(now.timestamp()),
                "not_after": int(now.timestamp()) + 604_800,
                "city": CITY,
                "tariff_version": "t",
                "issuer_keys": {CITY: [["", raw_public(issuer.public_key())]]},
                "risk": {},
                "terminal": {"mode": "entry"},
            },
        )
    return terminal


def parts(texts: list[str], issuer: Ed25519PrivateKey, denied: DenyList, home: Path, now: datetime) -> Iterable[Result]:
    """Each part by itself, then the whole."""
    ring = KeyRing.of({CITY: [("", raw_public(issuer.public_key()))]})
    raws = [from_text(text) for text in texts]
    count = len(texts)
    yield measure("Base45 and CBOR", lambda step: from_text(texts[step]), count)
    verifier = Verifier(ring, remember=count)
    shown: list[Presentation] = []
    yield measure("two signatures, card never seen", lambda step: shown.append(verifier.verify(raws[step], now=now)), count)
    yield measure("one signature, static part remembered", lambda step: verifier.verify(raws[step], now=now), count)
    yield measure("deny list look-up", lambda step: shown[step].static.status_index in denied, count)
    terminal = equip(home, issuer, denied, now)
    journal = terminal.journal
    yield measure(
        "passback: what is remembered",
        lambda step: journal.memory(number=shown[step].number, replay_key=shown[step].replay_key),
        count,
    )
    memory, risk = Memory(), Risk()
    yield measure(
        "rules: replay, passback, entitlement, risk",
        lambda step: judge(
            shown[step],
            denied=False,
            memory=memory,
            kind=TapKind.ENTRY,
            now=now,
            staleness=Staleness.FRESH,
            risk=risk,
            entitlements=(),
        ),
        count,
    )
    terminal.decide("warm")
    half = count // 2
    yield measure("whole decision, card never seen (CPU)", lambda step: terminal.decide(texts[step]), half)
    yield measure(
        "whole decision, card never seen (wall)", lambda step: terminal.decide(texts[half + step]), half, time.perf_counter_ns
    )
    yield measure(
        "whole decision, card seen before (CPU)", lambda step: terminal.decide(texts[half + step], kind=TapKind.EXIT), half
    )
    counts = terminal.journal.counts()
    assert counts.waiting == half * 3, counts
    terminal.close()


def resident_mb() -> float:
    """What this process holds now."""
    return psutil.Process().memory_info().rss / 2**20


def kiosk_codes(issuer: Ed25519PrivateKey, count: int, now: datetime) -> list[str]:
    """One-layer codes of ``count`` cards, good for an hour."""
    facts = {"issuer": CITY, "issued_at": now, "expires_at": now + timedelta(hours=1), "use": Use.KIOSK}
    made = (Static(number=numbers.make(CITY, 50_000 + n), status_index=5 * n + 2, **facts) for n in range(count))
    return [to_text(present(sign_static(static, issuer))) for static in made]


def a_long_service(phones: list[str], kiosks: list[str], terminal: Terminal, decisions: int) -> Iterable[str]:
    """Memory over many decisions."""
    journal = terminal.journal
    journal._db.execute("PRAGMA synchronous = OFF")  # noqa: SLF001  memory is measured here, not the disk
    marks = {decisions // 10, decisions}
    began = time.thread_time()
    for step in range(1, decisions + 1):
        terminal.decide(phones[step % len(phones)] if step % 20 == 0 else kiosks[step % len(kiosks)])
        if step % 5000 == 0:
            with journal.exclusive():
                journal._db.execute("UPDATE tap SET state = 'stored'")  # noqa: SLF001  as if uploaded
                journal.remember("settled", journal.last_place())
            journal.prune(now_ms=0, keep_taps=1000)
        if step in marks:
            yield f"  after {step:>9,} decisions {resident_mb():6.1f} MB resident, {time.thread_time() - began:.0f} s of CPU"


def start_up(home: Path) -> float:
    """CPU seconds of a new process until it has the list in memory and says how it stands; the best of five."""
    program = (
        "import resource, sys; from card.validator.__main__ import main; main(sys.argv[1:]);"
        "spent = resource.getrusage(resource.RUSAGE_SELF); print(spent.ru_utime + spent.ru_stime)"
    )
    command = [sys.executable, "-c", program, "status", "--home", str(home)]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1] for _ in range(5)]
    return statistics.median(map(float, runs))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codes", type=int, default=2000)
    parser.add_argument("--denied", type=int, default=10_000_000)
    parser.add_argument("--decisions", type=int, default=1_000_000)
    given = parser.parse_args()
    issuer, now = Ed25519PrivateKey.generate(), datetime.now(UTC)
    before = resident_mb()
    # One card in five, spread over the indexes as blocks would be; none of the codes measured is among them.
    denied = DenyList(city=CITY, seq=1, digest=bytes(32), denied=BitMap(range(0, given.denied * 5, 5)))
    held = resident_mb() - before
    texts = codes(issuer, given.codes, now)
    packed = len(denied.base()) / 1e6
    print(f"{len(denied):,} denied, packed {packed:.2f} MB, {held:.1f} MB in memory; {given.codes} codes; microseconds")
    with tempfile.TemporaryDirectory() as folder:
        for result in parts(texts, issuer, denied, Path(folder), now):
            print(f"  {result.name:44} median {result.median:8.1f}   p99 {result.p99:8.1f}", flush=True)
        print(f"start of the program, list read, {start_up(Path(folder)):.2f} s of CPU (median of five)")
    print("memory of a gate with the list")
    with tempfile.TemporaryDirectory() as folder:
        terminal = equip(Path(folder), issuer, denied, now)
        for line in a_long_service(texts, kiosk_codes(issuer, 3000, now), terminal, given.decisions):
            print(line, flush=True)
        terminal.close()


if __name__ == "__main__":
    main()
