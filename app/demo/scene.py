"""What the demonstration shows: its people, operators, hospitals, and how the cities come to trust each other."""

from app.demo.cities import CITIES, City, Place
from app.kernel.settings import Settings


def prepare(settings: dict[City, Settings]) -> None:
    """Put the scene in place; repeating changes nothing."""


def table(place: Place) -> str:
    """Addresses and accounts, and what to try first."""
    return "\n".join(f"  {city.name_en:<18} {place.url(city)}" for city in CITIES)
