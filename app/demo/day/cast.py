"""Who plays, how they enter, and where what happened is written down."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.demo.cities import City, Place
from app.demo.scene.people import PASSWORD
from app.demo.visitor import Lost, Visitor

WAIT_SECONDS: Final = 45.0


@dataclass
class Diary:
    """What happened, in order, and the facts that were seen."""

    say: Callable[[str], None] = print
    facts: dict[str, str] = field(default_factory=dict)

    def act(self, title: str) -> None:
        """A new act begins."""
        self.say(f"\n{title}")

    def note(self, text: str, **facts: object) -> None:
        """Something happened; ``facts`` are kept by name for whoever checks the day."""
        self.say(f"  · {text}")
        self.facts.update({name: str(value) for name, value in facts.items()})


@dataclass
class Cast:
    """Everybody who plays. ``enter`` makes a browser at an address; each person keeps theirs for the whole day."""

    place: Place
    enter: Callable[[str], Visitor]
    folder: Path
    diary: Diary = field(default_factory=Diary)
    _here: dict[tuple[City, str], Visitor] = field(default_factory=dict)

    def __call__(self, city: City, username: str) -> Visitor:
        """The browser of ``username`` at ``city``, signed in."""
        found = self._here.get((city, username))
        if found is None:
            found = self._here[city, username] = self.enter(self.place.url(city))
            found.open("/sign-in?lang=en")
            found.send({"username": username, "password": PASSWORD})
        return found

    def stranger(self, city: City) -> Visitor:
        """Somebody who is not signed in."""
        return self.enter(self.place.url(city))


def until(visitor: Visitor, path: str, pattern: str) -> str:
    """Look at a page again until it says ``pattern``; the match. What workers and other cities do takes a moment."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        visitor.open(path)
        found = re.search(pattern, visitor.text())
        if found:
            return found.group(found.lastindex or 0)
        if time.monotonic() > deadline:
            raise Lost(f"{path} does not say {pattern!r} within {WAIT_SECONDS:.0f} s: {visitor.text()[:400]}")
        time.sleep(0.3)


def seen(visitor: Visitor, pattern: str) -> str:
    """What the page says that matches ``pattern`` (its last group, if it has one)."""
    found = re.search(pattern, visitor.text())
    if found is None:
        raise Lost(f"{visitor.address} does not say {pattern!r}: {visitor.text()[:400]}")
    return found.group(found.lastindex or 0)


def says(visitor: Visitor, pattern: str) -> bool:
    """Whether the page says it."""
    return re.search(pattern, visitor.text()) is not None
