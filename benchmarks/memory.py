"""``python -m benchmarks.memory``: the memory of web and worker over a million taps (``--taps`` for fewer).

One city, one web process, one worker; resident memory after every twentieth of the taps. (A gate's is in ``benchmarks.gate``.)
Everybody rides there and back every day, as commuters do.
"""

import argparse
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import city
from benchmarks.ingestion import a_day
from card.credentials import TapKind

PARTS = 20
GROWTH_MAX = 0.05


def main() -> None:
    """Print the series; fail where the second half grows by more than a twentieth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--taps", type=int, default=1_000_000)
    parser.add_argument("--cards", type=int, default=20_000)
    given = parser.parse_args()
    now = datetime.now(UTC)
    series: list[tuple[int, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder, city.city(Path(folder)) as of:
        phones = city.phones(of, given.cards, now=now - timedelta(days=45))
        gates = city.gates(of, [TapKind.ENTRY, TapKind.EXIT] * 2, now=now)
        begin = (now - timedelta(days=40)).replace(hour=0, minute=0, second=0, microsecond=0)
        with city.serving(of, workers=1, threads=2):
            sent, trip = 0, 0
            while sent < given.taps:
                day, turn = divmod(trip, 2)
                at = begin + timedelta(days=day, hours=9 * turn)
                inward, outward = a_day(gates, phones, at, size=1250)
                for part in (inward, outward):
                    city.send_all(of, part, connections=2)
                sent, trip = sent + 2 * given.cards, trip + 1
                if sent * PARTS // given.taps > len(series):
                    series.append((sent, city.memory_mb(of)))
                    used = ", ".join(f"{name} {mb:.0f} MB" for name, mb in series[-1][1].items())
                    print(f"  {sent:9,} taps: {used}", flush=True)
    for name in ("web", "worker"):
        half = len(series) // 2
        early = max(mb[name] for _, mb in series[half // 2 : half] or series[:1])
        late = max(mb[name] for _, mb in series[half:])
        print(f"  {name}: {early:.0f} MB in the second quarter, {late:.0f} MB in the second half")
        assert late <= early * (1 + GROWTH_MAX), f"{name} grows"


if __name__ == "__main__":
    main()
