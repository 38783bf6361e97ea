"""Price card-days and post what changed: the one place where fares become money.

Every arrival prices the whole card-day again (and later days whose caps look back on it) and posts only the difference. One
card is priced by one transaction at a time, which holds the card's row. A batch reads what it needs of all its cards at once,
prices in memory, and writes journeys, postings and transfers with one statement each.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy.orm import Session

from app.kernel import bulk, outbox
from app.kernel.city import city_of
from app.kernel.clock import SHANGHAI
from app.kernel.db import Json
from app.kernel.ids import derived_id, derived_text
from card import cards, credentials, fares, ledger
from card.fares import Charge, Entitlement, PastFare, PricedJourney, Rider, State, Tap, Tariffs
from card.ledger import AccountId, AccountSpec, OutcomeStatus, Transfer, TransferCode, chart
from card.transit import debts, fraud, habits, network, past
from card.transit.models import TapRow
from card.transit.rules import Difference, Liability, differences

_made: Final = tuple.__new__  # a named tuple without the detour of its own constructor


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


class Standing(NamedTuple):
    """How far a card has been priced: its latest card-day, and what the days before ``past_until`` left, folded."""

    last_day: date | None
    past_until: date | None
    past: str | None


@dataclass(slots=True)
class _Card:
    """One card in memory: what came in and what is stored of it, and what a pricing makes of it."""

    number: str
    issuer: str
    holder_id: UUID | None
    standing: Standing
    arrived: Arrived
    looks_back: bool = False  # whether a cap or a month ticket may need the days before
    taps: dict[date, dict[str, Tap]] = field(default_factory=dict)
    offered: dict[date, list[Tap]] = field(default_factory=dict)  # claimed, or from habit
    stored: dict[date, dict[str, int]] = field(default_factory=dict)  # journey: its mark
    earlier: list[PastFare] = field(default_factory=list)  # unfolded: of the days before those in ``past``
    past: dict[date, list[PastFare]] = field(default_factory=dict)
    posted: dict[date, dict[str, tuple[int, int]]] = field(default_factory=dict)  # operator: (revision, total)
    priced: dict[date, Charge] = field(default_factory=dict)

    def operators(self) -> Iterator[str]:
        """Whom the taps at hand were made with, each as often as there are taps."""
        for taps in self.taps.values():
            for tap in taps.values():
                yield tap.operator
        for offered in self.offered.values():
            for tap in offered:
                yield tap.operator

    @property
    def payer(self) -> AccountSpec:
        """Whose money pays: the holder's purse, or what the issuing city owes us."""
        return chart.due_from(self.issuer) if self.holder_id is None else chart.purse(self.holder_id)


class _Change(NamedTuple):
    """One difference to post. ``reference`` is that by which the ledger's rows of one card-day and operator are found."""

    id: UUID
    card: _Card
    day: date
    revision: int
    difference: Difference
    event_at: datetime
    reference: str

    @property
    def arrived(self) -> Arrived:
        """What brought it about."""
        return self.card.arrived


def lock_cards(session: Session, numbers: Iterable[str]) -> dict[str, Standing]:
    """Let this transaction alone price these cards; how far each has been priced.

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
        """SELECT f.card_number, f.last_day, f.past_until, f.past FROM card.fare_card f
           WHERE f.card_number = ANY(%(numbers)s::text[]) ORDER BY f.card_number FOR UPDATE""",
        numbers=wanted,
    )
    return {number: _made(Standing, standing) for number, *standing in found}


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
    standings = lock_cards(session, arrived)
    tariffs = network.tariffs_of(session, network.operator_ids(session))
    found = _load(session, arrived, standings, holders, heeded=_heeded(tariffs))
    changes: list[_Change] = []
    for _, card in sorted(found.items()):
        _reprice(session, card, tariffs, now=now)
        changes += _changes(card, now=now)
    _store_journeys(session, found.values(), now=now)
    _note_standings(session, found.values())
    _post(session, changes, now=now)
    return sum(change.difference.amount_minor for change in changes)


def _heeded(tariffs: Tariffs) -> frozenset[str]:
    """The operators whose caps or month tickets look back, and those whose fares they see: for others no yesterday matters."""
    return frozenset(
        heeded
        for operator, versions in tariffs.versions.items()
        for tariff in versions
        if tariff.caps or tariff.passes
        for heeded in (operator, *(counted for cap in tariff.caps for counted in cap.operators))
    )


# What is stored of the cards at hand. (OFFSET 0 keeps the planner at one look-up a card: it would otherwise like to read all.)
JOURNEYS: Final = """
SELECT j.card_number, j.card_day, j.id::text, j.mark, j.state, j.started_at, j.operator_id, j.capped_minor
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
    standings: Mapping[str, Standing],
    holders: Mapping[str, UUID] | None,
    *,
    heeded: frozenset[str],
) -> dict[str, _Card]:
    if holders is None:
        own = city_of(session).code
        holders = cards.holders_of(session, (number for number in arrived if credentials.issuing_city(number) == own))
    found: dict[str, _Card] = {}
    same: dict[str, date] = {}  # cards with something stored on the first day to be priced, or after it
    for number, arrival in arrived.items():
        standing = standings[number]
        found[number] = _Card(number, credentials.issuing_city(number), holders.get(number), standing, arrival)
        if standing.last_day is not None:
            first = min(arrival.days)
            if standing.last_day >= first:
                same[number] = first
    _fill(session, found, same)
    back: dict[str, date] = {}  # cards with journeys that are priced again or looked back on, and from when
    for number, card in found.items():
        for day, taps in card.arrived.days.items():
            card.taps.setdefault(day, {}).update({tap.key: tap for tap in taps})
        card.looks_back = not heeded.isdisjoint(card.operators())
        last, until, folded = card.standing
        first = begin = min(card.arrived.days)
        if card.looks_back:
            begin = past.first_day_back(first)
            if until is not None and folded is not None and until <= first:
                card.earlier = past.unfold(folded)
                begin = max(begin, until)
        if last is not None and last >= begin:
            back[number] = begin
    _look_back(session, found, back)
    return found


