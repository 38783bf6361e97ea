"""A gate that is online asks before it opens whether the card is good now and its purse holds what is at stake.

What is at stake is what this tap would cost if nothing followed it. That much is held for a few minutes; the tap itself is
recorded and uploaded as always, and its pricing gives the hold back before it charges. The hold's id comes from the code that
was shown, so a request that is repeated gets the same answer and needs no nonce.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from app.kernel.city import City, city_of
from app.kernel.db import Statements
from app.kernel.ids import derived_id
from card import cards, credentials, fares, ledger
from card.credentials import CredentialRefused, Presentation, Reason, TapKind
from card.ledger import Hold, InsufficientFunds, TransferCode, chart
from card.transit import evidence, network, terminals
from card.transit.terminals import STANDS, Remembered, Standing

HELD_FOR: Final = timedelta(minutes=5)
FOREIGN: Final = "foreign-card"
PAYER: Final = f"{cards.HOLDER_IF_GOOD} AND {STANDS}".encode()  # one row, or none where the gate may not open at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Authorised:
    """The answer: whether to open, why not (or ``foreign-card``: its own city bears it), and what is held until when."""

    approved: bool
    code: str = ""
    held_minor: int = 0
    until: datetime | None = None


def hold_id(shown: Presentation) -> UUID:
    """The id of the hold for one code that was shown."""
    return derived_id(shown.shown_at, "authorise", shown.device_kid.hex(), str(shown.counter))


def at_once(
    connection: Statements,
    city: City,
    *,
    terminal_id: UUID,
    remembered: Remembered,
    kind: TapKind,
    qr: bytes,
    now: datetime,
) -> Authorised | None:
    """Decide as :func:`authorise`, in one statement, on what this process remembers of the terminal.

    The statement holds the fare if the terminal still may speak and stands where it stood, under the same tariffs, the card is
    good and the money is there. Otherwise the answer is None, nothing has changed, and :func:`authorise` decides or says why.
    Raises ``UniqueViolation`` where the same was asked before: that one holds it.
    """
    standing = remembered.standing
    tariffs = network.kept_tariffs(city.code, standing.operator_id, mark=standing.tariffs) if standing else None
    if standing is None or tariffs is None:
        return None
    try:
        shown = evidence.shown_at_home(city, qr, now=now)
    except CredentialRefused:
        return None
    stake = _stake(tariffs, standing, shown, kind=kind, now=now)
    given = terminals.compared(terminal_id, key=remembered.key, standing=standing, now=now)
    given |= {"number": shown.number, "index": shown.static.status_index}
    if not stake:
        return Authorised(approved=True) if connection.execute(PAYER, given, prepare=True).rowcount else None
    until = shown.shown_at + HELD_FOR
    done = ledger.hold_at_once(
        connection,
        PAYER,
        given,
        chart.operator(standing.operator_id),
        hold_id=hold_id(shown),
        amount_minor=stake,
        code=TransferCode.FARE,
        until=until,
        reference=_reference(shown),
        now=now,
    )
    return Authorised(approved=True, held_minor=stake, until=until) if done else None


def authorise(session: Session, terminal: Standing, *, kind: TapKind, qr: bytes, now: datetime) -> Authorised:
    """Decide on the code ``qr`` shown at the terminal now. A refusal is an answer, not an exception."""
    try:
        shown = evidence.shown(session, qr, now=now)
    except CredentialRefused as refusal:
        return Authorised(approved=False, code=refusal.reason.value)
    if shown.static.issuer != city_of(session).code:
        return Authorised(approved=True, code=FOREIGN)
    found = cards.standing(session, shown.number, shown.static.status_index)
    if found is None or not found.good:
        return Authorised(approved=False, code=Reason.CARD_BLOCKED.value if found else cards.UnknownCard.code)
    tariffs = network.remembered_tariffs(session, terminal.operator_id, mark=terminal.tariffs)
    stake = _stake(tariffs, terminal, shown, kind=kind, now=now)
    if not stake:
        return Authorised(approved=True)
    return _hold(session, terminal, shown, holder_id=found.holder_id, stake=stake, now=now)


def _reference(shown: Presentation) -> str:
    return f"authorise:{credentials.numbers.masked(shown.number)}"


def _stake(tariffs: fares.Tariffs, terminal: Standing, shown: Presentation, *, kind: TapKind, now: datetime) -> int:
    """What the tap costs if nothing follows it, in fen."""
    tap = fares.Tap(
        key="now",
        at=now,
        kind=kind.value,
        operator=terminal.operator_id,
        stop_id=terminal.stop_id,
        line=terminal.line_id,
        rider=evidence.rider(shown.static.issuer, shown.static.entitlements),
    )
    return fares.charge([tap], tariffs, fares.Rider(issuer=shown.static.issuer)).total_minor


def _hold(
    session: Session, terminal: Standing, shown: Presentation, *, holder_id: UUID, stake: int, now: datetime
) -> Authorised:
    purse, operator = chart.purse(holder_id), chart.operator(terminal.operator_id)
    accounts = ledger.open_accounts(session, [purse, operator], now=now)
    until = shown.shown_at + HELD_FOR
    held = Hold(
        id=hold_id(shown),
        debit=accounts[purse.key],
        credit=accounts[operator.key],
        amount_minor=stake,
        code=TransferCode.FARE,
        expires_at=until,
        reference=_reference(shown),
    )
    try:
        ledger.hold(session, held, now=now)
    except InsufficientFunds:
        return Authorised(approved=False, code=InsufficientFunds.code)
    return Authorised(approved=True, held_minor=stake, until=until)
