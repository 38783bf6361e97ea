"""A login of its own for each who lives in a city's database, so that none can become another, whatever SQL it runs.

A newcomer has one ``DATABASE_URL``; its processes take lesser roles after connecting, and could in principle take the owner's
back. A city in service makes logins once, gives each process the address of its own, and keeps the owner's for migrations.
"""

import secrets
from typing import Final
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from app.kernel.db import Right

SETTING: Final[dict[Right, str]] = {
    Right.APPLICATION: "DATABASE_APPLICATION_URL",
    Right.SEALER: "DATABASE_SEALER_URL",
    Right.REPORTS: "DATABASE_REPORTS_URL",
}


def make(url: str, *, city_code: str) -> dict[str, str]:
    """Make (or give new passwords to) the three logins of the city whose database is at ``url``; setting → its value.

    ``url`` is the owner's, who must be allowed to create roles. Afterwards only the owner and these may connect.
    """
    made: dict[str, str] = {}
    with psycopg.connect(url) as connection:
        database = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(database))
        for right, setting in SETTING.items():
            name, password = f"{right.value}_{city_code}", secrets.token_urlsafe(24)
            login, group = sql.Identifier(name), sql.Identifier(right.value)
            known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
            verb = sql.SQL("ALTER" if known else "CREATE")
            connection.execute(sql.SQL("{} ROLE {} LOGIN NOINHERIT PASSWORD {}").format(verb, login, sql.Literal(password)))
            connection.execute(sql.SQL("GRANT {} TO {}").format(group, login))
            connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, login))
            made[setting] = _address(url, user=name, password=password)
    return made


def _address(url: str, *, user: str, password: str) -> str:
    """``url`` with another login, as ``postgresql://…`` whose parameters stand after the question mark."""
    parts = {key: str(value) for key, value in conninfo_to_dict(url).items()} | {"user": user, "password": password}
    database = parts.pop("dbname", "")
    return f"postgresql:///{quote(database)}?{urlencode(sorted(parts.items()), quote_via=quote)}"
