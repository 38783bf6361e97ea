"""Where codes come from: a keyboard-wedge scanner types lines; a camera leaves pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import zxingcpp
from PIL import Image


def lines(source: TextIO) -> Iterator[str]:
    """One code a line. Only line ends are taken off: a space is a character of the code."""
    for line in source:
        code = line.rstrip("\r\n")
        if code:
            yield code


def picture(path: Path) -> list[str]:
    """The texts of every QR in a picture, in reading order; empty where there is none. Raises ``OSError`` for no picture."""
    only = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)
    with Image.open(path) as opened:
        return [found.text for found in zxingcpp.read_barcodes(opened.convert("L"), formats=only)]
