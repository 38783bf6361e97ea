"""Screens of a hospital desk: a room of its own, because neither the city's staff nor an operator sits there."""
