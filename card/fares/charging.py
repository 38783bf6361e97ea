"""What a card owes for a day of taps: one pure function, the same answer whatever the order, repetition or delay of arrival.

``charge`` sorts what it is given by the taps' own time, so arrival cannot matter. It works with compiled tariffs and leaves a
compact fact a journey; the journeys with the steps that made their amounts are written out when somebody asks for them. The
steps add up to the amount to the fen, and the portal puts them into words. Many days of one card are priced by one ``Meter``.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Final, NamedTuple

from app.kernel.clock import SHANGHAI, local
from card.fares.compiled import CapTerms, Compiled, PassTerms, RiderTerms, in_force
from card.fares.legs import LegRule, Transferred
from card.fares.tariffs import Concession, Pass, Rider, Tap, Tariff, Tariffs, UnknownDistance, Window

DAY_BEGINS: Final = timedelta(hours=3)
"""A card-day runs from 03:00 to 03:00 in Asia/Shanghai, when no metro runs: a journey over midnight stays whole."""

_ORIGIN: Final = datetime(1970, 1, 1, 3, tzinfo=SHANGHAI).astimezone(UTC)  # card-day 0 begins; Shanghai's clocks never change
_FIRST_DAY: Final = date(1970, 1, 1)
ENTRY, EXIT, RIDE = "entry", "exit", "ride"
_RANK: Final = {EXIT: 0, RIDE: 1, ENTRY: 2}  # at one instant, out comes before in


def card_day(instant: datetime) -> date:
    """The card-day on which ``instant`` falls."""
    return (local(instant) - DAY_BEGINS).date()


def in_card_day_of(other: datetime, instant: datetime) -> datetime:
    """``instant``, or the nearest one to it that lies in the card-day of ``other``: no journey leaves its card-day."""
    begins = _ORIGIN + timedelta(days=(other - _ORIGIN).days)
    return min(max(instant, begins), begins + timedelta(days=1) - timedelta.resolution)


class State(StrEnum):
    """What is known of a journey."""

    COMPLETE = "complete"
    MISSING_EXIT = "missing-exit"
    MISSING_ENTRY = "missing-entry"
    UNPRICED = "unpriced"  # no tariff or no distance: charged nothing, shown to the operator


class StepCode(StrEnum):
    """Why an amount was added or taken off."""

    DISTANCE_FARE = "distance-fare"
    LEG_FARE = "leg-fare"
    SAME_STATION = "same-station"
    INCOMPLETE = "incomplete"
    CONCESSION = "concession"
    OVERTIME = "overtime"
    TRANSFER = "transfer"
    CAP = "cap"
    PASS = "pass"  # noqa: S105  a month ticket
    UNPRICED = "unpriced"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One reason and the minor units it adds (or takes off); ``params`` name what the sentence about it needs."""

    code: StepCode
    amount_minor: int
    params: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class PastFare:
    """What an earlier journey of the same card left for the caps: its amount after caps and before month tickets."""

    at: datetime
    operator: str
    capped_minor: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PricedJourney:
    """One journey with its price. ``capped_minor`` is after caps; ``charged_minor`` also after month tickets."""

    key: str
    taps: tuple[str, ...]
    operator: str
    line: str
    state: State
    from_stop: str | None
    to_stop: str | None
    started_at: datetime
    ended_at: datetime | None
    km: Decimal | None
    tariff: str | None
    capped_minor: int
    charged_minor: int
    steps: tuple[Step, ...]

    @property
    def past(self) -> PastFare | None:
        """What later days must know of it; an incomplete journey counts towards no cap."""
        if self.state is not State.COMPLETE:
            return None
        return PastFare(at=self.started_at, operator=self.operator, capped_minor=self.capped_minor)


class _Window(NamedTuple):
    """A card-day: its date, and when it, its week and its month began."""

    date: date
    day: datetime
    week: datetime
    month: datetime


@lru_cache(maxsize=4096)
def _window(number: int) -> _Window:
    on = _FIRST_DAY + timedelta(days=number)
    day = _ORIGIN + timedelta(days=number)
    return _Window(on, day, day - timedelta(days=on.weekday()), day - timedelta(days=on.day - 1))


