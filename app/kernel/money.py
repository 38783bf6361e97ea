"""Money is an integer of minor units (fen) with its currency; ``Decimal`` lives only inside a formula."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Final

CNY: Final = "CNY"


@dataclass(frozen=True, kw_only=True, slots=True)
class Money:
    """An amount of ``minor`` units (fen for CNY) of ``currency`` (ISO 4217). Amounts of two currencies never mix."""

    minor: int
    currency: str = CNY

    def __add__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(minor=self.minor + other.minor, currency=self.currency)

    def __sub__(self, other: "Money") -> "Money":
        self._same(other)
        return Money(minor=self.minor - other.minor, currency=self.currency)

    def __neg__(self) -> "Money":
        return Money(minor=-self.minor, currency=self.currency)

    def _same(self, other: "Money") -> None:
        if self.currency != other.currency:
            raise ValueError(f"{self.currency} does not mix with {other.currency}")


def half_up_minor(amount: Decimal) -> int:
    """``amount`` in major units, rounded half-up to whole minor units."""
    return int((amount * 100).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def half_even_minor(amount: Decimal) -> int:
    """``amount`` in major units, rounded half-even to whole minor units."""
    return int((amount * 100).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def major(minor: int) -> Decimal:
    """Minor units as an exact decimal of major units with two places."""
    return Decimal(minor).scaleb(-2)
