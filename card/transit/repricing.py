"""What a draft of the fares would have cost: real taps of past days priced again, by rider group, before anything is published.

A run is cut into parts of ``PART_CARDS`` cards by card number. Each part is read by one ``COPY``, priced card by card under
both tariffs and written down once, so a run can be left, killed and continued by any number of processes; memory is that of a
part. Nothing but the run's own tables is written.
"""

import json
import multiprocessing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple, cast
from uuid import UUID

import psycopg
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel.city import city_of
from app.kernel.db import Database
from card import credentials
from card.fares import Meter, Rider, Tap, Tariff, Tariffs
from card.transit import charging, habits, network
from card.transit.models import ClaimedTap, WhatIfPart, WhatIfRun

LOCAL: Final = "local-card"
FOREIGN: Final = "foreign-card"
PART_CARDS: Final = 500

_READ: Final = """
    COPY (
      SELECT card_number, card_day, terminal_id || '/' || boot_id || '/' || seq, at, kind, operator_id, stop_id, line_id,
             CASE WHEN length(device_kid) > 0 THEN encode(device_kid, 'hex') || ':' || counter ELSE '' END, issuer, entitlements
      FROM card.tap
      WHERE card_number > %(after)s AND card_number <= %(last_card)s AND card_day BETWEEN %(first)s AND %(last)s
        AND operator_id = ANY (%(operators)s) AND decision = 'accepted' AND verdict = ''
      ORDER BY card_number, at
    ) TO STDOUT
"""
_BOUNDS: Final = text("""
    SELECT card_number, total
    FROM (SELECT card_number, row_number() OVER (ORDER BY card_number) AS n, count(*) OVER () AS total
          FROM (SELECT DISTINCT card_number FROM card.tap
                WHERE operator_id = :operator AND card_day BETWEEN :first AND :last
                  AND decision = 'accepted' AND verdict = '') AS cards) AS numbered
    WHERE n % :size = 0 OR n = total
    ORDER BY card_number
""")


