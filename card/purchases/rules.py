"""Which moves a bill allows. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from app.kernel.errors import IllegalMove


class MerchantKind(StrEnum):
    """What takes the card."""

    SHOP = "shop"
    UTILITY = "utility"


class BillState(StrEnum):
    """Where a bill stands."""

    OPEN = "open"
    PAID = "paid"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"


BILL_MOVES: Final[Mapping[BillState, frozenset[BillState]]] = {
    BillState.OPEN: frozenset({BillState.PAID, BillState.CANCELLED}),
    BillState.PAID: frozenset({BillState.REFUNDED}),
    BillState.REFUNDED: frozenset(),
    BillState.CANCELLED: frozenset(),
}


def move(state: BillState, to: BillState) -> BillState:
    """``to`` where a bill may go there; raises :class:`IllegalMove`."""
    if to not in BILL_MOVES[state]:
        raise IllegalMove(f"bill {state} -> {to}", state=state.value)
    return to
