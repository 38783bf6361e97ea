"""``python -m benchmarks.gate``: what a gate's decision costs, part by part, with ten million cards on the deny list.

CPU time of one thread (``time.thread_time_ns``), which is what a small device has; the last line is the whole decision through
``Terminal.decide`` with the record on the disk, by the wall clock as well. Medians and 99th percentiles over ``--codes`` codes.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pyroaring import BitMap

from card.credentials import (
    DenyList,
    KeyRing,
    Presentation,
    Static,
    TapKind,
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
    yield measure("whole decision, record on the disk (CPU)", lambda step: terminal.decide(texts[step]), count // 2)
    yield measure(
        "whole decision, record on the disk (wall)",
        lambda step: terminal.decide(texts[count // 2 + step]),
        count - count // 2,
        time.perf_counter_ns,
    )
    counts = terminal.journal.counts()
    assert counts.waiting == count, counts
    terminal.close()


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codes", type=int, default=2000)
    parser.add_argument("--denied", type=int, default=10_000_000)
    given = parser.parse_args()
    issuer, now = Ed25519PrivateKey.generate(), datetime.now(UTC)
    # One card in five, spread over the indexes as blocks would be; none of the codes measured is among them.
    denied = DenyList(city=CITY, seq=1, digest=bytes(32), denied=BitMap(range(0, given.denied * 5, 5)))
    texts = codes(issuer, given.codes, now)
    print(f"{len(denied):,} denied, packed {len(denied.base()) / 1e6:.2f} MB; {given.codes} codes; microseconds")
    with tempfile.TemporaryDirectory() as folder:
        for result in parts(texts, issuer, denied, Path(folder), now):
            print(f"  {result.name:44} median {result.median:8.1f}   p99 {result.p99:8.1f}", flush=True)
    print(f"  resident memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