@dataclass(slots=True)
class _Trip:
    """Taps that belong together; ``more`` are further legs after an interchange over the street or a joined leg."""

    entry: Tap | None
    exit: Tap | None
    more: list[tuple[Tap, Tap]] | None = None

    @property
    def last(self) -> Tap | None:
        return self.more[-1][1] if self.more else self.exit

    @property
    def taps(self) -> tuple[str, ...]:
        own = tuple(tap.key for tap in (self.entry, self.exit) if tap is not None)
        return own[:1] if self.entry is self.exit else own + tuple(tap.key for pair in self.more or () for tap in pair)


class _Changed(NamedTuple):
    """A transfer that was applied: between which groups, and what it added to the leg's fare."""

    from_group: str
    to_group: str
    amount_minor: int


class _Fact(NamedTuple):
    """All that is needed to write a journey out; amounts in minor units. ``reason`` is why it could not be priced."""

    trip: _Trip
    first: Tap
    compiled: Compiled | None
    state: "State"
    code: "StepCode"
    base_minor: int
    rule: LegRule | None
    changed: _Changed | None
    concession: Concession | None
    conceded_minor: int
    overtime_minor: int
    cuts: tuple[tuple[CapTerms, int], ...]
    ticket: Pass | None
    capped_minor: int
    charged_minor: int
    reason: str


class Charge:
    """A card-day's price: its journeys in order, and the taps that were set aside as replays of a credential."""

    __slots__ = ("_facts", "_journeys", "replays")

    def __init__(self, facts: list[_Fact], replays: tuple[str, ...]) -> None:
        self._facts = facts
        self._journeys: tuple[PricedJourney, ...] | None = None
        self.replays = replays

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Charge) and (self.journeys, self.replays) == (other.journeys, other.replays)

    __hash__ = None  # type: ignore[assignment]  # a charge is compared, never a key

    def __repr__(self) -> str:
        return f"Charge(journeys={self.journeys!r}, replays={self.replays!r})"

    def __len__(self) -> int:
        """How many journeys there are, without writing them out."""
        return len(self._facts)

    @property
    def journeys(self) -> tuple[PricedJourney, ...]:
        """The journeys with the reasons of their prices, in the order of travel."""
        if self._journeys is None:
            self._journeys = tuple(map(_written_out, self._facts))
        return self._journeys

    @property
    def total_minor(self) -> int:
        """What the card owes for the day, over all operators."""
        return sum([fact.charged_minor for fact in self._facts])

    @property
    def owed(self) -> dict[str, int]:
        """What the card owes each operator it travelled with."""
        found: dict[str, int] = {}
        for fact in self._facts:
            operator = fact.first.operator
            found[operator] = found.get(operator, 0) + fact.charged_minor
        return found

    def count_of(self, operator: str) -> int:
        """How many journeys were made with ``operator``."""
        return sum([fact.first.operator == operator for fact in self._facts])

    def owed_to(self, operator: str) -> int:
        """What the card owes ``operator`` for the day."""
        return self.owed.get(operator, 0)

    @property
    def past(self) -> tuple[PastFare, ...]:
        """What the day leaves for the caps and month tickets of later days."""
        return tuple(
            PastFare(at=fact.first.at, operator=fact.first.operator, capped_minor=fact.capped_minor)
            for fact in self._facts
            if fact.state is State.COMPLETE
        )


_made: Final = tuple.__new__  # a fact without the detour of a named tuple's own constructor
_AT: Final = attrgetter("at")
_TOKEN: Final = attrgetter("token")


def in_order(taps: Iterable[Tap]) -> tuple[list[Tap], tuple[str, ...]]:
    """Each tap once, by its own time, and the keys of those that replay a credential already shown that day."""
    kept = sorted({tap.key: tap for tap in taps}.values(), key=_AT)
    if len(set(map(_AT, kept))) != len(kept):
        kept.sort(key=lambda tap: (tap.at, _RANK[tap.kind], tap.key))
    tokens = list(filter(None, map(_TOKEN, kept)))
    if len(set(tokens)) == len(tokens):
        return kept, ()
    replays: list[str] = []
    shown: set[str] = set()
    first: list[Tap] = []
    for tap in kept:
        if tap.token and tap.token in shown:
            replays.append(tap.key)
            continue
        shown.add(tap.token)
        first.append(tap)
    return first, tuple(replays)


