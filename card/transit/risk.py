"""Rides that were let through and not paid: who bears them, how much may stand open, how they are paid back or given up."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.kernel import audit
from app.kernel.db import Json
from app.kernel.errors import Conflict, FourEyes, Invalid, NotFound, msg
from app.kernel.ids import derived_id, new_id
from card import credentials, ledger
from card.ledger import Transfer, TransferCode, chart
from card.transit.models import Debt, FarePosting, PresentmentIn, RiskBudget, TapAlarm, TapRuling, TerminalRow, WriteOff
from card.transit.rules import Liability, LiabilityReason, Ruling

FIRST_SEEN_LIMIT: Final = 50
ISSUER: Final = "issuer"
DENIED_ALARM: Final = "denied-card-accepted"
REASON_MAX: Final = 500


class UnknownDebt(NotFound):
    """No such debt."""

    code = "unknown-debt"
    sentence = msg("We could not find this debt.")


class DebtSettled(Conflict):
    """Nothing is owed any more, or giving it up already waits for a second officer."""

    code = "debt-settled"
    sentence = msg("Nothing of this debt is left to decide.")


class UnknownWriteOff(NotFound):
    """No such proposal, or it was decided."""

    code = "unknown-write-off"
    sentence = msg("This proposal was already decided.")


# ---------------------------------------------------------------------------------------------------------------- of each tap


def keep_rulings(
    session: Session, terminal: TerminalRow, ruled: Iterable[tuple[credentials.Tap, Ruling]], *, now: datetime
) -> None:
    """Keep who bears each tap of a card that stood on the deny list, and why; a good card needs no ruling."""
    for tap, found in ruled:
        if found.reason is LiabilityReason.NOT_DENIED or found.deadline is None:
            continue
        key = {"terminal_id": terminal.id, "boot_id": tap.boot_id, "seq": tap.seq, "operator_id": terminal.operator_id}
        session.add(
            TapRuling(
                **key,
                bearer=found.bearer.value,
                reason=found.reason.value,
                held_seq=tap.list_seq,
                deadline=found.deadline,
                ruled_at=now,
            )
        )
        if found.bearer is Liability.OPERATOR:
            details: Json = {"card": tap.card_number[-4:], "reason": found.reason.value}
            session.add(TapAlarm(**key, at=now, kind=DENIED_ALARM, details=details))
    session.flush()


def ruling_of(session: Session, tap_key: str) -> tuple[Liability, LiabilityReason, datetime | None]:
    """Who bears the tap ``terminal/boot/seq``, why, and the deadline that decided."""
    terminal, _, rest = tap_key.partition("/")
    boot, _, seq = rest.rpartition("/")
    row = session.get(TapRuling, (UUID(terminal), boot, int(seq)))
    if row is None:
        return Liability.ISSUER, LiabilityReason.NOT_DENIED, None
    return Liability(row.bearer), LiabilityReason(row.reason), row.deadline


# --------------------------------------------------------------------------------------------------------------------- budgets


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """What stands open at a bearer's risk, of how much they allow (none: no limit), in fen."""

    bearer: str
    open_minor: int
    debts: int
    limit_minor: int | None

    @property
    def exhausted(self) -> bool:
        """Whether no further first ride may be risked."""
        return self.limit_minor is not None and self.open_minor >= self.limit_minor


def first_seen_limit(*exposures: Exposure) -> int:
    """How many cards it has never seen a gate without network may let through: none once a budget is used up."""
    return 0 if any(found.exhausted for found in exposures) else FIRST_SEEN_LIMIT


def exposure(session: Session, bearer: str) -> Exposure:
    """What stands open at the issuer's risk (``issuer``) or at an operator's."""
    mine = [Debt.left_minor > 0, Debt.liability == (ISSUER if bearer == ISSUER else Liability.OPERATOR.value)]
    if bearer != ISSUER:
        mine.append(Debt.creditor == chart.operator(bearer).key)
    left, count = session.execute(select(func.coalesce(func.sum(Debt.left_minor), 0), func.count()).where(*mine)).one()
    limit = session.scalar(select(RiskBudget.limit_minor).where(RiskBudget.bearer == bearer))
    return Exposure(bearer=bearer, open_minor=int(left), debts=count, limit_minor=limit)


