"""One credential shown twice: a case with the evidence, one charge that stays, and who bears the other ride.

The fare engine keeps one tap of a token and sets the others aside, so the rider is never charged twice whatever is decided
here. Pricing calls :func:`note`; what officers do stands in ``fraud_decisions``.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel.db import Json
from app.kernel.ids import derived_id
from card import credentials, fares
from card.fares import Rider, Tap, Tariffs
from card.transit import network
from card.transit.models import FraudCase, TapAlarm, TapRow
from card.transit.rules import Liability

REPLAY_ALARM: Final = "replayed"


class FraudKind(StrEnum):
    """What was found."""

    REPLAY = "replay"


class FraudState(StrEnum):
    """Where a case stands; ``prepared`` waits for a second officer because money moves."""

    OPEN = "open"
    PREPARED = "prepared"
    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"


class ReplayReason(StrEnum):
    """Why the one or the other bears the ride on the copied code."""

    SAME_STATION = "same-station"  # its gates share their counters: it could have refused
    OUT_OF_WINDOW = "out-of-window"  # the code was too old: the gate could have refused by itself
    DISCONNECTED = "disconnected"  # no gate could have known


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One tap that carried the token."""

    key: str
    at: datetime
    stop_id: str
    line_id: str
    operator_id: str
    verdict: str


def bearer_of(genuine: Shown, copies: Sequence[Shown]) -> tuple[Liability, ReplayReason]:
    """Who bears the rides of ``copies``: the operator where a gate could have refused one by itself or by its station's memory,
    the issuer of the credential where none could.
    """
    if any(copy.verdict for copy in copies):
        return Liability.OPERATOR, ReplayReason.OUT_OF_WINDOW
    if any(copy.operator_id == genuine.operator_id and copy.stop_id and copy.stop_id == genuine.stop_id for copy in copies):
        return Liability.OPERATOR, ReplayReason.SAME_STATION
    return Liability.ISSUER, ReplayReason.DISCONNECTED


def note(session: Session, *, card_number: str, day: date, taps: Iterable[Tap], tariffs: Tariffs, now: datetime) -> set[str]:
    """Open or refresh the cases of the tokens that ``taps`` show more than once.

    Answers the keys that are not to travel because an officer found another tap of the token to be the rider's own.
    """
    by_token: dict[str, list[Tap]] = defaultdict(list)
    for tap in {tap.key: tap for tap in taps}.values():
        if tap.token:
            by_token[tap.token].append(tap)
    aside: set[str] = set()
    for token, shown in by_token.items():
        if len(shown) > 1:
            aside |= _case(session, card_number=card_number, day=day, token=token, taps=shown, tariffs=tariffs, now=now)
    return aside


def _case(
    session: Session, *, card_number: str, day: date, token: str, taps: list[Tap], tariffs: Tariffs, now: datetime
) -> set[str]:
    taps.sort(key=lambda tap: (tap.at, tap.key))
    known = session.scalars(
        select(FraudCase).where(FraudCase.card_number == card_number, FraudCase.token == token).with_for_update()
    ).one_or_none()
    keys = [tap.key for tap in taps]
    decided = known is not None and known.state in (FraudState.CONFIRMED, FraudState.DISMISSED)
    genuine = known.genuine if known is not None and decided and known.genuine in keys else keys[0]
    copies = [tap for tap in taps if tap.key != genuine]
    if known is None or not set(keys) <= set(known.evidence["keys"]):
        _write(session, card_number=card_number, day=day, token=token, taps=taps, genuine=genuine, tariffs=tariffs, now=now)
    return {tap.key for tap in copies}


