"""Merchants and utilities: bills, payments from the purse, refunds."""

from card.purchases.actions import BillChanged, BillExpired, cancel, open_merchant, pay, present, refund
from card.purchases.queries import BillView, NoSuchBill, bill, bills_of, merchants
from card.purchases.rules import BillState, MerchantKind

__all__ = [
    "BillChanged",
    "BillExpired",
    "BillState",
    "BillView",
    "MerchantKind",
    "NoSuchBill",
    "bill",
    "bills_of",
    "cancel",
    "merchants",
    "open_merchant",
    "pay",
    "present",
    "refund",
]
