"""Screens of a transit operator."""
