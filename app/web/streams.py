"""Server-sent events (WHATWG HTML, 9.2) on threads that are few.

A stream holds a thread of the server, so there are few at a time and each is short; the browser comes again by itself and says
where it was (``Last-Event-ID``). It says something every second, if only a comment: writing is how a server learns that the
reader has gone and the thread is free.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Semaphore
from typing import Any, Final

from flask import Flask, Response, current_app, request

from app.kernel.errors import Unavailable, msg
from app.kernel.settings import Settings

LENGTH: Final = "STREAM_SECONDS"  # of app.config
SECONDS: Final = 20.0
EVERY_SECONDS: Final = 1.0
RETRY_MS: Final = 1000
_FREE: Final = "streams"


class StreamsTaken(Unavailable):
    """As many streams as the settings allow are open in this process."""

    code = "streams-taken"
    sentence = msg("The server streams to as many pages as it can. Ask for the news instead: nothing is missed.")
    retry_after_seconds = int(SECONDS)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event. ``id`` is what the browser says when it comes again."""

    name: str
    data: str
    id: str

    def encoded(self) -> str:
        """The lines of the event stream format."""
        lines = [f"id: {self.id}", f"event: {self.name}", *(f"data: {line}" for line in self.data.splitlines())]
        return "\n".join(lines) + "\n\n"


def install(app: Flask, settings: Settings) -> None:
    """Let this process hold as many streams as the settings say."""
    app.config.setdefault(LENGTH, SECONDS)
    app.extensions[_FREE] = Semaphore(settings.live_streams_max)


def last_event_id() -> str:
    """Where the reader was, as its browser says when it comes again; empty the first time."""
    return request.headers.get("Last-Event-ID", "")


def stream(turn: Callable[[], Event | None]) -> Response:
    """Answer with what ``turn`` has to say: asked again at once while it says something, else after a second.

    Raises :class:`StreamsTaken`.
    """
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  Flask's way to the app itself
    free: Semaphore = app.extensions[_FREE]
    if not free.acquire(blocking=False):
        raise StreamsTaken
    held = ExitStack()
    held.callback(free.release)
    response = Response(_said(app, dict(request.environ), turn), content_type="text/event-stream; charset=utf-8")
    response.headers["X-Accel-Buffering"] = "no"  # a proxy that collects an answer would keep the news to itself
    response.call_on_close(held.close)
    return response


def _said(app: Flask, environ: dict[str, Any], turn: Callable[[], Event | None]) -> Iterator[str]:
    deadline = time.monotonic() + app.config[LENGTH]
    yield f"retry: {RETRY_MS}\n\n"
    while True:
        with app.request_context(environ):  # entered and left within a turn: a stream may be closed from another thread
            event = turn()
        yield event.encoded() if event else ":\n\n"
        left = deadline - time.monotonic()
        if left <= 0 or (event is None and left < EVERY_SECONDS):
            return
        if event is None:
            time.sleep(EVERY_SECONDS)
