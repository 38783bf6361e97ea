"""What a card owes for a day of taps: one pure function, the same answer whatever the order, repetition or delay of arrival.

``charge`` sorts what it is given by the taps' own time, so arrival cannot matter. It works with compiled tariffs and leaves a
compact fact a journey (:mod:`card.fares.reasons`). Many days of one card are priced by one ``Meter``.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from itertools import islice
from operator import attrgetter, lt
from typing import Final

from app.kernel.clock import local
from card.fares.compiled import DAY_BEGINS, ORIGIN, Compiled, Day, RiderTerms, day_of
from card.fares.journeys import PastFare, StepCode
from card.fares.legs import NEVER, Chain, LegRule
from card.fares.lookback import Caps, Cut, Fares, Month, Spent
from card.fares.reasons import PAIR, Charge, Fact, Trip, parts
from card.fares.tariffs import Rider, Tap, Tariffs

ENTRY, EXIT, RIDE = "entry", "exit", "ride"
_RANK: Final = {EXIT: 0, RIDE: 1, ENTRY: 2}  # at one instant, out comes before in
_AT: Final = attrgetter("at")
_made: Final = tuple.__new__  # a fact without the detour of a named tuple's own constructor


def card_day(instant: datetime) -> date:
    """The card-day on which ``instant`` falls."""
    return (local(instant) - DAY_BEGINS).date()


def begins(day: date) -> datetime:
    """The instant at which the card-day ``day`` begins."""
    return ORIGIN + (day - date(1970, 1, 1))


def in_card_day_of(other: datetime, instant: datetime) -> datetime:
    """``instant``, or the nearest one to it that lies in the card-day of ``other``: no journey leaves its card-day."""
    begins = ORIGIN + timedelta(days=(other - ORIGIN).days)
    return min(max(instant, begins), begins + timedelta(days=1) - timedelta.resolution)


def in_order(taps: Iterable[Tap]) -> tuple[list[Tap], tuple[str, ...]]:
    """Each tap once, by its own time, and the keys of those that replay a credential already shown that day."""
    kept = list({tap.key: tap for tap in taps}.values())
    instants = list(map(_AT, kept))
    if not all(map(lt, instants, islice(instants, 1, None))):
        kept.sort(key=lambda tap: (tap.at, _RANK[tap.kind], tap.key))
    tokens = [tap.token for tap in kept if tap.token]
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


class _Held:
    """What holds for a rider's journeys with one operator on one day: tariff, terms, and what they look back on."""

    __slots__ = ("caps", "chain", "entitlements", "issuer", "month", "tariff", "terms")

    def __init__(self, tariff: Compiled, rider: Rider, terms: RiderTerms, chain: Chain) -> None:
        self.issuer, self.entitlements = rider.issuer, rider.entitlements
        self.tariff, self.terms, self.chain = tariff, terms, chain
        self.caps: Caps | None = None
        self.month: Month | None = None


