"""The PostgreSQL servers that tests run on: the embedded 18, and Debian's 15 or newer where it is installed.

On both, tests connect as an owner who may create databases and roles and is no superuser, as in a city in service.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from app.demo import postgres

EMBEDDED, DEBIAN = "embedded", "debian"
OWNER = "city_owner"
CALM = "autovacuum = off\n"  # its workers are the superuser's, and stand in the way of an owner who drops a database
QUICK = "fsync = off\nfull_page_writes = off\nsynchronous_commit = off\n"  # a test of durability gives it back


def debian_programs() -> Path | None:
    """The folder of the newest installed Debian server's programs, if there is one of version 15 or newer."""
    found = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "initdb").exists()]
    return max((folder for folder in found if int(folder.parent.name) >= 15), key=lambda f: int(f.parent.name), default=None)


EVERY = [
    EMBEDDED,
    pytest.param(
        DEBIAN, marks=pytest.mark.skipif(debian_programs() is None, reason="left out: Debian's PostgreSQL is not installed")
    ),
]  # for parametrize("engine", …, indirect=True, scope="session")


@contextmanager
def embedded(folder: Path) -> Iterator[str]:
    """The embedded server on files in ``folder``; its superuser's address."""
    server = postgres.start(folder / "postgres")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        for line in (QUICK + CALM).splitlines():
            setting, _, value = line.partition(" = ")
            connection.execute(f"ALTER SYSTEM SET {setting} = {value}")  # type: ignore[arg-type]
        connection.execute("SELECT pg_reload_conf()")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


@contextmanager
def debian(folder: Path) -> Iterator[str]:
    """Debian's server on files in ``folder``; its superuser's address. Root lends it the system's user ``postgres``."""
    programs = debian_programs()
    assert programs is not None
    user = "postgres" if os.geteuid() == 0 else None
    data = folder / "data"

    def program(name: str, *arguments: str) -> None:
        subprocess.run([programs / name, *arguments], check=True, user=user, stdout=subprocess.DEVNULL, cwd=folder)

    if user:
        shutil.chown(folder, user)
    program("initdb", "-D", str(data), "-U", "root_of_test", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
    (data / "postgresql.auto.conf").write_text(QUICK + CALM)
    program("pg_ctl", "-D", str(data), "-l", str(folder / "log"), "-o", f"-k {folder} -c listen_addresses=''", "-w", "start")
    try:
        yield f"postgresql://root_of_test@/postgres?host={folder}"
    finally:
        program("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")


@contextmanager
def started(engine: str, name: str) -> Iterator[str]:
    """``engine`` started for the length of the block; the address by which its plain owner reaches ``postgres``."""
    folder = Path(tempfile.mkdtemp(prefix=f"city-{name}-"))  # pytest's own folders are cleared by later runs
    start = embedded if engine == EMBEDDED else debian
    try:
        with start(folder) as url:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"CREATE ROLE {OWNER} LOGIN CREATEDB CREATEROLE NOSUPERUSER")
            yield owned(url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_durable(url: str) -> None:
    """Let the server at ``url`` lose nothing that it has committed, as it comes from its makers."""
    with psycopg.connect(superuser(url), autocommit=True) as connection:
        for line in QUICK.splitlines():
            connection.execute(f"ALTER SYSTEM RESET {line.partition(' = ')[0]}")  # type: ignore[arg-type]
        connection.execute("SELECT pg_reload_conf()")


def superuser(url: str) -> str:
    """The embedded server's superuser, where a test must do what no city may."""
    return url.replace(f"//{OWNER}@", "//postgres@", 1)


def owned(url: str) -> str:
    """``url`` with the plain owner's login."""
    parts = conninfo_to_dict(url)
    return f"postgresql://{OWNER}@/{parts['dbname']}?host={parts['host']}"
