"""Where codes come from: lines on standard input or a serial port, a scanner that types, pictures of a camera."""

import contextlib
import fcntl
import os
import select
import struct
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

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


LINE_MAX: Final = 4096
LOOK_S: Final = 0.2
EVENT: Final = struct.Struct("llHHi")  # struct input_event (linux/input.h): time, type, code, value
KEY_EVENT, PRESSED = 1, 1
SHIFTS: Final = frozenset({42, 54})
ENTERS: Final = frozenset({28, 96})
PLAIN: Final = dict(
    [
        *zip(range(2, 14), "1234567890-=", strict=True),
        *zip(range(16, 28), "QWERTYUIOP[]", strict=True),
        *zip(range(30, 41), "ASDFGHJKL;'", strict=True),
        *zip(range(44, 54), "ZXCVBNM,./", strict=True),
        (57, " "),
        (55, "*"),
        (74, "-"),
        (78, "+"),
        (83, "."),
        (98, "/"),
    ]
)
SHIFTED: Final = {2: "!", 4: "#", 5: "$", 6: "%", 9: "*", 12: "_", 13: "+", 39: ":", 51: "<", 52: ">"}


def device_lines(descriptor: int, stop: threading.Event) -> Iterator[str]:
    """One code a line from a pipe or a serial port until it ends or ``stop`` is set; a line too long is dropped."""
    kept, skipping = b"", False
    for part in _parts(descriptor, stop):
        *whole, kept = (kept + part).replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            if line and not skipping:
                yield line.decode("ascii", "replace")
            skipping = False
        if len(kept) > LINE_MAX:
            kept, skipping = b"", True
    if kept and not skipping and not stop.is_set():
        yield kept.decode("ascii", "replace")


def wedge_lines(descriptor: int, stop: threading.Event) -> Iterator[str]:
    """Codes from a scanner that types, read from its own input device (``/dev/input/event…``) whatever has the focus."""
    kept, typed, shift = b"", "", False
    for part in _parts(descriptor, stop):
        kept += part
        while len(kept) >= EVENT.size:
            _, _, kind, key, value = EVENT.unpack_from(kept)
            kept = kept[EVENT.size :]
            if kind != KEY_EVENT:
                continue
            if key in SHIFTS:
                shift = value >= PRESSED
            elif value == PRESSED and key in ENTERS:
                if typed:
                    yield typed
                typed = ""
            elif value == PRESSED:
                typed = (typed + (SHIFTED if shift else PLAIN).get(key, PLAIN.get(key, "")))[-LINE_MAX:]


def open_serial(path: Path, *, baud: int) -> int:
    """A serial scanner, raw. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOCTTY)
    if os.isatty(descriptor):
        tty.setraw(descriptor)
        settings = termios.tcgetattr(descriptor)
        settings[4] = settings[5] = getattr(termios, f"B{baud}")
        termios.tcsetattr(descriptor, termios.TCSANOW, settings)
    return descriptor


def open_wedge(path: Path) -> int:
    """A typing scanner, for this program alone where the system allows it. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY)
    with contextlib.suppress(OSError):
        fcntl.ioctl(descriptor, 0x40044590, 1)  # EVIOCGRAB
    return descriptor


def _parts(descriptor: int, stop: threading.Event) -> Iterator[bytes]:
    while not stop.is_set():
        ready, _, _ = select.select([descriptor], [], [], LOOK_S)
        if ready:
            try:
                part = os.read(descriptor, 65_536)
            except OSError:  # a serial port that was pulled out
                return
            if not part:
                return
            yield part