class _Spent:
    """What a window has seen of the card's fares, which come in the order of travel; rolling where ``length`` is there.

    Caps that look back alike share it, whatever their amounts.
    """

    __slots__ = ("begin", "bucket", "length", "operators", "recent", "total")

    def __init__(self, terms: CapTerms, past: list[tuple[datetime, str, int]], window: "_Window") -> None:
        self.operators, self.bucket = terms.operators, terms.bucket
        self.length = None if self.bucket else terms.length
        self.begin = window[self.bucket]
        counted = [(at, fare) for at, operator, fare in past if operator in self.operators]
        if self.length is not None:
            self.recent = deque(counted)
            self.total = sum([fare for _, fare in counted])
        else:
            self.recent = deque()
            self.total = sum([fare for at, fare in counted if at >= self.begin])

    def enter(self, at: datetime, window: "_Window", fare: int) -> None:
        """A journey that began at ``at``, on the day of ``window``, came to ``fare``."""
        if self.length is not None:
            self.recent.append((at, fare))
        elif self.begin != window[self.bucket]:
            self.begin, self.total = window[self.bucket], 0
        self.total += fare

    def forget(self, instant: datetime) -> None:
        """Let go what left the rolling window before a journey that begins at ``instant``."""
        assert self.length is not None
        recent, oldest = self.recent, instant - self.length
        while recent and recent[0][0] <= oldest:
            self.total -= recent.popleft()[1]


class _Month:
    """The singles of a card with one operator since the month began, the dearest first (negative), and their sum."""

    __slots__ = ("_before", "_begin", "_fares", "_terms", "total")

    def __init__(self, operator: str, past: list[tuple[datetime, str, int]], begin: datetime) -> None:
        self._begin = begin
        self._fares = sorted([-fare for at, of, fare in past if of == operator and at >= begin])
        self.total = -sum(self._fares)
        self._before: int | None = None
        self._terms: PassTerms | None = None

    def enter(self, begin: datetime) -> None:
        """The month that began at ``begin`` is the present one."""
        if begin != self._begin:
            self._begin, self.total, self._fares, self._before = begin, 0, [], None

    def add(self, fare: int) -> None:
        """A journey came to ``fare`` after caps."""
        insort(self._fares, -fare)
        self.total += fare
        self._before = None

    def due(self, amount: int, begin: datetime, terms: PassTerms) -> tuple[int, Pass | None]:
        """What a single of ``amount`` costs where month tickets are open to the rider, and the ticket that decides it.

        The single is counted with it.
        """
        self.enter(begin)
        if self.total + amount <= terms.cheapest:
            self.add(amount)
            return amount, None
        before = self._before
        if before is None or self._terms is not terms:
            before = self._best(terms)[0]
        self.add(amount)
        after, chosen = self._best(terms)
        self._before, self._terms = after, terms
        if chosen is not None and after - before < amount:
            return after - before, chosen
        return amount, None

    def _best(self, terms: PassTerms) -> tuple[int, Pass | None]:
        """What the month comes to at best, and with which ticket: the dearest rides are in it."""
        fares, count = self._fares, len(self._fares)
        best, chosen = self.total, None
        for item in terms.passes:
            price = item.price_minor
            if count > item.rides and price < best:
                price -= sum(fares[item.rides :])
            if price < best:
                best, chosen = price, item
        return best, chosen


class _Terms(NamedTuple):
    """What holds for a card's journeys with one operator on one day: tariff, rider, terms, and the windows of its caps."""

    tariff: Compiled
    rider: Rider
    terms: RiderTerms
    windows: list[tuple[CapTerms, _Spent]]


