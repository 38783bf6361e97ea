"""A small fleet against running cities whose programs are killed: every tap is in the ledger once, at its price."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import AGAIN, ROOT, demonstration

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FLEET = ("--gates", "20", "--riders", "30", "--waves", "3", "--crews", "2", "--strikes", "4", "--seed", "4")


def test_a_fleet_rides_out_the_death_of_every_program_and_the_oracle_agrees(tmp_path: Path) -> None:
    with demonstration(tmp_path) as (place, said):
        environment = {**os.environ, "PORT_BASE": str(place.port_base), "DATA_DIR": str(place.folder)}
        done = subprocess.run(
            [sys.executable, "-m", "app.demo.fleet", *FLEET],
            env=environment,
            cwd=ROOT,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for program in ("nanjing-web", "nanjing-worker", "suzhou-web", "suzhou-worker"):
            assert f"{program} 1" in done.stdout, done.stdout
        assert "Every tap that was let through is in the ledger once, at its price, and every purse paid it." in done.stdout
        assert AGAIN in said.read_text(), "the demonstration itself brought them back"
