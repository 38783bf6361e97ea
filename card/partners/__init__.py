"""Federated cities: trust, keys, agreements, signed messages."""
