"""Accounts, transfers, holds, balances, statements."""