class Meter:
    """Prices the card-days of one card, one after the other, and remembers what caps and month tickets look back on."""

    __slots__ = ("_months", "_past", "_rider", "_spent", "_tariffs", "_windows")

    def __init__(self, tariffs: Tariffs, rider: Rider, past: Iterable[PastFare] = ()) -> None:
        self._tariffs, self._rider = tariffs, rider
        self._past = sorted([(fare.at, fare.operator, fare.capped_minor) for fare in past], key=lambda fare: fare[0])
        self._spent: dict[tuple[int, timedelta, frozenset[str]], _Spent] = {}
        self._windows: list[_Spent] = []
        self._months: dict[str, _Month] = {}

    def day(self, taps: Iterable[Tap]) -> Charge:
        """Price the taps of one card-day; the days before it were priced before, or are in ``past``."""
        kept, replays = in_order(taps)
        trips, joins = self._pair(kept)
        return Charge(self._price(self._join(trips) if joins else trips), replays)

    def _in_force(self, operator: str, at: datetime) -> Compiled | None:
        number = (at - _ORIGIN).days
        try:
            return self._tariffs.memory[operator, number]  # type: ignore[return-value]  # only in_force writes there
        except KeyError:
            return in_force(self._tariffs, operator, _window(number).date, number)

    def _terms(self, tariff: Compiled, rider: Rider, window: _Window) -> _Terms:
        terms = tariff.rider_terms(rider, window.date)
        windows = []
        for cap in terms.caps:
            spent = self._spent.get(cap.key)
            if spent is None:
                spent = self._spent[cap.key] = _Spent(cap, self._past, window)
                self._windows.append(spent)
            windows.append((cap, spent))
        return _Terms(tariff, rider, terms, windows)

    def _pair(self, taps: list[Tap]) -> tuple[list[_Trip], bool]:
        """Entries with their exits, operator by operator, in the order of their first taps; and whether any may be joined."""
        trips: list[_Trip] = []
        inside: dict[str, _Trip] = {}
        joins = False
        for tap in taps:
            kind = tap.kind
            if kind == ENTRY:
                trip = inside[tap.operator] = _Trip(tap, None)
                trips.append(trip)
            elif kind == EXIT:
                waiting = inside.pop(tap.operator, None)
                if waiting is not None:
                    entry = waiting.entry
                    assert entry is not None
                    tariff = self._in_force(tap.operator, entry.at)
                    if tariff is None or tap.at - entry.at <= tariff.pairing:
                        waiting.exit = tap
                        joins = joins or (tariff is not None and tariff.joins)
                        continue
                trips.append(_Trip(None, tap))
            else:
                trips.append(_Trip(tap, tap))
        return trips, joins

    def _join(self, trips: list[_Trip]) -> list[_Trip]:
        """Continue a journey over an out-of-station interchange or a join of legs that the tariff names."""
        joined: list[_Trip] = []
        latest: dict[str, _Trip] = {}
        for trip in trips:
            entry, leaving = trip.entry, trip.exit
            operator = (entry or leaving).operator  # type: ignore[union-attr]  # one of them is there
            if entry is not None and leaving is not None and entry is not leaving:
                before = latest.get(operator)
                if before is not None and self._continues(before, entry):
                    before.more = [*(before.more or ()), (entry, leaving)]
                    continue
            joined.append(trip)
            latest[operator] = trip
        return joined

    def _continues(self, before: _Trip, entry: Tap) -> bool:
        left = before.last
        if before.entry is None or left is None or before.entry is before.exit:
            return False
        tariff = self._in_force(entry.operator, before.entry.at)
        if tariff is None or not tariff.joins:
            return False
        gap = entry.at - left.at
        span = tariff.interchanges.get((left.stop_id, entry.stop_id))
        if span is not None and gap <= span:
            return True
        legs = tariff.legs
        return (
            legs is not None
            and gap <= tariff.join_span
            and legs.joined(
                from_line=before.more[-1][0].line if before.more else before.entry.line,
                from_stop=left.stop_id,
                to_line=entry.line,
                to_stop=entry.stop_id,
            )
        )

    def _price(self, trips: list[_Trip]) -> list[_Fact]:  # noqa: C901, PLR0912, PLR0915  a call a rule costs as much as the rule
        """The facts of ``trips``, which are in the order of travel: each changes what caps and tickets leave for the next."""
        facts: list[_Fact] = []
        memory, past, complete, distance_fare = self._tariffs.memory, self._past, State.COMPLETE, StepCode.DISTANCE_FARE
        changes: dict[str, Transferred] = {}
        known_terms: dict[str, _Terms] = {}
        number = -1
        window = _window(0)
        tariff: Compiled | None
        for trip in trips:
            entry, leaving = trip.entry, trip.exit
            first = leaving if entry is None else entry
            assert first is not None
            at, operator = first.at, first.operator
            today = (at - _ORIGIN).days
            if today != number:
                number, window = today, _window(today)
                known_terms.clear()
            rider = first.rider or self._rider
            held = known_terms.get(operator)
            if held is None or (held.rider is not rider and held.rider != rider):
                found = memory.get((operator, number))
                tariff = found if isinstance(found, Compiled) else in_force(self._tariffs, operator, window.date, number)
                if tariff is None:
                    facts.append(_unpriced(trip, first, None, "no-tariff"))
                    continue
                held = known_terms[operator] = self._terms(tariff, rider, window)
            tariff, _, terms, windows = held
            rule: LegRule | None = None
            changed: _Changed | None = None
            state, payable = complete, terms.payable
            last = leaving
            if entry is None or leaving is None:
                state = State.MISSING_ENTRY if entry is None else State.MISSING_EXIT
                code, base, payable = StepCode.INCOMPLETE, tariff.max_fare, terms.penal
                fare = base
            else:
                if trip.more:
                    last = trip.more[-1][1]
                assert last is not None
                if entry is leaving or not tariff.by_distance:
                    priced = _leg(trip, tariff, terms, changes)
                    if priced is None:
                        facts.append(_unpriced(trip, first, tariff, "no-rule"))
                        continue
                    code = StepCode.LEG_FARE
                    base, rule, changed, fare = priced
                elif entry.stop_id == last.stop_id:
                    code, base, payable = StepCode.SAME_STATION, _same_station(tariff, last.at - at), terms.penal
                    fare = base
                else:
                    pair = (entry.stop_id, last.stop_id)
                    known = tariff.fares.get(pair) if trip.more is None else tariff.fare_of_parts(_parts(trip))
                    if known is None:
                        known = tariff.fare(*pair) if trip.more is None else None
                        if known is None:
                            facts.append(_unpriced(trip, first, tariff, "no-distance"))
                            continue
                    code, base = distance_fare, known
                    fare = base
                    if tariff.transfers:
                        rule, changed, fare = _grouped(trip, tariff, terms, changes, base)
            reduced, concession = payable[fare]
            amount = reduced
            extra = 0
            cuts: tuple[tuple[CapTerms, int], ...] = ()
            ticket: Pass | None = None
            capped = charged = amount
            if state is complete:
                after = tariff.overtime_after
                if after is not None and last is not first and last.at - at > after:  # type: ignore[union-attr]
                    extra = tariff.overtime_minor
                    amount += extra
                for cap, spent in windows:
                    if spent.length is not None:
                        spent.forget(at)
                    elif spent.begin != window[spent.bucket]:
                        spent.begin, spent.total = window[spent.bucket], 0
                    room = cap.amount - spent.total
                    if amount > room:
                        room = max(room, 0)
                        if amount > room:
                            cuts = (*cuts, (cap, room - amount))
                            amount = room
                capped = charged = amount
                month = self._months.get(operator)
                if amount and terms.passes is not None:
                    if month is None:
                        month = self._months[operator] = _Month(operator, past, window.month)
                    charged, ticket = month.due(amount, window.month, terms.passes)
                elif amount and month is not None:
                    month.enter(window.month)
                    month.add(amount)
                past.append((at, operator, capped))
                if capped:
                    for spent in self._windows:
                        if operator in spent.operators:
                            spent.enter(at, window, capped)
            facts.append(
                _made(
                    _Fact,
                    (
                        trip,
                        first,
                        tariff,
                        state,
                        code,
                        base,
                        rule,
                        changed,
                        concession,
                        reduced - fare,
                        extra,
                        cuts,
                        ticket,
                        capped,
                        charged,
                        "",
                    ),
                )
            )
        return facts


