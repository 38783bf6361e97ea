"""Price card-days and post what changed: the one place where fares become money.

Every arrival prices the whole card-day again (and later days whose caps look back on it) and posts only the difference. One
card is priced by one transaction at a time, which holds the card's row. A batch reads what it needs of all its cards at once,
prices in memory, and writes journeys, postings and transfers with one statement each.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from app.kernel import outbox
from app.kernel.city import city_of
from app.kernel.clock import SHANGHAI
from app.kernel.db import Json
from app.kernel.ids import derived_id
from card import cards, credentials, fares, ledger
from card.fares import Charge, Entitlement, PastFare, PricedJourney, Rider, State, Tap, Tariffs
from card.ledger import AccountId, AccountSpec, OutcomeStatus, Transfer, TransferCode, chart
from card.transit import bulk, debts, fraud, habits, network
from card.transit.models import TapRow
from card.transit.rules import Difference, Liability, differences

_compact: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode

LOOK_BACK: Final = timedelta(days=8)  # the longest window that is not a calendar month: a week, and a day's slack


@dataclass(slots=True)
class Arrived:
    """What came in of one card: its taps by card-day (none where a claim alone changed the day), and why.

    ``cause`` names the taps; ``terminal_id`` and ``counter`` are the newest one's, for the claim on a foreign card's issuer.
    """

    days: dict[date, list[Tap]] = field(default_factory=dict)
    cause: list[str] = field(default_factory=list)
    liability: Liability = Liability.ISSUER
    terminal_id: str = ""
    counter: int = 0


class _Stored(NamedTuple):
    """A journey as it stands in the database, as far as pricing needs it."""

    id: UUID
    mark: int
    past: PastFare | None


@dataclass(slots=True)
class _Card:
    """One card in memory: what is stored of it, and what a pricing makes of it."""

    number: str
    issuer: str
    holder_id: UUID | None
    last_day: date | None
    payer: AccountSpec
    taps: dict[date, dict[str, Tap]] = field(default_factory=lambda: defaultdict(dict))
    offered: dict[date, list[Tap]] = field(default_factory=lambda: defaultdict(list))  # claimed, or from habit
    stored: dict[date, list[_Stored]] = field(default_factory=dict)
    past: dict[date, list[PastFare]] = field(default_factory=dict)
    posted: dict[date, dict[str, tuple[int, int]]] = field(default_factory=dict)  # operator: (revision, total)
    priced: dict[date, Charge] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Change:
    """One difference to post."""

    id: UUID
    card: _Card
    day: date
    revision: int
    difference: Difference
    event_at: datetime
    arrived: Arrived

    @property
    def reference(self) -> str:
        """By which the ledger's rows of one card-day and operator are found."""
        return f"card-day:{self.card.number}:{self.day.isoformat()}:{self.difference.operator_id}"


def lock_cards(session: Session, numbers: Iterable[str]) -> dict[str, date | None]:
    """Let this transaction alone price these cards; the latest card-day of each that has one.

    The rows are locked in one order, so two batches wait for each other and never in a ring. (Two that meet the same new card
    at once may: the database then ends one of them, which is sent again.)
    """
    wanted = bulk.texts(sorted(set(numbers)))
    bulk.rows(
        session,
        """INSERT INTO card.fare_card (card_number) SELECT n FROM unnest(%(numbers)s::text[]) n
           WHERE NOT EXISTS (SELECT FROM card.fare_card f WHERE f.card_number = n)
           ON CONFLICT DO NOTHING""",
        numbers=wanted,
    )
    found = bulk.rows(
        session,
        """SELECT f.card_number, f.last_day FROM card.fare_card f
           WHERE f.card_number = ANY(%(numbers)s::text[]) ORDER BY f.card_number FOR UPDATE""",
        numbers=wanted,
    )
    return dict(found)


def price_again(
    session: Session, *, card_number: str, days: Iterable[date], cause: tuple[str, ...], liability: Liability, now: datetime
) -> int:
    """Price ``days`` of a card whose taps are all stored, as after a claim; see :func:`price`."""
    arrived = Arrived(days={day: [] for day in days}, cause=list(cause), liability=liability)
    return price(session, {card_number: arrived}, now=now)


