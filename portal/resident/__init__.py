"""Screens of a resident."""
