"""A day in two cities, played through their public interfaces only: pages, the API, and the gate's own command line.

``make day`` plays it over HTTP against the running cities; the browser journey test plays the same acts in Chromium and keeps
pictures. Every act leaves notes in the diary: what happened, and what was seen.
"""

from app.demo.day.cast import Cast, Diary
from app.demo.day.play import play

__all__ = ["Cast", "Diary", "play"]
