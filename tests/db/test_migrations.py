"""Migrations go up, down and up again, and leave what the models describe."""

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg import sql
from sqlalchemy import create_engine

import app.models  # noqa: F401
from app import migrate
from app.kernel.db import SCHEMAS, Base, psycopg_url
from tests import engines
from tests.conftest import with_database


@pytest.mark.parametrize("engine", engines.EVERY, indirect=True, scope="session")
def test_migrations_go_up_down_and_up_and_match_the_models(server_url: str, worker_id: str) -> None:
    name = f"migrations_{worker_id}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = with_database(server_url, name)
    config = migrate.configuration(url)
    command.upgrade(config, "head")
    command.downgrade(config, "base")
    command.upgrade(config, "head")

    engine = create_engine(psycopg_url(url))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda found, kind, _: kind != "schema" or found in SCHEMAS,
                "compare_type": True,
                "version_table": "migration",
            },
        )
        drift = compare_metadata(context, Base.metadata)
    engine.dispose()
    assert drift == []