def _parts(trip: _Trip) -> list[tuple[str, str]]:
    """The stretches of a journey by the stops where it was tapped in and out."""
    assert trip.entry is not None
    assert trip.exit is not None
    return [
        (trip.entry.stop_id, trip.exit.stop_id),
        *((begin.stop_id, end.stop_id) for begin, end in trip.more or ()),
    ]


def _leg(
    trip: _Trip, tariff: Compiled, terms: RiderTerms, changes: dict[str, Transferred]
) -> tuple[int, LegRule, _Changed | None, int] | None:
    """The Fares v2 price of a leg: the product's amount, its rule, the transfer that led to it, and what it comes to."""
    found = _matched(trip, tariff, terms)
    if found is None:
        return None
    rule, amount = found
    changed, fare = _change(trip, tariff, terms, changes, rule=rule, amount=amount)
    return amount, rule, changed, fare


def _grouped(
    trip: _Trip, tariff: Compiled, terms: RiderTerms, changes: dict[str, Transferred], amount: int
) -> tuple[LegRule | None, _Changed | None, int]:
    """A leg priced by distance belongs to the leg group whose rule it matches: transfers to and from it count."""
    found = _matched(trip, tariff, terms)
    if found is None:
        return None, None, amount
    changed, fare = _change(trip, tariff, terms, changes, rule=found[0], amount=amount)
    return found[0], changed, fare


