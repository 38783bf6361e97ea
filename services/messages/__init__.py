"""Inbox, e-mail: templates, sending, receipts."""

from services.messages.actions import mail, read, send
from services.messages.gateway import MailUnavailable, equip
from services.messages.queries import MessageView, inbox, unread_count
from services.messages.rules import TEMPLATES, Template, UnknownMessage

__all__ = [
    "TEMPLATES",
    "MailUnavailable",
    "MessageView",
    "Template",
    "UnknownMessage",
    "equip",
    "inbox",
    "mail",
    "read",
    "send",
    "unread_count",
]
