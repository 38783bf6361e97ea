"""Positions into settlement: bilateral always, multilateral for payment, a fee per pair, a cap per city. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

FEE_BASIS_POINTS: Final = 30
Pair = tuple[str, str]  # (issuer, acquirer): the first owes the second


@dataclass(frozen=True, kw_only=True)
class Netting:
    """The result of a cycle, in fen. A final amount below zero is paid, above zero received.

    ``pairs`` are gross, ``fees`` are owed by the acquirer of the pair, ``bilateral`` holds (who pays, who receives) → amount.
    """

    pairs: Mapping[Pair, int]
    fees: Mapping[Pair, int]
    bilateral: Mapping[Pair, int]
    multilateral: Mapping[str, int]
    finals: Mapping[str, int]
    clearing_minor: int


def fee(amount_minor: int, *, basis_points: int = FEE_BASIS_POINTS) -> int:
    """The fee on a pair's total, half-even to the fen; nothing on a total that gives back."""
    exact = Decimal(max(0, amount_minor)) * basis_points / 10_000
    return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def net(pairs: Mapping[Pair, int], *, basis_points: int = FEE_BASIS_POINTS) -> Netting:
    """Net ``pairs`` (issuer, acquirer) → total in fen."""
    fees = {pair: fee(amount, basis_points=basis_points) for pair, amount in sorted(pairs.items())}
    multilateral: dict[str, int] = {}
    finals: dict[str, int] = {}
    bilateral: dict[Pair, int] = {}
    for (issuer, acquirer), amount in sorted(pairs.items()):
        multilateral[issuer] = multilateral.get(issuer, 0) - amount
        multilateral[acquirer] = multilateral.get(acquirer, 0) + amount
        finals[issuer] = finals.get(issuer, 0) - amount
        finals[acquirer] = finals.get(acquirer, 0) + amount - fees[issuer, acquirer]
        if issuer < acquirer or (acquirer, issuer) not in pairs:
            owed = amount - pairs.get((acquirer, issuer), 0)
            if owed:
                bilateral[(issuer, acquirer) if owed > 0 else (acquirer, issuer)] = abs(owed)
    clearing_minor = sum(fees.values())
    assert sum(multilateral.values()) == 0
    assert sum(finals.values()) + clearing_minor == 0
    return Netting(
        pairs=dict(sorted(pairs.items())),
        fees=fees,
        bilateral=bilateral,
        multilateral=multilateral,
        finals=finals,
        clearing_minor=clearing_minor,
    )


def funding_calls(finals: Mapping[str, int], *, limits: Mapping[str, int]) -> dict[str, int]:
    """What each city over its limit (cap and prefunding, fen) must fund before anything is instructed."""
    return {
        city: -amount - limits[city] for city, amount in sorted(finals.items()) if city in limits and -amount > limits[city]
    }
