"""The acts in order."""

from app.demo.day import benefits, books, card, clearing, health, transit
from app.demo.day.cast import Cast


def play(cast: Cast) -> None:
    """The whole day."""
    card.play(cast)
    transit.play(cast)
    health.play(cast)
    benefits.play(cast)
    clearing.play(cast)
    books.play(cast)