def price(session: Session, arrived: Mapping[str, Arrived], *, holders: Mapping[str, UUID] | None = None, now: datetime) -> int:
    """Price the days on which something arrived, and every later day that depends on them; post the differences.

    ``arrived`` is by card number; ``holders`` are those of this city's cards among them, where the caller has looked them up.
    The answer is the sum of the differences in minor units.
    """
    if not arrived:
        return 0
    last_days = lock_cards(session, arrived)
    tariffs = network.tariffs_of(session, network.operator_ids(session))
    looks_back = any(tariff.caps or tariff.passes for versions in tariffs.versions.values() for tariff in versions)
    found = _load(session, arrived, last_days, holders, looks_back=looks_back)
    changes: list[_Change] = []
    for number in sorted(arrived):
        card = found[number]
        _reprice(session, card, arrived[number], tariffs, looks_back=looks_back, now=now)
        changes += _changes(card, arrived[number], now=now)
    _store_journeys(session, found.values(), now=now)
    _note_last_days(session, found.values())
    _post(session, changes, now=now)
    return sum(change.difference.amount_minor for change in changes)


def _first_day_back(day: date) -> date:
    """The earliest day that a pricing of ``day`` looks back on."""
    return min(day.replace(day=1), day - LOOK_BACK)


def _last_day_on(day: date) -> date:
    """The latest day whose pricing looks back on ``day``: its month, and the week after."""
    month_end = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return max(month_end, day + timedelta(days=7))


# What is stored of the cards at hand. (OFFSET 0 keeps the planner at one look-up a card: it would otherwise like to read all.)
JOURNEYS: Final = """
SELECT j.card_number, j.card_day, j.id, j.mark, j.state, j.started_at, j.operator_id, j.capped_minor
FROM unnest(%(numbers)s::text[], %(days)s::date[]) AS c(number, day)
  CROSS JOIN LATERAL (SELECT * FROM card.journey WHERE card_number = c.number AND card_day >= c.day OFFSET 0) j
"""
TAPS: Final = """
SELECT t.card_number, t.card_day, t.terminal_id::text, t.boot_id, t.seq, t.at, t.kind, t.operator_id, t.stop_id, t.line_id,
  t.device_kid, t.counter, t.issuer, t.entitlements::text
FROM unnest(%(numbers)s::text[], %(days)s::date[]) AS c(number, day)
  CROSS JOIN LATERAL (SELECT * FROM card.tap WHERE card_number = c.number AND card_day >= c.day OFFSET 0) t
WHERE t.decision = 'accepted' AND t.verdict = ''
"""
CLAIMS: Final = """
SELECT t.card_number, t.card_day, t.source || '/' || t.id, t.at, t.kind, t.operator_id, t.stop_id, t.line_id
FROM card.claimed_tap t WHERE t.card_number = ANY(%(numbers)s::text[])
"""
POSTED: Final = """
SELECT DISTINCT ON (p.card_number, p.card_day, p.operator_id)
  p.card_number, p.card_day, p.operator_id, p.revision, p.total_minor
FROM unnest(%(numbers)s::text[], %(days)s::date[]) AS c(number, day)
  CROSS JOIN LATERAL (SELECT * FROM card.fare_posting WHERE card_number = c.number AND card_day >= c.day OFFSET 0) p
ORDER BY p.card_number, p.card_day, p.operator_id, p.revision DESC
"""


def _load(
    session: Session,
    arrived: Mapping[str, Arrived],
    last_days: Mapping[str, date | None],
    holders: Mapping[str, UUID] | None,
    *,
    looks_back: bool,
) -> dict[str, _Card]:
    own = city_of(session).code
    issuers = {number: credentials.issuing_city(number) for number in arrived}
    if holders is None:
        holders = cards.holders_of(session, (number for number, issuer in issuers.items() if issuer == own))
    found = {
        number: _Card(
            number=number,
            issuer=issuer,
            holder_id=(holder := holders.get(number)),
            last_day=last_days[number],
            payer=chart.due_from(issuer) if holder is None else chart.purse(holder),
        )
        for number, issuer in issuers.items()
    }
    back: dict[str, date] = {}  # cards with something stored that the pricing looks back on, and from when
    same: dict[str, date] = {}  # cards with something stored on the first day to be priced, or after it
    for number, arrival in arrived.items():
        first, last = min(arrival.days), last_days[number]
        begin = _first_day_back(first) if looks_back else first
        if last is not None and last >= begin:
            back[number] = begin
        if last is not None and last >= first:
            same[number] = first
    _fill(session, found, back=back, same=same)
    for number, arrival in arrived.items():
        for day, taps in arrival.days.items():
            found[number].taps[day].update((tap.key, tap) for tap in taps)
    return found


