"""Where archived months stand, and reading them: the same answers as from the database, later and slower.

The database remembers which months left it (``LedgerArchive``); their files are in the city's data folder under
``ledger/2026-01``. Who asks for something of an archived month is answered from there, or is told that the archive cannot be
read.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.city import City, city_of
from app.kernel.errors import NotFound, Unavailable, msg
from card.ledger import history
from card.ledger.models import LedgerArchive
from card.ledger.rules import AccountId, place_of

CONSTRAINT: Final = "archived_"  # how the constraints begin by which the database refuses an archived month's ids
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECONDS_SHIFT: Final = 80  # a UUIDv7 begins with 48 bits of milliseconds


class UnknownMonth(NotFound):
    """The database has no partition of this month: it never had one, or it is archived already."""

    code = "unknown-month"
    sentence = msg("There is no such month in the ledger.")


class ArchiveUnavailable(Unavailable):
    """The month is archived and its files are not in the city's data folder."""

    code = "archive-unavailable"
    sentence = msg("This part of the books is in the archive, and the archive cannot be read here at the moment.")


@dataclass(frozen=True, kw_only=True)
class Month:
    """A calendar month in UTC: the range of the ids made in it."""

    first: date

    @classmethod
    def parse(cls, text: str) -> "Month":
        """``2026-01``. Raises :class:`UnknownMonth`."""
        try:
            return cls(first=datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date())
        except ValueError as error:
            raise UnknownMonth(text) from error

    @property
    def name(self) -> str:
        """``2026-01``."""
        return f"{self.first:%Y-%m}"

    @property
    def next(self) -> "Month":
        """The month after it."""
        return Month(first=(self.first + timedelta(days=32)).replace(day=1))

    @property
    def previous(self) -> "Month":
        """The month before it."""
        return Month(first=(self.first - timedelta(days=1)).replace(day=1))

    @property
    def partition(self) -> str:
        """The table that holds it."""
        return f"transfer_{self.first:%Y_%m}"

    @property
    def id_floor(self) -> UUID:
        """The lowest id that it can have; the next month's is the first that it cannot have."""
        beginning = datetime(self.first.year, self.first.month, 1, tzinfo=UTC)
        return UUID(int=((beginning - EPOCH) // timedelta(milliseconds=1)) << MILLISECONDS_SHIFT)


def instant(microseconds: int) -> datetime:
    """An instant as the files keep it."""
    return EPOCH + timedelta(microseconds=microseconds)


def folder_of(city: City, month: Month) -> Path:
    """Where the files of a month are."""
    return city.keys_dir.parent / "ledger" / month.name


def months(session: Session) -> Sequence[LedgerArchive]:
    """The archived months, the oldest first."""
    return session.scalars(select(LedgerArchive).order_by(LedgerArchive.month)).all()


def is_archived(archived: Iterable[LedgerArchive], id_: UUID) -> bool:
    """Whether an id belongs to an archived month."""
    return any(found.id_from <= id_ < found.id_to for found in archived)


def _open(session: Session, found: LedgerArchive, name: str) -> tuple[Any, Any]:
    """An engine and one of the files of a month in it. Raises :class:`ArchiveUnavailable`."""
    path = folder_of(city_of(session), Month(first=found.month)) / name
    if not path.exists():
        raise ArchiveUnavailable(str(path))
    engine = history.in_process()
    return engine, engine.read_parquet(str(path))


def lines(
    session: Session, account_id: AccountId, *, before: int | None, after: int, limit: int, newest: bool = True
) -> list[dict[str, Any]]:
    """An account's transfers in archived months between two places (both exclusive), newest or oldest first."""
    found: list[dict[str, Any]] = []
    for month in months(session):
        if month.place_last <= after or (before is not None and month.place_first >= before):
            continue
        engine, transfers = _open(session, month, history.TRANSFERS)
        asked = history.lines(transfers, account_id, before=before, after=after, limit=limit, newest=newest)
        found += history.rows(engine, asked)
    return sorted(found, key=lambda row: int(row["place"]), reverse=newest)[:limit]


def moved_between(session: Session, *, after: int, before: int) -> list[dict[str, Any]]:
    """What archived months moved between two places (both exclusive), by debit, credit and code."""
    found: list[dict[str, Any]] = []
    for month in months(session):
        if month.place_last > after and month.place_first < before:
            engine, transfers = _open(session, month, history.TRANSFERS)
            found += history.rows(engine, history.moved_between(transfers, after=after, before=before))
    return found


def details(text: str | None) -> dict[str, Any] | None:
    """A transfer's metadata as the files keep it."""
    return json.loads(text) if text else None


def find(session: Session, ids: Iterable[UUID]) -> dict[UUID, dict[str, Any]]:
    """Those of ``ids`` that archived months hold."""
    wanted, found = set(ids), dict[UUID, dict[str, Any]]()
    if not wanted:
        return found
    for month in months(session):
        here = [str(id_) for id_ in wanted if month.id_from <= id_ < month.id_to]
        if here:
            engine, transfers = _open(session, month, history.TRANSFERS)
            found.update((UUID(row["id"]), row) for row in history.rows(engine, history.by_id(transfers, here)))
    return found


def reversals(session: Session, transfer_id: UUID) -> list[dict[str, Any]]:
    """The transfers in archived months that give back all or part of one."""
    found: list[dict[str, Any]] = []
    for month in months(session):
        if transfer_id < month.id_to:  # what gives back is never older than what was taken
            engine, transfers = _open(session, month, history.TRANSFERS)
            asked = transfers.filter(transfers.reverses == str(transfer_id))
            found += history.rows(engine, asked.order_by(asked.place))
    return found


def of_batch(session: Session, batch_no: int) -> list[dict[str, Any]]:
    """The transfers of a batch that archived months hold, in its order."""
    found: list[dict[str, Any]] = []
    for month in months(session):
        if month.place_first < place_of(batch_no + 1, 0) and month.place_last >= place_of(batch_no, 0):
            engine, transfers = _open(session, month, history.TRANSFERS)
            found += history.rows(engine, history.of_batch(transfers, batch_no))
    return sorted(found, key=lambda row: int(row["place"]))


def batch(session: Session, found: LedgerArchive, batch_no: int) -> dict[str, Any] | None:
    """A batch as a month's archive knows it, or none."""
    engine, batches = _open(session, found, history.BATCHES)
    rows = history.rows(engine, batches.filter(batches.batch_no == batch_no))
    return rows[0] if rows else None
