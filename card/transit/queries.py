"""Reading transit: journeys, taps, alarms, an operator's day."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Select, Text, any_, bindparam, func, select, tuple_
from sqlalchemy.orm import Session

from app.kernel.db import Json
from card import ledger
from card.fares import State, Step, StepCode
from card.ledger import TransferCode, chart
from card.transit.models import (
    Debt,
    FarePosting,
    JourneyRow,
    PresentmentOut,
    TapRow,
)
from card.transit.rules import UnknownJourney

FETCH: Final = 2_000
SHOWN: Final = 200
FARE_CODES: Final = frozenset(
    {
        TransferCode.FARE,
        TransferCode.FARE_DEBT,
        TransferCode.FARE_CORRECTION,
        TransferCode.FOREIGN_FARE,
        TransferCode.FOREIGN_FARE_CORRECTION,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JourneyView:
    """A journey as priced now. Amounts are fen; ``steps`` add up to ``charged_minor``."""

    id: UUID
    key: str
    card_number: str
    issuer: str
    holder_id: UUID | None
    card_day: date
    operator_id: str
    line_id: str
    state: State
    from_stop: str | None
    to_stop: str | None
    started_at: datetime
    ended_at: datetime | None
    km: Decimal | None
    tariff_id: str | None
    charged_minor: int
    steps: tuple[Step, ...]
    taps: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TapView:
    """A tap as its operator sees it."""

    key: str
    terminal_id: UUID
    at: datetime
    received_at: datetime
    kind: str
    card_number: str
    stop_id: str
    line_id: str
    decision: str
    reason: str
    verdict: str
    liability: str
    quarantined: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class PostingView:
    """One difference that was posted for a card-day; ``amount_minor`` may be negative."""

    id: UUID
    posted_at: datetime
    card_number: str
    issuer: str
    card_day: date
    amount_minor: int
    total_minor: int
    means: str
    liability: str
    answered: bool | None
    cause: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class LineRevenue:
    """A line's part of a card-day's revenue."""

    line_id: str
    journeys: int
    charged_minor: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DayStatement:
    """An operator's day of posting: how many there were, their sum, and what the ledger booked in the same time.

    The two sums agree; where they do not, ``difference_minor`` says by how much and somebody is called. ``postings`` are the
    newest, at most ``SHOWN``, the newest last; :func:`each_posting` gives all of them, one after the other.
    """

    operator_id: str
    begin: datetime
    end: datetime
    postings: tuple[PostingView, ...]
    count: int
    by_means: Mapping[str, int]
    total_minor: int
    ledger_minor: int
    at_risk_minor: int

    @property
    def difference_minor(self) -> int:
        """The ledger's sum less ours: zero."""
        return self.ledger_minor - self.total_minor


def _journey(row: JourneyRow) -> JourneyView:
    return JourneyView(
        id=row.id,
        key=row.key,
        card_number=row.card_number,
        issuer=row.issuer,
        holder_id=row.holder_id,
        card_day=row.card_day,
        operator_id=row.operator_id,
        line_id=row.line_id,
        state=State(row.state),
        from_stop=row.from_stop,
        to_stop=row.to_stop,
        started_at=row.started_at,
        ended_at=row.ended_at,
        km=row.km,
        tariff_id=row.tariff_id,
        charged_minor=row.charged_minor,
        steps=steps_of(row.steps),
        taps=tuple(row.taps),
    )


def steps_of(stored: Json) -> tuple[Step, ...]:
    """The steps of a stored journey."""
    return tuple(
        Step(code=StepCode(step["code"]), amount_minor=step["amount_minor"], params=step["params"]) for step in stored["steps"]
    )


def _journeys(session: Session, *conditions: ColumnElement[bool], limit: int) -> list[JourneyView]:
    rows = session.scalars(
        select(JourneyRow).where(*conditions).order_by(JourneyRow.started_at.desc(), JourneyRow.id.desc()).limit(limit)
    )
    return [_journey(row) for row in rows]


def journeys_of_holder(
    session: Session, holder_id: UUID, *, before: datetime | None = None, limit: int = 30
) -> list[JourneyView]:
    """A holder's journeys in this city, the newest first."""
    conditions = [JourneyRow.holder_id == holder_id]
    if before is not None:
        conditions.append(JourneyRow.started_at < before)
    return _journeys(session, *conditions, limit=limit)


def journeys_of_operator(
    session: Session,
    operator_id: str,
    *,
    on: date | None = None,
    before: tuple[datetime, UUID] | None = None,
    limit: int = 100,
) -> list[JourneyView]:
    """An operator's journeys, of one card-day or the newest of all; from behind the one begun at ``before`` with its id."""
    conditions = [JourneyRow.operator_id == operator_id]
    if before is not None:
        conditions.append(tuple_(JourneyRow.started_at, JourneyRow.id) < tuple_(*before))
    if on is not None:
        conditions.append(JourneyRow.card_day == on)
    return _journeys(session, *conditions, limit=limit)


