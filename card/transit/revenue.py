"""An operator's revenue by product, and what operators owe each other of a day by the rule of their tariffs."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from sqlalchemy import ColumnElement, func, or_, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.ids import derived_id
from app.kernel.settings import Settings
from card import ledger
from card.fares import Tariff, apportion, card_day, shares_of
from card.ledger import Transfer, TransferCode, chart
from card.transit import network
from card.transit.models import Apportionment, JourneyRow

DAYS_BACK: Final = 8  # late taps change days so far back; older corrections go with the next revision by hand


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductRevenue:
    """What journeys under one product cost: ``single``, ``concession:<code>``, ``pass:<id>``, ``product:<id>``, ``cap``, or
    ``incomplete``. ``name_en`` and ``name_zh`` are the tariff's own, empty where the product has none.
    """

    product: str
    name_en: str
    name_zh: str
    journeys: int
    charged_minor: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareLine:
    """What ``from_operator`` owes ``to_operator`` of a card-day so far, and the newest difference booked."""

    card_day: date
    from_operator: str
    to_operator: str
    total_minor: int
    journeys: int
    revision: int
    posted_at: datetime


_LAST_STEP: Final = """
  coalesce(
    jsonb_path_query_first(steps, '$.steps[last] ? (@.code == "pass" || @.code == "cap")'),
    jsonb_path_query_first(steps, '$.steps[*] ? (@.code == "concession")'),
    jsonb_path_query_first(steps, '$.steps[0]')
  )
"""
_BY_PRODUCT: Final = f"""
WITH told AS (
  SELECT charged_minor, {_LAST_STEP} AS step FROM card.journey WHERE operator_id = :operator AND card_day = :day
), named AS (
  SELECT charged_minor, step->'params'->>'name_en' AS en, step->'params'->>'name_zh' AS zh,
    CASE step->>'code'
      WHEN 'pass' THEN 'pass:' || (step->'params'->>'pass')
      WHEN 'cap' THEN 'cap:' || (step->'params'->>'cap')
      WHEN 'concession' THEN 'concession:' || (step->'params'->>'entitlement')
      WHEN 'leg-fare' THEN 'product:' || coalesce(step->'params'->>'product', '')
      WHEN 'incomplete' THEN 'incomplete'
      WHEN 'unpriced' THEN 'unpriced'
      ELSE 'single'
    END AS product
  FROM told
)
SELECT product, min(en) AS en, min(zh) AS zh, count(*) AS journeys, sum(charged_minor) AS charged
FROM named GROUP BY product ORDER BY charged DESC, product
"""  # noqa: S608  constants of ours


def revenue_by_product(session: Session, operator_id: str, *, on: date) -> list[ProductRevenue]:
    """What journeys of one card-day brought by product, the most first. The rule that decided last names the product."""
    rows = session.execute(text(_BY_PRODUCT), {"operator": operator_id, "day": on})
    return [
        ProductRevenue(
            product=row.product,
            name_en=row.en or "",
            name_zh=row.zh or "",
            journeys=row.journeys,
            charged_minor=int(row.charged),
        )
        for row in rows
    ]


# --------------------------------------------------------------------------------------------------------------- apportionment


def owed_shares(session: Session, operator_id: str, *, on: date) -> dict[str, tuple[int, int]]:
    """What an operator's fares of a card-day owe each other operator by its tariffs' shares: fen, and of how many journeys."""
    tariffs = {one.id: one for one in network.tariffs_of(session, [operator_id]).versions.get(operator_id, ())}
    owed: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    rows = session.execute(
        select(JourneyRow.tariff_id, func.sum(JourneyRow.charged_minor), func.count())
        .where(JourneyRow.operator_id == operator_id, JourneyRow.card_day == on, JourneyRow.tariff_id.is_not(None))
        .group_by(JourneyRow.tariff_id)
        .order_by(JourneyRow.tariff_id)
    )
    for tariff_id, charged, journeys in rows:
        if tariff_id not in tariffs:
            continue
        for other, part in apportion(int(charged), shares_of(tariffs[tariff_id])).items():
            if other != operator_id:
                minor, count = owed[other]
                owed[other] = (minor + part, count + journeys)
    return dict(owed)


def sharing_rules(session: Session, operator_id: str) -> list[tuple[Tariff, list[tuple[str, Decimal]]]]:
    """The operator's tariffs that belong to several operators, each with the percentages, the largest first."""
    versions = network.tariffs_of(session, [operator_id]).versions.get(operator_id, ())
    return [
        (tariff, sorted(tariff.shares.items(), key=lambda part: (-part[1], part[0]))) for tariff in versions if tariff.shares
    ]


