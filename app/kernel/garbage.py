"""When Python looks for garbage that points at itself.

What is made at start (modules, tables, routes: some hundred thousand objects) lives as long as its process, and a batch of taps
makes a hundred thousand more that reference counting alone gives back. Looking through all of them every few hundred objects
took two fifths of the processor time of an ingestion; so the old ones are set aside once, and the young ones are looked through
when there are many. What points at itself is still found, later.
"""

import gc
from typing import Final

YOUNG: Final = 100_000  # objects more than were given back, before the youngest are looked through
MIDDLE: Final = 20  # of those looks before one at the middle generation
OLD: Final = 20  # of those before one at everything


def settle() -> None:
    """Say that the process is ready: everything that is there now stays. Call it once, at the end of the start."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
