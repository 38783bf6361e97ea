"""How cards, entitlements and lines of a statement are named on a screen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from app.kernel.clock import civil_date as civil
from app.kernel.errors import msg
from app.web.i18n import language, translate
from card import cards, ledger
from card.credentials import Entitlement, numbers
from portal.kit.dates import civil_date
from portal.kit.money import yuan

STATES: Final = {
    cards.Status.ISSUED: (msg("Waiting to be activated"), "wait"),
    cards.Status.ACTIVE: (msg("Active"), "good"),
    cards.Status.BLOCKED: (msg("Blocked"), "bad"),
    cards.Status.REPLACED: (msg("Replaced"), "neutral"),
    cards.Status.EXPIRED: (msg("Expired"), "neutral"),
}
KINDS: Final = {cards.Kind.PHONE: msg("Card on your phone"), cards.Kind.PHYSICAL: msg("Plastic card")}
REASONS: Final = {
    cards.BlockReason.LOST: msg("I lost it"),
    cards.BlockReason.STOLEN: msg("It was stolen"),
    cards.BlockReason.DAMAGED: msg("It does not work any more"),
    cards.BlockReason.HOLDER_ASKED: msg("Another reason"),
    cards.BlockReason.MISUSE: msg("Misuse"),
    cards.BlockReason.DECEASED: msg("The holder has died"),
}
STAFF_REASONS: Final = {
    cards.BlockReason.LOST: msg("Reported lost"),
    cards.BlockReason.STOLEN: msg("Reported stolen"),
    cards.BlockReason.DAMAGED: msg("Damaged"),
    cards.BlockReason.MISUSE: msg("Misuse"),
    cards.BlockReason.HOLDER_ASKED: msg("The holder asked"),
    cards.BlockReason.DECEASED: msg("The holder has died"),
}
ENTITLEMENTS: Final = {
    "senior-60": msg("Aged 60 to 69: reduced fares"),
    "senior-70": msg("Aged 70 and over: free travel"),
    "student": msg("Student fares"),
    "disabled": msg("Disabled person: free travel"),
    "veteran": msg("Veteran: free travel"),
    "month-pass-20": msg("Month ticket, 20 rides"),
    "month-pass-30": msg("Month ticket, 30 rides"),
    "month-pass-50": msg("Month ticket, 50 rides"),
    "day-pass": msg("24-hour ticket"),
}
MOVEMENTS: Final = {
    "top-up": msg("Top-up"),
    "top-up-refund": msg("Top-up paid back"),
    "opening": msg("Opening balance"),
    "correction": msg("Correction"),
    "reversal": msg("Reversal"),
    "fare": msg("Journey"),
    "fare-correction": msg("Fare adjusted"),
    "foreign-fare": msg("Journey in another city"),
    "foreign-fare-correction": msg("Fare in another city adjusted"),
    "debt-recovery": msg("Fares you owed"),
    "fare-debt": msg("Fare you owe"),
    "service-fee": msg("Service fee"),
    "service-fee-refund": msg("Service fee paid back"),
    "health-own-account": msg("Medical bill, your own share"),
    "health-family-account": msg("Medical bill, family account"),
    "health-cash": msg("Medical bill, paid by card"),
    "foreign-health": msg("Medical bill in another city"),
    "health-correction": msg("Medical bill corrected"),
    "pension": msg("Pension"),
    "allowance": msg("Allowance"),
    "benefit-recovery": msg("Payment taken back"),
    "payout": msg("Paid out to your bank"),
    "grant": msg("Granted to you"),
    "grant-return": msg("Returned to the fund"),
    "purchase": msg("Purchase"),
    "refund": msg("Refund"),
    "bill": msg("Bill"),
    "dispute-credit": msg("Credit after a dispute"),
    "dispute-chargeback": msg("Charge after a dispute"),
    "provisional-credit": msg("Provisional credit"),
}


PAYS: Final = {
    ledger.TransferCode.FARE: msg("journeys in this city"),
    ledger.TransferCode.PURCHASE: msg("payments in shops"),
    ledger.TransferCode.BILL: msg("bills"),
    ledger.TransferCode.SERVICE_FEE: msg("service fees"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CardFace:
    """A card as its screens show it. ``look`` is the class of its face; ``tone`` of its tag."""

    id: str
    number: str
    number_short: str
    kind: str
    state: str
    tone: str
    look: str
    active: bool
    blocked: bool
    issued_at: datetime
    expires_on: date
    blocked_at: datetime | None
    reason: str
    replaced: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class PurseView:
    """An earmarked purse as its screens show it: ``what`` says what it pays for, ``share`` is what is left, in percent."""

    id: str
    name: str
    what: str
    balance: str
    granted: str
    until: datetime
    last_day: date
    share: int
    over: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Movement:
    """One line of a statement; ``id`` is its transfer."""

    id: UUID
    what: str
    at: datetime
    amount: str
    incoming: bool
    balance: str
    reference: str


def face(card: cards.Card) -> CardFace:
    """A card in the page's language."""
    state, tone = STATES[card.status]
    looks = {cards.Status.ACTIVE: "active", cards.Status.BLOCKED: "blocked", cards.Status.ISSUED: "active"}
    return CardFace(
        id=str(card.id),
        number=numbers.spaced(card.number),
        number_short=numbers.masked(card.number),
        kind=translate(KINDS[card.kind]),
        state=translate(state),
        tone=tone,
        look=looks.get(card.status, "expired"),
        active=card.status is cards.Status.ACTIVE,
        blocked=card.status is cards.Status.BLOCKED,
        issued_at=card.issued_at,
        expires_on=card.expires_on,
        blocked_at=card.blocked_at,
        reason=translate(STAFF_REASONS[card.block_reason]) if card.block_reason else "",
        replaced=card.status is cards.Status.REPLACED,
    )


