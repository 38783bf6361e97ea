"""What a draft of the fares would have cost: real taps of past days priced again, by rider group, before anything is published.

One card is in memory at a time, whatever the length of the period. Nothing is written.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.kernel.city import city_of
from card import credentials, fares
from card.fares import PastFare, Rider, Tap, Tariffs
from card.transit import charging, network
from card.transit.models import TapRow
from card.transit.rules import UnknownOperator

LOCAL: Final = "local-card"
FOREIGN: Final = "foreign-card"
FETCH: Final = 5_000
REPORT_EVERY: Final = 1_000

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Group:
    """What a group of riders paid and would pay, in fen; ``dearer`` and ``cheaper`` count its cards."""

    cards: int = 0
    journeys: int = 0
    now_minor: int = 0
    draft_minor: int = 0
    dearer: int = 0
    cheaper: int = 0


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """The comparison: one entry a group (a local card's entitlement, ``local-card`` without any, ``foreign-card``)."""

    operator_id: str
    first: date
    last: date
    groups: dict[str, Group] = field(default_factory=dict)

    @property
    def total(self) -> Group:
        """All groups together."""
        found = Group()
        for group in self.groups.values():
            for name in Group.__slots__:
                setattr(found, name, getattr(found, name) + getattr(group, name))
        return found


def what_if(
    session: Session, *, draft: Path, operator_id: str, first: date, last: date, progress: Progress | None = None
) -> WhatIf:
    """Price the operator's taps of ``first`` to ``last`` (card-days, both included) as published and under ``draft``, a feed.

    The draft's fares count as in force for the whole period. Caps over several operators see this operator only. ``progress``
    is told how many cards of how many are done.

    Raises ``FeedRefused``; ``UnknownOperator`` where the draft has no fares of the operator.
    """
    city = city_of(session).code
    network.operator(session, operator_id)
    drafted = [one for one in fares.publish(fares.read_feed(draft), city=city).tariffs if one.operator == operator_id]
    if not drafted:
        raise UnknownOperator(f"{operator_id} is not in the draft")
    newest = max(drafted, key=lambda one: one.effective_from)
    published = network.tariffs_of(session, [operator_id])
    proposed = Tariffs.of(replace(newest, effective_from=first, effective_until=None))
    conditions = (
        TapRow.operator_id == operator_id,
        TapRow.card_day >= first,
        TapRow.card_day <= last,
        TapRow.decision == "accepted",
        TapRow.verdict == "",
    )
    cards = session.scalar(select(func.count(TapRow.card_number.distinct())).where(*conditions)) or 0
    rows = session.scalars(
        select(TapRow)
        .where(*conditions)
        .order_by(TapRow.card_number, TapRow.card_day, TapRow.at)
        .execution_options(yield_per=FETCH)
    )
    groups: dict[str, Group] = defaultdict(Group)
    for done, (number, taps) in enumerate(_by_card(session, rows), start=1):
        rider = taps[-1].rider or Rider(issuer=credentials.issuing_city(number))
        now, _ = _price(taps, published, rider)
        then, journeys = _price(taps, proposed, rider)
        group = groups[_group_of(rider, city)]
        group.cards += 1
        group.journeys += journeys
        group.now_minor += now
        group.draft_minor += then
        group.dearer += then > now
        group.cheaper += then < now
        if progress is not None and (done % REPORT_EVERY == 0 or done == cards):
            progress(done, cards)
    return WhatIf(operator_id=operator_id, first=first, last=last, groups=dict(groups))


def _by_card(session: Session, rows: Iterator[TapRow]) -> Iterator[tuple[str, list[Tap]]]:
    for number, found in groupby(rows, key=lambda row: row.card_number):
        taps = []
        for row in found:
            taps.append(charging.tap_of(row))
            session.expunge(row)
        yield number, taps


def _price(taps: list[Tap], tariffs: Tariffs, rider: Rider) -> tuple[int, int]:
    """What the card's taps cost over the whole period, day by day, and how many journeys they made."""
    total = journeys = 0
    past: list[PastFare] = []
    for _, day in groupby(taps, key=lambda tap: fares.card_day(tap.at)):
        priced = fares.charge(day, tariffs, rider, past)
        past += [journey.past for journey in priced.journeys if journey.past is not None]
        total += priced.total_minor
        journeys += len(priced.journeys)
    return total, journeys


def _group_of(rider: Rider, city: str) -> str:
    if rider.issuer != city:
        return FOREIGN
    return min((held.code for held in rider.entitlements), default=LOCAL)
