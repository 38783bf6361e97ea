"""Residents, staff, roles, mandates, sign-in."""