def _fill(session: Session, found: Mapping[str, _Card], *, back: Mapping[str, date], same: Mapping[str, date]) -> None:
    """Put into the cards what is stored of them: journeys since ``back``; taps, claims and postings since ``same``."""
    complete = State.COMPLETE.value
    for number, day, id_, mark, state, started_at, operator, capped in _of_cards(session, JOURNEYS, back):
        past = PastFare(at=started_at, operator=operator, capped_minor=capped) if state == complete else None
        found[number].stored.setdefault(day, []).append(_Stored(id_, mark, past))
        if past is not None:
            found[number].past.setdefault(day, []).append(past)
    for number, day, *facts in _of_cards(session, TAPS, same):
        tap = _tap(facts)
        found[number].taps[day][tap.key] = tap
    for number, day, key, at, kind, operator, stop, line in _of_cards(session, CLAIMS, same):
        tap = Tap(key=key, at=at, kind=kind, operator=operator, stop_id=stop, line=line)
        found[number].offered[day].append(tap)
    for number, day, operator, revision, total in _of_cards(session, POSTED, same):
        found[number].posted.setdefault(day, {})[operator] = (revision, total)


def _of_cards(session: Session, statement: str, since: Mapping[str, date]) -> list[tuple]:  # type: ignore[type-arg]
    return bulk.rows(session, statement, numbers=bulk.texts(since), days=bulk.dates(since.values())) if since else []


def _reprice(session: Session, card: _Card, arrival: Arrived, tariffs: Tariffs, *, looks_back: bool, now: datetime) -> None:
    """Price the days at hand in order, and each later day that looks back on one that came out otherwise."""
    wanted = set(arrival.days)
    first = min(wanted)
    for day in sorted({day for stored in (card.taps, card.offered, wanted) for day in stored if day >= first}):
        if day not in wanted:
            continue
        past: list[PastFare] = []
        if looks_back:
            begin = _first_day_back(day)
            past = [fare for other in sorted(card.past) if begin <= other < day for fare in card.past[other]]
        priced = card.priced[day] = _price_day(session, card, day, tariffs, past, now=now)
        if looks_back:
            after, before = list(priced.past), card.past.get(day, [])
            if after != before and sorted(after) != sorted(before):
                last = _last_day_on(day)
                wanted.update(other for other in card.stored if day < other <= last)
            card.past[day] = after


def _price_day(
    session: Session, card: _Card, day: date, tariffs: Tariffs, past: Sequence[PastFare], *, now: datetime
) -> Charge:
    """Price one card-day, with the missing taps that were put in place and without those that copied a code."""
    taps: Sequence[Tap] = list(card.taps[day].values())
    if card.offered.get(day):
        taps = habits.completed(taps, card.offered[day])
    rider = Rider(issuer=card.issuer)
    priced = fares.charge(taps, tariffs, rider, past)
    if priced.replays:
        aside = fraud.note(session, card_number=card.number, day=day, taps=taps, tariffs=tariffs, now=now)
        priced = fares.charge([tap for tap in taps if tap.key not in aside], tariffs, rider, past)
    return priced


def _changes(card: _Card, arrival: Arrived, *, now: datetime) -> list[_Change]:
    found = []
    for day, priced in sorted(card.priced.items()) if len(card.priced) > 1 else card.priced.items():
        before = card.posted.get(day, {})
        posted = {operator: total for operator, (_, total) in before.items()}
        for difference in differences(owed=priced.owed, posted=posted):
            operator = difference.operator_id
            revision = before[operator][0] + 1 if operator in before else 1
            found.append(
                _Change(
                    id=derived_id(now, "fare", card.number, day.isoformat(), operator, str(revision)),
                    card=card,
                    day=day,
                    revision=revision,
                    difference=difference,
                    event_at=max(
                        (journey.started_at for journey in priced.journeys if journey.operator == operator),
                        default=datetime.combine(day, time(12), SHANGHAI).astimezone(UTC),
                    ),
                    arrived=arrival,
                )
            )
    return found


