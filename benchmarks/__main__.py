"""``make bench``: every benchmark after the other, on this machine, into ``benchmarks/RESULTS.md``.

Each program measures what it compares side by side in one run. ``python -m benchmarks ledger fares`` measures these two alone
and leaves the other sections of the file as they were, each with the day and the machine it was measured on.
``python -m benchmarks what-if --taps 20000000`` prices a whole city's month, shows how far it is, and writes a section too.
"""

import os
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

PROGRAMS = ("ledger", "purchases", "statements", "proofs", "gate", "ingestion", "memory", "fares")
WHAT_IF = "what-if"
RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = """# Results

Rates depend on the machine: compare figures of one section only, they were measured side by side in one run.
"""


def processor() -> str:
    """The processor's name as the kernel gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def section(program: str, *arguments: str) -> str:
    """What ``program`` printed, under where and when it was measured."""
    module = "fares" if program == WHAT_IF else program
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    machine = (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {processor()}, {os.cpu_count()} processors, {memory} GB, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start"
    )
    begun = time.monotonic()
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, flush=True)
    return f"## {program}\n\n{machine}; took {time.monotonic() - begun:.0f} s.\n\n```\n{done.stdout.strip()}\n```\n"


def main() -> int:
    """Measure what was asked for, or everything; a program that fails leaves its old section, and the rest goes on."""
    asked: dict[str, list[str]] = {program: [] for program in sys.argv[1:] or PROGRAMS}
    if sys.argv[1:2] == [WHAT_IF]:
        asked = {WHAT_IF: sys.argv[1:]}
    before = RESULTS.read_text() if RESULTS.exists() else ""
    sections = {name: text for text, name in re.findall(r"^(## ([\w-]+)\n.*?)(?=^## |\Z)", before, re.MULTILINE | re.DOTALL)}
    failed = []
    for program, arguments in asked.items():
        try:
            sections[program] = section(program, *arguments)
        except subprocess.CalledProcessError:
            failed.append(program)
        RESULTS.write_text(
            "\n".join([HEAD, *(sections[name].rstrip() + "\n" for name in (*PROGRAMS, WHAT_IF) if name in sections)])
        )
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