def set_budget(session: Session, *, bearer: str, limit_minor: int, by: str, now: datetime) -> None:
    """How much may stand open at this bearer's risk. At it, gates without network let no unknown card through."""
    if limit_minor < 0:
        raise Invalid("limit", fields={"limit": msg("Enter an amount of zero or more.")})
    row = session.get(RiskBudget, bearer, with_for_update=True)
    if row is None:
        session.add(RiskBudget(bearer=bearer, limit_minor=limit_minor, set_by=by, set_at=now))
    else:
        row.limit_minor, row.set_by, row.set_at = limit_minor, by, now
    audit.record(
        session, actor=by, action="risk.budget", subject=f"risk:{bearer}", at=now, details={"limit_minor": limit_minor}
    )
    session.flush()


def terms(session: Session, operator_id: str) -> Json:
    """What the bundle tells a gate of ``operator_id`` about risk beyond the thresholds of staleness."""
    return {"first_seen_limit": first_seen_limit(exposure(session, ISSUER), exposure(session, operator_id))}


# ----------------------------------------------------------------------------------------------------------------------- debts


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovery:
    """A part of a debt that a purse paid back."""

    at: datetime
    amount_minor: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DebtView:
    """A ride that the purse could not pay, and what became of it. ``creditor`` is an account key of the ledger."""

    id: UUID
    holder_id: UUID
    card_number: str
    creditor: str
    liability: Liability
    reason: LiabilityReason
    amount_minor: int
    left_minor: int
    opened_at: datetime
    closed_at: datetime | None
    record_id: UUID | None
    taps: tuple[str, ...]
    recoveries: tuple[Recovery, ...]
    waiting: "WriteOffView | None"

    @property
    def operator_id(self) -> str | None:
        """The operator of this city that carried the rider; none for a ride elsewhere."""
        kind, _, owner = self.creditor.partition(":")
        return owner if kind == "operator" else None

    @property
    def city(self) -> str | None:
        """The city where the ride was, where that is another one."""
        kind, _, owner = self.creditor.partition(":")
        return owner if kind == "due-to" else None


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteOffView:
    """A debt that one officer wants to give up."""

    id: UUID
    debt_id: UUID
    amount_minor: int
    bearer: str
    reason: str
    prepared_by: str
    prepared_at: datetime


def _view(session: Session, row: Debt) -> DebtView:
    posting = session.get(FarePosting, row.posting_id) if row.posting_id else None
    claim = session.get(PresentmentIn, row.posting_id) if row.posting_id and posting is None else None
    taps = tuple(key for key in (posting.cause if posting else ()) if not key.startswith(("claim/", "habit/")))
    reason = LiabilityReason(claim.answer.get("reason", LiabilityReason.NOT_DENIED)) if claim else LiabilityReason.NOT_DENIED
    for key in taps:
        bearer, why, _ = ruling_of(session, key)
        if bearer.value == row.liability and why is not LiabilityReason.NOT_DENIED:
            reason = why
    waiting = session.scalars(select(WriteOff).where(WriteOff.debt_id == row.id, WriteOff.state == "waiting")).one_or_none()
    return DebtView(
        id=row.id,
        holder_id=row.holder_id,
        card_number=row.card_number,
        creditor=row.creditor,
        liability=Liability(row.liability),
        reason=reason,
        amount_minor=row.amount_minor,
        left_minor=row.left_minor,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        record_id=row.posting_id if claim else None,
        taps=taps,
        recoveries=tuple(
            Recovery(at=one.event_at, amount_minor=one.amount_minor)
            for one in ledger.transfers_by_reference(session, f"debt:{row.id}")
            if one.code is TransferCode.DEBT_RECOVERY
        ),
        waiting=_proposal(waiting) if waiting else None,
    )


def debts_of_holder(session: Session, holder_id: UUID, *, limit: int = 50) -> list[DebtView]:
    """A holder's debts: the open ones in the order in which the next top-up pays them, then the settled ones, newest first."""
    rows = session.scalars(select(Debt).where(Debt.holder_id == holder_id).order_by(Debt.id.desc()).limit(limit)).all()
    still = sorted((row for row in rows if row.left_minor), key=lambda row: row.id)
    return [_view(session, row) for row in [*still, *(row for row in rows if not row.left_minor)]]