def apportion_day(session: Session, operator_id: str, *, on: date, now: datetime) -> int:
    """Book what an operator's fares of a card-day owe others by rule, less what was booked of it before.

    Answers the lines booked. Running it again books nothing; after a correction it books the difference, either way.
    """
    owed = owed_shares(session, operator_id, on=on)
    known = _newest(session, Apportionment.from_operator == operator_id, Apportionment.card_day == on)
    booked = 0
    for other in sorted(owed.keys() | known.keys()):
        total, journeys = owed.get(other, (0, 0))
        before = known.get(other)
        amount = total - (before.total_minor if before else 0)
        if amount == 0:
            continue
        revision = before.revision + 1 if before else 1
        giving, taking = (operator_id, other) if amount > 0 else (other, operator_id)
        reference = f"share:{on.isoformat()}:{operator_id}:{other}"
        transfer = Transfer(
            id=derived_id(now, "fare-share", on.isoformat(), operator_id, other, str(revision)),
            debit=ledger.open_account(session, chart.operator(giving), now=now),
            credit=ledger.open_account(session, chart.operator(taking), now=now),
            amount_minor=abs(amount),
            code=TransferCode.FARE_SHARE,
            event_at=now,
            reference=reference,
        )
        ledger.post_all(session, [transfer], now=now)
        session.add(
            Apportionment(
                id=transfer.id,
                card_day=on,
                from_operator=operator_id,
                to_operator=other,
                revision=revision,
                amount_minor=amount,
                total_minor=total,
                journeys=journeys,
                posted_at=now,
            )
        )
        booked += 1
    session.flush()
    return booked


def _newest(session: Session, *conditions: ColumnElement[bool]) -> dict[str, Apportionment]:
    rows = session.scalars(select(Apportionment).where(*conditions).order_by(Apportionment.revision))
    return {row.to_operator: row for row in rows}


def shares(session: Session, operator_id: str, *, limit: int = 60) -> list[ShareLine]:
    """What an operator owes and is owed by day, as it stands now, the newest day first."""
    rows = session.scalars(
        select(Apportionment)
        .where(or_(Apportionment.from_operator == operator_id, Apportionment.to_operator == operator_id))
        .ext(distinct_on(Apportionment.card_day, Apportionment.from_operator, Apportionment.to_operator))
        .order_by(
            Apportionment.card_day.desc(), Apportionment.from_operator, Apportionment.to_operator, Apportionment.revision.desc()
        )
        .limit(limit)
    )
    return [
        ShareLine(
            card_day=row.card_day,
            from_operator=row.from_operator,
            to_operator=row.to_operator,
            total_minor=row.total_minor,
            journeys=row.journeys,
            revision=row.revision,
            posted_at=row.posted_at,
        )
        for row in rows
    ]


def apportion_days(database: Database, settings: Settings) -> None:
    """Job: book the shares of the card-days that are over, and again where late taps changed them."""
    del settings
    now = clock.now()
    with database.transaction() as session:
        sharing = [
            operator
            for operator, versions in network.tariffs_of(session, network.operator_ids(session)).versions.items()
            if any(tariff.shares for tariff in versions)
        ]
    for operator_id in sharing:
        for days in range(1, DAYS_BACK + 1):
            with database.transaction() as session:
                apportion_day(session, operator_id, on=card_day(now) - timedelta(days=days), now=now)