def entitlement(held: Entitlement, cities: dict[str, str]) -> tuple[str, str]:
    """An entitlement in words, and where and until when it holds; ``cities`` names codes in the page's language."""
    what = translate(ENTITLEMENTS[held.code]) if held.code in ENTITLEMENTS else held.code
    where = translate(msg("the whole province")) if held.scope_city.endswith("0000") else cities.get(held.scope_city, "")
    place = where or translate(msg("city %(code)s"), code=held.scope_city)
    return what, translate(msg("In %(place)s, until %(date)s"), place=place, date=civil_date(held.expires_on))


def purse(held: ledger.Purse, payees: Mapping[str, str], *, now: datetime) -> PurseView:
    """An earmarked purse in the page's language; ``payees`` names accounts that it may pay."""
    named = sorted(payees[key] for key in held.payees if key in payees)
    what = named or [translate(PAYS[code]) for code in sorted(held.codes) if code in PAYS]
    return PurseView(
        id=str(held.id),
        name=held.name.get(language()) or held.name["en"],
        what=translate(msg(", ")).join(what) or translate(msg("everything")),
        balance=yuan(held.available_minor),
        granted=yuan(held.granted_minor),
        until=held.expires_at,
        last_day=civil(held.expires_at - timedelta(microseconds=1)),
        share=round(100 * held.available_minor / held.granted_minor),
        over=held.closed or held.expires_at <= now,
    )


def movements(lines: Sequence[ledger.StatementLine]) -> list[Movement]:
    """Lines of a statement in the page's language."""
    return [
        Movement(
            id=line.transfer_id,
            what=translate(MOVEMENTS[line.code.slug]) if line.code.slug in MOVEMENTS else line.code.slug,
            at=line.event_at,
            amount=yuan(line.amount_minor, sign=True),
            incoming=line.amount_minor > 0,
            balance=yuan(line.balance_after_minor),
            reference=line.reference,
        )
        for line in lines
    ]
