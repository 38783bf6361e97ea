"""Contributions, pensions and allowances, payment runs."""
