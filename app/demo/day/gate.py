"""A gate: the validator's own command line, in a folder of its own."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.demo.visitor import Lost


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One terminal: the folder of its key and journal."""

    folder: Path

    def run(self, verb: str, *options: str, given: str = "") -> list[dict[str, Any]]:
        """Run a verb; each line of its answer."""
        command = (sys.executable, "-m", "card.validator", verb, "--home", str(self.folder), "--json", *options)
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise Lost(f"card.validator {verb}: {done.stderr or done.stdout}")
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def decide(self, code: str) -> dict[str, Any]:
        """What the gate says to a code, with nothing but what it holds."""
        (answer,) = self.run("decide", given=code + "\n")
        return answer
