"""Stripe: intents, refunds, webhooks, daily matching."""
