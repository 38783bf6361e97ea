"""What clearing writes into this city's books. A pair lives in the issuer's *due to* and in the acquirer's *due from*."""

from datetime import datetime

from sqlalchemy.orm import Session

from app.kernel import ids
from card import cards, ledger
from card.cards import UnknownCard
from card.ledger import Transfer, TransferCode, chart


def shift(
    session: Session,
    *,
    own: str,
    issuer: str,
    acquirer: str,
    delta_minor: int,
    cause: str,
    code: TransferCode,
    at: datetime,
    reference: str,
    now: datetime,
) -> None:
    """Let the issuer owe the acquirer ``delta_minor`` fen more (or less), against suspense, in the books of ``own``.

    ``cause`` and ``at`` make the transfer's id, so the same cause moves money once. A city that is neither party books nothing.
    """
    if delta_minor == 0 or own not in (issuer, acquirer):
        return
    suspense = ledger.open_account(session, chart.suspense(), now=now)
    if own == acquirer:
        debit, credit = ledger.open_account(session, chart.due_from(issuer), now=now), suspense
    else:
        debit, credit = suspense, ledger.open_account(session, chart.due_to(acquirer), now=now)
    if delta_minor < 0:
        debit, credit = credit, debit
    transfer = Transfer(
        id=ids.derived_id(at, "clearing", own, cause),
        debit=debit,
        credit=credit,
        amount_minor=abs(delta_minor),
        code=code,
        event_at=at,
        reference=reference,
    )
    ledger.post_all(session, [transfer], now=now)


def settle_with_rider(
    session: Session, *, card_number: str, owed_minor: int, cause: str, at: datetime, reference: str, now: datetime
) -> None:
    """Close the issuer's suspense against the rider: a positive amount goes back to the purse, a negative one is owed.

    A card that this city does not hold leaves the amount in suspense for an officer.
    """
    if owed_minor == 0:
        return
    try:
        holder_id = cards.by_number(session, card_number).holder_id
    except UnknownCard:
        return
    suspense = ledger.open_account(session, chart.suspense(), now=now)
    if owed_minor > 0:
        debit, credit = suspense, ledger.open_account(session, chart.purse(holder_id), now=now)
    else:
        debit, credit = ledger.open_account(session, chart.receivable(holder_id), now=now), suspense
    transfer = Transfer(
        id=ids.derived_id(at, "clearing", "rider", cause),
        debit=debit,
        credit=credit,
        amount_minor=abs(owed_minor),
        code=TransferCode.DISPUTE_CREDIT if owed_minor > 0 else TransferCode.CLEARING_CORRECTION,
        event_at=at,
        reference=reference,
    )
    ledger.post_all(session, [transfer], now=now)


def book_instruction(
    session: Session,
    *,
    own: str,
    pairs: list[tuple[str, str, int]],
    fee_minor: int,
    cycle: int,
    at: datetime,
    now: datetime,
) -> None:
    """Turn what ``own`` owes and is owed under ``pairs`` (issuer, acquirer, fen), and its fee, into one net on settlement."""
    settlement = ledger.open_account(session, chart.settlement(), now=now)
    reference = f"cycle:{cycle}"
    transfers: list[Transfer] = []
    for issuer, acquirer, amount_minor in pairs:
        if amount_minor == 0:
            continue
        if own == issuer:
            debit, credit = ledger.open_account(session, chart.due_to(acquirer), now=now), settlement
        else:
            debit, credit = settlement, ledger.open_account(session, chart.due_from(issuer), now=now)
        if amount_minor < 0:
            debit, credit = credit, debit
        transfers.append(
            Transfer(
                id=ids.derived_id(at, "cycle", str(cycle), own, issuer, acquirer),
                debit=debit,
                credit=credit,
                amount_minor=abs(amount_minor),
                code=TransferCode.SETTLEMENT,
                event_at=at,
                reference=reference,
            )
        )
    if fee_minor:
        transfers.append(
            Transfer(
                id=ids.derived_id(at, "cycle-fee", str(cycle), own),
                debit=ledger.open_account(session, chart.clearing_fees(), now=now),
                credit=settlement,
                amount_minor=fee_minor,
                code=TransferCode.CLEARING_FEE,
                event_at=at,
                reference=reference,
            )
        )
    if transfers:
        ledger.post_all(session, transfers, now=now)


def book_bank(session: Session, *, net_minor: int, cycle: int, at: datetime, now: datetime) -> None:
    """The bank paid (net below zero) or received the net of a cycle."""
    if net_minor == 0:
        return
    settlement = ledger.open_account(session, chart.settlement(), now=now)
    bank = ledger.open_account(session, chart.bank(), now=now)
    debit, credit = (settlement, bank) if net_minor < 0 else (bank, settlement)
    transfer = Transfer(
        id=ids.derived_id(at, "cycle-bank", str(cycle)),
        debit=debit,
        credit=credit,
        amount_minor=abs(net_minor),
        code=TransferCode.SETTLEMENT,
        event_at=at,
        reference=f"cycle:{cycle}",
    )
    ledger.post_all(session, [transfer], now=now)


def book_hub(
    session: Session,
    *,
    finals: dict[str, int],
    clearing_minor: int,
    cycle: int,
    paid: bool,
    at: datetime,
    now: datetime,
) -> None:
    """The hub's own books of a cycle: what each city owes or is owed, then (``paid``) the bank's lines."""
    settlement = ledger.open_account(session, chart.settlement(), now=now)
    bank = ledger.open_account(session, chart.bank(), now=now)
    transfers: list[Transfer] = []

    def line(name: str, debit: ledger.AccountId, credit: ledger.AccountId, amount_minor: int, code: TransferCode) -> None:
        transfers.append(
            Transfer(
                id=ids.derived_id(at, "hub-cycle", str(cycle), name, str(paid)),
                debit=debit,
                credit=credit,
                amount_minor=amount_minor,
                code=code,
                event_at=at,
                reference=f"cycle:{cycle}",
            )
        )

    for city, final_minor in sorted(finals.items()):
        if final_minor < 0:
            owed = ledger.open_account(session, chart.due_from(city), now=now)
            line(city, *((bank, owed) if paid else (owed, settlement)), -final_minor, TransferCode.SETTLEMENT)
        elif final_minor > 0:
            owing = ledger.open_account(session, chart.due_to(city), now=now)
            line(city, *((owing, bank) if paid else (settlement, owing)), final_minor, TransferCode.SETTLEMENT)
    if clearing_minor and not paid:
        fees = ledger.open_account(session, chart.clearing_fees(), now=now)
        line("fees", settlement, fees, clearing_minor, TransferCode.CLEARING_FEE)
    if transfers:
        ledger.post_all(session, transfers, now=now)
