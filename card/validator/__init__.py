"""The program that runs at a gate: offline-first, with a journal of its own. ``python -m card.validator --help``.

It decides alone, writes before it speaks, and uploads when the network is there. It needs ``cbor2``, ``cryptography``,
``base45``, ``pyroaring``, ``zxing-cpp`` and ``pillow``, and nothing of the city's server.
"""

from card.validator.gateway import CityRefused, CityUnreachable
from card.validator.terminal import NotEnrolled, Outcome, State, Synced, Terminal, Uploaded

__all__ = ["CityRefused", "CityUnreachable", "NotEnrolled", "Outcome", "State", "Synced", "Terminal", "Uploaded"]
