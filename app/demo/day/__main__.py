"""``make day``: the day over plain HTTP, against the cities that ``make run`` started."""

import sys
import tempfile
from pathlib import Path

import httpx

from app.demo.cities import NANJING, Place
from app.demo.day import Cast, play
from app.demo.visitor import HttpVisitor, Lost


def main() -> None:
    """Play, and say plainly where it stops when it does."""
    place = Place.from_env()
    try:
        httpx.get(f"{place.url(NANJING)}/readyz", timeout=5, trust_env=False).raise_for_status()
    except httpx.HTTPError:
        sys.exit(f"No city answers at {place.url(NANJING)}. Start them first, in another window: make run")
    with tempfile.TemporaryDirectory() as folder:
        try:
            play(Cast(place=place, enter=HttpVisitor, folder=Path(folder)))
        except Lost as error:
            sys.exit(f"\nThe day stopped: {error}")


if __name__ == "__main__":
    main()
