"""A QR as one SVG path: small, sharp at any size, and without an inline style."""

import io
from dataclasses import dataclass
from typing import Final

import segno
from PIL import Image

QUIET: Final = 4  # modules of white around it (ISO/IEC 18004)


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """``size`` modules a side with the quiet zone, and the dark ones as an SVG path in that square."""

    size: int
    path: str


def draw(text: str, *, error: str = "m") -> Drawing:
    """The QR of ``text``, with medium error correction unless said; text of the alphanumeric set is packed as such."""
    matrix = segno.make(text, error=error, micro=False, boost_error=False).matrix
    steps: list[str] = []
    for y, row in enumerate(matrix):
        x = 0
        while x < len(row):
            length = 0
            while x + length < len(row) and row[x + length]:
                length += 1
            if length:
                steps.append(f"M{x + QUIET} {y + QUIET}h{length}v1h-{length}z")
            x += length or 1
    return Drawing(size=len(matrix) + 2 * QUIET, path="".join(steps))


def picture(*texts: str, error: str = "m", scale: int = 6) -> bytes:
    """The QRs of ``texts`` one above another as a PNG, each module ``scale`` pixels wide."""
    drawn = []
    for text in texts:
        one = io.BytesIO()
        segno.make(text, error=error, micro=False, boost_error=False).save(one, kind="png", scale=scale, border=QUIET)
        drawn.append(Image.open(one))
    whole = Image.new("1", (max(part.width for part in drawn), sum(part.height for part in drawn)), color=1)
    top = 0
    for part in drawn:
        whole.paste(part, (0, top))
        top += part.height
    kept = io.BytesIO()
    whole.save(kept, format="png")
    return kept.getvalue()
