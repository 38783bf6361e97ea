"""Which city a session works for, and the keys that it signs with.

``equip`` is called once where a process opens its database; from then on every session knows, also in an event's handler, where
there is no request and there are no settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.orm import Session

from app.kernel.db import Database
from app.kernel.settings import Settings
from app.kernel.signing import Key, Purpose, load_or_create

INFO: Final = "city"


@dataclass(frozen=True, kw_only=True)
class City:
    """One city: its six-digit code and the folder of its private keys."""

    code: str
    keys_dir: Path

    def key(self, purpose: Purpose) -> Key:
        """The current key for ``purpose``."""
        return load_or_create(self.keys_dir, purpose)


def city_from(settings: Settings) -> City:
    """The city that ``settings`` describe."""
    return City(code=settings.city_code, keys_dir=settings.keys_dir)


def equip(database: Database, city: City) -> None:
    """Let every session of ``database`` know the city."""
    database.info[INFO] = city


def city_in(database: Database) -> City:
    """The city whose database this is."""
    return _city(database.info)


def city_of(session: Session) -> City:
    """The city that the session works for."""
    return _city(session.info)


def _city(info: Mapping[Any, Any]) -> City:
    found = info.get(INFO)
    assert isinstance(found, City), "this database was never told its city"
    return found
