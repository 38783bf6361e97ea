"""The gate as a service: codes in, decisions out, and everything that needs a network on a thread of its own.

The deciding thread never waits for the network. The other one renews the certificate, polls the bundle, uploads what waits and
lets go of what is old; both have the journal open and take turns. A stop finishes the decision at hand and uploads once more.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from card.credentials import CredentialRefused, TapKind
from card.validator.gateway import CityRefused, CityUnreachable
from card.validator.rules import Standing
from card.validator.station import Link
from card.validator.terminal import Outcome, Terminal

POLL_S: Final = 300.0
UPLOAD_S: Final = 15.0
RENEW_S: Final = 3600.0  # between two attempts to renew
PRUNE_S: Final = 3600.0
TICK_S: Final = 0.25
AGAIN_S: Final = 5.0
AGAIN_MAX_S: Final = 120.0


def quiet(_: str) -> None:
    """Log nothing."""


class Office:
    """What a gate does with its city, one errand after the other, each when it is due."""

    def __init__(
        self,
        terminal: Terminal,
        *,
        poll_s: float = POLL_S,
        upload_s: float = UPLOAD_S,
        log: Callable[[str], None] = quiet,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``terminal`` is this thread's own. ``poll_s`` is 5 minutes at a fixed gate, 15 to 60 on a bus."""
        self._terminal, self._log, self._clock = terminal, log, clock
        self._every = {"renew": RENEW_S, "sync": poll_s, "upload": upload_s, "prune": PRUNE_S}
        self._due = dict.fromkeys(self._every, clock())
        self._failures = dict.fromkeys(self._every, 0)

    def tick(self) -> None:
        """Run what is due. Nothing that goes wrong here stops the gate."""
        for name in self._every:
            now = self._clock()
            if now < self._due[name]:
                continue
            try:
                getattr(self, name)()
            except (CityUnreachable, CityRefused, CredentialRefused) as error:
                self._failures[name] += 1
                wait_s = min(AGAIN_S * 2 ** min(self._failures[name] - 1, 10), AGAIN_MAX_S, self._every[name])
                self._due[name] = now + wait_s * random.uniform(0.8, 1.2)  # noqa: S311  so that a city's gates do not march
                self._log(f"{name}: {error}")
            else:
                self._failures[name] = 0
                self._due[name] = now + self._every[name]

    def renew(self) -> None:
        """Renew the certificate in its last thirty days."""
        standing = self._terminal.standing
        if standing is Standing.RENEWAL_DUE:
            self._log(f"certificate renewed until {self._terminal.renew().expires_at.isoformat()}")
        elif standing is Standing.EXPIRED:
            self._log("the certificate has run out: enrol again with a new token; the journal stays")

    def sync(self) -> None:
        """Poll bundle and lists."""
        found = self._terminal.sync()
        self._log(f"bundle {found.bundle_seq}, deny list {found.list_seq} with {found.denied} entries, skew {found.skew_ms} ms")

    def upload(self) -> None:
        """Send what waits."""
        if self._terminal.journal.waits():
            found = self._terminal.upload()
            self._log(f"{found.stored} stored, {found.repeated} repeated, {found.refused} refused, {found.waiting} waiting")

    def prune(self) -> None:
        """Let go of what is old."""
        gone = self._terminal.journal.prune(now_ms=time.time_ns() // 1_000_000)
        if gone:
            self._log(f"{gone} old rows let go")


def run(
    home: Path,
    codes: Iterable[str],
    *,
    say: Callable[[Outcome], None],
    stop: threading.Event,
    kind: TapKind | None = None,
    hub: tuple[str, int] | None = None,
    poll_s: float = POLL_S,
    upload_s: float = UPLOAD_S,
    log: Callable[[str], None] = quiet,
) -> None:
    """Decide on ``codes`` until they end or ``stop`` is set. Raises ``NotEnrolled``."""
    deciding, errands = Terminal(home), Terminal(home)
    link = None
    office = Office(errands, poll_s=poll_s, upload_s=upload_s, log=log)

    def work() -> None:
        while not stop.is_set():
            office.tick()
            stop.wait(TICK_S)

    try:
        deciding.certificate  # noqa: B018  raises NotEnrolled
        link = Link(home, hub, log=log) if hub else None
        if link is not None:
            deciding.on_passed = link.tell
            link.start()
        thread = threading.Thread(target=work, name="office", daemon=True)
        thread.start()
        for code in codes:
            say(deciding.decide(code, kind=kind))
            if stop.is_set():
                break
        stop.set()
        thread.join(timeout=30)
        if not thread.is_alive():
            try:
                office.upload()
            except (CityUnreachable, CityRefused, CredentialRefused) as error:
                log(f"upload: {error}")
    finally:
        stop.set()
        if link is not None:
            link.stop()
        deciding.close()
        errands.close()
