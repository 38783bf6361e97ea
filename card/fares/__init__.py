"""Tariffs (GTFS and extensions) and the pure fare engine."""
