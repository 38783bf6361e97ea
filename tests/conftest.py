"""Fixtures: PostgreSQL servers for a test run, a migrated template on each, one fresh database a test that asks for it."""

import base64
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy.orm import Session

from app import migrate
from app.factory import create_app
from app.kernel import city
from app.kernel.db import Database, Right
from app.kernel.sealing import Sealer, equip
from app.kernel.settings import Settings
from app.web.security import limiter
from tests import engines

SHARED = Path(__file__).parents[2] / "shared" / "data"
TEMPLATE = "city_template"
FIELD_KEY = b"k" * 32


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of published vectors and feeds beside the project; CI always has it."""
    if not SHARED.is_dir():
        assert not os.environ.get("CI"), f"{SHARED} is missing in CI"
        pytest.skip("left out: ../shared/data is not here")
    return SHARED


class Servers:
    """The servers of one test worker: each started when a test first asks for it, and kept to the end."""

    def __init__(self, worker_id: str, stack: ExitStack) -> None:
        self._worker_id = worker_id
        self._stack = stack
        self._urls: dict[str, str] = {}
        self._templates: dict[str, str] = {}

    def url(self, engine: str) -> str:
        """The maintenance database's address on ``engine``."""
        if engine not in self._urls:
            self._urls[engine] = self._stack.enter_context(engines.started(engine, f"{engine}-{self._worker_id}"))
        return self._urls[engine]

    def template(self, server_url: str) -> str:
        """The name of a migrated database to copy on the server at ``server_url``."""
        if server_url not in self._templates:
            name = f"{TEMPLATE}_{self._worker_id}"
            with psycopg.connect(server_url, autocommit=True) as connection:
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            migrate.upgrade(with_database(server_url, name))
            self._templates[server_url] = name
        return self._templates[server_url]


@pytest.fixture(scope="session")
def servers(worker_id: str) -> Iterator[Servers]:
    """This worker's servers."""
    with ExitStack() as stack:
        yield Servers(worker_id, stack)


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> str:
    """The kind of server: the embedded one, unless a folder of tests runs on every kind."""
    return str(getattr(request, "param", engines.EMBEDDED))


@pytest.fixture(scope="session")
def server_url(engine: str, servers: Servers) -> str:
    """Address of the test server's maintenance database, as its plain owner reaches it."""
    return os.environ.get("TEST_DATABASE_URL") or servers.url(engine)


def with_database(url: str, name: str) -> str:
    """``url`` with its database replaced."""
    return psycopg.conninfo.make_conninfo(url, dbname=name) if "://" not in url else _swap(url, name)


def _swap(url: str, name: str) -> str:
    head, _, query = url.partition("?")
    base = head.rsplit("/", 1)[0]
    return f"{base}/{name}" + (f"?{query}" if query else "")


@pytest.fixture(scope="session")
def template(server_url: str, servers: Servers) -> str:
    """A migrated database to copy."""
    return servers.template(server_url)


def fresh(server_url: str, template: str, name: str) -> str:
    """A copy of the template; the address of its owner."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(name), sql.Identifier(template))
        )
    return with_database(server_url, name)


@pytest.fixture
def database_url(server_url: str, template: str, worker_id: str) -> str:
    """A fresh, migrated, empty database."""
    return fresh(server_url, template, f"city_{worker_id}")


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """The fresh database as the application sees it (its own, limited role)."""
    opened = Database(database_url, pool_size=5)
    equip(opened, Sealer(FIELD_KEY))
    city.equip(opened, city.City(code="320100", keys_dir=tmp_path / "var" / "keys"))
    yield opened
    opened.close()


@pytest.fixture
def sealer(database_url: str) -> Iterator[Database]:
    """The fresh database as the sealer sees it."""
    opened = Database(database_url, right=Right.SEALER, pool_size=1)
    yield opened
    opened.close()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """One transaction on the fresh database, committed at the end of the test."""
    with database.transaction() as opened:
        yield opened


def make_settings(database_url: str, tmp_path: Path, **changes: object) -> Settings:
    """Settings of a test city."""
    values: dict[str, object] = {
        "database_url": database_url,
        "data_dir": tmp_path / "var",
        "secret_key": SecretStr("test-" * 8),
        "field_key": SecretStr(base64.b64encode(FIELD_KEY).decode()),
        "demonstration": True,
        "stripe_api_base": "http://localhost:8420",
    }
    return Settings(**{**values, **changes})


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings of Nanjing on the fresh database."""
    return make_settings(database_url, tmp_path)


@pytest.fixture
def app(settings: Settings, database: Database) -> Flask:
    """Nanjing as an application."""
    made = create_app(settings, database=database)
    limiter.enabled = False  # one limiter a process: a test that wants it turns it on
    made.config.update(TESTING=True, RATELIMIT_ENABLED=False, WTF_CSRF_ENABLED=False)
    return made


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser without JavaScript."""
    return app.test_client()
