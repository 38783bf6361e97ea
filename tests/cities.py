"""Cities that really run: one application each on its own database, served over HTTP on loopback."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import httpx
from flask import Flask
from werkzeug.serving import make_server

from app import wiring
from app.factory import create_app
from app.kernel import clock, outbox
from app.kernel.db import Database
from app.kernel.settings import Settings
from card import partners
from tests.conftest import fresh, make_settings

NAMES = {
    "320000": ("Jiangsu Province", "江苏省"),
    "320100": ("Nanjing", "南京市"),
    "320500": ("Suzhou", "苏州市"),
}


@dataclass(frozen=True, kw_only=True)
class Running:
    """A city that listens."""

    settings: Settings
    database: Database
    app: Flask

    @property
    def code(self) -> str:
        return self.settings.city_code

    @property
    def url(self) -> str:
        return self.settings.public_url

    def deliver(self) -> int:
        """Deliver every event that is due, as the worker does; how many. A failure is raised here."""
        done = 0
        while outbox.deliver_one(self.database, wiring.HANDLERS, wiring.COURIERS, now=clock.now()):
            done += 1
        with self.database.transaction() as session:
            failed = session.query(outbox.OutboxEvent).filter(outbox.OutboxEvent.error.is_not(None)).all()
            assert not failed, [(event.name, event.error) for event in failed]
        return done


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(app: Flask, port: int) -> Iterator[None]:
    """``app`` behind a real HTTP server for the length of the block."""
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def running(
    codes: tuple[str, ...], *, server_url: str, template: str, worker_id: str, folder: Path
) -> Iterator[dict[str, Running]]:
    """The cities of ``codes`` (the hub first) on databases of their own, with the hub's key pinned and nobody admitted yet."""
    ports = {code: free_port() for code in codes}
    made: dict[str, Running] = {}
    stack: list[Callable[[], object]] = []
    try:
        for code in codes:
            settings = make_settings(
                fresh(server_url, template, f"f{code}_{worker_id}"),
                folder / code,
                city_code=code,
                city_name_en=NAMES[code][0],
                city_name_zh=NAMES[code][1],
                public_url=f"http://localhost:{ports[code]}",
                hub_url=f"http://localhost:{ports['320000']}",
            )
            database = Database(settings.database_url, pool_size=5)
            stack.append(database.close)
            app = create_app(settings, database=database)
            app.config.update(TESTING=False, RATELIMIT_ENABLED=False, WTF_CSRF_ENABLED=False)
            made[code] = Running(settings=settings, database=database, app=app)
            served = serve(app, ports[code])
            served.__enter__()
            stack.append(lambda served=served: served.__exit__(None, None, None))  # type: ignore[misc]
        for code in codes:
            if code != "320000":
                partners.install_anchor(made[code].settings, hub_keys=made["320000"].settings.keys_dir)
        yield made
    finally:
        for undo in reversed(stack):
            undo()


def federate(cities: dict[str, Running]) -> None:
    """Every city asks to join over HTTP, the hub admits it, and all refresh."""
    hub = cities["320000"]
    others = [city for code, city in cities.items() if code != "320000"]
    for city in others:
        assert partners.ask_to_join(city.database, now=clock.now()) in ("requested", "admitted")
        with hub.database.transaction() as session:
            partners.admit(session, code=city.code, by="person:test", now=clock.now())
    for city in others:
        partners.refresh(city.database, now=clock.now())


def get(url: str) -> httpx.Response:
    """A plain GET."""
    with httpx.Client(trust_env=False) as client:
        return client.get(url)
