"""Screens of a partner city and the hub."""