def _look_back(session: Session, found: Mapping[str, _Card], back: Mapping[str, date]) -> None:
    """Put into the cards the journeys that are stored of them since ``back``."""
    complete = State.COMPLETE.value
    for number, day, id_, mark, state, started_at, operator, capped in _of_cards(session, JOURNEYS, back):
        card = found[number]
        card.stored.setdefault(day, {})[id_] = mark
        if state == complete:
            card.past.setdefault(day, []).append(_made(PastFare, (started_at, operator, capped)))


def _fill(session: Session, found: Mapping[str, _Card], same: Mapping[str, date]) -> None:
    """Put into the cards the taps, claims and postings that are stored of them since ``same``."""
    for number, day, *facts in _of_cards(session, TAPS, same):
        tap = _tap(facts)
        found[number].taps.setdefault(day, {})[tap.key] = tap
    for number, day, key, at, kind, operator, stop, line in _of_cards(session, CLAIMS, same):
        tap = Tap(key=key, at=at, kind=kind, operator=operator, stop_id=stop, line=line)
        found[number].offered.setdefault(day, []).append(tap)
    for number, day, operator, revision, total in _of_cards(session, POSTED, same):
        found[number].posted.setdefault(day, {})[operator] = (revision, total)


def _of_cards(session: Session, statement: str, since: Mapping[str, date]) -> list[tuple]:  # type: ignore[type-arg]
    return bulk.rows(session, statement, numbers=bulk.texts(since), days=bulk.dates(since.values())) if since else []


def _reprice(session: Session, card: _Card, tariffs: Tariffs, *, now: datetime) -> None:
    """Price the days at hand in order, and each later day that looks back on one that came out otherwise."""
    wanted = set(card.arrived.days)
    at_hand = sorted({*card.taps, *card.offered, *wanted})
    latest = max(at_hand[-1], card.standing.last_day or at_hand[-1], *card.stored)
    for day in at_hand:
        if day not in wanted:
            continue
        before = card.earlier
        if card.looks_back and card.past:
            begin = past.first_day_back(day)
            before = before + [fare for other in sorted(card.past) if begin <= other < day for fare in card.past[other]]
        priced = card.priced[day] = _price_day(session, card, day, tariffs, before, now=now)
        if card.looks_back and day < latest:
            after, stood = list(priced.past), card.past.get(day, [])
            if after != stood and sorted(after) != sorted(stood):
                last = past.last_day_on(day)
                wanted.update(other for other in card.stored if day < other <= last)
            card.past[day] = after


def _price_day(
    session: Session, card: _Card, day: date, tariffs: Tariffs, before: Sequence[PastFare], *, now: datetime
) -> Charge:
    """Price one card-day, with the missing taps that were put in place and without those that copied a code."""
    taps: Sequence[Tap] = list(card.taps.get(day, {}).values())
    if card.offered.get(day):
        taps = habits.completed(taps, card.offered[day])
    rider = _plain(card.issuer)
    priced = fares.charge(taps, tariffs, rider, before)
    if priced.replays:
        aside = fraud.note(session, card_number=card.number, day=day, taps=taps, tariffs=tariffs, now=now)
        priced = fares.charge([tap for tap in taps if tap.key not in aside], tariffs, rider, before)
    return priced


def _changes(card: _Card, *, now: datetime) -> list[_Change]:
    found: list[_Change] = []
    number = card.number
    for day, priced in sorted(card.priced.items()) if len(card.priced) > 1 else card.priced.items():
        before = card.posted.get(day, _NOTHING)
        posted = {operator: total for operator, (_, total) in before.items()}
        for difference in differences(owed=priced.owed, posted=posted):
            operator, on = difference.operator_id, day.isoformat()
            revision = before[operator][0] + 1 if operator in before else 1
            id_ = derived_id(now, "fare", number, on, operator, str(revision))
            reference = f"card-day:{number}:{on}:{operator}"
            event_at = _last_began(priced, operator) or datetime.combine(day, time(12), SHANGHAI).astimezone(UTC)
            found.append(_made(_Change, (id_, card, day, revision, difference, event_at, reference)))
    return found


