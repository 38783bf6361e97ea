"""Earmarked purses: a resident's money that may only be spent as its grant says, and goes back to the fund in the end.

A payment is spread over the purses that may pay it: the earmarked ones first, the one that expires soonest before the others,
then the holder's own purse. The parts are one linked group. What is given back returns to the purses it came from, the last
payer first, so that the holder's own money is the first to come home.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.kernel import bulk, ids, outbox
from app.kernel.db import Json
from app.kernel.errors import Conflict, msg
from card.ledger import accounts as chart
from card.ledger import actions, posting, queries
from card.ledger.models import EarmarkedPurse
from card.ledger.rules import (
    AccountId,
    AccountKind,
    AccountSpec,
    ReversalExceedsOriginal,
    Transfer,
    TransferCode,
    TransferConflict,
)

LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:id, 0))")  # the one that a single reversal takes
PARTS_MAX: Final = 32  # purses that one payment may draw on; a holder with more pays from the soonest to expire


class PurseConflict(Conflict):
    """The grant's id stands for another grant."""

    code = "purse-conflict"
    sentence = msg("This grant was made before with other terms.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Purse:
    """An earmarked purse as it stands.

    ``codes`` are the reasons it may pay for; ``payees`` the accounts it may pay, by key (``merchant:canteen``) or by kind
    (``operator``); where either is empty, all are meant. ``name`` is in both languages.
    """

    id: UUID
    holder_id: UUID
    account: AccountId
    name: dict[str, str]
    codes: frozenset[TransferCode]
    payees: frozenset[str]
    expires_at: datetime
    available_minor: int
    granted_minor: int
    returned_minor: int
    closed: bool

    def pays(self, *, code: TransferCode, payee: str, at: datetime) -> bool:
        """Whether this purse may pay ``payee`` (an account's key) for this reason at this instant."""
        return (
            at < self.expires_at
            and (not self.codes or code in self.codes)
            and (not self.payees or payee in self.payees or payee.partition(":")[0] in self.payees)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What one account contributes to a payment, or gets back of it."""

    account: AccountId
    amount_minor: int


def payment_plan(
    purses: Sequence[Purse], *, own: AccountId, code: TransferCode, payee: str, amount_minor: int, at: datetime
) -> list[Share]:
    """Which purses pay ``amount_minor``, in the order of use. Pure.

    Those that may pay, the soonest to expire first (then the older grant); what they cannot pay is left to ``own``, whose
    balance the posting itself guards.
    """
    shares, left = [], amount_minor
    usable = [purse for purse in purses if purse.available_minor > 0 and purse.pays(code=code, payee=payee, at=at)]
    for purse in sorted(usable, key=lambda purse: (purse.expires_at, purse.id))[: PARTS_MAX - 1]:
        part = min(left, purse.available_minor)
        if part:
            shares.append(Share(account=purse.account, amount_minor=part))
            left -= part
    if left:
        shares.append(Share(account=own, amount_minor=left))
    return shares


def refund_plan(paid: Sequence[Share], *, amount_minor: int) -> list[Share]:
    """To which accounts ``amount_minor`` goes back, the last payer first. Pure.

    ``paid`` is what each account still has in the payment, in the order in which they paid. Answers less than the amount
    where less was paid.
    """
    shares, left = [], amount_minor
    for share in reversed(paid):
        part = min(left, share.amount_minor)
        if part > 0:
            shares.append(Share(account=share.account, amount_minor=part))
            left -= part
    return shares


def _part_id(payment_id: UUID, part: int) -> UUID:
    """The id of a payment's part: the first is the payment's own."""
    return payment_id if part == 1 else ids.derived_id(ids.instant_of(payment_id), "part", str(payment_id), str(part))


def _purse(row: EarmarkedPurse, account: AccountId, available_minor: int) -> Purse:
    return Purse(
        id=row.id,
        holder_id=row.holder_id,
        account=account,
        name=dict(row.name),
        codes=frozenset(TransferCode(code) for code in row.codes),
        payees=frozenset(row.payees),
        expires_at=row.expires_at,
        available_minor=available_minor,
        granted_minor=row.granted_minor,
        returned_minor=row.returned_minor,
        closed=row.closed_at is not None,
    )


def _read(session: Session, rows: Sequence[EarmarkedPurse]) -> list[Purse]:
    found = []
    for row in rows:
        account = queries.account_id(session, row.account_key)
        found.append(_purse(row, account, queries.balance(session, account).available_minor))
    return found


def purses_of(session: Session, holder_id: UUID, *, closed: bool = False) -> list[Purse]:
    """The holder's earmarked purses, the soonest to expire first; with those that ended where ``closed``."""
    query = select(EarmarkedPurse).where(EarmarkedPurse.holder_id == holder_id)
    if not closed:
        query = query.where(EarmarkedPurse.closed_at.is_(None))
    return _read(session, session.scalars(query.order_by(EarmarkedPurse.expires_at, EarmarkedPurse.id)).all())


def earmarked_holders(session: Session, holder_ids: Iterable[UUID]) -> set[UUID]:
    """Those of the holders who have, or ever had, an earmarked purse. The others pay from their own purse and nothing else."""
    found = bulk.rows(
        session,
        "SELECT DISTINCT holder_id FROM card.earmarked_purse WHERE holder_id = ANY(%(holders)s::uuid[])",
        holders=bulk.texts(map(str, holder_ids)),
    )
    return {holder_id for (holder_id,) in found}


def _locked(session: Session, holder_id: UUID) -> list[Purse]:
    """The holder's open purses, locked in id order: payments and returns of one holder take turns."""
    rows = session.scalars(
        select(EarmarkedPurse)
        .where(EarmarkedPurse.holder_id == holder_id, EarmarkedPurse.closed_at.is_(None))
        .order_by(EarmarkedPurse.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    return _read(session, rows)


def grant_purse(
    session: Session,
    *,
    purse_id: UUID,
    holder_id: UUID,
    name: dict[str, str],
    codes: Sequence[TransferCode],
    payees: Sequence[str],
    fund: AccountSpec,
    amount_minor: int,
    expires_at: datetime,
    now: datetime,
) -> AccountId:
    """Open an earmarked purse and fill it from ``fund``. ``purse_id`` comes from the cause; a repeat is quiet.

    Raises :class:`PurseConflict` where the id stands for another grant.
    """
    spec = chart.earmarked(holder_id, purse_id)
    before = session.get(EarmarkedPurse, purse_id)
    terms = (holder_id, name, sorted(int(code) for code in codes), sorted(payees), fund.key, amount_minor, expires_at)
    if before is not None:
        same = (before.holder_id, before.name, before.codes, before.payees, before.fund_key, before.granted_minor)
        if (*same, before.expires_at) != terms:
            raise PurseConflict(str(purse_id))
        return queries.account_id(session, spec)
    account = actions.open_account(session, spec, now=now)
    source = actions.open_account(session, fund, now=now)
    session.add(
        EarmarkedPurse(
            id=purse_id,
            holder_id=holder_id,
            account_key=spec.key,
            name=name,
            codes=terms[2],
            payees=terms[3],
            fund_key=fund.key,
            granted_minor=amount_minor,
            granted_at=now,
            expires_at=expires_at,
            returned_minor=0,
            closed_at=None,
        )
    )
    session.flush()
    granted = Transfer(
        id=ids.derived_id(now, "grant", str(purse_id)),
        debit=source,
        credit=account,
        amount_minor=amount_minor,
        code=TransferCode.GRANT,
        event_at=now,
        reference=f"purse:{purse_id}",
    )
    posting.post_all(session, [granted], now=now)
    return account


def pay(
    session: Session,
    *,
    payment_id: UUID,
    holder_id: UUID,
    payee: AccountSpec,
    amount_minor: int,
    code: TransferCode,
    event_at: datetime,
    reference: str = "",
    metadata: Json | None = None,
    now: datetime,
) -> list[Transfer]:
    """Pay from the holder's purses, all or nothing; the transfers made, in the order of use. A repeat answers the same.

    The first transfer has the payment's id. Where several purses pay, each part says so in its metadata (``part``, ``parts``).
    Raises :class:`InsufficientFunds`, :class:`TransferConflict`.
    """
    credit = actions.open_account(session, payee, now=now)
    purses = _locked(session, holder_id)
    before = queries.known(session, [payment_id]).get(payment_id)
    if before is not None:
        found = parts_of(session, payment_id)
        asked = (credit, code, event_at, reference, amount_minor)
        first = found[0]
        if (first.credit, first.code, first.event_at, first.reference, sum(part.amount_minor for part in found)) != asked:
            raise TransferConflict(f"payment {payment_id}")
        return found
    asked_for = _Payment(payment_id, holder_id, payee, amount_minor, code, event_at, reference, metadata or {})
    transfers = _draft(session, asked_for, purses, credit=credit, now=now)
    posting.post_all(session, transfers, now=now)
    return transfers


def draft_payment(
    session: Session,
    *,
    payment_id: UUID,
    holder_id: UUID,
    payee: AccountSpec,
    amount_minor: int,
    code: TransferCode,
    event_at: datetime,
    reference: str = "",
    metadata: Json | None = None,
    now: datetime,
) -> list[Transfer]:
    """The linked group by which :func:`pay` would pay now, to be booked by a ``Poster``. Books nothing and locks nothing.

    Each purse's balance is guarded when it is booked; where a purse has meanwhile less than here, the group is refused
    (``insufficient-funds``), and a new draft may pay from others.
    """
    credit = actions.open_account(session, payee, now=now)
    asked_for = _Payment(payment_id, holder_id, payee, amount_minor, code, event_at, reference, metadata or {})
    return _draft(session, asked_for, purses_of(session, holder_id), credit=credit, now=now)


class _Payment(NamedTuple):
    """What is asked of a payment."""

    id: UUID
    holder_id: UUID
    payee: AccountSpec
    amount_minor: int
    code: TransferCode
    event_at: datetime
    reference: str
    metadata: Json


def _draft(session: Session, asked: _Payment, purses: Sequence[Purse], *, credit: AccountId, now: datetime) -> list[Transfer]:
    """The parts of a payment from ``purses``, and from the holder's own where they do not suffice."""
    own = actions.open_account(session, chart.purse(asked.holder_id), now=now)
    shares = payment_plan(purses, own=own, code=asked.code, payee=asked.payee.key, amount_minor=asked.amount_minor, at=now)
    many = {} if len(shares) == 1 else {"parts": len(shares), "payment": str(asked.id)}
    return [
        Transfer(
            id=_part_id(asked.id, part),
            debit=share.account,
            credit=credit,
            amount_minor=share.amount_minor,
            code=asked.code,
            event_at=asked.event_at,
            reference=asked.reference,
            metadata={**asked.metadata, **many, **({"part": part} if many else {})},
        )
        for part, share in enumerate(shares, start=1)
    ]


def parts_of(session: Session, payment_id: UUID) -> list[Transfer]:
    """The transfers of a payment in the order of use. Raises ``UnknownTransfer``."""
    first = queries.transfer(session, payment_id)
    if first.metadata.get("payment") != str(payment_id):
        return [first]
    parts = range(2, int(first.metadata["parts"]) + 1)
    return [first, *(queries.transfer(session, _part_id(payment_id, part)) for part in parts)]


def refunded_minor(session: Session, payment_id: UUID) -> int:
    """How much of a payment was given back, in fen. Raises ``UnknownTransfer``."""
    return sum(
        reversal.amount_minor for part in parts_of(session, payment_id) for reversal in queries.reversals_of(session, part.id)
    )


def refund(
    session: Session,
    *,
    payment_id: UUID,
    refund_id: UUID,
    amount_minor: int | None = None,
    code: TransferCode = TransferCode.REFUND,
    reference: str = "",
    now: datetime,
) -> list[Transfer]:
    """Give back all that is left of a payment, or ``amount_minor`` of it, to the purses it came from, the last payer first.

    Each is a linked reversal of its part; the first has ``refund_id``, whose repeat answers the same. Raises
    ``UnknownTransfer``, :class:`ReversalExceedsOriginal`, :class:`InsufficientFunds`, :class:`TransferConflict`.
    """
    parts = parts_of(session, payment_id)
    if len(parts) == 1:
        found = actions.reverse(
            session,
            original_id=payment_id,
            reversal_id=refund_id,
            amount_minor=amount_minor,
            now=now,
            reference=reference,
            code=code,
        )
        _reopen(session, [found.credit])
        return [found]
    for part in parts:
        session.execute(LOCK, {"id": f"reverse:{part.id}"})
    reversals = {part.id: queries.reversals_of(session, part.id) for part in parts}
    made = [one for found in reversals.values() for one in found if one.metadata.get("refund") == str(refund_id)]
    if made:
        if amount_minor not in (None, sum(one.amount_minor for one in made)):
            raise TransferConflict(f"refund {refund_id}")
        return made
    left = [
        Share(account=part.debit, amount_minor=part.amount_minor - sum(one.amount_minor for one in reversals[part.id]))
        for part in parts
    ]
    whole = sum(share.amount_minor for share in left)
    asked = whole if amount_minor is None else amount_minor
    if asked > whole or not whole:
        raise ReversalExceedsOriginal(f"{whole} left to refund, {asked} asked")
    by_purse = {part.debit: part for part in parts}
    transfers = [
        Transfer(
            id=_part_id(refund_id, number),
            debit=parts[0].credit,
            credit=share.account,
            amount_minor=share.amount_minor,
            code=code,
            event_at=now,
            reference=reference or parts[0].reference,
            metadata={"refund": str(refund_id)},
            reverses=by_purse[share.account].id,
        )
        for number, share in enumerate(refund_plan(left, amount_minor=asked), start=1)
    ]
    posting.post_all(session, transfers, now=now)
    _reopen(session, [one.credit for one in transfers])
    return transfers


def give_back(
    session: Session,
    *,
    refund_id: UUID,
    holder_id: UUID,
    payee: AccountSpec,
    amount_minor: int,
    code: TransferCode,
    event_at: datetime,
    reference: str,
    metadata: Json | None = None,
    now: datetime,
) -> list[Transfer]:
    """Give ``amount_minor`` back to the purses that paid ``payee`` under ``reference``, the holder's own money first.

    For what is priced again and again under one reference (a day's fares): not a reversal of any one transfer. What no purse
    is known to have paid goes to the holder's own. The first transfer has ``refund_id``.

    Raises :class:`InsufficientFunds`, :class:`TransferConflict`.
    """
    debit = actions.open_account(session, payee, now=now)
    own = actions.open_account(session, chart.purse(holder_id), now=now)
    before = queries.known(session, [refund_id]).get(refund_id)
    if before is not None:
        if (before.transfer.debit, before.transfer.code, before.transfer.reference) != (debit, code, reference):
            raise TransferConflict(f"refund {refund_id}")
        return [before.transfer]
    earmarked = {purse.account for purse in purses_of(session, holder_id, closed=True)}
    net: dict[AccountId, int] = {}
    for one in queries.transfers_by_reference(session, reference) if earmarked else []:
        if one.credit == debit and one.debit in earmarked | {own}:
            net[one.debit] = net.pop(one.debit, 0) + one.amount_minor
        elif one.debit == debit and one.credit in earmarked | {own}:
            net[one.credit] = net.get(one.credit, 0) - one.amount_minor
    # The holder's own money counts as the last payer, whichever was charged last.
    paid = [Share(account=account, amount_minor=amount) for account, amount in net.items() if amount > 0]
    paid.sort(key=lambda share: share.account == own)
    shares = refund_plan(paid, amount_minor=amount_minor)
    rest = amount_minor - sum(share.amount_minor for share in shares)
    if rest and shares and shares[0].account == own:
        shares[0] = replace(shares[0], amount_minor=shares[0].amount_minor + rest)
    elif rest:
        shares.insert(0, Share(account=own, amount_minor=rest))
    transfers = [
        Transfer(
            id=_part_id(refund_id, number),
            debit=debit,
            credit=share.account,
            amount_minor=share.amount_minor,
            code=code,
            event_at=event_at,
            reference=reference,
            metadata=metadata or {},
        )
        for number, share in enumerate(shares, start=1)
    ]
    posting.post_all(session, transfers, now=now)
    _reopen(session, [one.credit for one in transfers])
    return transfers


def _reopen(session: Session, credited: Sequence[AccountId]) -> None:
    """A purse that had ended and got something back is looked at again by the job, which passes it on to the fund."""
    keys = [account.key for account in queries.accounts(session, credited).values() if account.kind is AccountKind.EARMARKED]
    if keys:
        for row in session.scalars(
            select(EarmarkedPurse)
            .where(EarmarkedPurse.account_key.in_(keys), EarmarkedPurse.closed_at.is_not(None))
            .order_by(EarmarkedPurse.id)
            .with_for_update()
        ):
            row.closed_at = None
        session.flush()


def expire_purses(session: Session, *, now: datetime, limit: int = 200) -> int:
    """Return what is left in purses whose time has passed to their funds (at most ``limit`` of them); how many ended.

    Emits ``purse.expired`` where money went back, so that the holder is told. What a hold reserves stays until it ends.
    """
    rows = session.scalars(
        select(EarmarkedPurse)
        .where(EarmarkedPurse.closed_at.is_(None), EarmarkedPurse.expires_at <= now)
        .order_by(EarmarkedPurse.expires_at, EarmarkedPurse.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    ended = 0
    for row in rows:
        account = queries.account_id(session, row.account_key)
        balance = queries.balance(session, account)
        if balance.available_minor:
            back = Transfer(
                id=ids.derived_id(now, "grant-return", str(row.id), str(row.returned_minor)),
                debit=account,
                credit=queries.account_id(session, row.fund_key),
                amount_minor=balance.available_minor,
                code=TransferCode.GRANT_RETURN,
                event_at=now,
                reference=f"purse:{row.id}",
            )
            posting.post_all(session, [back], now=now)
            row.returned_minor += balance.available_minor
        if balance.held_minor:
            continue
        row.closed_at = now
        ended += 1
        if not balance.available_minor:
            continue
        outbox.emit(
            session,
            "purse.expired",
            {
                "purse_id": str(row.id),
                "holder_id": str(row.holder_id),
                "name": row.name,
                "returned_minor": balance.available_minor,
                "expires_at": row.expires_at.isoformat(),
            },
            at=now,
        )
    session.flush()
    return ended
