"""What a card owes for a day of taps: one pure function, the same answer whatever the order, repetition or delay of arrival.

``charge`` sorts what it is given by the taps' own time, so arrival cannot matter. Every journey carries the steps that made its
amount; they add up to it to the fen, and the portal puts them into words.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Final

from app.kernel.clock import SHANGHAI, local
from card.fares.legs import Leg, LegRule, TransferRule, TransferType
from card.fares.tariffs import LOCAL_CARD, Cap, Concession, NoTariff, Rider, Tap, Tariff, Tariffs, UnknownDistance, Window

DAY_BEGINS: Final = timedelta(hours=3)
"""A card-day runs from 03:00 to 03:00 in Asia/Shanghai, when no metro runs: a journey over midnight stays whole."""

ENTRY, EXIT, RIDE = "entry", "exit", "ride"
_RANK: Final = {EXIT: 0, RIDE: 1, ENTRY: 2}  # at one instant, out comes before in


def card_day(instant: datetime) -> date:
    """The card-day on which ``instant`` falls."""
    return (local(instant) - DAY_BEGINS).date()


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """A card-day's price: its journeys in order, and the taps that were set aside as replays of a credential."""

    journeys: tuple[PricedJourney, ...]
    replays: tuple[str, ...]

    @property
    def total_minor(self) -> int:
        """What the card owes for the day, over all operators."""
        return sum(journey.charged_minor for journey in self.journeys)

    def owed_to(self, operator: str) -> int:
        """What the card owes ``operator`` for the day."""
        return sum(journey.charged_minor for journey in self.journeys if journey.operator == operator)


@dataclass(slots=True)
class _Trip:
    """Taps that belong together, before they are priced."""

    entry: Tap | None
    exit: Tap | None
    more: list[tuple[Tap, Tap]] = field(default_factory=list)  # further legs after an interchange over the street

    @property
    def first(self) -> Tap:
        found = self.entry or self.exit
        assert found is not None
        return found

    @property
    def last(self) -> Tap | None:
        return self.more[-1][1] if self.more else self.exit

    @property
    def taps(self) -> tuple[str, ...]:
        own = tuple(tap.key for tap in (self.entry, self.exit) if tap is not None)
        return own[:1] if self.entry is self.exit else own + tuple(tap.key for pair in self.more for tap in pair)


class _Calendar:
    """Tariffs by operator and instant; nearly all taps of a call fall on one card-day, so the last one found is remembered."""

    def __init__(self, tariffs: Tariffs) -> None:
        self._tariffs = tariffs
        self._found: dict[tuple[str, date], Tariff | None] = {}
        self._day = date.min
        self._begin = self._end = datetime.max.replace(tzinfo=UTC)

    def day(self, at: datetime) -> date:
        """The card-day of an instant."""
        if not self._begin <= at < self._end:
            self._day = card_day(at)
            begin = datetime.combine(self._day, time(), SHANGHAI) + DAY_BEGINS
            self._begin, self._end = begin.astimezone(UTC), (begin + timedelta(days=1)).astimezone(UTC)
        return self._day

    def tariff(self, operator: str, at: datetime) -> Tariff | None:
        """The version in force, or none."""
        key = (operator, self.day(at))
        if key not in self._found:
            try:
                self._found[key] = self._tariffs.at(*key)
            except NoTariff:
                self._found[key] = None
        return self._found[key]


def in_order(taps: Iterable[Tap]) -> tuple[list[Tap], tuple[str, ...]]:
    """Each tap once, by its own time, and the keys of those that replay a credential already shown that day."""
    unique = {tap.key: tap for tap in taps}
    kept: list[Tap] = []
    replays: list[str] = []
    shown: set[str] = set()
    for tap in sorted(unique.values(), key=lambda tap: (tap.at, _RANK[tap.kind], tap.key)):
        if tap.token and tap.token in shown:
            replays.append(tap.key)
            continue
        shown.add(tap.token)
        kept.append(tap)
    return kept, tuple(replays)


