"""Screens of officers, supervisors and administrators."""
