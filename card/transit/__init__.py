"""Operators, terminals, taps, journeys."""