@lru_cache(maxsize=4096)
def _rider(issuer: str, held: str) -> Rider:
    return rider_of(issuer, json.loads(held))


def _tap(facts: Sequence[Any]) -> Tap:
    """A tap from the columns of ``TAPS`` after its card and day."""
    terminal_id, boot_id, seq, at, kind, operator, stop_id, line, device_kid, counter, issuer, held = facts
    return Tap(
        key=f"{terminal_id}/{boot_id}/{seq}",
        at=at,
        kind=kind,
        operator=operator,
        stop_id=stop_id,
        line=line,
        token=f"{device_kid.hex()}:{counter}" if device_kid else "",
        rider=_rider(issuer, held),
    )


def rider_of(issuer: str, held: Json) -> Rider:
    """The rider that a stored credential describes."""
    return Rider(
        issuer=issuer,
        entitlements=tuple(
            Entitlement(
                code=entry["code"],
                scope_city=entry["scope_city"],
                expires_on=date.fromisoformat(entry["expires_on"]) if entry["expires_on"] else None,
            )
            for entry in held.get("held", [])
        ),
    )


def tap_of(row: TapRow) -> Tap:
    """A stored tap as the fare engine takes it."""
    return Tap(
        key=f"{row.terminal_id}/{row.boot_id}/{row.seq}",
        at=row.at,
        kind=row.kind,
        operator=row.operator_id,
        stop_id=row.stop_id,
        line=row.line_id,
        token=f"{row.device_kid.hex()}:{row.counter}" if row.device_kid else "",
        rider=rider_of(row.issuer, row.entitlements),
    )


def journey_id(card_number: str, journey: PricedJourney) -> UUID:
    """The id of a journey: the same as long as its first tap is the same."""
    return derived_id(journey.started_at, "journey", card_number, journey.key)


# What may change of a journey: column and type, in the order of :func:`_said`.
SAID: Final = {
    "line_id": "text",
    "state": "text",
    "from_stop": "text",
    "to_stop": "text",
    "ended_at": "timestamptz",
    "km": "numeric",
    "tariff_id": "text",
    "capped_minor": "bigint",
    "charged_minor": "bigint",
    "steps": "jsonb",
    "taps": "jsonb",
    "mark": "bigint",
    "priced_at": "timestamptz",
}
JOURNEY_COLUMNS: Final = f"id, key, card_number, holder_id, issuer, card_day, operator_id, started_at, {', '.join(SAID)}"
JOURNEY_ASIDE: Final = "id uuid, " + ", ".join(f"{name} {kind}" for name, kind in SAID.items())
_SET: Final = ", ".join(f"{name} = n.{name}" for name in SAID)
CHANGE_JOURNEYS: Final = f"UPDATE card.journey j SET {_SET} FROM pg_temp.journey_said n WHERE j.id = n.id"  # noqa: S608  ours


def _store_journeys(session: Session, found: Iterable[_Card], *, now: datetime) -> None:
    """Write what is new and what came out otherwise, and remove what is no journey any more."""
    written = now.isoformat()
    fresh: list[str] = []
    changed: list[str] = []
    gone: list[str] = []
    for card in found:
        for day, priced in card.priced.items():
            before = {stored.id: stored.mark for stored in card.stored.get(day, ())}
            for journey in priced.journeys:
                id_ = journey_id(card.number, journey)
                said = _said(journey)
                mark = _mark(said)
                known = before.pop(id_, None)
                if known is None:
                    whose = f"{card.number}\t{card.holder_id or bulk.NULL}\t{card.issuer}\t{day}\t{journey.operator}"
                    begun = journey.started_at.isoformat()
                    fresh.append(f"{id_}\t{bulk.field(journey.key)}\t{whose}\t{begun}\t{said}\t{mark}\t{written}")
                elif known != mark:
                    changed.append(f"{id_}\t{said}\t{mark}\t{written}")
            gone += map(str, before)
    bulk.copy(session, "card.journey", JOURNEY_COLUMNS, fresh)
    if changed:
        bulk.copy_aside(session, "journey_said", JOURNEY_ASIDE, changed)
        bulk.rows(session, CHANGE_JOURNEYS)
    if gone:
        bulk.rows(session, "DELETE FROM card.journey WHERE id = ANY(%(ids)s::uuid[])", ids=bulk.texts(gone))


