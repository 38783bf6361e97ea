"""The request's way to the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from flask import current_app
from sqlalchemy.orm import Session

from app.kernel.city import City, city_in
from app.kernel.db import Database, Statements
from app.kernel.settings import Settings


def database() -> Database:
    """The database of the running application."""
    return cast("Database", current_app.extensions["database"])


def settings() -> Settings:
    """The settings of the running application."""
    return cast("Settings", current_app.extensions["settings"])


def city() -> City:
    """The city of the running application."""
    return city_in(database())


@contextmanager
def statements() -> Iterator[Statements]:
    """The driver's connection, whose statements each commit by themselves; see ``Database.statements``."""
    with database().statements() as connection:
        yield connection


@contextmanager
def transaction() -> Iterator[Session]:
    """One database transaction: the edge opens it, actions join it, the redirect follows it."""
    with database().transaction() as session:
        yield session
