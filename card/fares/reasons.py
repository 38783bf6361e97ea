"""From the bare facts of a pricing to journeys with the steps that made their amounts; the portal puts those into words.

Pricing leaves a compact fact a journey. They are written out only when somebody asks, and a step that depends on the tariff
alone is the same object every time.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from card.fares.compiled import Compiled, Ticket, distance_params, distance_step
from card.fares.journeys import PastFare, PricedJourney, State, Step, StepCode
from card.fares.legs import LegRule
from card.fares.lookback import Cut
from card.fares.tariffs import Tap

Trip = list[Tap | None]
"""The taps of a journey in the order of travel: in and out, and in and out again where it continues after an interchange.

A ride with one tap is that one; none stands for a tap that is missing.
"""

PAIR: Final = 2  # taps of a journey that goes through no gate on the way
_DISTANCE_FARE: Final = StepCode.DISTANCE_FARE
_made: Final = tuple.__new__  # a journey without the detour of a named tuple's own constructor


class Fact(NamedTuple):
    """All that is needed to write a journey out; amounts in minor units. ``reason`` is why it could not be priced."""

    trip: Trip
    first: Tap
    tariff: Compiled | None
    code: StepCode
    base_minor: int
    rule: LegRule | None
    changed: tuple[str, str, int] | None  # a transfer: between which groups, and what it added to the leg's fare
    conceded: Step | None
    overtime_minor: int
    cuts: Sequence[Cut]
    ticket: Ticket | None
    capped_minor: int
    charged_minor: int
    reason: str = ""

    @property
    def state(self) -> State:
        """What is known of the journey."""
        if self.code is StepCode.UNPRICED:
            return State.UNPRICED
        if self.code is StepCode.INCOMPLETE:
            return State.MISSING_ENTRY if self.trip[0] is None else State.MISSING_EXIT
        return State.COMPLETE


class Charge:
    """A card-day's price: its journeys in order, and the taps that were set aside as replays of a credential."""

    __slots__ = ("_facts", "_journeys", "replays")

    def __init__(self, facts: list[Fact], replays: tuple[str, ...]) -> None:
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


def parts(trip: Trip) -> list[tuple[str, str]]:
    """The stretches of a journey that is all there, by the stops where it was tapped in and out."""
    stops = [tap.stop_id for tap in trip if tap is not None]
    return list(zip(stops[::2], stops[1::2], strict=True))


def _written_out(fact: Fact) -> PricedJourney:
    """A journey with its reasons, in the order in which they apply; they add up to what is charged."""
    trip, first, tariff, code, base, _, changed, conceded, overtime, cuts, ticket, capped, charged, _ = fact
    entry, last = trip[0], trip[-1]
    state, km = State.COMPLETE, None
    if code is _DISTANCE_FARE:
        assert tariff is not None
        km, step = _distance(trip, tariff, base)
    else:
        step = Step(code, base, _base_params(fact))
        state = fact.state
    steps = [step]
    if changed is not None:
        steps.append(Step(StepCode.TRANSFER, changed[2], {"from": changed[0], "to": changed[1]}))
    if conceded is not None:
        steps.append(conceded)
    if overtime:
        steps.append(_overtime(fact))
    for cap, amount in cuts:
        steps.append(Step(StepCode.CAP, amount, cap.params))
    if ticket is not None:
        steps.append(Step(StepCode.PASS, charged - capped, ticket.params))
    return _made(
        PricedJourney,
        (
            first.key,
            tuple([tap.key for tap in trip if tap is not None]),
            first.operator,
            first.line,
            state,
            None if entry is None else entry.stop_id,
            None if last is None or last is entry else last.stop_id,
            first.at,
            None if last is None or last is first else last.at,
            km,
            None if tariff is None else tariff.id,
            capped,
            charged,
            tuple(steps),
        ),
    )


def _distance(trip: Trip, tariff: Compiled, fare: int) -> tuple[Decimal | None, Step]:
    """The kilometres of a journey, where the tariff knows them, and why they cost what they do."""
    entry, last = trip[0], trip[-1]
    assert entry is not None
    assert last is not None
    if len(trip) == PAIR:
        return distance_step(tariff, entry.stop_id, last.stop_id)
    ways = parts(trip)
    km = tariff.km_of_parts(ways)
    params = {**distance_params(entry.stop_id, last.stop_id, km), "interchange": ways[-1][0]}
    return km, Step(StepCode.DISTANCE_FARE, fare, params)


def _base_params(fact: Fact) -> dict[str, str]:
    match fact.code:
        case StepCode.LEG_FARE:
            assert fact.rule is not None
            return {"product": fact.rule.product, "rule": fact.rule.leg_group}
        case StepCode.SAME_STATION:
            return {"stop": fact.first.stop_id, "minutes": _minutes(fact)}
        case StepCode.INCOMPLETE:
            return {"missing": "entry" if fact.trip[0] is None else "exit"}
    return {"reason": fact.reason}


def _overtime(fact: Fact) -> Step:
    assert fact.tariff is not None
    assert fact.tariff.tariff.overtime is not None
    params = {"minutes": _minutes(fact), "limit": str(fact.tariff.tariff.overtime.after_minutes)}
    return Step(StepCode.OVERTIME, fact.overtime_minor, params)


def _minutes(fact: Fact) -> str:
    """How long the rider was inside."""
    last = fact.trip[-1]
    assert last is not None
    return str(int((last.at - fact.first.at).total_seconds()) // 60)
