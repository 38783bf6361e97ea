"""Thousands of rows in one statement: COPY in, arrays out, without an object a row in between."""

from collections.abc import Iterable
from datetime import date
from typing import Any, Final

import psycopg
from sqlalchemy.orm import Session

NULL: Final = "\\N"


def field(value: str) -> str:
    """A text as COPY wants it."""
    if value.isprintable() and "\\" not in value:
        return value
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def binary(value: bytes) -> str:
    """Bytes as COPY wants them."""
    return "\\\\x" + value.hex()


def texts(values: Iterable[str]) -> str:
    """An array literal of texts that need no quoting: card numbers, ids, codes."""
    return "{" + ",".join(values) + "}"


def quoted(values: Iterable[str | None]) -> str:
    """An array literal of any texts, or of nulls."""
    return "{" + ",".join(["NULL" if value is None else f'"{_escaped(value)}"' for value in values]) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def dates(values: Iterable[date | None]) -> str:
    """An array literal of dates, or of nulls."""
    return "{" + ",".join(["NULL" if value is None else value.isoformat() for value in values]) + "}"


def _cursor(session: Session) -> psycopg.Cursor[Any]:
    """The driver's own cursor on the session's transaction; what the session has pending is written first, as always."""
    session.flush()
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection.cursor()


def copy(session: Session, table: str, columns: str, lines: Iterable[str]) -> None:
    """Append ``lines`` (tab-separated, made with :func:`field` and :func:`binary`) to ``table`` in the caller's transaction."""
    text = "\n".join(lines)
    if not text:
        return
    with _cursor(session) as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as stream:
        stream.write(text + "\n")


def copy_aside(session: Session, name: str, columns: str, lines: Iterable[str]) -> None:
    """Put ``lines`` into ``pg_temp.name`` (``columns`` with their types) and nothing else, for a statement that joins them.

    The table is this connection's own, made on first use; its rows go with the transaction.
    """
    with _cursor(session) as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} ({columns}) ON COMMIT DELETE ROWS", prepare=False)
        cursor.execute(f"DELETE FROM pg_temp.{name}")  # noqa: S608  what an earlier call of this transaction left
    copy(session, f"pg_temp.{name}", ", ".join(column.split()[0] for column in columns.split(", ")), lines)


def rows(session: Session, statement: str, *, prepare: bool = False, **parameters: Any) -> list[tuple[Any, ...]]:
    """The rows that ``statement`` (the driver's own placeholders) answers, as plain tuples.

    It is planned for these parameters, unless ``prepare`` says that one plan fits all.
    """
    with _cursor(session) as cursor:
        cursor.execute(statement, parameters, prepare=prepare)
        return list(cursor.fetchall()) if cursor.description else []