def _matched(trip: _Trip, tariff: Compiled, terms: RiderTerms) -> tuple[LegRule, int] | None:
    legs, entry, last = tariff.legs, trip.entry, trip.last
    if legs is None or entry is None or last is None:
        return None
    network = (
        legs.network_of([entry.line, *(begin.line for begin, _ in trip.more)])
        if trip.more
        else legs.networks.get(entry.line, "")
    )
    return legs.price(
        network,
        entry.stop_id,
        None if last is entry else last.stop_id,
        departed_at=entry.at,
        arrived_at=last.at,
        categories=terms.categories,
    )


def _change(
    trip: _Trip, tariff: Compiled, terms: RiderTerms, changes: dict[str, Transferred], *, rule: LegRule, amount: int
) -> tuple[_Changed | None, int]:
    """Apply the transfer from the leg before, and remember this one for the next. Legs of one city may follow each other."""
    legs, entry, last = tariff.legs, trip.entry, trip.last
    assert legs is not None
    assert entry is not None
    assert last is not None
    if not legs.transfers:
        return None, amount
    before = changes.get(tariff.city)
    found = None
    if before is not None:
        found = legs.transfer(
            before,
            rule.leg_group,
            departed_at=entry.at,
            arrived_at=last.at,
            due_minor=amount,
            categories=terms.categories,
        )
    if before is None or found is None:
        changes[tariff.city] = Transferred(
            group=rule.leg_group,
            pair=None,
            used=0,
            departed_at=entry.at,
            arrived_at=last.at,
            last_departed_at=entry.at,
            last_arrived_at=last.at,
            due_minor=amount,
        )
        return None, amount
    applied, used, due = found
    again = used > 1
    changes[tariff.city] = Transferred(
        group=rule.leg_group,
        pair=(applied.from_group, applied.to_group),
        used=used,
        departed_at=before.departed_at if again else before.last_departed_at,
        arrived_at=before.arrived_at if again else before.last_arrived_at,
        last_departed_at=entry.at,
        last_arrived_at=last.at,
        due_minor=due,
    )
    return _Changed(before.group, rule.leg_group, due - amount), due


def _same_station(tariff: Compiled, inside: timedelta) -> int:
    for longest, amount in tariff.same_station:
        if inside <= longest:
            return amount
    return tariff.max_fare


def _unpriced(trip: _Trip, first: Tap, tariff: Compiled | None, reason: str) -> _Fact:
    return _Fact(trip, first, tariff, State.UNPRICED, StepCode.UNPRICED, 0, None, None, None, 0, 0, (), None, 0, 0, reason)


def _written_out(fact: _Fact) -> PricedJourney:
    """A journey with its reasons."""
    trip, first = fact.trip, fact.first
    last = trip.last
    tariff = None if fact.compiled is None else fact.compiled.tariff
    km = _km(trip, tariff) if tariff is not None and fact.code is StepCode.DISTANCE_FARE else None
    return PricedJourney(
        key=first.key,
        taps=trip.taps,
        operator=first.operator,
        line=first.line,
        state=fact.state,
        from_stop=trip.entry.stop_id if trip.entry else None,
        to_stop=last.stop_id if last is not None and last is not trip.entry else None,
        started_at=first.at,
        ended_at=last.at if last is not None and last is not first else None,
        km=km,
        tariff=None if tariff is None else tariff.id,
        capped_minor=fact.capped_minor,
        charged_minor=fact.charged_minor,
        steps=tuple(_steps(fact, km)),
    )


