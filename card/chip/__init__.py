"""The chip is a card: its application, the terminal's side of it, and a virtual card for readers. ``docs/reference/chip.md``.

Pure but for the two ends: ``presence`` speaks to a virtual reader, ``pcsc`` to a real one. Runs on a gate.
"""

from card.chip.apdu import AID
from card.chip.applet import ATR, Applet
from card.chip.conversation import (
    CardGone,
    CardIsWrong,
    CardRefused,
    Conversation,
    LastCommit,
    Selected,
    Signed,
    Transmit,
    packed,
)
from card.chip.journeys import Journey, journey_from, reference
from card.chip.keys import KEY_BYTES, KeyUse, card_key, cmac, diversify
from card.chip.memory import FileMemory, Memory, PowerLost, Slots
from card.chip.pcsc import NoReader, Reader, readers
from card.chip.presence import Presence

__all__ = [
    "AID",
    "ATR",
    "KEY_BYTES",
    "Applet",
    "CardGone",
    "CardIsWrong",
    "CardRefused",
    "Conversation",
    "FileMemory",
    "Journey",
    "KeyUse",
    "LastCommit",
    "Memory",
    "NoReader",
    "PowerLost",
    "Presence",
    "Reader",
    "Selected",
    "Signed",
    "Slots",
    "Transmit",
    "card_key",
    "cmac",
    "diversify",
    "journey_from",
    "packed",
    "readers",
    "reference",
]