_NOTHING: Final[Mapping[str, tuple[int, int]]] = {}


def _last_began(priced: Charge, operator: str) -> datetime | None:
    """When the last journey with ``operator`` began: they are in the order of travel."""
    for journey in reversed(priced.journeys):
        if journey.operator == operator:
            return journey.started_at
    return None


@lru_cache(maxsize=4096)
def _plain(issuer: str) -> Rider:
    """A rider of whom nothing is known but the issuing city."""
    return Rider(issuer=issuer)


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


def journey_id(card_number: str, journey: PricedJourney) -> str:
    """The id of a journey, written out: the same as long as its first tap is the same."""
    return derived_text(journey.started_at, "journey", card_number, journey.key)


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
            before = card.stored.get(day, {})
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
            gone += before
    bulk.copy(session, "card.journey", JOURNEY_COLUMNS, fresh)
    if changed:
        bulk.copy_aside(session, "journey_said", JOURNEY_ASIDE, changed)
        bulk.rows(session, CHANGE_JOURNEYS)
    if gone:
        bulk.rows(session, "DELETE FROM card.journey WHERE id = ANY(%(ids)s::uuid[])", ids=bulk.texts(gone))


def _said(journey: PricedJourney) -> str:
    """What may change of a journey, as COPY wants it: the columns of ``SAID``."""
    steps = {"steps": [{"code": code, "amount_minor": amount, "params": params} for code, amount, params in journey.steps]}
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
            bulk.field(_json(steps)),
            bulk.field(_json(journey.taps)),
        )
    )


def _json(plain: object) -> str:
    return orjson.dumps(plain).decode()


def _mark(said: str) -> int:
    """By which a journey that came out the same is known without being read."""
    return int.from_bytes(hashlib.blake2b(said.encode(), digest_size=8).digest(), "big", signed=True)


NOTE: Final = """
UPDATE card.fare_card f SET last_day = n.day, past_until = n.until, past = n.past
FROM unnest(%(numbers)s::text[], %(days)s::date[], %(untils)s::date[], %(pasts)s::text[]) AS n(number, day, until, past)
WHERE f.card_number = n.number
"""


def _note_standings(session: Session, found: Iterable[_Card]) -> None:
    """Write down how far the cards have been priced now, where that changed."""
    moved = {card.number: after for card in found if (after := _standing(card)) != card.standing}
    if moved:
        last_days, untils, pasts = zip(*moved.values(), strict=True)
        bulk.rows(
            session,
            NOTE,
            numbers=bulk.texts(moved),
            days=bulk.dates(last_days),
            untils=bulk.dates(untils),
            pasts=bulk.quoted(pasts),
        )


def _standing(card: _Card) -> Standing:
    """How far a card has been priced with what was priced now."""
    last, until, folded = card.standing
    first = min(card.priced)
    last = max(card.priced) if last is None else max(last, *card.priced)
    stale = until is not None and first < until
    if not card.looks_back:  # nothing was read that could be folded
        return Standing(last, None, None) if stale else Standing(last, until, folded)
    if until == last and not stale:
        return Standing(last, until, folded)
    begin = past.first_day_back(last)
    begins = fares.begins(begin)
    kept = [fare for fare in card.earlier if fare.at >= begins]
    kept += [fare for day, left in sorted(card.past.items()) if begin <= day < last for fare in left]
    return Standing(last, last, past.fold(kept))


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
    accounts = _accounts(session, changes, now=now)
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


def _accounts(session: Session, changes: Sequence[_Change], *, now: datetime) -> dict[str, AccountId]:
    """The accounts between which ``changes`` move money, by card number and by operator."""
    whose = {change.card.number: change.card.payer for change in changes}
    for operator in {change.difference.operator_id for change in changes}:
        whose[operator] = chart.operator(operator)
    opened = ledger.open_accounts(session, whose.values(), now=now)
    return {name: opened[spec.key] for name, spec in whose.items()}


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
    """The transfer of a change; ``accounts`` are by card number and by operator."""
    amount = change.difference.amount_minor
    rider, operator = accounts[change.card.number], accounts[change.difference.operator_id]
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
        f"{bulk.field(_json(arrived.cause))}\t{now}"
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
        ("\t".join((claim["id"], claim["id"], claim["issuer"], bulk.field(_json(claim)), now.isoformat())) for claim in claims),
    )
    outbox.emit_all(session, "charge.foreign", claims, at=now)
    outbox.emit_all(session, "presentment.written", [{"id": claim["id"]} for claim in claims], at=now)
