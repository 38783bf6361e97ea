"""The database: one declarative base, one ``Database`` per process, one transaction per edge."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Final, cast
from uuid import UUID

from psycopg import Connection
from psycopg.pq import TransactionStatus
from sqlalchemy import DateTime, Engine, MetaData, PoolProxiedConnection, Text, Uuid, create_engine, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from app.kernel.errors import Refusal
from app.kernel.settings import Settings

SCHEMAS: Final = ("app", "card", "services")
CLOCK_AHEAD: Final = timedelta(minutes=1)  # clocks that are kept by NTP differ by milliseconds

Statements = Connection[tuple[Any, ...]]  # of the driver; each statement commits by itself
Json = dict[str, Any]  # the only door through which untyped documents enter a column


class Base(DeclarativeBase):
    """Base of all tables. Each names its schema: ``app``, ``card`` or ``services``."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=True),
        UUID: Uuid(),
        str: Text(),
        Json: JSONB(),
        list[str]: JSONB(),
    }


_constraint_refusals: dict[str, type[Refusal]] = {}


def refuse_on_constraint(name: str, refusal: type[Refusal]) -> None:
    """Let a violation of the constraint ``name`` surface from ``transaction()`` as ``refusal``."""
    _constraint_refusals[name] = refusal


def as_refusal(error: IntegrityError) -> Refusal | None:
    """The refusal declared for the violated constraint, or none where the violation is a bug."""
    diag = getattr(error.orig, "diag", None)
    kind = _constraint_refusals.get(getattr(diag, "constraint_name", None) or "")
    return kind(str(error.orig)) if kind else None


def psycopg_url(url: str) -> str:
    """``postgresql://…`` or ``postgres://…`` as SQLAlchemy's psycopg 3 address."""
    scheme, rest = url.split("://", 1)
    return url if "+" in scheme else f"postgresql+psycopg://{rest}"


class Right(StrEnum):
    """A role of the database: what those who live as it may do there is written in the migrations.

    The owner, who migrates, is none of them.
    """

    APPLICATION = "city_app"  # reads and writes; appends to the books, never changes them
    SEALER = "city_sealer"  # reads the books, appends seals and checkpoints
    REPORTS = "city_reports"  # reads the books


class Database:
    """The city's database as one process sees it."""

    @classmethod
    def of(cls, settings: Settings, right: Right) -> "Database":
        """The city's database for those who live as ``right``: by a login of their own where the settings name one."""
        own = {
            Right.APPLICATION: settings.database_application_url,
            Right.SEALER: settings.database_sealer_url,
            Right.REPORTS: settings.database_reports_url,
        }[right]
        pool_size = settings.database_pool_size if right is Right.APPLICATION else 1
        return cls(own or settings.database_url, right=right, pool_size=pool_size, clock_ahead=CLOCK_AHEAD)

    def __init__(
        self, url: str, *, right: Right = Right.APPLICATION, pool_size: int = 10, clock_ahead: timedelta | None = None
    ) -> None:
        """Connect lazily to ``url``; live as ``right`` for the life of every connection (``RESET ROLE`` returns to it).

        The database knows ``clock_ahead`` as ``city.clock_ahead``: no later than so much after its own clock does it let the
        books be dated. None lets a caller live in a time of its own.
        """
        options = "-c timezone=UTC -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s"
        options += f" -c role={right.value}"
        if clock_ahead is not None:
            options += f" -c city.clock_ahead={clock_ahead // timedelta(seconds=1)}s"
        self.engine: Engine = create_engine(
            psycopg_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            connect_args={"options": options},
        )
        self.info: dict[Any, Any] = {}  # what every session of this database carries in ``session.info``
        self.closing: list[Callable[[], None]] = []  # what ends before the connections are given back
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._kept: list[PoolProxiedConnection] = []
        self._keeps = pool_size

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session of its own whose transaction commits when the block ends and rolls back when it raises.

        A violated constraint that the domain declared with :func:`refuse_on_constraint` raises that refusal.
        """
        with self._sessions(info=self.info) as session:
            try:
                with session.begin():
                    yield session
            except IntegrityError as error:
                refusal = as_refusal(error)
                if refusal is None:
                    raise
                raise refusal from error

    @contextmanager
    def statements(self) -> Iterator[Statements]:
        """The driver's connection, on which every statement is a transaction of its own: for the one statement that somebody
        waits for. Beginning, committing and asking whether the connection still lives are three ways to the database, which
        cost more than the statement.

        So a connection that has died in the meantime shows here: it raises ``OperationalError``, as whatever else the database
        could not do just now, and whoever may repeat the statement repeats it in a transaction. The connections are the pool's;
        up to half of them stay with us.
        """
        try:
            kept = self._kept.pop()
        except IndexError:
            kept = self.engine.raw_connection()
            cast("Statements", kept.driver_connection).autocommit = True
        connection = cast("Statements", kept.driver_connection)
        try:
            yield connection
        finally:
            if connection.pgconn.transaction_status == TransactionStatus.IDLE and len(self._kept) < self._keeps:
                self._kept.append(kept)
            else:
                kept.invalidate()  # nobody else may get it: it would commit by itself

    def skew(self, now: datetime) -> timedelta:
        """How far ``now``, of this process's clock, is ahead of the database's clock; negative where it is behind."""
        with self.engine.connect() as connection:
            here: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        return now - here

    def close(self) -> None:
        """End what still uses the database, and give the connections back."""
        while self.closing:
            self.closing.pop()()
        while self._kept:
            self._kept.pop().invalidate()
        self.engine.dispose()
