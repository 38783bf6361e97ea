"""How migrations run: one at a time, with a lock timeout, as the database's owner."""

from alembic import context
from sqlalchemy import create_engine, pool, text

import app.models  # noqa: F401  every table, so that drift is seen
from app.kernel.db import SCHEMAS, Base

LOCK = 320_000_001  # one migration at a time on a database


def run() -> None:
    """Upgrade or downgrade inside one transaction under an advisory lock."""
    engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.execute(text("SET lock_timeout = '10s'"))
        connection.execute(text("SET statement_timeout = '15min'"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            include_schemas=True,
            include_name=lambda name, kind, _: kind != "schema" or name in SCHEMAS,
            compare_type=True,
            version_table="migration",
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
        connection.commit()


run()
