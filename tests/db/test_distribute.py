"""The one command that spreads the ledger, run for real up to the extension's door.

Citus itself is in no registry that a test can install from. In its place stands an extension of the same name whose two
functions refuse what Citus documents that it refuses (https://docs.citusdata.com): unique keys and foreign keys without the
distribution column, tables distributed before those that they refer to, triggers unless they were vouched for. It writes down
what it was asked, and distributes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from app import migrate
from app.factory import create_app
from app.kernel.db import Database
from card.ledger import shards
from tests import engines
from tests.conftest import make_settings, with_database

CONTROL = "default_version = '1.0'\nrelocatable = false\nschema = pg_catalog\n"
EXTENSION = """
CREATE SCHEMA citus;
CREATE TABLE citus.made (n int GENERATED ALWAYS AS IDENTITY, name regclass PRIMARY KEY, spread_by name, beside regclass);

CREATE FUNCTION citus.refuse(asked regclass, spread_by name) RETURNS void LANGUAGE plpgsql AS $$
DECLARE found record; own smallint;
BEGIN
  SELECT attnum INTO own FROM pg_attribute WHERE attrelid = asked AND attname = spread_by AND attnotnull;
  IF spread_by IS NOT NULL AND own IS NULL THEN RAISE '% has no column % that is never null', asked, spread_by; END IF;
  IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = asked AND NOT tgisinternal)
     AND coalesce(current_setting('citus.enable_unsafe_triggers', true), 'off') <> 'on' THEN
    RAISE 'triggers are not supported on %', asked;
  END IF;
  FOR found IN SELECT indexrelid::regclass AS name, indkey FROM pg_index WHERE indrelid = asked AND indisunique LOOP
    IF own IS NOT NULL AND NOT own = ANY(found.indkey) THEN RAISE 'unique index % has no %', found.name, spread_by; END IF;
  END LOOP;
  FOR found IN SELECT k.conname, k.conkey, k.confkey, k.confrelid, m.name, m.spread_by AS other
      FROM pg_constraint k LEFT JOIN citus.made m ON m.name = k.confrelid WHERE k.conrelid = asked AND k.contype = 'f' LOOP
    IF found.name IS NULL THEN RAISE 'foreign key % refers to a table that is not distributed yet', found.conname; END IF;
    IF found.other IS NOT NULL AND (own IS NULL OR
        (SELECT their FROM unnest(found.conkey, found.confkey) AS pair(our, their) WHERE our = own) IS DISTINCT FROM
        (SELECT attnum FROM pg_attribute WHERE attrelid = found.confrelid AND attname = found.other)) THEN
      RAISE 'foreign key % does not stay inside one shard', found.conname;
    END IF;
  END LOOP;
END $$;

CREATE FUNCTION pg_catalog.create_reference_table(table_name regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM citus.refuse(table_name, NULL);
  INSERT INTO citus.made (name) VALUES (table_name);
END $$;

CREATE FUNCTION pg_catalog.create_distributed_table(
  table_name regclass, distribution_column text, distribution_type text DEFAULT 'hash', colocate_with text DEFAULT 'default'
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM citus.refuse(table_name, distribution_column::name);
  INSERT INTO citus.made (name, spread_by, beside)
  VALUES (table_name, distribution_column, CASE WHEN colocate_with <> 'default' THEN colocate_with::regclass END);
END $$;
"""


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A server of its own that finds the extension; the address of a migrated city there, as its owner."""
    found = folder / "share" / "extension"
    found.mkdir(parents=True)
    (found / "citus.control").write_text(CONTROL)
    (found / "citus--1.0.sql").write_text(EXTENSION)
    for path in (folder, folder / "share", found, *found.iterdir()):
        path.chmod(0o755)  # the server may run as another user
    with engines.embedded(folder) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE spread")
            connection.execute(f"ALTER SYSTEM SET extension_control_path = '$system:{folder / 'share'}'")  # type: ignore[arg-type]
            connection.execute("SELECT pg_reload_conf()")
        own = with_database(url, "spread")
        migrate.upgrade(own)
        yield own


def test_one_command_distributes_the_ledger_where_the_extension_is(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with server(tmp_path_factory.mktemp("spread")) as url:
        database = Database(url, pool_size=1)
        app = create_app(make_settings(url, tmp_path), database=database)
        told = app.test_cli_runner().invoke(args=["ledger", "distribute"])
        assert (told.exit_code, told.output) == (0, f"{len(shards.plan()) + 1} statements run: the ledger is distributed\n")
        with psycopg.connect(url) as connection:
            made = connection.execute("SELECT name::text, spread_by, beside::text FROM citus.made ORDER BY n").fetchall()
        copied = [(f"card.{model.__tablename__}", None, None) for model in shards.REFERENCE]
        first, *others = [f"card.{model.__tablename__}" for model in shards.DISTRIBUTED]
        assert made == [*copied, (first, "shard", None), *((name, "shard", first) for name in others)]
        again = app.test_cli_runner().invoke(args=["ledger", "distribute"])
        assert again.exit_code == 1, "what is distributed is not distributed twice"
        database.close()


def test_what_would_not_stay_inside_one_shard_is_refused_as_a_whole(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with server(tmp_path_factory.mktemp("spread")) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE UNIQUE INDEX everywhere ON card.turnover_mark (code)")
        database = Database(url, pool_size=1)
        app = create_app(make_settings(url, tmp_path), database=database)
        told = app.test_cli_runner().invoke(args=["ledger", "distribute"])
        assert told.exit_code == 1
        assert "everywhere has no shard" in str(told.exception)
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT to_regclass('citus.made') IS NULL").fetchone()
            assert found == (True,), "nothing was changed"
        database.close()
