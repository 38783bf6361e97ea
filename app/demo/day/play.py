"""The acts in order."""

from app.demo.day import card, transit
from app.demo.day.cast import Cast


def play(cast: Cast) -> None:
    """The whole day."""
    card.play(cast)
    transit.play(cast)
