"""What officers decide about a copied code: which tap was the rider's own, who bears the other, and what its operator gets.

Whatever is decided, one tap of the code stays charged and the others never were. Money moves only where the issuer bears a
confirmed copy: then the operator that carried the copier is paid from the city's losses, prepared by one officer and approved
by another.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.kernel import audit
from app.kernel.city import city_of
from app.kernel.db import Json
from app.kernel.errors import Conflict, FourEyes, Invalid, NotFound, msg
from app.kernel.ids import derived_id
from card import ledger
from card.ledger import Transfer, TransferCode, chart
from card.transit import charging, fraud
from card.transit.fraud import FraudState, ReplayReason, Shown, bearer_of
from card.transit.models import FraudCase
from card.transit.rules import Liability

ANSWER_MAX: Final = 500


class UnknownFraudCase(NotFound):
    """No such case, or not about a ride of the caller's."""

    code = "unknown-fraud-case"
    sentence = msg("We could not find this case.")


class FraudCaseDecided(Conflict):
    """The case was decided, or waits for another officer."""

    code = "fraud-case-decided"
    sentence = msg("This case was already decided, or waits for a second officer.")


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseTap:
    """One tap that carried the code; ``genuine`` is the one that stays charged."""

    key: str
    operator_id: str
    stop_id: str
    line_id: str
    kind: str
    at: datetime
    received_at: datetime
    verdict: str
    counter: int
    genuine: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseView:
    """A case with its evidence. ``loss_minor`` is what the copies would have cost, ``covered_minor`` what is paid of it."""

    id: UUID
    card_number: str
    issuer: str
    card_day: date
    operators: tuple[str, ...]
    taps: tuple[CaseTap, ...]
    bearer: Liability
    reason: ReplayReason
    loss_minor: int
    covered_minor: int
    state: FraudState
    answer: str
    opened_at: datetime
    prepared_by: str | None
    decided_by: str | None
    decided_at: datetime | None
    local: bool


def _view(session: Session, row: FraudCase) -> CaseView:
    return CaseView(
        id=row.id,
        card_number=row.card_number,
        issuer=row.issuer,
        card_day=row.card_day,
        operators=tuple(row.operators),
        taps=tuple(
            CaseTap(
                key=tap["key"],
                operator_id=tap["operator_id"],
                stop_id=tap["stop_id"],
                line_id=tap["line_id"],
                kind=tap["kind"],
                at=datetime.fromisoformat(tap["at"]),
                received_at=datetime.fromisoformat(tap["received_at"]),
                verdict=tap["verdict"],
                counter=tap["counter"],
                genuine=tap["key"] == row.genuine,
            )
            for tap in row.evidence["taps"]
        ),
        bearer=Liability(row.bearer),
        reason=ReplayReason(row.reason),
        loss_minor=row.loss_minor,
        covered_minor=row.covered_minor,
        state=FraudState(row.state),
        answer=row.answer,
        opened_at=row.opened_at,
        prepared_by=row.prepared_by,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        local=row.issuer == city_of(session).code,
    )


def cases(session: Session, *, operator_id: str | None = None, limit: int = 100) -> list[CaseView]:
    """Cases, those still to decide first, the newest first among them; of an operator only those with a tap of its own."""
    query = select(FraudCase).order_by(FraudCase.state.in_(["confirmed", "dismissed"]), FraudCase.id.desc()).limit(limit)
    if operator_id is not None:
        query = query.where(FraudCase.operators.contains([operator_id]))
    return [_view(session, row) for row in session.scalars(query)]


def open_cases(session: Session) -> int:
    """How many wait for an officer."""
    return session.scalar(select(func.count()).select_from(FraudCase).where(FraudCase.state.in_(["open", "prepared"]))) or 0


def case(session: Session, case_id: UUID, *, operator_id: str | None = None) -> CaseView:
    """One case. Raises :class:`UnknownFraudCase`."""
    row = session.get(FraudCase, case_id)
    if row is None or (operator_id is not None and operator_id not in row.operators):
        raise UnknownFraudCase(str(case_id))
    return _view(session, row)


def case_of_tap(session: Session, keys: tuple[str, ...], *, card_number: str) -> CaseView | None:
    """The case in which one of these taps was the rider's own: their journey page says that a copy was set aside."""
    row = session.scalars(
        select(FraudCase).where(FraudCase.card_number == card_number, FraudCase.genuine.in_(keys)).limit(1)
    ).one_or_none()
    return _view(session, row) if row else None


def _locked(session: Session, case_id: UUID) -> FraudCase:
    row = session.scalars(select(FraudCase).where(FraudCase.id == case_id).with_for_update()).one_or_none()
    if row is None:
        raise UnknownFraudCase(str(case_id))
    return row