def journey(
    session: Session, journey_id: UUID, *, holder_id: UUID | None = None, operator_id: str | None = None
) -> JourneyView:
    """One journey of this holder, or of this operator. Raises ``UnknownJourney`` where it is somebody else's."""
    row = session.get(JourneyRow, journey_id)
    mine = row is not None and (holder_id is not None or operator_id is not None)
    if (
        row is None
        or not mine
        or (holder_id or row.holder_id) != row.holder_id
        or (operator_id or row.operator_id) != row.operator_id
    ):
        raise UnknownJourney(str(journey_id))
    return _journey(row)


def tap_view(row: TapRow) -> TapView:
    """A stored tap as its operator sees it."""
    return TapView(
        key=f"{row.terminal_id}/{row.boot_id}/{row.seq}",
        terminal_id=row.terminal_id,
        at=row.at,
        received_at=row.received_at,
        kind=row.kind,
        card_number=row.card_number,
        stop_id=row.stop_id,
        line_id=row.line_id,
        decision=row.decision,
        reason=row.reason,
        verdict=row.verdict,
        liability=row.liability,
        quarantined=row.quarantined,
    )


def taps_of_operator(session: Session, operator_id: str, *, limit: int = 50) -> list[TapView]:
    """The taps received last, the newest first."""
    rows = session.scalars(
        select(TapRow)
        .where(TapRow.operator_id == operator_id)
        .order_by(TapRow.received_at.desc(), TapRow.at.desc(), TapRow.terminal_id, TapRow.boot_id, TapRow.seq.desc())
        .limit(limit)
    )
    return [tap_view(row) for row in rows]


def last_tap_of(session: Session, card_number: str, *, operator_id: str, since: datetime) -> TapView | None:
    """The last tap of a card that a terminal of the operator let pass since then; none where none is known here yet."""
    row = session.scalars(
        select(TapRow)
        .where(
            TapRow.card_number == card_number,
            TapRow.operator_id == operator_id,
            TapRow.decision == "accepted",
            TapRow.at >= since,
        )
        .order_by(TapRow.at.desc(), TapRow.terminal_id, TapRow.boot_id, TapRow.seq.desc())
        .limit(1)
    ).first()
    return tap_view(row) if row is not None else None


def taps_of_day(session: Session, *, card_number: str, day: date) -> list[TapView]:
    """Every tap of a card-day in the order of travel, whatever became of it."""
    rows = session.scalars(
        select(TapRow)
        .where(TapRow.card_number == card_number, TapRow.card_day == day)
        .order_by(TapRow.at, TapRow.terminal_id, TapRow.boot_id, TapRow.seq)
    )
    return [tap_view(row) for row in rows]


def count_taps(session: Session, card_numbers: Iterable[str]) -> int:
    """How many taps of these cards are stored that were let through, and rightly."""
    wanted = bindparam(None, sorted(card_numbers), type_=ARRAY(Text()))
    return (
        session.scalar(
            select(func.count())
            .select_from(TapRow)
            .where(TapRow.card_number == any_(wanted), TapRow.decision == "accepted", TapRow.verdict == "")
        )
        or 0
    )


def taps_of_journey(session: Session, found: JourneyView) -> list[TapView]:
    """The taps that made a journey, in the order of travel; one put in place has no terminal and is left out."""
    taps = taps_of_day(session, card_number=found.card_number, day=found.card_day)
    return [tap for tap in taps if tap.key in found.taps]


def claimed_in(session: Session, found: JourneyView) -> bool:
    """Whether a tap of the journey was claimed rather than recorded."""
    del session
    return any(key.startswith("claim/") for key in found.taps)


def _postings(*conditions: ColumnElement[bool]) -> Select[FarePosting, datetime | None]:
    return (
        select(FarePosting, PresentmentOut.answered_at)
        .outerjoin(PresentmentOut, PresentmentOut.fare_posting_id == FarePosting.id)
        .where(*conditions)
    )


def _posting(row: FarePosting, answered_at: datetime | None) -> PostingView:
    return PostingView(
        id=row.id,
        posted_at=row.posted_at,
        card_number=row.card_number,
        issuer=row.issuer,
        card_day=row.card_day,
        amount_minor=row.amount_minor,
        total_minor=row.total_minor,
        means=row.means,
        liability=row.liability,
        answered=answered_at is not None if row.means == "foreign" else None,
        cause=tuple(row.cause),
    )


