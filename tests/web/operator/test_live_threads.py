"""Streams on the real server, whose threads are few: others are answered meanwhile, and who goes away gives the thread back."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from flask.sessions import SecureCookieSessionInterface

from app.demo.cities import environment_of
from app.factory import create_app
from app.kernel import clock
from app.kernel.db import Database
from app.web.auth import Role
from services import people
from tests.cities import free_port
from tests.conftest import make_settings
from tests.gates import import_feed
from tests.signing_in import new_person

STREAMS = 2
THREADS = 3
READY_SECONDS = 60.0
FREED_SECONDS = 10.0


@contextmanager
def granian(environment: dict[str, str], port: int, log: Path) -> Iterator[None]:
    """The city behind granian, one process with few threads."""
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--blocking-threads", str(THREADS), "--workers-kill-timeout", "3", "wsgi:application"]
    with (
        log.open("wb") as file,
        subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=file, stderr=file, cwd=Path(__file__).parents[3]
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


@pytest.fixture
def operator(database: Database, database_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """An operator's browser at the running city."""
    settings = make_settings(database_url, tmp_path, live_streams_max=STREAMS)
    app = create_app(settings, database=database)
    with database.transaction() as session:
        import_feed(session, "320100", now=clock.now())
        key = people.session_key(session, new_person(database, Role.OPERATOR, organisation="nj-metro"))
    signer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert signer is not None
    cookies = {app.config["SESSION_COOKIE_NAME"]: str(signer.dumps({"_user_id": key, "_fresh": True}))}
    port = free_port()
    with (
        granian(environment_of(settings), port, tmp_path / "granian.log"),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", cookies=cookies, trust_env=False, timeout=10) as client,
    ):
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                client.get("/readyz").raise_for_status()
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, (tmp_path / "granian.log").read_text()
                time.sleep(0.2)
        yield client


@contextmanager
def listening(client: httpx.Client) -> Iterator[httpx.Response]:
    with client.stream("GET", "/operator/taps/stream") as answer:
        assert answer.status_code == 200
        assert next(answer.iter_text()).startswith("retry: ")
        yield answer


def test_streams_leave_threads_for_others_and_who_goes_away_makes_room(operator: httpx.Client) -> None:
    with listening(operator), listening(operator):
        assert operator.get("/operator/taps/stream").status_code == 503
        began = time.monotonic()
        assert operator.get("/operator/taps").status_code == 200
        assert time.monotonic() - began < 5, "answered while both streams run"
    deadline = time.monotonic() + FREED_SECONDS  # far less than the twenty seconds of a stream
    for _ in range(STREAMS):
        while True:
            with operator.stream("GET", "/operator/taps/stream") as answer:
                if answer.status_code == 200:
                    break
            assert time.monotonic() < deadline, "a reader that went away still holds its place"
            time.sleep(0.2)