def _pair(taps: Sequence[Tap], calendar: _Calendar) -> list[_Trip]:
    """Entries with their exits, operator by operator; what has no partner stands alone."""
    trips: list[_Trip] = []
    inside: dict[str, Tap] = {}
    for tap in taps:
        if tap.kind == RIDE:
            trips.append(_Trip(tap, tap))
            continue
        waiting = inside.pop(tap.operator, None)
        if tap.kind == EXIT and waiting is not None and _may_pair(waiting, tap, calendar):
            trips.append(_Trip(waiting, tap))
            continue
        if waiting is not None:
            trips.append(_Trip(waiting, None))
        if tap.kind == ENTRY:
            inside[tap.operator] = tap
        else:
            trips.append(_Trip(None, tap))
    trips.extend(_Trip(tap, None) for tap in inside.values())
    trips.sort(key=lambda trip: (trip.first.at, trip.first.key))
    return trips


def _may_pair(entry: Tap, leaving: Tap, calendar: _Calendar) -> bool:
    tariff = calendar.tariff(entry.operator, entry.at)
    return tariff is None or leaving.at - entry.at <= timedelta(minutes=tariff.pairing_minutes)


def _join(trips: list[_Trip], calendar: _Calendar) -> list[_Trip]:
    """Continue a journey over an out-of-station interchange that the tariff names."""
    joined: list[_Trip] = []
    latest: dict[str, _Trip] = {}
    for trip in trips:
        before = latest.get(trip.first.operator)
        if (
            before is not None
            and trip.entry is not None
            and trip.exit is not None
            and trip.entry is not trip.exit
            and _continues(before, trip.entry, calendar)
        ):
            before.more.append((trip.entry, trip.exit))
            continue
        joined.append(trip)
        latest[trip.first.operator] = trip
    return joined


def _continues(before: _Trip, entry: Tap, calendar: _Calendar) -> bool:
    if before.entry is None or before.last is None or before.entry is before.exit:
        return False
    tariff = calendar.tariff(entry.operator, before.first.at)
    if tariff is None or not tariff.interchanges:
        return False
    minutes = tariff.interchange_minutes.get((before.last.stop_id, entry.stop_id))
    return minutes is not None and entry.at - before.last.at <= timedelta(minutes=minutes)


