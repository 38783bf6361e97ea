"""Find a Chromium and a Chinese font for the browser tests, or install Debian's as root, or say what to install.

Run as ``python -m tests.build.browser`` by ``make test``. In CI a missing browser is a failure, never a skip.
"""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("chromium", "fonts-noto-cjk")


def find() -> str | None:
    """The path of an installed Chromium, or none."""
    given = os.environ.get("CHROMIUM_PATH")
    return given if given and shutil.which(given) else next((path for name in NAMES if (path := shutil.which(name))), None)


def main() -> None:
    """Make sure there is one."""
    if find():
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing Chromium for the browser tests", flush=True)
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES], check=False)
    if not find():
        advice = "The browser tests need Chromium: install the packages " + " and ".join(PACKAGES) + ", or set CHROMIUM_PATH."
        if os.environ.get("CI"):
            sys.exit(advice)
        print(advice + " They are left out for now.")


if __name__ == "__main__":
    main()