class Meter:
    """Prices the card-days of one card, one after the other, and remembers what caps and month tickets look back on."""

    __slots__ = ("_fares", "_months", "_paid", "_rider", "_tariffs", "_windows")

    def __init__(self, tariffs: Tariffs, rider: Rider, past: Iterable[PastFare] = ()) -> None:
        self._tariffs, self._rider = tariffs, rider
        self._fares: Fares = sorted(past, key=_AT)
        self._paid = 0
        self._windows: dict[object, Spent] = {}
        self._months: dict[str, Month] = {}

    def day(self, taps: Iterable[Tap]) -> Charge:
        """Price the taps of one card-day; the days before it were priced before, or are in ``past``."""
        kept, replays = in_order(taps)
        trips, joins = self._pair(kept)
        return Charge(self._price(self._join(trips) if joins else trips), replays)

    def _pair(self, taps: list[Tap]) -> tuple[list[Trip], bool]:
        """Entries with their exits, operator by operator, in the order of their first taps; and whether any may be joined."""
        trips: list[Trip] = []
        inside: dict[str, tuple[Trip, datetime, Compiled | None]] = {}
        joins, ends = False, NEVER
        for tap in taps:
            if tap.kind == ENTRY:
                if tap.at >= ends:
                    day = day_of(self._tariffs, tap.at)
                    ends = day.ends
                trip: Trip = [tap, None]
                trips.append(trip)
                inside[tap.operator] = trip, tap.at, day[tap.operator]
            elif tap.kind == EXIT:
                waiting = inside.pop(tap.operator, None)
                if waiting is not None:
                    trip, entered, tariff = waiting
                    if tariff is None or tap.at - entered <= tariff.pairing:
                        trip[1] = tap
                        joins = joins or (tariff is not None and tariff.joins)
                        continue
                trips.append([None, tap])
            else:
                trips.append([tap])
        return trips, joins

    def _join(self, trips: list[Trip]) -> list[Trip]:
        """Continue a journey over an out-of-station interchange or a join of legs that the tariff names."""
        joined: list[Trip] = []
        latest: dict[str, Trip] = {}
        for trip in trips:
            entry, leaving = trip[0], trip[-1]
            operator = (entry or leaving).operator  # type: ignore[union-attr]  # one of them is there
            if entry is not None and leaving is not None and entry is not leaving:
                before = latest.get(operator)
                if before is not None and self._continues(before, entry):
                    before += trip
                    continue
            joined.append(trip)
            latest[operator] = trip
        return joined

    def _continues(self, before: Trip, entry: Tap) -> bool:
        begin, last_begin, left = before[0], before[-2] if len(before) > 1 else None, before[-1]
        if begin is None or last_begin is None or left is None:
            return False
        tariff = day_of(self._tariffs, begin.at)[entry.operator]
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
            and legs.joined(from_line=last_begin.line, from_stop=left.stop_id, to_line=entry.line, to_stop=entry.stop_id)
        )

    def _hold(self, tariff: Compiled, operator: str, rider: Rider, day: Day, chains: dict[str, Chain]) -> _Held:
        terms = tariff.rider_terms(rider, day.on)
        chain = chains.get(tariff.city)
        if chain is None:
            chain = chains[tariff.city] = Chain()
        held = _Held(tariff, rider, terms, chain)
        if terms.caps:
            capped = []
            for cap in terms.caps:
                spent = self._windows.get(cap.key)
                if spent is None:
                    spent = self._windows[cap.key] = Spent(cap)
                capped.append((cap, spent))
            held.caps = Caps(capped, day)
        if terms.passes is not None:
            month = self._months.get(operator)
            if month is None:
                month = self._months[operator] = Month(operator)
            month.open(self._fares, day, terms.passes)
            held.month = month
        return held

    def _price(self, trips: list[Trip]) -> list[Fact]:  # noqa: C901, PLR0912, PLR0915  a call a rule costs as much as the rule
        """The facts of ``trips``, which are in the order of travel: each changes what caps and tickets leave for the next."""
        facts: list[Fact] = []
        fares, paid = self._fares, self._paid
        chains: dict[str, Chain] = {}
        of_operator: dict[str, _Held] = {}
        ends = NEVER
        for trip in trips:
            entry, last = trip[0], trip[-1]
            first = last if entry is None else entry
            assert first is not None
            at, operator = first.at, first.operator
            if at >= ends:
                day = day_of(self._tariffs, at)
                ends = day.ends
                of_operator.clear()
            rider = first.rider or self._rider
            held = of_operator.get(operator)
            if held is None or held.issuer != rider.issuer or held.entitlements != rider.entitlements:
                found = day[operator]
                if found is None:
                    facts.append(_unpriced(trip, first, None, "no-tariff"))
                    continue
                held = of_operator[operator] = self._hold(found, operator, rider, day, chains)
            tariff, terms = held.tariff, held.terms
            if entry is None or last is None:
                due, conceded = terms.penal[tariff.max_fare]
                facts.append(
                    _made(
                        Fact,
                        (trip, first, tariff, _INCOMPLETE, tariff.max_fare, None, None, conceded, 0, (), None, due, due, ""),
                    )
                )
                continue
            one_tap, through = entry is last, len(trip) > PAIR
            rule: LegRule | None = None
            leg_minor = 0
            if (one_tap or tariff.by_legs) and terms.legs is not None:
                network = _network(trip, tariff) if through else tariff.networks.get(entry.line, "")
                priced = terms.legs.price(network, entry.stop_id, None if one_tap else last.stop_id, at, last.at)
                if priced is not None:
                    rule, leg_minor = priced
            payable = terms.payable
            if one_tap or not tariff.by_distance:
                if rule is None:
                    facts.append(_unpriced(trip, first, tariff, "no-rule"))
                    continue
                code, fare = _LEG_FARE, leg_minor
            elif entry.stop_id == last.stop_id:
                code, fare = _SAME_STATION, tariff.same_station_fare(last.at - at)
                rule, payable = None, terms.penal
            else:
                code = _DISTANCE_FARE
                known = tariff.fare_of_parts(parts(trip)) if through else tariff.fares[entry.stop_id, last.stop_id]
                if known is None:
                    facts.append(_unpriced(trip, first, tariff, "no-distance"))
                    continue
                fare = known
            base = fare
            changed = None
            if rule is not None and tariff.transfers:  # a journey by distance belongs to the leg group whose rule it matches
                assert terms.legs is not None
                fare, changed = held.chain.ride(terms.legs.changes, rule.leg_group, fare, at, last.at)
            amount, conceded = payable[fare]
            extra = 0
            if tariff.overtime_after is not None and not one_tap and last.at - at > tariff.overtime_after:
                extra = tariff.overtime_minor
                amount += extra
            cuts: Sequence[Cut] = ()
            ticket = None
            if amount > 0 and held.caps is not None and paid + amount > held.caps.free_until:
                amount, cuts = held.caps.cut(fares, paid, at, amount)
            charged = amount
            if amount:
                if held.month is not None:
                    charged, ticket = held.month.due(fares, amount)
                fares.append((at, operator, amount))
                if amount > 0:  # a product may be worth less than nothing
                    paid += amount
            facts.append(
                _made(
                    Fact,
                    (trip, first, tariff, code, base, rule, changed, conceded, extra, cuts, ticket, amount, charged, ""),
                )
            )
        self._paid = paid
        return facts


