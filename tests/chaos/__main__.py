"""``make chaos``: hurt a city as often as you like. ``SEED`` repeats a plan, ``STRIKES`` says how many faults."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.chaos import city, verdict


def main() -> int:
    """Run, print, and keep the logs where something was wrong."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--strikes", type=int, default=90)
    asked = parser.parse_args()
    seed = SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    print(f"seed {seed}, {asked.strikes} strikes; again: make chaos SEED={seed} STRIKES={asked.strikes}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    result = city.run(folder, seed=seed, strikes=asked.strikes, say=lambda line: print(line, flush=True))
    for fault, times in sorted(result.struck.items()):
        print(f"{times:5}  {fault.value}")
    for line in verdict.lines(result.verdict):
        print(line)
    if result.verdict.wrong:
        print(f"what the processes said is in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if result.verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
