"""How an amount looks on a screen."""

from app.kernel.money import CNY, major

SIGNS = {CNY: "¥"}
MINUS = "\N{MINUS SIGN}"  # a real minus: a hyphen breaks the line before the figure


def yuan(minor: int, *, sign: bool = False) -> str:
    """``minor`` fen as ``¥1,234.56``; a negative amount as ``−¥12.30``; with ``sign`` a positive one as ``+¥12.30``."""
    ahead = MINUS if minor < 0 else "+" if sign and minor > 0 else ""
    return f"{ahead}{SIGNS[CNY]}{major(abs(minor)):,.2f}"