_DISTANCE_FARE, _LEG_FARE = StepCode.DISTANCE_FARE, StepCode.LEG_FARE
_SAME_STATION, _INCOMPLETE = StepCode.SAME_STATION, StepCode.INCOMPLETE


def _network(trip: Trip, tariff: Compiled) -> str:
    """The network of a journey of several legs; empty where they are not of one."""
    assert tariff.legs is not None
    return tariff.legs.network_of(tap.line for tap in trip[::2] if tap is not None)


def _unpriced(trip: Trip, first: Tap, tariff: Compiled | None, reason: str) -> Fact:
    return Fact(trip, first, tariff, StepCode.UNPRICED, 0, None, None, None, 0, (), None, 0, 0, reason)


def charge(taps: Iterable[Tap], tariffs: Tariffs, rider: Rider, past: Iterable[PastFare] = ()) -> Charge:
    """Price one card's taps of one card-day.

    ``taps`` may come in any order and more than once. ``tariffs`` holds every version; the one in force on the card-day of a
    journey's first tap prices it. ``rider`` is who travels, where a tap does not carry the rider of its own credential.
    ``past`` is what earlier days left for caps and month tickets (:attr:`PricedJourney.past`), as far back as the longest
    window. A journey that no tariff can price is charged nothing and says why. Amounts are minor units.
    """
    return Meter(tariffs, rider, past).day(taps)
