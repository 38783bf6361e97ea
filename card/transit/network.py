"""Operators, stops, lines and tariffs as a feed brings them; the feed itself is kept whole."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from threading import Lock
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel import audit
from app.kernel.city import city_of
from app.kernel.errors import msg
from app.kernel.ids import new_id
from app.kernel.money import CNY
from card import fares, ledger
from card.fares import Feed, FeedRefused, Names, Problem, Published, Tariff, Tariffs
from card.transit.models import FeedFile, FeedImport, LineRow, OperatorRow, StopRow, TariffRow
from card.transit.rules import TariffChanged, UnknownOperator

_OTHER_FEED: Final = msg("belongs to another feed of this city")
_OTHER_CURRENCY: Final = msg("is not the currency that this city charges in")
_PUBLISHED_MAX: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What an import brought; ``repeated`` when the same files were there already and nothing changed."""

    id: UUID
    feed_id: str
    repeated: bool
    operators: tuple[str, ...]
    stops: int
    lines: int
    tariffs: tuple[str, ...]
    unknown_columns: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A stop as screens and machines see it."""

    id: str
    names: Names
    latitude: Decimal | None
    longitude: Decimal | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LineView:
    """A line with its stops in order and the kilometres from its beginning, where known."""

    id: str
    operator_id: str
    names: Names
    color: str
    rail: bool
    stops: tuple[tuple[str, Decimal | None], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorView:
    """An operator of this city."""

    id: str
    names: Names


@dataclass(frozen=True, kw_only=True, slots=True)
class TariffView:
    """A tariff version without what it says."""

    id: str
    operator_id: str
    names: Names
    effective_from: date
    effective_until: date | None
    secondary_source: bool
    source: str


def import_feed(session: Session, source: Path | Mapping[str, bytes], *, feed_id: str, by: str, now: datetime) -> Imported:
    """Take a GTFS feed (folder, ZIP file or files) in: all of it or nothing.

    A tariff version that was imported before may come again unchanged; a stop or operator belongs to the feed that brought it.

    Raises:
        FeedRefused: the feed is wrong; every place is named.
        TariffChanged: a version that exists says something else now.
    """
    feed = fares.read_feed(source) if isinstance(source, Path) else fares.read_files(source)
    published = fares.publish(feed, city=city_of(session).code)
    digest = _digest(feed)
    known = session.scalars(select(FeedImport).where(FeedImport.feed_id == feed_id, FeedImport.digest == digest)).one_or_none()
    if known is None:
        _check_owner(session, feed, feed_id, published)
        import_id = new_id()
        session.add(FeedImport(id=import_id, feed_id=feed_id, digest=digest, imported_at=now, imported_by=by))
        session.flush()
        session.add_all(FeedFile(feed_import_id=import_id, name=name, content=data) for name, data in feed.files.items())
        _store_network(session, feed_id, published)
        _store_tariffs(session, import_id, feed, published.tariffs)
        for operator in published.operators:
            ledger.open_account(session, ledger.chart.operator(operator.id), now=now)
        audit.record(session, actor=by, action="feed.import", subject=f"feed:{feed_id}", at=now, details={"digest": digest})
        session.flush()
    return Imported(
        id=known.id if known else import_id,
        feed_id=feed_id,
        repeated=known is not None,
        operators=tuple(operator.id for operator in published.operators),
        stops=len(published.stops),
        lines=len(published.lines),
        tariffs=tuple(tariff.id for tariff in published.tariffs),
        unknown_columns=feed.unknown_columns,
    )


def _digest(feed: Feed) -> str:
    digest = hashlib.sha256()
    for name in sorted(feed.files):
        digest.update(name.encode() + b"\0" + hashlib.sha256(feed.files[name]).digest())
    return digest.hexdigest()


def _check_owner(session: Session, feed: Feed, feed_id: str, published: Published) -> None:
    problems = [
        Problem(file="fare_products.txt", line=row.line, field="currency", value=row["currency"], reason=_OTHER_CURRENCY)
        for row in feed.rows("fare_products.txt")
        if row["currency"] != CNY
    ]
    for file, column, model, ids in (
        ("agency.txt", "agency_id", OperatorRow, [operator.id for operator in published.operators]),
        ("stops.txt", "stop_id", StopRow, [stop.id for stop in published.stops]),
        ("routes.txt", "route_id", LineRow, [line.id for line in published.lines]),
    ):
        taken = set(session.scalars(select(model.id).where(model.id.in_(ids), model.feed_id != feed_id)))
        problems += [
            Problem(file=file, line=row.line, field=column, value=row[column], reason=_OTHER_FEED)
            for row in feed.rows(file)
            if row[column] in taken
        ]
    if problems:
        raise FeedRefused(problems)


def _store_network(session: Session, feed_id: str, published: Published) -> None:
    for operator in published.operators:
        values = {"feed_id": feed_id, "name_en": operator.names.en, "name_zh": operator.names.zh}
        session.execute(
            insert(OperatorRow)
            .values(id=operator.id, open_when_stale=False, **values)
            .on_conflict_do_update(constraint="pk_operator", set_=values)
        )
    for stop in published.stops:
        place: dict[str, object] = {
            "feed_id": feed_id,
            "name_en": stop.names.en,
            "name_zh": stop.names.zh,
            "latitude": stop.latitude,
            "longitude": stop.longitude,
        }
        session.execute(insert(StopRow).values(id=stop.id, **place).on_conflict_do_update(constraint="pk_stop", set_=place))
    session.execute(delete(LineRow).where(LineRow.feed_id == feed_id))
    session.add_all(
        LineRow(
            id=line.id,
            feed_id=feed_id,
            operator_id=line.operator,
            name_en=line.names.en,
            name_zh=line.names.zh,
            color=line.color,
            rail=line.rail,
            path={"stops": [[stop.stop_id, None if stop.km is None else str(stop.km)] for stop in line.stops]},
        )
        for line in published.lines
    )


def _store_tariffs(session: Session, import_id: UUID, feed: Feed, tariffs: Iterable[Tariff]) -> None:
    for tariff in tariffs:
        digest = fares.fingerprint(feed, tariff)
        row = session.get(TariffRow, (tariff.operator, tariff.id))
        if row is not None and row.digest != digest:
            raise TariffChanged(tariff.id, tariff=tariff.id)
        if row is None:
            session.add(
                TariffRow(
                    operator_id=tariff.operator,
                    id=tariff.id,
                    feed_import_id=import_id,
                    digest=digest,
                    effective_from=tariff.effective_from,
                    effective_until=tariff.effective_until,
                    name_en=tariff.names.en,
                    name_zh=tariff.names.zh,
                    secondary_source=tariff.secondary_source,
                    source=tariff.source,
                )
            )


def export_feed(session: Session, feed_id: str) -> Feed:
    """The newest import of ``feed_id``, as it came in, unknown files and columns included."""
    newest = session.scalars(
        select(FeedImport.id).where(FeedImport.feed_id == feed_id).order_by(FeedImport.id.desc()).limit(1)
    ).one_or_none()
    if newest is None:
        raise UnknownOperator(feed_id)
    return fares.read_files(_files(session, newest))


def feed_of_import(session: Session, import_id: UUID) -> Feed:
    """The feed that one import brought, as it came."""
    return fares.read_files(_files(session, import_id))


def _files(session: Session, import_id: UUID) -> dict[str, bytes]:
    rows = session.execute(select(FeedFile.name, FeedFile.content).where(FeedFile.feed_import_id == import_id))
    return {row.name: row.content for row in rows}


_published: dict[tuple[UUID, str], Published] = {}  # an import never changes, so what it publishes can be remembered
_lock = Lock()


def _publication(session: Session, import_id: UUID) -> Published:
    key = (import_id, city_of(session).code)
    found = _published.get(key)
    if found is None:
        found = fares.publish(fares.read_files(_files(session, import_id)), city=key[1])
        with _lock:
            if len(_published) >= _PUBLISHED_MAX:
                _published.pop(next(iter(_published)))
            _published[key] = found
    return found


def operator_ids(session: Session) -> list[str]:
    """Every operator of the city."""
    return list(session.scalars(select(OperatorRow.id).order_by(OperatorRow.id)))


def tariffs_of(session: Session, operators: Iterable[str]) -> Tariffs:
    """Every tariff version of ``operators``, ready to price with."""
    rows = session.scalars(
        select(TariffRow).where(TariffRow.operator_id.in_(sorted(set(operators)))).order_by(TariffRow.operator_id, TariffRow.id)
    )
    return Tariffs.of(
        *(
            tariff
            for row in rows
            for tariff in _publication(session, row.feed_import_id).tariffs
            if (tariff.operator, tariff.id) == (row.operator_id, row.id)
        )
    )


_tariffs: dict[tuple[str, str, str], Tariffs] = {}


def kept_tariffs(city: str, operator_id: str, *, mark: str) -> Tariffs | None:
    """What :func:`remembered_tariffs` of the city ``city`` remembers; none: nothing yet."""
    return _tariffs.get((city, operator_id, mark))


def remembered_tariffs(session: Session, operator_id: str, *, mark: str) -> Tariffs:
    """As :func:`tariffs_of` one operator; ``mark`` names its versions as they are now, and the same mark means the same."""
    city = city_of(session).code
    found = kept_tariffs(city, operator_id, mark=mark)
    if found is None:
        found = tariffs_of(session, [operator_id])
        with _lock:
            if len(_tariffs) >= _PUBLISHED_MAX:
                _tariffs.pop(next(iter(_tariffs)))
            _tariffs[city, operator_id, mark] = found
    return found


def tariff_views(session: Session, operator_id: str) -> list[TariffView]:
    """The versions of one operator, the newest first."""
    rows = session.scalars(
        select(TariffRow).where(TariffRow.operator_id == operator_id).order_by(TariffRow.effective_from.desc(), TariffRow.id)
    )
    return [
        TariffView(
            id=row.id,
            operator_id=row.operator_id,
            names=Names(en=row.name_en, zh=row.name_zh),
            effective_from=row.effective_from,
            effective_until=row.effective_until,
            secondary_source=row.secondary_source,
            source=row.source,
        )
        for row in rows
    ]


def operator(session: Session, operator_id: str) -> OperatorView:
    """One operator. Raises ``UnknownOperator``."""
    row = session.get(OperatorRow, operator_id)
    if row is None:
        raise UnknownOperator(operator_id)
    return OperatorView(id=row.id, names=Names(en=row.name_en, zh=row.name_zh))


def operators(session: Session) -> list[OperatorView]:
    """Every operator of this city."""
    rows = session.scalars(select(OperatorRow).order_by(OperatorRow.id))
    return [OperatorView(id=row.id, names=Names(en=row.name_en, zh=row.name_zh)) for row in rows]


def stops_by_id(session: Session, ids: Iterable[str] | None = None) -> dict[str, Place]:
    """The stops with ``ids``, or all of them."""
    query = select(StopRow)
    if ids is not None:
        query = query.where(StopRow.id.in_(sorted(set(ids))))
    return {
        row.id: Place(id=row.id, names=Names(en=row.name_en, zh=row.name_zh), latitude=row.latitude, longitude=row.longitude)
        for row in session.scalars(query)
    }


def lines_of(session: Session, operator_id: str | None = None) -> list[LineView]:
    """The lines of one operator, or all of them."""
    query = select(LineRow).order_by(LineRow.operator_id, LineRow.id)
    if operator_id is not None:
        query = query.where(LineRow.operator_id == operator_id)
    return [
        LineView(
            id=row.id,
            operator_id=row.operator_id,
            names=Names(en=row.name_en, zh=row.name_zh),
            color=row.color,
            rail=row.rail,
            stops=tuple((stop, None if km is None else Decimal(km)) for stop, km in row.path["stops"]),
        )
        for row in session.scalars(query)
    ]
