"""Who of several operators a fare belongs to.

A tariff's ``shares`` name the operators whose vehicles or tracks its journeys use and the percentage of each. Amounts are
divided to the fen and add up again: what rounding leaves goes, a fen each, to the largest remainders, equal ones in the order
of ids.
"""

from collections.abc import Mapping
from decimal import Decimal

from card.fares.tariffs import Tariff


def apportion(amount_minor: int, shares: Mapping[str, Decimal]) -> dict[str, int]:
    """Divide ``amount_minor`` by ``shares`` (operator to percent; they add up to 100).

    A negative amount mirrors a positive one. The parts add up to the amount. A correction is the difference of two
    apportionments, so corrections add up as well.
    """
    assert sum(shares.values()) == 100, "an import refuses other shares"  # noqa: PLR2004  percent
    sign, amount = (-1, -amount_minor) if amount_minor < 0 else (1, amount_minor)
    exact = {operator: amount * percent / 100 for operator, percent in shares.items()}
    parts = {operator: int(part) for operator, part in exact.items()}
    left = amount - sum(parts.values())
    for operator in sorted(exact, key=lambda one: (parts[one] - exact[one], one))[:left]:
        parts[operator] += 1
    return {operator: sign * part for operator, part in parts.items()}


def shares_of(tariff: Tariff) -> Mapping[str, Decimal]:
    """The shares of a tariff's journeys; all of it its own operator's where the tariff names no others."""
    return tariff.shares or {tariff.operator: Decimal(100)}