def _said(journey: PricedJourney) -> str:
    """What may change of a journey, as COPY wants it: the columns of ``SAID``."""
    steps = {
        "steps": [{"code": step.code.value, "amount_minor": step.amount_minor, "params": step.params} for step in journey.steps]
    }
    ended_at, km, tariff = journey.ended_at, journey.km, journey.tariff
    from_stop, to_stop = journey.from_stop, journey.to_stop
    return "\t".join(
        (
            bulk.field(journey.line),
            journey.state.value,
            bulk.NULL if from_stop is None else bulk.field(from_stop),
            bulk.NULL if to_stop is None else bulk.field(to_stop),
            bulk.NULL if ended_at is None else ended_at.isoformat(),
            bulk.NULL if km is None else str(km),
            bulk.NULL if tariff is None else bulk.field(tariff),
            str(journey.capped_minor),
            str(journey.charged_minor),
            bulk.field(_compact(steps)),
            bulk.field(_compact(list(journey.taps))),
        )
    )


def _mark(said: str) -> int:
    """By which a journey that came out the same is known without being read."""
    return int.from_bytes(hashlib.blake2b(said.encode(), digest_size=8).digest(), "big", signed=True)


def _note_last_days(session: Session, found: Iterable[_Card]) -> None:
    later = {card.number: max(card.priced) for card in found if card.last_day is None or card.last_day < max(card.priced)}
    if later:
        bulk.rows(
            session,
            """UPDATE card.fare_card f SET last_day = n.day FROM unnest(%(numbers)s::text[], %(days)s::date[]) AS n(number, day)
               WHERE f.card_number = n.number""",
            numbers=bulk.texts(later),
            days=bulk.dates(later.values()),
        )


POSTING_COLUMNS: Final = (
    "id, card_number, issuer, card_day, operator_id, revision, amount_minor, total_minor, means, liability, cause, posted_at"
)


def _post(session: Session, changes: Sequence[_Change], *, now: datetime) -> None:
    """Move the money of all changes, what is given back first, and write down each with the means it took.

    A purse that cannot pay makes a debt of the whole difference. A holder with earmarked purses pays and gets back by their
    terms, and what is given back on a card that owes lowers its debt first: those few go one by one.
    """
    if not changes:
        return
    payees = {operator: chart.operator(operator) for operator in {change.difference.operator_id for change in changes}}
    specs = {spec.key: spec for spec in (*payees.values(), *(change.card.payer for change in changes))}
    opened = ledger.open_accounts(session, specs.values(), now=now)
    accounts = {**opened, **{operator: opened[spec.key] for operator, spec in payees.items()}}
    holders = {change.card.holder_id for change in changes if change.card.holder_id is not None}
    earmarked = ledger.earmarked_holders(session, holders)
    returned = {change.card.number for change in changes if change.difference.amount_minor < 0 and change.card.holder_id}
    owing = debts.owing_cards(session, returned)
    singly: list[_Change] = []
    together: list[_Change] = []
    for change in changes:
        (singly if _by_itself(change, earmarked, owing) else together).append(change)
    together.sort(key=lambda change: change.difference.amount_minor > 0)
    outcomes = ledger.post(session, [_transfer(change, accounts) for change in together], now=now)
    means: dict[UUID, str] = {}
    unpaid: list[debts.Unpaid] = []
    for change, outcome in zip(together, outcomes, strict=True):
        means[change.id] = "foreign" if change.card.holder_id is None else "purse"
        if outcome.status is OutcomeStatus.REFUSED:
            assert outcome.code == "insufficient-funds", outcome
            assert change.card.holder_id is not None
            means[change.id] = "debt"
            unpaid.append(
                debts.Unpaid(
                    posting_id=change.id,
                    holder_id=change.card.holder_id,
                    creditor=chart.operator(change.difference.operator_id),
                    amount_minor=change.difference.amount_minor,
                    card_number=change.card.number,
                    liability=change.arrived.liability,
                    event_at=change.event_at,
                    reference=change.reference,
                )
            )
    debts.owe(session, unpaid, now=now)
    for change in singly:
        means[change.id] = _post_one(session, change, now=now)
    written = now.isoformat()
    lines = [_posting(change, means[change.id], written) for change in changes]
    bulk.copy(session, "card.fare_posting", POSTING_COLUMNS, lines)
    _present(session, [change for change in changes if change.card.holder_id is None], now=now)


