"""The operators of the demonstration, their lines and tariffs: from feeds of our own, taken in as any city would."""

from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from app.demo.cities import City
from card import transit

FEEDS: Final = Path(__file__).parents[1] / "feeds"


def open_lines(session: Session, city: City, *, now: datetime) -> None:
    """Import the city's feed; the same files again change nothing."""
    folder = FEEDS / city.code
    if folder.is_dir():
        transit.import_feed(session, folder, feed_id=f"demonstration-{city.code}", by="system", now=now)
