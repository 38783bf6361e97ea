"""``make bench``: every benchmark after the other, on this machine, into ``benchmarks/RESULTS.md``.

Each program measures what it compares side by side in one run. Options given are the ledger part's.
"""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

PROGRAMS = ("benchmarks.ledger", "benchmarks.statements", "benchmarks.proofs", "benchmarks.gate", "benchmarks.ingestion")
RESULTS = Path(__file__).with_name("RESULTS.md")


def processor() -> str:
    """The processor's name as the kernel gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def main() -> None:
    """Run them and write what they print."""
    asked = sys.argv[1:]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    machine = (
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {processor()}, {os.cpu_count()} processors, {memory} GB, "
        f"Python {platform.python_version()}; load {os.getloadavg()[0]:.1f} at the start. Rates depend on the machine; "
        "compare figures of one run only."
    )
    lines = ["# Results", "", machine]
    for program in PROGRAMS:
        options = asked if program == "benchmarks.ledger" else []
        done = subprocess.run([sys.executable, "-m", program, *options], stdout=subprocess.PIPE, text=True, check=True)
        print(done.stdout, flush=True)
        lines += [
            "",
            f"## `python -m {program} {' '.join(options)}`".replace(" `", "`"),
            "",
            "```",
            done.stdout.rstrip(),
            "```",
        ]
    RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