def _by_itself(change: _Change, earmarked: Collection[UUID], owing: Collection[str]) -> bool:
    """Whether more decides on this change than the holder's own purse."""
    holder = change.card.holder_id
    return holder is not None and (holder in earmarked or (change.difference.amount_minor < 0 and change.card.number in owing))


def _post_one(session: Session, change: _Change, *, now: datetime) -> str:
    """Move the money of one change as its holder's purses and debts say; the means."""
    assert change.card.holder_id is not None
    facts: Json = {
        "posting_id": change.id,
        "holder_id": change.card.holder_id,
        "creditor": chart.operator(change.difference.operator_id),
        "card_number": change.card.number,
        "event_at": change.event_at,
        "reference": change.reference,
        "metadata": {},
        "now": now,
    }
    amount = change.difference.amount_minor
    if amount > 0:
        return debts.charge_holder(
            session, amount_minor=amount, code=TransferCode.FARE, liability=change.arrived.liability, **facts
        )
    return debts.refund_holder(session, amount_minor=-amount, code=TransferCode.FARE_CORRECTION, **facts)


def _transfer(change: _Change, accounts: Mapping[str, AccountId]) -> Transfer:
    """The transfer of a change; ``accounts`` has riders by their account's key and operators by their id."""
    amount = change.difference.amount_minor
    rider, operator = accounts[change.card.payer.key], accounts[change.difference.operator_id]
    rising = amount > 0
    if change.card.holder_id is None:
        code = TransferCode.FOREIGN_FARE if rising else TransferCode.FOREIGN_FARE_CORRECTION
    else:
        code = TransferCode.FARE if rising else TransferCode.FARE_CORRECTION
    return Transfer(
        id=change.id,
        debit=rider if rising else operator,
        credit=operator if rising else rider,
        amount_minor=abs(amount),
        code=code,
        event_at=change.event_at,
        reference=change.reference,
    )


def _posting(change: _Change, means: str, now: str) -> str:
    card, difference, arrived = change.card, change.difference, change.arrived
    return (
        f"{change.id}\t{card.number}\t{card.issuer}\t{change.day}\t{difference.operator_id}\t{change.revision}\t"
        f"{difference.amount_minor}\t{difference.total_minor}\t{means}\t{arrived.liability}\t"
        f"{bulk.field(_compact(arrived.cause))}\t{now}"
    )


def _present(session: Session, changes: Sequence[_Change], *, now: datetime) -> None:
    """Tell the clearing of rides of foreign cards, and claim them from their issuers."""
    if not changes:
        return
    acquirer = city_of(session).code
    claims: list[Json] = [
        {
            "id": str(change.id),
            "issuer": change.card.issuer,
            "acquirer": acquirer,
            "amount_minor": change.difference.amount_minor,
            "kind": "transit",
            "card_number": change.card.number,
            "reference": change.reference,
            "terminal_id": change.arrived.terminal_id,
            "counter": change.arrived.counter,
            "event_at": change.event_at.isoformat(),
            "accepted_at": now.isoformat(),
            "liability": change.arrived.liability.value,
            "operator": change.difference.operator_id,
        }
        for change in changes
    ]
    bulk.copy(
        session,
        "card.presentment_out",
        "id, fare_posting_id, issuer, claim, written_at",
        (
            "\t".join((claim["id"], claim["id"], claim["issuer"], bulk.field(_compact(claim)), now.isoformat()))
            for claim in claims
        ),
    )
    outbox.emit_all(session, "charge.foreign", claims, at=now)
    outbox.emit_all(session, "presentment.written", [{"id": claim["id"]} for claim in claims], at=now)
