"""Why a card-day cost what it cost, whole enough to be read in another city: taps, rule, version, cap, and every correction.

The document travels with a claim to the card's issuer, which knows neither the stops nor the fares. Names carry both
languages; amounts are fen; instants are UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.db import Json
from card.fares import Names
from card.transit import network, queries
from card.transit.models import ClaimedTap, JourneyRow, PresentmentIn
from card.transit.queries import JourneyView

VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PutInPlace:
    """A tap that no gate recorded: ``source`` is ``claim`` or ``habit``; a habit rests on ``same`` of ``trips`` trips."""

    key: str
    source: str
    kind: str
    stop_id: str
    at: datetime
    trips: int
    same: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignRide:
    """Rides of one card-day with one operator elsewhere: every claim merged into what they cost together.

    ``explanation`` is the acquirer's newest; it explains ``amount_minor`` when ``settled``, else a correction is on its way.
    """

    id: UUID
    acquirer: str
    card_number: str
    at: datetime
    amount_minor: int
    parts: tuple[tuple[datetime, int, str], ...]
    explanation: Json | None

    @property
    def settled(self) -> bool:
        """Whether the explanation adds up to what was taken."""
        return self.explanation is not None and self.explanation.get("total_minor") == self.amount_minor


def _names(names: Names) -> Json:
    return {"en": names.en, "zh_Hans_CN": names.zh}


def put_in_place(session: Session, found: JourneyView) -> list[PutInPlace]:
    """The taps of a journey that were claimed or completed from habit."""
    ids = [UUID(key.partition("/")[2]) for key in found.taps if key.startswith(("claim/", "habit/"))]
    rows = (
        session.scalars(select(ClaimedTap).where(ClaimedTap.id.in_(ids)).order_by(ClaimedTap.at, ClaimedTap.id)) if ids else ()
    )
    return [
        PutInPlace(
            key=f"{row.source}/{row.id}",
            source=row.source,
            kind=row.kind,
            stop_id=row.stop_id,
            at=row.at,
            trips=int(row.evidence.get("trips", 0)),
            same=int(row.evidence.get("same", 0)),
        )
        for row in rows
    ]


def document(session: Session, *, card_number: str, day: date, operator_id: str) -> Json:
    """The explanation of a card-day with one operator, as priced now."""
    rows = session.scalars(
        select(JourneyRow)
        .where(JourneyRow.card_number == card_number, JourneyRow.card_day == day, JourneyRow.operator_id == operator_id)
        .order_by(JourneyRow.started_at, JourneyRow.id)
    )
    journeys = [queries.journey(session, row.id, operator_id=operator_id) for row in rows]
    lines = {line.id: line for line in network.lines_of(session, operator_id)}
    versions = {one.id: one for one in network.tariff_views(session, operator_id)}
    stops: set[str] = set()
    told = [_journey(session, one, lines=lines, versions=versions, stops=stops) for one in journeys]
    places = network.stops_by_id(session, sorted(stops)) if stops else {}
    return {
        "version": VERSION,
        "operator": {"id": operator_id, **_names(network.operator(session, operator_id).names)},
        "card_day": day.isoformat(),
        "total_minor": sum(one.charged_minor for one in journeys),
        "stops": {stop: _names(place.names) for stop, place in sorted(places.items())},
        "journeys": told,
    }


def _journey(
    session: Session,
    found: JourneyView,
    *,
    lines: dict[str, network.LineView],
    versions: dict[str, network.TariffView],
    stops: set[str],
) -> Json:
    taps: list[Json] = [
        {"kind": tap.kind, "at": tap.at.isoformat(), "stop": tap.stop_id, "source": "gate", "terminal": str(tap.terminal_id)}
        for tap in queries.taps_of_journey(session, found)
    ]
    taps += [
        {"kind": tap.kind, "at": tap.at.isoformat(), "stop": tap.stop_id, "source": tap.source}
        for tap in put_in_place(session, found)
    ]
    taps.sort(key=lambda tap: str(tap["at"]))
    stops |= {stop for stop in (found.from_stop, found.to_stop, *(tap["stop"] for tap in taps)) if stop}
    stops |= {step.params[name] for step in found.steps for name in ("from", "to", "stop") if name in step.params}
    line, version = lines.get(found.line_id), versions.get(found.tariff_id or "")
    return {
        "from": found.from_stop,
        "to": found.to_stop,
        "line": {"id": line.id, "color": line.color, **_names(line.names)} if line else None,
        "state": found.state.value,
        "started_at": found.started_at.isoformat(),
        "ended_at": found.ended_at.isoformat() if found.ended_at else None,
        "km": None if found.km is None else f"{found.km.normalize():f}",
        "tariff": {
            "id": version.id,
            "effective_from": version.effective_from.isoformat(),
            "secondary_source": version.secondary_source,
            **_names(version.names),
        }
        if version
        else None,
        "charged_minor": found.charged_minor,
        "steps": [{"code": step.code.value, "amount_minor": step.amount_minor, "params": step.params} for step in found.steps],
        "taps": taps,
    }


def of_reference(session: Session, reference: str) -> Json | None:
    """The explanation for a claim's reference ``card-day:<number>:<day>:<operator>``; none for any other reference."""
    kind, _, rest = reference.partition(":")
    number, _, rest = rest.partition(":")
    day, _, operator_id = rest.partition(":")
    if kind != "card-day" or not operator_id:
        return None
    return document(session, card_number=number, day=date.fromisoformat(day), operator_id=operator_id)


def rides_elsewhere(session: Session, card_numbers: Sequence[str], *, limit: int = 30) -> list[ForeignRide]:
    """What these cards' rides in other cities cost, each card-day and operator once however often it was corrected."""
    if not card_numbers:
        return []
    rows = session.scalars(
        select(PresentmentIn)
        .where(PresentmentIn.claim["card_number"].astext.in_(list(card_numbers)))
        .order_by(PresentmentIn.received_at.desc(), PresentmentIn.id.desc())
        .limit(4 * limit)
    )
    groups: dict[tuple[str, str], list[PresentmentIn]] = {}
    for row in rows:
        groups.setdefault((row.acquirer, str(row.claim["reference"])), []).append(row)
    return [_ride(found) for found in list(groups.values())[:limit]]


def ride_elsewhere(session: Session, ride_id: UUID, card_numbers: Sequence[str]) -> ForeignRide | None:
    """One of them, by the id of its first claim; none where it is of another card."""
    return next((ride for ride in rides_elsewhere(session, card_numbers, limit=500) if ride.id == ride_id), None)


def _ride(claims: Sequence[PresentmentIn]) -> ForeignRide:
    """``claims`` of one reference, the newest first."""
    first = claims[-1]
    explained = [row.claim["explanation"] for row in claims if row.claim.get("explanation")]
    return ForeignRide(
        id=first.id,
        acquirer=first.acquirer,
        card_number=str(first.claim["card_number"]),
        at=datetime.fromisoformat(str(first.claim["event_at"])),
        amount_minor=sum(int(row.claim["amount_minor"]) for row in claims),
        parts=tuple(
            (row.received_at, int(row.claim["amount_minor"]), str(row.answer.get("means", ""))) for row in reversed(claims)
        ),
        explanation=explained[0] if explained else None,
    )


def taps_of_card_day(session: Session, found: JourneyView) -> dict[str, queries.TapView]:
    """Every tap of the journey's card-day by its key: what its bookings name as their cause."""
    return {tap.key: tap for tap in queries.taps_of_day(session, card_number=found.card_number, day=found.card_day)}
