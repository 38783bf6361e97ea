"""The city's symmetric master keys for chips: one a use, 16 random bytes in ``keys_dir``, readable by their owner only.

The journey master also lives in the secure modules of terminals; the admin master never leaves the city. What a card holds is
derived from them for its number (``card.chip.card_key``), so losing a card loses that card.
"""

import os
import secrets
from pathlib import Path

from app.kernel.city import City
from card.chip import AID, KEY_BYTES, KeyUse, card_key, packed
from card.credentials import CardNumber


def master(city: City, use: KeyUse) -> bytes:
    """The master key for ``use``; made on first use, and never made twice."""
    path: Path = city.keys_dir / f"chip-{use.name.lower()}.key"
    if not path.exists():
        city.keys_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_suffix(f".{os.getpid()}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        try:
            os.link(fresh, path)  # the first process to get here wins
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    found = path.read_bytes()
    assert len(found) == KEY_BYTES, f"{path} is not a key"
    return found


def journey_keys(city: City, number: CardNumber) -> tuple[bytes, bytes]:
    """``(journey key, admin key)`` of one card."""
    journey, admin = (card_key(master(city, use), packed(number), AID, use) for use in (KeyUse.JOURNEY, KeyUse.ADMIN))
    return journey, admin
