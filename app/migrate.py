"""Migrations as a library: the same numbered steps on start, in tests and by hand."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config

from app.kernel.db import psycopg_url

FOLDER: Final = Path(__file__).parents[1] / "migrations"


def configuration(url: str) -> Config:
    """Alembic's configuration for the database at ``url`` (its owner's role)."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("version_locations", str(FOLDER / "versions"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = psycopg_url(url)
    return config


def upgrade(url: str) -> None:
    """Bring the database at ``url`` to the newest revision; safe to run from several processes at once."""
    command.upgrade(configuration(url), "head")