def _km(trip: _Trip, tariff: Tariff) -> Decimal | None:
    try:
        return sum((tariff.distance_km(*part) for part in _parts(trip)), Decimal(0))
    except UnknownDistance:
        return None  # the tariff names the pair's fare without a distance


def _steps(fact: _Fact, km: Decimal | None) -> Iterable[Step]:
    """The reasons in the order in which they apply; they add up to what is charged."""
    yield Step(code=fact.code, amount_minor=fact.base_minor, params=_base_params(fact, km))
    if fact.changed is not None:
        yield Step(
            code=StepCode.TRANSFER,
            amount_minor=fact.changed.amount_minor,
            params={"from": fact.changed.from_group, "to": fact.changed.to_group},
        )
    if fact.concession is not None:
        percent = f"{fact.concession.percent.normalize():f}"
        params = {"percent": percent, "entitlement": fact.concession.code, **_names(fact.concession)}
        yield Step(code=StepCode.CONCESSION, amount_minor=fact.conceded_minor, params=params)
    if fact.overtime_minor and fact.compiled is not None and fact.trip.last is not None:
        minutes = int((fact.trip.last.at - fact.first.at).total_seconds()) // 60
        limit = fact.compiled.tariff.overtime
        assert limit is not None
        params = {"minutes": str(minutes), "limit": str(limit.after_minutes)}
        yield Step(code=StepCode.OVERTIME, amount_minor=fact.overtime_minor, params=params)
    for terms, amount in fact.cuts:
        cap = terms.cap
        params = {"cap": cap.id, "cap_minor": str(cap.amount_minor), "window": cap.window, **_names(cap)}
        if cap.window is Window.ROLLING:
            params["hours"] = str(cap.minutes // 60)
        yield Step(code=StepCode.CAP, amount_minor=amount, params=params)
    if fact.ticket is not None:
        ticket = fact.ticket
        params = {"pass": ticket.id, "price_minor": str(ticket.price_minor), "rides": str(ticket.rides), **_names(ticket)}
        yield Step(code=StepCode.PASS, amount_minor=fact.charged_minor - fact.capped_minor, params=params)


def _base_params(fact: _Fact, km: Decimal | None) -> dict[str, str]:
    trip, last = fact.trip, fact.trip.last
    match fact.code:
        case StepCode.UNPRICED:
            return {"reason": fact.reason}
        case StepCode.INCOMPLETE:
            return {"missing": fact.state.value[8:]}
        case StepCode.LEG_FARE:
            assert fact.rule is not None
            return {"product": fact.rule.product, "rule": fact.rule.leg_group}
        case StepCode.SAME_STATION:
            assert last is not None
            inside = last.at - fact.first.at
            return {"stop": fact.first.stop_id, "minutes": str(int(inside.total_seconds()) // 60)}
    assert trip.entry is not None
    assert last is not None
    params = {"from": trip.entry.stop_id, "to": last.stop_id}
    if km is not None:
        params = {"km": f"{km.normalize():f}", **params}
    if trip.more:
        params["interchange"] = trip.more[-1][0].stop_id
    return params


def _names(item: object) -> dict[str, str]:
    names = getattr(item, "names", None)
    return {"name_en": names.en, "name_zh": names.zh} if names is not None else {}


def charge(taps: Iterable[Tap], tariffs: Tariffs, rider: Rider, past: Iterable[PastFare] = ()) -> Charge:
    """Price one card's taps of one card-day.

    ``taps`` may come in any order and more than once. ``tariffs`` holds every version; the one in force on the card-day of a
    journey's first tap prices it. ``rider`` is who travels, where a tap does not carry the rider of its own credential.
    ``past`` is what earlier days left for caps and month tickets (:attr:`PricedJourney.past`), as far back as the longest
    window. A journey that no tariff can price is charged nothing and says why. Amounts are minor units.
    """
    return Meter(tariffs, rider, past).day(taps)