def open_debts(session: Session, *, bearer: str | None = None, limit: int = 100) -> list[DebtView]:
    """What is still owed, the oldest first: all, or at the risk of ``issuer`` or of an operator."""
    query = select(Debt).where(Debt.left_minor > 0).order_by(Debt.id).limit(limit)
    if bearer == ISSUER:
        query = query.where(Debt.liability == Liability.ISSUER.value)
    elif bearer is not None:
        query = query.where(Debt.liability == Liability.OPERATOR.value, Debt.creditor == chart.operator(bearer).key)
    return [_view(session, row) for row in session.scalars(query)]


def debt(session: Session, debt_id: UUID) -> DebtView:
    """One debt. Raises :class:`UnknownDebt`."""
    row = session.get(Debt, debt_id)
    if row is None:
        raise UnknownDebt(str(debt_id))
    return _view(session, row)


# ------------------------------------------------------------------------------------------------------------------- giving up


def _proposal(row: WriteOff) -> WriteOffView:
    return WriteOffView(
        id=row.id,
        debt_id=row.debt_id,
        amount_minor=row.amount_minor,
        bearer=row.bearer,
        reason=row.reason,
        prepared_by=row.prepared_by,
        prepared_at=row.prepared_at,
    )


def propose_write_off(session: Session, *, debt_id: UUID, reason: str, by: str, now: datetime) -> UUID:
    """Prepare giving up what is left of a debt; a second officer approves. Raises :class:`DebtSettled`, ``Invalid``."""
    row = session.scalars(select(Debt).where(Debt.id == debt_id).with_for_update()).one_or_none()
    if row is None:
        raise UnknownDebt(str(debt_id))
    waiting = session.scalar(
        select(func.count()).select_from(WriteOff).where(WriteOff.debt_id == debt_id, WriteOff.state == "waiting")
    )
    if row.left_minor == 0 or waiting:
        raise DebtSettled(str(debt_id))
    if not reason.strip():
        raise Invalid("reason", fields={"reason": msg("Write a reason of at most 500 characters.")})
    found = WriteOff(
        id=new_id(),
        debt_id=debt_id,
        amount_minor=row.left_minor,
        bearer=row.liability,
        reason=reason.strip()[:REASON_MAX],
        state="waiting",
        prepared_by=by,
        prepared_at=now,
    )
    session.add(found)
    details: Json = {"amount_minor": row.left_minor, "bearer": row.liability}
    audit.record(session, actor=by, action="debt.write-off", subject=f"debt:{debt_id}", at=now, details=details)
    session.flush()
    return found.id


def decide_write_off(session: Session, *, write_off_id: UUID, approve: bool, by: str, now: datetime) -> None:
    """Approve or refuse it. What was paid back in the meantime is not given up twice: only what is left is booked.

    The issuer's part is a loss of the city; the operator's is taken from what the city owes it. A ride in another city is that
    city's to answer for by dispute, so here it is the issuer's loss. Raises ``FourEyes``, :class:`UnknownWriteOff`.
    """
    row = session.scalars(select(WriteOff).where(WriteOff.id == write_off_id).with_for_update()).one_or_none()
    if row is None or row.state != "waiting":
        raise UnknownWriteOff(str(write_off_id))
    if approve and row.prepared_by == by:
        raise FourEyes
    owed = session.scalars(select(Debt).where(Debt.id == row.debt_id).with_for_update()).one()
    amount = min(row.amount_minor, owed.left_minor)
    row.state, row.decided_by, row.decided_at = "approved" if approve else "refused", by, now
    audit.record(session, actor=by, action=f"write-off.{row.state}", subject=f"debt:{owed.id}", at=now)
    if not approve or amount == 0:
        session.flush()
        return
    at_operator = owed.liability == Liability.OPERATOR and owed.creditor.startswith("operator:")
    bearer = chart.operator(owed.creditor.removeprefix("operator:")) if at_operator else chart.losses()
    transfer = Transfer(
        id=derived_id(now, "write-off", str(row.id)),
        debit=ledger.open_account(session, bearer, now=now),
        credit=ledger.account_id(session, chart.receivable(owed.holder_id)),
        amount_minor=amount,
        code=TransferCode.WRITE_OFF,
        event_at=now,
        reference=f"debt:{owed.id}",
        metadata={"bearer": owed.liability, "reason": row.reason},
    )
    ledger.post_all(session, [transfer], now=now)
    owed.left_minor -= amount
    owed.closed_at = now if owed.left_minor == 0 else None
    session.flush()