@dataclass(slots=True)
class Group:
    """What a group of riders paid and would pay, in fen; ``dearer`` and ``cheaper`` count its cards."""

    cards: int = 0
    journeys: int = 0
    now_minor: int = 0
    draft_minor: int = 0
    dearer: int = 0
    cheaper: int = 0

    def add(self, other: "Group") -> None:
        """Count ``other`` in."""
        self.cards += other.cards
        self.journeys += other.journeys
        self.now_minor += other.now_minor
        self.draft_minor += other.draft_minor
        self.dearer += other.dearer
        self.cheaper += other.cheaper


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """The comparison: one entry a group (a local card's entitlement, ``local-card`` without any, ``foreign-card``)."""

    operator_id: str
    first: date
    last: date
    groups: dict[str, Group] = field(default_factory=dict)

    def count(self, groups: Mapping[str, Group]) -> None:
        """Count a part's groups in."""
        for name, group in groups.items():
            self.groups.setdefault(name, Group()).add(group)

    @property
    def total(self) -> Group:
        """All groups together."""
        found = Group()
        for group in self.groups.values():
            found.add(group)
        return found


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that pricing a part needs; it can be sent to another process.

    ``operators`` are those whose taps are read: the operator's own, and those that its caps or transfers look at.
    """

    operator_id: str
    city: str
    first: date
    last: date
    operators: tuple[str, ...]
    published: Tariffs
    proposed: Tariffs


class _Line(NamedTuple):
    """One tap as ``COPY`` writes it."""

    card: str
    day: str
    key: str
    at: str
    kind: str
    operator: str
    stop: str
    line: str
    token: str
    issuer: str
    held: str


def plan(session: Session, *, drafted: Tariff, first: date, last: date) -> Plan:
    """How to compare ``drafted`` with what is published for the card-days ``first`` to ``last``, both included.

    The draft counts as in force for the whole period.
    """
    here = city_of(session).code
    everybody = [one.id for one in network.operators(session)]
    mine = drafted.operator
    known = network.tariffs_of(session, everybody)
    looked_at = {mine}
    for tariff in (drafted, *known.versions.get(mine, ())):
        looked_at.update(*(cap.operators for cap in tariff.caps))
        if tariff.legs is not None and tariff.legs.transfers:
            looked_at.update(everybody)
    versions = {operator: of for operator, of in known.versions.items() if operator in looked_at}
    proposed = {**versions, mine: (replace(drafted, effective_from=first, effective_until=None),)}
    return Plan(
        operator_id=mine,
        city=here,
        first=first,
        last=last,
        operators=tuple(sorted(looked_at & set(everybody))),
        published=Tariffs(versions),
        proposed=Tariffs(proposed),
    )


def bounds(session: Session, *, operator_id: str, first: date, last: date) -> tuple[list[str], int]:
    """The last card number of every part, and how many cards there are."""
    rows = session.execute(_BOUNDS, {"operator": operator_id, "first": first, "last": last, "size": PART_CARDS}).all()
    return [row.card_number for row in rows], int(rows[0].total) if rows else 0


def price_part(session: Session, made: Plan, *, after: str, last_card: str) -> tuple[dict[str, Group], int]:
    """Price the cards above ``after`` up to ``last_card`` under both tariffs: the groups, and how many taps were read."""
    connection = cast("psycopg.Connection", session.connection().connection.driver_connection)
    values = {
        "after": after,
        "last_card": last_card,
        "first": made.first,
        "last": made.last,
        "operators": list(made.operators),
    }
    claimed = _claimed(session, made, after=after, last_card=last_card)
    groups: dict[str, Group] = {}
    riders: dict[tuple[str, str], Rider] = {}
    count = 0
    with connection.cursor() as cursor, cursor.copy(_READ, values) as copy:
        read = b"".join(copy).decode()
    lines = [_Line._make(line.split("\t")) for line in read.splitlines()]
    count = len(lines)
    for number, own in groupby(lines, key=itemgetter(0)):
        fallback = Rider(issuer=credentials.issuing_city(number))
        now, then = Meter(made.published, fallback), Meter(made.proposed, fallback)
        group, rider = Group(cards=1), fallback
        for day, of_day in groupby(own, key=itemgetter(1)):
            taps = list(_taps(of_day, riders))
            rider = taps[-1].rider or fallback
            offered = claimed.get((number, day))
            if offered:
                taps = habits.completed(taps, offered)
            before, after_it = now.day(taps), then.day(taps)
            group.journeys += after_it.count_of(made.operator_id)
            group.now_minor += before.owed_to(made.operator_id)
            group.draft_minor += after_it.owed_to(made.operator_id)
        group.dearer = int(group.draft_minor > group.now_minor)
        group.cheaper = int(group.draft_minor < group.now_minor)
        groups.setdefault(_group_of(rider, made.city), Group()).add(group)
    return groups, count


def _taps(lines: Iterable[_Line], riders: dict[tuple[str, str], Rider]) -> Iterator[Tap]:
    for line in lines:
        who = (line.issuer, line.held)
        rider = riders.get(who)
        if rider is None:
            rider = riders[who] = charging.rider_of(line.issuer, json.loads(line.held))
        yield Tap(
            key=line.key,
            at=datetime.fromisoformat(line.at),
            kind=line.kind,
            operator=line.operator,
            stop_id=line.stop,
            line=line.line,
            token=line.token,
            rider=rider,
        )


def _claimed(session: Session, made: Plan, *, after: str, last_card: str) -> dict[tuple[str, str], list[Tap]]:
    """Taps that were claimed or completed from habit, by card and day."""
    rows = session.scalars(
        select(ClaimedTap).where(
            ClaimedTap.card_number > after,
            ClaimedTap.card_number <= last_card,
            ClaimedTap.card_day.between(made.first, made.last),
            ClaimedTap.operator_id.in_(made.operators),
        )
    )
    found: dict[tuple[str, str], list[Tap]] = {}
    for row in rows:
        found.setdefault((row.card_number, row.card_day.isoformat()), []).append(
            Tap(
                key=f"{row.source}/{row.id}",
                at=row.at,
                kind=row.kind,
                operator=row.operator_id,
                stop_id=row.stop_id,
                line=row.line_id,
            )
        )
    return found


def _group_of(rider: Rider, here: str) -> str:
    if rider.issuer != here:
        return FOREIGN
    return min((held.code for held in rider.entitlements), default=LOCAL)


def what_if(session: Session, *, drafted: Tariff, first: date, last: date) -> WhatIf:
    """Price the operator's taps of ``first`` to ``last`` (card-days, both included) as published and under ``drafted``."""
    made = plan(session, drafted=drafted, first=first, last=last)
    ends, _ = bounds(session, operator_id=drafted.operator, first=first, last=last)
    found = WhatIf(operator_id=drafted.operator, first=first, last=last)
    for part, last_card in enumerate(ends):
        groups, _ = price_part(session, made, after=ends[part - 1] if part else "", last_card=last_card)
        found.count(groups)
    return found


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a process of a pool works."""

    database: Database
    made: Plan
    ends: Sequence[str]


_place: list[_Place] = []  # of this process, where it is one of a pool


def _enter(url: str, made: Plan, ends: Sequence[str]) -> None:
    _place[:] = [_Place(Database(url, pool_size=1), made, ends)]


def _work(part: int) -> tuple[int, dict[str, Group], int]:
    [here] = _place
    with here.database.transaction() as session:
        after = here.ends[part - 1] if part else ""
        groups, taps = price_part(session, here.made, after=after, last_card=here.ends[part])
    return part, groups, taps


def each_part(
    made: Plan, ends: Sequence[str], parts: Iterable[int], *, url: str, processes: int
) -> Iterator[tuple[int, dict[str, Group], int]]:
    """Price ``parts`` in ``processes`` processes of their own, each with a connection to ``url``.

    Yields a part's number, its groups and how many taps it had, in the order in which they are done.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _enter, (url, made, ends)) as pool:
        yield from pool.imap_unordered(_work, parts)


def write_part(session: Session, run: UUID, part: int, groups: dict[str, Group], taps: int, *, now: datetime) -> None:
    """Write a part down; whoever was first stays."""
    session.execute(
        insert(WhatIfPart)
        .values(
            run_id=run,
            part=part,
            groups={name: asdict(group) for name, group in groups.items()},
            taps=taps,
            priced_at=now,
        )
        .on_conflict_do_nothing()
    )


def parts_left(session: Session, run: WhatIfRun) -> list[int]:
    """The parts of a run that nobody has written down, in order."""
    done = set(session.scalars(select(WhatIfPart.part).where(WhatIfPart.run_id == run.id)))
    return [part for part in range(len(run.bounds)) if part not in done]


def result(session: Session, run: WhatIfRun) -> tuple[WhatIf, int, int]:
    """What a run found so far, how many of its parts are done, and how many taps they had."""
    found = WhatIf(operator_id=run.operator_id, first=run.first, last=run.last)
    for stored in session.scalars(select(WhatIfPart.groups).where(WhatIfPart.run_id == run.id)):
        found.count({name: Group(**counted) for name, counted in stored.items()})
    done, taps = session.execute(
        select(func.count(), func.coalesce(func.sum(WhatIfPart.taps), 0)).where(WhatIfPart.run_id == run.id)
    ).one()
    return found, done, int(taps)
