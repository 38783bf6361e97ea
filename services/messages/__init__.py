"""Inbox, e-mail: templates, sending, receipts."""