_ORDER: Final = (FarePosting.posted_at, FarePosting.card_number, FarePosting.revision, FarePosting.id)


def postings_of_day(session: Session, *, card_number: str, day: date, operator_id: str) -> tuple[PostingView, ...]:
    """How the charge of a card-day came about: every difference in the order in which it was posted."""
    query = _postings(
        FarePosting.card_number == card_number, FarePosting.card_day == day, FarePosting.operator_id == operator_id
    )
    return tuple(_posting(row, answered) for row, answered in session.execute(query.order_by(*_ORDER)))


def revenue_by_line(session: Session, operator_id: str, *, on: date) -> list[LineRevenue]:
    """What each line's journeys of one card-day cost their riders, the most first."""
    total = func.sum(JourneyRow.charged_minor)
    rows = session.execute(
        select(JourneyRow.line_id, func.count(), total)
        .where(JourneyRow.operator_id == operator_id, JourneyRow.card_day == on)
        .group_by(JourneyRow.line_id)
        .order_by(total.desc(), JourneyRow.line_id)
    )
    return [LineRevenue(line_id=line, journeys=count, charged_minor=int(charged)) for line, count, charged in rows]


def revenue_by_hour(session: Session, operator_id: str, *, on: date) -> list[int]:
    """What journeys begun in each hour (0 to 23, Asia/Shanghai) of one card-day cost, in fen."""
    hour = func.extract("hour", func.timezone("Asia/Shanghai", JourneyRow.started_at))
    rows = session.execute(
        select(hour, func.sum(JourneyRow.charged_minor))
        .where(JourneyRow.operator_id == operator_id, JourneyRow.card_day == on)
        .group_by(hour)
    )
    found = {int(number): int(charged) for number, charged in rows}
    return [found.get(number, 0) for number in range(24)]


def _posted(operator_id: str, begin: datetime, end: datetime) -> tuple[ColumnElement[bool], ...]:
    return FarePosting.operator_id == operator_id, FarePosting.posted_at >= begin, FarePosting.posted_at < end


def day_statement(session: Session, operator_id: str, *, begin: datetime, end: datetime, shown: int = SHOWN) -> DayStatement:
    """What was posted for an operator from ``begin`` (included) to ``end`` (not), beside the ledger's own sum.

    Sums are made in the database; only the newest ``shown`` postings come with them.
    """
    where = _posted(operator_id, begin, end)
    sums = session.execute(
        select(FarePosting.means, func.count(), func.sum(FarePosting.amount_minor)).where(*where).group_by(FarePosting.means)
    ).all()
    newest = session.execute(_postings(*where).order_by(*(column.desc() for column in _ORDER)).limit(shown)).all()
    at_risk = session.scalar(
        select(func.coalesce(func.sum(Debt.left_minor), 0)).where(
            Debt.creditor == chart.operator(operator_id).key, Debt.liability == "operator"
        )
    )
    account = ledger.account_id(session, chart.operator(operator_id))
    return DayStatement(
        operator_id=operator_id,
        begin=begin,
        end=end,
        postings=tuple(_posting(row, answered) for row, answered in reversed(newest)),
        count=sum(count for _, count, _ in sums),
        by_means={"purse": 0, "debt": 0, "foreign": 0} | {means: int(amount) for means, _, amount in sums},
        total_minor=sum(int(amount) for _, _, amount in sums),
        ledger_minor=ledger.booked(session, account, codes=FARE_CODES, beginning=begin, ending=end),
        at_risk_minor=int(at_risk or 0),
    )


def each_posting(session: Session, operator_id: str, *, begin: datetime, end: datetime) -> Iterator[PostingView]:
    """Every posting of an operator from ``begin`` (included) to ``end`` (not), in order; a few thousand in memory at a time."""
    query = _postings(*_posted(operator_id, begin, end)).order_by(*_ORDER).execution_options(yield_per=FETCH)
    for row, answered in session.execute(query):
        session.expunge(row)
        yield _posting(row, answered)


def debts_of(session: Session, holder_id: UUID) -> int:
    """What a holder still owes for rides, in fen."""
    return int(
        session.scalar(
            select(func.coalesce(func.sum(Debt.left_minor), 0)).where(Debt.holder_id == holder_id, Debt.left_minor > 0)
        )
        or 0
    )


def journey_by_key(session: Session, *, card_number: str, key: str) -> JourneyView:
    """The journey that begins with the tap ``key``. Raises ``UnknownJourney`` when another pricing dissolved it."""
    row = session.scalars(select(JourneyRow).where(JourneyRow.card_number == card_number, JourneyRow.key == key)).one_or_none()
    if row is None:
        raise UnknownJourney(key)
    return _journey(row)
