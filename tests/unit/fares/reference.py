# ruff: noqa: C901, PLR0911, PLR0912  the rules stand in one piece, as they would on paper
"""The fare rules written out plainly, slow and without any memory: what the fast engine must agree with, step by step.

Every rule is applied to the whole list of what came before, nothing is compiled, sorted once or remembered.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from app.kernel.clock import local
from card.fares import (
    LOCAL_CARD,
    Cap,
    Concession,
    LegRule,
    NoTariff,
    PastFare,
    PricedJourney,
    Rider,
    State,
    Step,
    StepCode,
    Tap,
    Tariff,
    Tariffs,
    TransferRule,
    TransferType,
    UnknownDistance,
    Window,
    card_day,
)

RANK = {"exit": 0, "ride": 1, "entry": 2}
Pairs = list[tuple[Tap | None, Tap | None]]


def price(
    taps: Iterable[Tap], tariffs: Tariffs, rider: Rider, past: Iterable[PastFare] = ()
) -> tuple[list[PricedJourney], tuple[str, ...]]:
    """The journeys of a card-day and the taps set aside, as ``card.fares.charge`` must find them."""
    ordered = sorted({tap.key: tap for tap in taps}.values(), key=lambda tap: (tap.at, RANK[tap.kind], tap.key))
    replays = tuple(
        tap.key for n, tap in enumerate(ordered) if tap.token and any(tap.token == before.token for before in ordered[:n])
    )
    trips = join(pair([tap for tap in ordered if tap.key not in replays], tariffs), tariffs)
    journeys: list[PricedJourney] = []
    known = list(past)
    legs: list[dict] = []
    for trip in trips:
        journey = one(trip, tariffs, rider, known, legs)
        journeys.append(journey)
        if journey.past is not None:
            known.append(journey.past)
    return journeys, replays


def version(tariffs: Tariffs, tap: Tap, at: datetime) -> Tariff | None:
    try:
        return tariffs.at(tap.operator, card_day(at))
    except NoTariff:
        return None


def pair(taps: list[Tap], tariffs: Tariffs) -> list[Pairs]:
    """An exit belongs to the newest entry of its operator, unless another tap at a gate came between or it took too long."""
    trips: list[Pairs] = []
    used: set[str] = set()
    for n, tap in enumerate(taps):
        if tap.key in used:
            continue
        if tap.kind == "ride":
            trips.append([(tap, tap)])
        elif tap.kind == "exit":
            trips.append([(None, tap)])
        else:
            later = [other for other in taps[n + 1 :] if other.operator == tap.operator and other.kind != "ride"]
            leaving = later[0] if later and later[0].kind == "exit" else None
            tariff = version(tariffs, tap, tap.at)
            if leaving and tariff and leaving.at - tap.at > timedelta(minutes=tariff.pairing_minutes):
                leaving = None
            if leaving is not None:
                used.add(leaving.key)
            trips.append([(tap, leaving)])
    return trips


def join(trips: list[Pairs], tariffs: Tariffs) -> list[Pairs]:
    joined: list[Pairs] = []
    for trip in trips:
        entry, leaving = trip[0]
        operator = (entry or leaving).operator
        before = next((one for one in reversed(joined) if (one[0][0] or one[0][1]).operator == operator), None)
        if before is not None and entry and leaving and entry is not leaving and continues(before, entry, tariffs):
            before.append((entry, leaving))
        else:
            joined.append(trip)
    return joined


def continues(before: Pairs, entry: Tap, tariffs: Tariffs) -> bool:
    begin, left = before[0][0], before[-1][1]
    if begin is None or left is None or before[0][0] is before[0][1]:
        return False
    tariff = version(tariffs, entry, begin.at)
    if tariff is None:
        return False
    gap = entry.at - left.at
    for rule in tariff.interchanges:
        if (rule.from_stop, rule.to_stop) == (left.stop_id, entry.stop_id) and gap <= timedelta(minutes=rule.minutes):
            return True
    if tariff.legs is None or gap > timedelta(minutes=tariff.join_minutes):
        return False
    networks, stations = tariff.legs.networks, tariff.legs.stations
    for rule in tariff.legs.joins:
        if rule.from_network and rule.from_network != networks.get(before[-1][0].line, ""):
            continue
        if rule.to_network and rule.to_network != networks.get(entry.line, ""):
            continue
        left_at = {left.stop_id, stations.get(left.stop_id, left.stop_id)}
        in_at = {entry.stop_id, stations.get(entry.stop_id, entry.stop_id)}
        if rule.from_stop or rule.to_stop:
            if rule.from_stop in left_at and rule.to_stop in in_at:
                return True
        elif left_at & in_at:
            return True
    return False


def one(trip: Pairs, tariffs: Tariffs, rider: Rider, past: list[PastFare], legs: list[dict]) -> PricedJourney:
    entry, leaving = trip[0][0], trip[-1][1]
    first = entry or leaving
    rider = first.rider or rider
    tariff = version(tariffs, first, first.at)
    state = State.MISSING_ENTRY if entry is None else State.MISSING_EXIT if leaving is None else State.COMPLETE
    steps: list[Step] = []
    reason, km, penal = "no-tariff", None, True
    if tariff is not None:
        if state is not State.COMPLETE:
            steps = [Step(code=StepCode.INCOMPLETE, amount_minor=tariff.max_fare_minor, params={"missing": state.value[8:]})]
        elif entry is leaving or not (tariff.bands or tariff.pair_fares):
            penal, reason = False, "no-rule"
            found = leg_rule(trip, tariff, rider)
            if found is not None:
                params = {"product": found[0].product, "rule": found[0].leg_group}
                steps = [Step(code=StepCode.LEG_FARE, amount_minor=found[1], params=params)]
                steps += change(trip, tariff, rider, legs, found[0], found[1])
        elif entry.stop_id == leaving.stop_id:
            steps = [same_station(tariff, entry, leaving)]
        else:
            penal, reason = False, "no-distance"
            amount, km, params = distance(trip, tariff)
            if amount is not None:
                steps = [Step(code=StepCode.DISTANCE_FARE, amount_minor=amount, params=params)]
                found = leg_rule(trip, tariff, rider)
                if found is not None and tariff.legs.transfers:
                    steps += change(trip, tariff, rider, legs, found[0], amount)
    if not steps:
        state, km = State.UNPRICED, None
        steps = [Step(code=StepCode.UNPRICED, amount_minor=0, params={"reason": reason})]
        capped = charged = 0
    else:
        steps += concession(tariff, rider, total(steps), card_day(first.at), penal=penal)
        if state is State.COMPLETE:
            steps += overtime(tariff, entry, leaving)
            for cap in tariff.caps:
                steps += cap_step(cap, tariff, rider, first.at, total(steps), past)
        capped = total(steps)
        if state is State.COMPLETE:
            steps += month_ticket(tariff, rider, first.at, capped, past)
        charged = total(steps)
    taps = tuple(tap.key for stretch in trip for tap in stretch if tap is not None)
    return PricedJourney(
        key=first.key,
        taps=taps[:1] if entry is leaving else taps,
        operator=first.operator,
        line=first.line,
        state=state,
        from_stop=entry.stop_id if entry else None,
        to_stop=leaving.stop_id if leaving is not None and leaving is not entry else None,
        started_at=first.at,
        ended_at=leaving.at if leaving is not None and leaving is not first else None,
        km=km,
        tariff=tariff.id if tariff else None,
        capped_minor=capped,
        charged_minor=charged,
        steps=tuple(steps),
    )


def total(steps: list[Step]) -> int:
    return sum(step.amount_minor for step in steps)


def distance(trip: Pairs, tariff: Tariff) -> tuple[int | None, Decimal | None, dict[str, str]]:
    begin, end = trip[0][0].stop_id, trip[-1][1].stop_id
    params = {"from": begin, "to": end}
    try:
        km = sum((tariff.distance_km(one.stop_id, other.stop_id) for one, other in trip), Decimal(0))
        params["km"] = f"{km.normalize():f}"
    except UnknownDistance:
        km = None
    if len(trip) > 1:
        params["interchange"] = trip[-1][0].stop_id
    amount = tariff.pair_fare(begin, end)
    if amount is None and tariff.bands and km is not None:
        amount = tariff.fare_for(km)
    return amount, km, params


def same_station(tariff: Tariff, entry: Tap, leaving: Tap) -> Step:
    amount = tariff.max_fare_minor
    for rule in reversed(tariff.same_station):
        if rule.up_to_minutes is None or leaving.at - entry.at <= timedelta(minutes=rule.up_to_minutes):
            amount = tariff.max_fare_minor if rule.amount_minor is None else rule.amount_minor
    minutes = int((leaving.at - entry.at).total_seconds()) // 60
    return Step(code=StepCode.SAME_STATION, amount_minor=amount, params={"stop": entry.stop_id, "minutes": str(minutes)})


def categories(tariff: Tariff, rider: Rider, on: date) -> set[str]:
    return {held.code for held in rider.entitlements if held.holds(on) and held.valid_in(tariff.city)}


def product(tariff: Tariff, name: str, mine: set[str]) -> int | None:
    prices = [
        item.amount_minor
        for item in tariff.legs.products.get(name, ())
        if item.rider_category is None or item.rider_category in mine
    ]
    return min(prices) if prices else None


def leg_rule(trip: Pairs, tariff: Tariff, rider: Rider) -> tuple[LegRule, int] | None:
    legs, entry, leaving = tariff.legs, trip[0][0], trip[-1][1]
    if legs is None:
        return None
    networks = {legs.networks.get(begin.line, "") for begin, _ in trip}
    network = networks.pop() if len(networks) == 1 else ""
    starts = legs.areas.get(entry.stop_id, frozenset())
    ends = legs.areas.get(leaving.stop_id, frozenset()) if leaving is not entry else frozenset()

    def fits(asked: str, have: frozenset[str], named: set[str]) -> bool:
        return asked in have if asked else legs.uses_priority or not have & named

    def within(group: str, at: datetime) -> bool:
        here = local(at)
        return not group or any(
            (frame.start is None or frame.start <= here.time())
            and (frame.end is None or here.time() < frame.end)
            and here.date() in legs.service_dates.get(frame.service, ())
            for frame in legs.timeframes.get(group, ())
        )

    mine = categories(tariff, rider, card_day(entry.at))
    matching = [
        (-rule.priority, amount, n, rule)
        for n, rule in enumerate(legs.rules)
        if fits(rule.network, frozenset({network} - {""}), {other.network for other in legs.rules})
        and fits(rule.from_area, starts, {other.from_area for other in legs.rules})
        and fits(rule.to_area, ends, {other.to_area for other in legs.rules})
        and within(rule.from_timeframe, entry.at)
        and within(rule.to_timeframe, leaving.at)
        and (amount := product(tariff, rule.product, mine)) is not None
    ]
    if not matching:
        return None
    _, amount, _, rule = min(matching)
    return rule, amount


def change(trip: Pairs, tariff: Tariff, rider: Rider, history: list[dict], rule: LegRule, amount: int) -> list[Step]:
    """``history`` holds every leg so far with the rule that led to it; a chain is read back from its end."""
    legs, entry, leaving = tariff.legs, trip[0][0], trip[-1][1]
    me = {"city": tariff.city, "group": rule.leg_group, "in": entry.at, "out": leaving.at, "by": None, "due": amount}
    same = [leg for leg in history if leg["city"] == tariff.city]
    history.append(me)
    if not same or not legs.transfers:
        return []
    mine = categories(tariff, rider, card_day(entry.at))
    options = []
    for n, transfer in enumerate(legs.transfers):
        if not leads(transfer, same[-1]["group"], rule.leg_group, tariff):
            continue
        pair = (transfer.from_group, transfer.to_group)
        chain = 0
        while chain < len(same) and same[-1 - chain]["by"] == pair:
            chain += 1
        begun = same[-1 - chain]
        if transfer.count is not None and chain + 1 > transfer.count:
            continue
        if transfer.seconds is not None:
            kind = int(transfer.seconds_type)
            span = (entry.at if kind in (1, 2) else leaving.at) - (begun["in"] if kind in (0, 1) else begun["out"])
            if span.total_seconds() > transfer.seconds:
                continue
        price = product(tariff, transfer.product, mine) if transfer.product else 0
        if price is None:
            continue
        if transfer.type is TransferType.BOTH_AND_TRANSFER:
            price += amount
        if transfer.type is TransferType.TRANSFER_ONLY and same[-1]["by"] is None:
            price -= same[-1]["due"]
        options.append((Decimal("inf") if transfer.count is None else transfer.count, max(0, price), n, pair))
    if not options:
        return []
    _, due, _, me["by"] = min(options, key=lambda option: (option[0], option[1]))
    me["due"] = due
    params = {"from": same[-1]["group"], "to": rule.leg_group}
    return [Step(code=StepCode.TRANSFER, amount_minor=due - amount, params=params)]


def leads(transfer: TransferRule, before: str, after: str, tariff: Tariff) -> bool:
    groups = {rule.leg_group for rule in tariff.legs.rules} - {""}
    if before not in groups or after not in groups:
        return False
    from_others = {rule.from_group for rule in tariff.legs.transfers}
    to_others = {rule.to_group for rule in tariff.legs.transfers}
    return (transfer.from_group == before if transfer.from_group else before not in from_others) and (
        transfer.to_group == after if transfer.to_group else after not in to_others
    )


def concession(tariff: Tariff, rider: Rider, fare: int, on: date, *, penal: bool) -> list[Step]:
    best: tuple[int, Concession | None] = (fare, None)
    for item in tariff.concessions:
        mine = rider.issuer == tariff.city if item.code == LOCAL_CARD else False
        for held in rider.entitlements:
            if held.code == item.code != LOCAL_CARD and held.holds(on):
                mine = mine or held.valid_in(tariff.city) or not item.same_city
        payable = int((fare * item.percent / 100).quantize(Decimal(1), ROUND_HALF_UP))
        if mine and (item.covers_incomplete or not penal) and payable < best[0]:
            best = (payable, item)
    payable, item = best
    if item is None:
        return []
    params = {"percent": f"{item.percent.normalize():f}", "entitlement": item.code}
    return [Step(code=StepCode.CONCESSION, amount_minor=payable - fare, params={**params, **names(item)})]


def names(item: object) -> dict[str, str]:
    return {"name_en": item.names.en, "name_zh": item.names.zh}


def overtime(tariff: Tariff, entry: Tap, leaving: Tap) -> list[Step]:
    rule, inside = tariff.overtime, leaving.at - entry.at
    if rule is None or entry is leaving or inside <= timedelta(minutes=rule.after_minutes):
        return []
    params = {"minutes": str(int(inside.total_seconds()) // 60), "limit": str(rule.after_minutes)}
    return [Step(code=StepCode.OVERTIME, amount_minor=rule.surcharge_minor, params=params)]


def cap_step(cap: Cap, tariff: Tariff, rider: Rider, at: datetime, amount: int, past: list[PastFare]) -> list[Step]:
    if cap.local_only and rider.issuer != tariff.city:
        return []

    def counts(fare: PastFare) -> bool:
        one, other = card_day(fare.at), card_day(at)
        match cap.window:
            case Window.ROLLING:
                return fare.at > at - timedelta(minutes=cap.minutes)
            case Window.DAY:
                return one == other
            case Window.WEEK:
                return one.isocalendar()[:2] == other.isocalendar()[:2]
        return (one.year, one.month) == (other.year, other.month)

    spent = sum(fare.capped_minor for fare in past if fare.operator in cap.operators and counts(fare))
    room = max(0, cap.amount_minor - spent)
    if amount <= room:
        return []
    params = {"cap": cap.id, "cap_minor": str(cap.amount_minor), "window": cap.window, **names(cap)}
    if cap.window is Window.ROLLING:
        params["hours"] = str(cap.minutes // 60)
    return [Step(code=StepCode.CAP, amount_minor=room - amount, params=params)]


def month_ticket(tariff: Tariff, rider: Rider, at: datetime, amount: int, past: list[PastFare]) -> list[Step]:
    """The month so far costs what the best ticket with the dearest rides in it, and the rest as singles, would have cost."""
    on = card_day(at)
    singles = [
        fare.capped_minor
        for fare in past
        if fare.operator == tariff.operator and (card_day(fare.at).year, card_day(fare.at).month) == (on.year, on.month)
    ]
    mine = [item for item in tariff.passes if not item.local_only or rider.issuer == tariff.city]

    def best(fares: list[int]) -> tuple[int, int]:
        dearest = sorted(fares, reverse=True)
        options = [sum(dearest), *(item.price_minor + sum(dearest[item.rides :]) for item in mine)]
        return min(options), options.index(min(options))

    before, (after, chosen) = best(singles)[0], best([*singles, amount])
    if not chosen or after - before >= amount:
        return []
    item = mine[chosen - 1]
    params = {"pass": item.id, "price_minor": str(item.price_minor), "rides": str(item.rides), **names(item)}
    return [Step(code=StepCode.PASS, amount_minor=after - before - amount, params=params)]