@dataclass(slots=True)
class _Pricing:
    """The running state of one card-day."""

    rider: Rider
    past: list[PastFare]
    calendar: _Calendar
    windows: dict[tuple[str, str], "_Spent"] = field(default_factory=dict)
    months: dict[tuple[str, int, int], list[int]] = field(default_factory=dict)
    conceded: dict[tuple[Rider, str, date, int, bool], Step | None] = field(default_factory=dict)
    legs: dict[str, tuple[Leg, Leg, LegRule, TransferRule | None, int, int]] = field(default_factory=dict)

    def price(self, trip: _Trip, tariff: Tariff) -> PricedJourney:
        """The journey of ``trip`` under ``tariff``."""
        first, last = trip.first, trip.last
        rider = first.rider or self.rider
        state = State.MISSING_ENTRY if trip.entry is None else State.MISSING_EXIT if last is None else State.COMPLETE
        km: Decimal | None = None
        steps: list[Step]
        penal = True
        if state is not State.COMPLETE:
            steps = [Step(code=StepCode.INCOMPLETE, amount_minor=tariff.max_fare_minor, params={"missing": state.value[8:]})]
        elif trip.entry is trip.exit or not tariff.bands:
            steps, penal = self._leg(trip, tariff, rider), False
            if not steps:
                return _unpriced(trip, tariff.id, "no-rule")
        elif first.stop_id == (last or first).stop_id:
            steps = [_same_station(tariff, first, last or first)]
        else:
            try:
                step, km = _distance(trip, tariff)
            except UnknownDistance:
                return _unpriced(trip, tariff.id, "no-distance")
            steps, penal = [step], False
        self._concede(steps, tariff, rider, on=self.calendar.day(first.at), penal=penal)
        if state is State.COMPLETE:
            _overtime(steps, tariff, first, last or first)
        fare = sum(step.amount_minor for step in steps)
        capped = charged = fare
        if state is State.COMPLETE:
            capped = self._cap(steps, tariff, rider, first.at, fare)
            charged = self._month_ticket(steps, tariff, rider, first.at, capped)
            self._remember(PastFare(at=first.at, operator=tariff.operator, capped_minor=capped))
        return PricedJourney(
            key=first.key,
            taps=trip.taps,
            operator=tariff.operator,
            line=first.line,
            state=state,
            from_stop=trip.entry.stop_id if trip.entry else None,
            to_stop=last.stop_id if last is not None and last is not trip.entry else None,
            started_at=first.at,
            ended_at=last.at if last is not None and last is not first else None,
            km=km,
            tariff=tariff.id,
            capped_minor=capped,
            charged_minor=charged,
            steps=tuple(steps),
        )

    def _leg(self, trip: _Trip, tariff: Tariff, rider: Rider) -> list[Step]:
        """The Fares v2 price of a leg and of the transfer that led to it."""
        first, last = trip.first, trip.last or trip.first
        if tariff.legs is None:
            return []
        leg = Leg(
            line=first.line,
            from_stop=first.stop_id,
            to_stop=last.stop_id if last is not first else None,
            departed_at=first.at,
            arrived_at=last.at,
        )
        on = self.calendar.day(first.at)
        categories = frozenset(e.code for e in rider.entitlements if e.holds(on) and e.valid_in(tariff.city))
        found = tariff.legs.price(leg, categories)
        if found is None:
            return []
        rule, amount = found
        steps = [Step(code=StepCode.LEG_FARE, amount_minor=amount, params={"product": rule.product, "rule": rule.leg_group})]
        begun, used, applied = leg, 0, None
        before = self.legs.get(tariff.operator)
        if before is not None:
            started, _, earlier, earlier_transfer, earlier_used, earlier_amount = before
            count = earlier_used if earlier_transfer is not None else 0
            applied = tariff.legs.transfer(before=earlier, after=rule, first=started, last=leg, used=count)
            if applied is not None:
                price = tariff.legs.amount_of(applied.product, categories) or 0
                due = {
                    TransferType.FIRST_AND_TRANSFER: price,
                    TransferType.BOTH_AND_TRANSFER: max(0, amount + price),
                    TransferType.TRANSFER_ONLY: max(0, price - earlier_amount),
                }[applied.type]
                steps.append(
                    Step(
                        code=StepCode.TRANSFER,
                        amount_minor=due - amount,
                        params={"from": earlier.leg_group, "to": rule.leg_group},
                    )
                )
                begun, used = started, count + 1
        self.legs[tariff.operator] = (begun, leg, rule, applied, used, sum(step.amount_minor for step in steps))
        return steps

    def _remember(self, fare: PastFare) -> None:
        self.past.append(fare)
        for spent in self.windows.values():
            spent.add(fare)
        month = self.months.get((fare.operator, *_month(self.calendar.day(fare.at))))
        if month is not None:
            insort(month, -fare.capped_minor)

    def _concede(self, steps: list[Step], tariff: Tariff, rider: Rider, *, on: date, penal: bool) -> None:
        """Apply the one concession that costs the rider least."""
        fare = sum(step.amount_minor for step in steps)
        key = (rider, tariff.id, on, fare, penal)
        if key not in self.conceded:
            self.conceded[key] = self._concession(tariff, rider, fare, on=on, penal=penal)
        step = self.conceded[key]
        if step is not None:
            steps.append(step)

    @staticmethod
    def _concession(tariff: Tariff, rider: Rider, fare: int, *, on: date, penal: bool) -> Step | None:
        """The cheapest concession for ``fare``, equal ones by the tariff's order; none where the fare stays."""
        best: tuple[int, Concession] | None = None
        for concession in tariff.concessions:
            if (penal and not concession.covers_incomplete) or not _entitled(concession, tariff, rider, on):
                continue
            payable = int((fare * concession.percent / 100).quantize(Decimal(1), ROUND_HALF_UP))
            if payable < (fare if best is None else best[0]):
                best = (payable, concession)
        if best is None:
            return None
        payable, concession = best
        params = {"percent": f"{concession.percent.normalize():f}", "entitlement": concession.code, **_names(concession)}
        return Step(code=StepCode.CONCESSION, amount_minor=payable - fare, params=params)

    def _cap(self, steps: list[Step], tariff: Tariff, rider: Rider, at: datetime, amount: int) -> int:
        for cap in tariff.caps:
            if cap.local_only and rider.issuer != tariff.city:
                continue
            spent = self.windows.get((tariff.id, cap.id))
            if spent is None:
                spent = self.windows[tariff.id, cap.id] = _Spent(cap, self.calendar, self.past)
            room = max(0, cap.amount_minor - spent.at(at))
            if amount > room:
                params = {"cap": cap.id, "cap_minor": str(cap.amount_minor), "window": cap.window, **_names(cap)}
                if cap.window is Window.ROLLING:
                    params["hours"] = str(cap.minutes // 60)
                steps.append(Step(code=StepCode.CAP, amount_minor=room - amount, params=params))
                amount = room
        return amount

    def _month_ticket(self, steps: list[Step], tariff: Tariff, rider: Rider, at: datetime, amount: int) -> int:
        passes = [item for item in tariff.passes if not item.local_only or rider.issuer == tariff.city]
        if not passes or not amount:
            return amount
        month = _month(self.calendar.day(at))
        fares = self.months.get((tariff.operator, *month))
        if fares is None:
            fares = self.months[tariff.operator, *month] = sorted(
                -p.capped_minor for p in self.past if p.operator == tariff.operator and _month(card_day(p.at)) == month
            )  # negative: the dearest first
        singles = -sum(fares)
        cheapest = min(item.price_minor for item in passes)
        if singles + amount <= cheapest:
            return amount
        before = min(singles, *(item.price_minor - sum(fares[item.rides :]) for item in passes))
        fares = sorted([*fares, -amount])
        options = [(singles + amount, None), *((item.price_minor - sum(fares[item.rides :]), item) for item in passes)]
        after, chosen = min(options, key=lambda option: option[0])
        if chosen is not None and after - before < amount:
            params = {"pass": chosen.id, "price_minor": str(chosen.price_minor), "rides": str(chosen.rides), **_names(chosen)}
            steps.append(Step(code=StepCode.PASS, amount_minor=after - before - amount, params=params))
            return after - before
        return amount


def _names(item: object) -> dict[str, str]:
    names = getattr(item, "names", None)
    return {"name_en": names.en, "name_zh": names.zh} if names is not None else {}


def _entitled(concession: Concession, tariff: Tariff, rider: Rider, on: date) -> bool:
    if concession.code == LOCAL_CARD:
        return rider.issuer == tariff.city
    return any(
        held.code == concession.code and held.holds(on) and (not concession.same_city or held.valid_in(tariff.city))
        for held in rider.entitlements
    )


def _month(day: date) -> tuple[int, int]:
    return day.year, day.month


class _Spent:
    """What a cap's window has seen; fares are added and asked for in the order of travel."""

    def __init__(self, cap: Cap, calendar: _Calendar, past: Iterable[PastFare]) -> None:
        self._cap, self._calendar = cap, calendar
        self._length = timedelta(minutes=cap.minutes)
        self._recent: deque[tuple[datetime, int]] = deque()
        self._sum = 0
        self._sums: dict[object, int] = {}
        for fare in past:
            self.add(fare)

    def _bucket(self, at: datetime) -> object:
        day = self._calendar.day(at)
        if self._cap.window is Window.DAY:
            return day
        return day.isocalendar()[:2] if self._cap.window is Window.WEEK else _month(day)

    def add(self, fare: PastFare) -> None:
        """A journey was charged."""
        if fare.operator not in self._cap.operators:
            return
        if self._cap.window is Window.ROLLING:
            self._recent.append((fare.at, fare.capped_minor))
            self._sum += fare.capped_minor
        else:
            bucket = self._bucket(fare.at)
            self._sums[bucket] = self._sums.get(bucket, 0) + fare.capped_minor

    def at(self, instant: datetime) -> int:
        """What counts against the cap for a journey that begins at ``instant``."""
        if self._cap.window is not Window.ROLLING:
            return self._sums.get(self._bucket(instant), 0)
        while self._recent and self._recent[0][0] <= instant - self._length:
            self._sum -= self._recent.popleft()[1]
        return self._sum


def _distance(trip: _Trip, tariff: Tariff) -> tuple[Step, Decimal]:
    assert trip.entry is not None
    assert trip.exit is not None
    known = tariff.steps.get((trip.entry.stop_id, trip.exit.stop_id))
    if known is not None and not trip.more:
        step, km = known
        assert isinstance(step, Step)
        return step, km
    km, fare = tariff.distance_fare(trip.entry.stop_id, trip.exit.stop_id)
    params = {"km": f"{km.normalize():f}", "from": trip.entry.stop_id, "to": trip.exit.stop_id}
    if trip.more:
        km = sum((tariff.distance_km(begin.stop_id, end.stop_id) for begin, end in trip.more), km)
        fare = tariff.fare_for(km)
        params.update(km=f"{km.normalize():f}", to=trip.more[-1][1].stop_id, interchange=trip.more[-1][0].stop_id)
    step = Step(code=StepCode.DISTANCE_FARE, amount_minor=fare, params=params)
    if not trip.more:
        tariff.steps[trip.entry.stop_id, trip.exit.stop_id] = (step, km)
    return step, km


def _same_station(tariff: Tariff, entry: Tap, leaving: Tap) -> Step:
    inside = leaving.at - entry.at
    amount = tariff.max_fare_minor
    for rule in tariff.same_station:
        if rule.up_to_minutes is None or inside <= timedelta(minutes=rule.up_to_minutes):
            amount = tariff.max_fare_minor if rule.amount_minor is None else rule.amount_minor
            break
    return Step(
        code=StepCode.SAME_STATION,
        amount_minor=amount,
        params={"stop": entry.stop_id, "minutes": str(int(inside.total_seconds()) // 60)},
    )


def _overtime(steps: list[Step], tariff: Tariff, entry: Tap, leaving: Tap) -> None:
    rule = tariff.overtime
    if rule is None or leaving is entry or leaving.at - entry.at <= timedelta(minutes=rule.after_minutes):
        return
    minutes = int((leaving.at - entry.at).total_seconds()) // 60
    params = {"minutes": str(minutes), "limit": str(rule.after_minutes)}
    steps.append(Step(code=StepCode.OVERTIME, amount_minor=rule.surcharge_minor, params=params))


def _unpriced(trip: _Trip, tariff: str | None, reason: str) -> PricedJourney:
    first, last = trip.first, trip.last
    return PricedJourney(
        key=first.key,
        taps=trip.taps,
        operator=first.operator,
        line=first.line,
        state=State.UNPRICED,
        from_stop=trip.entry.stop_id if trip.entry else None,
        to_stop=last.stop_id if last is not None and last is not trip.entry else None,
        started_at=first.at,
        ended_at=last.at if last is not None and last is not first else None,
        km=None,
        tariff=tariff,
        capped_minor=0,
        charged_minor=0,
        steps=(Step(code=StepCode.UNPRICED, amount_minor=0, params={"reason": reason}),),
    )


def charge(taps: Iterable[Tap], tariffs: Tariffs, rider: Rider, past: Iterable[PastFare] = ()) -> Charge:
    """Price one card's taps of one card-day.

    ``taps`` may come in any order and more than once. ``tariffs`` holds every version; the one in force on the card-day of a
    journey's first tap prices it. ``rider`` is who travels, where a tap does not carry the rider of its own credential.
    ``past`` is what earlier days left for caps and month tickets (:attr:`PricedJourney.past`), as far back as the longest
    window. A journey that no tariff can price is charged nothing and says why. Amounts are minor units.
    """
    kept, replays = in_order(taps)
    calendar = _Calendar(tariffs)
    pricing = _Pricing(rider=rider, past=sorted(past, key=lambda fare: fare.at), calendar=calendar)
    journeys: list[PricedJourney] = []
    for trip in _join(_pair(kept, calendar), calendar):
        tariff = calendar.tariff(trip.first.operator, trip.first.at)
        journeys.append(_unpriced(trip, None, "no-tariff") if tariff is None else pricing.price(trip, tariff))
    return Charge(journeys=tuple(journeys), replays=replays)