def decide(
    session: Session,
    *,
    case_id: UUID,
    confirmed: bool,
    genuine: str,
    covered_minor: int,
    answer: str,
    by: str,
    now: datetime,
) -> FraudState:
    """Decide a case: a copy (or a harmless double), which tap was the rider's, and what its operator is paid.

    ``covered_minor`` above zero waits for a second officer. Raises :class:`FraudCaseDecided`; ``Invalid`` for a strange tap, an
    amount beyond the loss, money where the operator bears it or where another city issued the card, or no reason.
    """
    row = session.get(FraudCase, case_id)
    if row is None:
        raise UnknownFraudCase(str(case_id))
    charging.lock_cards(session, [row.card_number])
    row = _locked(session, case_id)
    if row.state != FraudState.OPEN:
        raise FraudCaseDecided(str(case_id))
    view = _view(session, row)
    fields: dict[str, str] = {}
    right = [tap for tap in view.taps if not tap.verdict]
    if genuine not in {tap.key for tap in right}:
        fields["genuine"] = msg("Choose the tap that was the rider's own.")
    if not answer.strip():
        fields["answer"] = msg("Write a reason of at most 500 characters.")
    if fields:
        raise Invalid("fraud case", fields=fields)
    shown = {
        tap.key: Shown(
            key=tap.key,
            at=tap.at,
            stop_id=tap.stop_id,
            line_id=tap.line_id,
            operator_id=tap.operator_id,
            verdict=tap.verdict,
        )
        for tap in view.taps
    }
    bearer, reason = bearer_of(shown[genuine], [one for key, one in shown.items() if key != genuine])
    payable = row.loss_minor if confirmed and view.local and bearer is Liability.ISSUER else 0
    if not 0 <= covered_minor <= payable:
        raise Invalid("cover", fields={"covered": msg("The operator can be paid at most what the issuer bears of this case.")})
    moved = genuine != row.genuine
    row.genuine, row.bearer, row.reason, row.answer = genuine, bearer.value, reason.value, answer.strip()[:ANSWER_MAX]
    row.covered_minor, row.prepared_by, row.prepared_at = covered_minor, by, now
    if covered_minor:
        row.state = FraudState.PREPARED.value
    else:
        row.state = (FraudState.CONFIRMED if confirmed else FraudState.DISMISSED).value
        row.decided_by, row.decided_at = by, now
    details: Json = {"state": row.state, "bearer": row.bearer, "covered_minor": covered_minor, "genuine": genuine}
    audit.record(session, actor=by, action="fraud.decide", subject=f"fraud:{case_id}", at=now, details=details)
    session.flush()
    if moved:
        _price_again(session, row, now=now)
    return FraudState(row.state)


def approve(session: Session, *, case_id: UUID, approved: bool, by: str, now: datetime) -> FraudState:
    """The second officer: pay the operator what was prepared, or hand the case back. Raises ``FourEyes``."""
    row = _locked(session, case_id)
    if row.state != FraudState.PREPARED:
        raise FraudCaseDecided(str(case_id))
    if approved and row.prepared_by == by:
        raise FourEyes
    audit.record(session, actor=by, action="fraud.approve" if approved else "fraud.return", subject=f"fraud:{case_id}", at=now)
    if not approved:
        row.state, row.covered_minor, row.prepared_by = FraudState.OPEN.value, 0, None
        session.flush()
        return FraudState.OPEN
    row.state, row.decided_by, row.decided_at = FraudState.CONFIRMED.value, by, now
    copy = next(tap for tap in row.evidence["taps"] if tap["key"] != row.genuine)
    transfer = Transfer(
        id=derived_id(row.opened_at, "fraud-cover", str(row.id)),
        debit=ledger.open_account(session, chart.losses(), now=now),
        credit=ledger.open_account(session, chart.operator(copy["operator_id"]), now=now),
        amount_minor=row.covered_minor,
        code=TransferCode.FRAUD_COVER,
        event_at=datetime.fromisoformat(copy["at"]),
        reference=f"fraud:{row.id}",
    )
    ledger.post_all(session, [transfer], now=now)
    session.flush()
    return FraudState.CONFIRMED


def _price_again(session: Session, row: FraudCase, *, now: datetime) -> None:
    """Another tap is the rider's own: the day is priced with it instead. The difference is booked, never a second charge."""
    days = {tap_row.card_day for tap_row in fraud.rows_of(session, row.evidence["keys"]).values()}
    charging.price_again(
        session,
        card_number=row.card_number,
        days=days,
        cause=(f"decided/{row.id}",),
        liability=Liability.ISSUER,
        now=now,
    )