def _write(
    session: Session,
    *,
    card_number: str,
    day: date,
    token: str,
    taps: list[Tap],
    genuine: str,
    tariffs: Tariffs,
    now: datetime,
) -> None:
    rows = rows_of(session, [tap.key for tap in taps])
    shown = {key: _shown(row) for key, row in rows.items()}
    copies = [tap for tap in taps if tap.key != genuine]
    bearer, reason = bearer_of(shown[genuine], [shown[tap.key] for tap in copies])
    rider = Rider(issuer=credentials.issuing_city(card_number))
    loss = sum(fares.charge([tap], tariffs, tap.rider or rider).total_minor for tap in copies)
    facts: Json = {
        "card_day": day,
        "operators": sorted({tap.operator for tap in taps}),
        "evidence": {"keys": [tap.key for tap in taps], "taps": [_evidence(rows[tap.key]) for tap in taps]},
        "genuine": genuine,
        "bearer": bearer.value,
        "reason": reason.value,
        "loss_minor": loss,
        "refreshed_at": now,
    }
    session.execute(
        insert(FraudCase)
        .values(
            id=derived_id(now, "fraud", card_number, token),
            kind=FraudKind.REPLAY.value,
            card_number=card_number,
            issuer=rider.issuer,
            token=token,
            state=FraudState.OPEN.value,
            opened_at=now,
            covered_minor=0,
            answer="",
            **facts,
        )
        .on_conflict_do_update(
            constraint="uq_fraud_case_card_number_token",
            set_={**facts, "state": FraudState.OPEN.value, "covered_minor": 0, "prepared_by": None, "decided_by": None},
            where=FraudCase.covered_minor == 0,
        )
    )
    for tap in copies:
        row = rows[tap.key]
        alarm_id = derived_id(row.received_at, "replay-alarm", tap.key)
        if session.get(TapAlarm, alarm_id) is None:
            session.add(
                TapAlarm(
                    id=alarm_id,
                    at=now,
                    operator_id=row.operator_id,
                    terminal_id=row.terminal_id,
                    boot_id=row.boot_id,
                    seq=row.seq,
                    kind=REPLAY_ALARM,
                    details={"card": card_number[-4:], "decision": row.decision},
                )
            )
    session.flush()


def rows_of(session: Session, keys: Iterable[str]) -> dict[str, TapRow]:
    """The stored taps with these keys (``terminal/boot/seq``)."""
    found: dict[str, TapRow] = {}
    for key in keys:
        terminal, _, rest = key.partition("/")
        boot, _, seq = rest.rpartition("/")
        found[key] = session.get_one(TapRow, (UUID(terminal), boot, int(seq)))
    return found


def _shown(row: TapRow) -> Shown:
    return Shown(
        key=f"{row.terminal_id}/{row.boot_id}/{row.seq}",
        at=row.at,
        stop_id=row.stop_id,
        line_id=row.line_id,
        operator_id=row.operator_id,
        verdict=row.verdict,
    )


def _evidence(row: TapRow) -> Json:
    return {
        "key": f"{row.terminal_id}/{row.boot_id}/{row.seq}",
        "terminal_id": str(row.terminal_id),
        "operator_id": row.operator_id,
        "stop_id": row.stop_id,
        "line_id": row.line_id,
        "kind": row.kind,
        "at": row.at.isoformat(),
        "received_at": row.received_at.isoformat(),
        "counter": row.counter,
        "device": row.device_kid.hex(),
        "digest": row.digest.hex(),
        "verdict": row.verdict,
        "list_seq": row.list_seq,
    }


def suspect(session: Session, *, key: str, now: datetime) -> None:
    """A gate let a code through that it should have refused: open a case where the code had been shown before."""
    row = rows_of(session, [key])[key]
    first = session.scalars(
        select(TapRow)
        .where(
            TapRow.card_number == row.card_number,
            TapRow.card_day == row.card_day,
            TapRow.device_kid == row.device_kid,
            TapRow.counter == row.counter,
            TapRow.decision == "accepted",
            TapRow.verdict == "",
        )
        .order_by(TapRow.at, TapRow.terminal_id)
        .limit(1)
    ).one_or_none()
    if first is None or not row.device_kid:
        return
    token = f"{row.device_kid.hex()}:{row.counter}"
    taps = [
        Tap(key=_shown(one).key, at=one.at, kind=one.kind, operator=one.operator_id, stop_id=one.stop_id, line=one.line_id)
        for one in (first, row)
    ]
    tariffs = network.tariffs_of(session, {tap.operator for tap in taps})
    _write(
        session,
        card_number=row.card_number,
        day=row.card_day,
        token=token,
        taps=taps,
        genuine=taps[0].key,
        tariffs=tariffs,
        now=now,
    )
