"""Merchants and utilities: bills, point-of-sale payments, refunds."""
