"""Stripe: intents, refunds, webhooks, daily matching.

A room that wants to be paid calls ``start`` in its transaction and sends the payer to ``/me/payments/<id>``; the event
``payment.settled`` tells it that the money is there.
"""

from services.payments.actions import UnknownEvent, again, on_settled, pay, receive, refresh, refund, replay, send_refund, start
from services.payments.gateway import account, equip
from services.payments.queries import MatchingView, PaymentView, get, matchings, of_person, of_subject
from services.payments.rules import (
    TOP_UP_CHOICES_MINOR,
    TOP_UP_MINOR_MAX,
    TOP_UP_MINOR_MIN,
    AlreadyPaid,
    PaymentDeclined,
    Purpose,
    RefundExceedsPayment,
    State,
    StripeUnavailable,
    UnknownPayment,
    WebhookRefused,
)

__all__ = [
    "TOP_UP_CHOICES_MINOR",
    "TOP_UP_MINOR_MAX",
    "TOP_UP_MINOR_MIN",
    "AlreadyPaid",
    "MatchingView",
    "PaymentDeclined",
    "PaymentView",
    "Purpose",
    "RefundExceedsPayment",
    "State",
    "StripeUnavailable",
    "UnknownEvent",
    "UnknownPayment",
    "WebhookRefused",
    "account",
    "again",
    "equip",
    "get",
    "matchings",
    "of_person",
    "of_subject",
    "on_settled",
    "pay",
    "receive",
    "refresh",
    "refund",
    "replay",
    "send_refund",
    "start",
]
