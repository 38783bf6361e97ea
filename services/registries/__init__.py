"""Base registries and data exchange, and who saw my data."""

from services.registries.actions import BASIC_FACTS, look_up, record_access
from services.registries.queries import AccessView, accesses_of
from services.registries.rules import BASES, Basis, Purpose, PurposeMissing

__all__ = [
    "BASES",
    "BASIC_FACTS",
    "AccessView",
    "Basis",
    "Purpose",
    "PurposeMissing",
    "accesses_of",
    "look_up",
    "record_access",
]
