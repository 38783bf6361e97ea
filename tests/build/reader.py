"""Find pcscd, a virtual reader's driver and ``pyscard`` for the chip's tests, or install them as root, or say what to install.

Run as ``python -m tests.build.reader`` by ``make test``. In CI a missing one is a failure, never a skip. For Linux ``pyscard``
is published as source only: building it needs a C compiler and the headers of libpcsclite (its build brings swig along).
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

PCSCD = ("pcscd", "vsmartcard-vpcd")
TO_BUILD = ("libpcsclite-dev", "gcc", "libc6-dev")
PYSCARD = "pyscard==2.3.1"
DRIVERS = (
    "/usr/lib/pcsc/drivers/serial",
    "/usr/lib/x86_64-linux-gnu/pcsc/drivers/serial",
    "/usr/lib/aarch64-linux-gnu/pcsc/drivers/serial",
)


def pcscd() -> str | None:
    """The path of pcscd, or none."""
    return shutil.which("pcscd") or shutil.which("pcscd", path="/usr/sbin:/usr/local/sbin")


def driver() -> str | None:
    """The path of the virtual reader's driver, or none."""
    folders = [Path(os.environ["VPCD_DRIVER"])] if "VPCD_DRIVER" in os.environ else [Path(folder) for folder in DRIVERS]
    return next((str(found) for folder in folders if (found := folder / "libifdvpcd.so").exists()), None)


def pyscard() -> bool:
    """Whether pyscard is importable."""
    return importlib.util.find_spec("smartcard") is not None


def missing() -> list[str]:
    """What is not there, by the name it is installed by."""
    there = {"pcscd": pcscd(), "vsmartcard-vpcd": driver(), "pyscard": pyscard()}
    return [name for name, found in there.items() if not found]


def main() -> None:
    """Make sure they are there."""
    if not missing():
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing pcscd and a virtual reader for the chip's tests", flush=True)
        wanted = PCSCD if pyscard() else PCSCD + TO_BUILD
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted], check=False)
    if not pyscard():
        uv = Path(sys.executable).with_name("uv")
        install = (
            [str(uv), "pip", "install", "--python", sys.executable] if uv.exists() else [sys.executable, "-m", "pip", "install"]
        )
        subprocess.run([*install, "-q", PYSCARD], check=False)
    importlib.invalidate_caches()
    if missing():
        advice = (
            f"The chip's tests lack {', '.join(missing())}: install the packages {', '.join(PCSCD)} and {', '.join(TO_BUILD)}, "
            f"then {PYSCARD} with pip."
        )
        if os.environ.get("CI"):
            sys.exit(advice)
        print(advice + " They are left out for now.")


if __name__ == "__main__":
    main()
