"""What health and social security are called on a screen, and how a bill's split is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from app.kernel.errors import msg
from app.kernel.explain import Step
from app.web.i18n import DEFAULT, language, translate
from card import benefits, health, partners
from card.health import ClaimState, FilingKind, FilingState, ItemClass, Level, Payer, Scheme, Split, Status
from services import people

PAYERS: Final[dict[Payer, str]] = {
    Payer.POOL: msg("Pooled fund"),
    Payer.CATASTROPHIC: msg("Serious-illness fund"),
    Payer.OTHER_FUND: msg("Supplementary fund"),
    Payer.MEDICAL_AID: msg("Medical aid"),
    Payer.OWN_ACCOUNT: msg("Medical account"),
    Payer.FAMILY_ACCOUNT: msg("Family account"),
    Payer.CASH: msg("At the desk"),
}
KINDS: Final[dict[FilingKind, str]] = {
    FilingKind.LONG_TERM: msg("Living elsewhere"),
    FilingKind.REFERRAL: msg("Referral"),
    FilingKind.EMERGENCY: msg("Emergency"),
    FilingKind.SELF: msg("Own choice"),
}
FILING_STATES: Final[dict[FilingState, tuple[str, str]]] = {
    FilingState.DRAFT: (msg("Draft"), "neutral"),
    FilingState.FILED: (msg("Waiting for an officer"), "wait"),
    FilingState.ACTIVE: (msg("In force"), "good"),
    FilingState.EXPIRED: (msg("Expired"), "neutral"),
    FilingState.CANCELLED: (msg("Cancelled"), "neutral"),
}
CLAIM_STATES: Final[dict[ClaimState, tuple[str, str]]] = {
    ClaimState.REGISTERED: (msg("Registered"), "neutral"),
    ClaimState.LINES: (msg("Bill entered"), "neutral"),
    ClaimState.PRE_SETTLED: (msg("Pre-settled"), "wait"),
    ClaimState.SETTLED: (msg("Settled"), "good"),
    ClaimState.REVERSED: (msg("Reversed"), "bad"),
    ClaimState.CLEARED: (msg("Cleared"), "good"),
    ClaimState.CONFIRMED: (msg("Confirmed"), "good"),
    ClaimState.DISPUTED: (msg("Disputed"), "bad"),
    ClaimState.PAID: (msg("Paid"), "good"),
}
LEVELS: Final[dict[Level, str]] = {
    Level.PRIMARY: msg("Primary hospital"),
    Level.SECONDARY: msg("Secondary hospital"),
    Level.TERTIARY: msg("Tertiary hospital"),
}
SCHEMES: Final[dict[Scheme, str]] = {Scheme.EMPLOYEE: msg("Employees’ medical insurance")}
STATUSES: Final[dict[Status, str]] = {Status.IN_SERVICE: msg("In service"), Status.RETIRED: msg("Retired")}
CLASSES: Final[dict[ItemClass, str]] = {
    ItemClass.A: msg("Class A"),
    ItemClass.B: msg("Class B"),
    ItemClass.C: msg("Class C"),
}

AWARDS: Final[dict[str, str]] = {
    "basic-pension": msg("Basic old-age pension"),
    "older-resident": msg("Allowance for older residents"),
    "older-resident-allowance": msg("Allowance for older residents"),
}
AWARD_STATES: Final[dict[str, tuple[str, str]]] = {
    "claimed": (msg("Claimed"), "neutral"),
    "computed": (msg("Waiting for approval"), "wait"),
    "approved": (msg("Approved"), "good"),
    "in-payment": (msg("In payment"), "good"),
    "suspended": (msg("Suspended"), "bad"),
    "resumed": (msg("Resumed"), "good"),
    "ended": (msg("Payment ended"), "neutral"),
}
RUN_STATES: Final[dict[str, tuple[str, str]]] = {
    "generating": (msg("Being prepared"), "neutral"),
    "pending-approval": (msg("Waiting for approval"), "wait"),
    "approved": (msg("Approved"), "info"),
    "in-payment": (msg("In payment"), "info"),
    "reconciled": (msg("Closed"), "good"),
    "rejected": (msg("Rejected"), "bad"),
    "failed": (msg("Failed"), "bad"),
}
ITEM_STATES: Final[dict[str, tuple[str, str]]] = {
    "due": (msg("Due"), "wait"),
    "sent": (msg("Sent to the bank"), "info"),
    "paid": (msg("Paid"), "good"),
    "returned": (msg("Returned by the bank"), "bad"),
    "held": (msg("Payment held"), "wait"),
    "ended": (msg("Payment ended"), "neutral"),
}
RUN_KINDS: Final[dict[str, str]] = {"regular": msg("Regular run"), "supplementary": msg("Supplementary run")}
CHANNELS: Final[dict[str, str]] = {"card": msg("Citizen card"), "bank": msg("Bank account")}


def told(step: Step) -> str:
    """A step in the page's language. One from a city that words it differently is shown as it came."""
    try:
        return translate(step.sentence, **step.params)
    except (KeyError, ValueError, TypeError):
        return step.sentence


def labelled(states: dict[str, tuple[str, str]], state: str) -> tuple[str, str]:
    """A state's name in the page's language and the tone of its tag."""
    text, tone = states.get(state, (state, "neutral"))
    return translate(text), tone


def award_name(code: str) -> str:
    """What a pension or allowance is called."""
    return translate(AWARDS.get(code, msg("Allowance")))


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One payer's part of the bar: where it begins and how wide it is (per cent), its name, amount and share."""

    payer: str
    name: str
    amount_minor: int
    begins: float
    width: float
    share: str


def pieces(split: Split) -> list[Piece]:
    """The split as parts of one bar, payers that pay nothing left out."""
    found: list[Piece] = []
    begins = 0.0
    for share in split.shares:
        if not share.amount_minor:
            continue
        width = 100 * share.amount_minor / split.total_minor
        found.append(
            Piece(
                payer=share.payer.value,
                name=translate(PAYERS[share.payer]),
                amount_minor=share.amount_minor,
                begins=round(begins, 3),
                width=round(width, 3),
                share=f"{width:.1f}%",
            )
        )
        begins += width
    return found


def region_names(session: Session) -> dict[str, str]:
    """The cities of the federation by code, in the page's language; ourselves too."""
    known = [partners.own_city(session), *partners.cities(session)]
    return {city.code: city.name_zh if language() == DEFAULT else city.name_en for city in known}


def names_of(session: Session, holders: Sequence[UUID]) -> dict[UUID, str]:
    """What people are called, for those this city knows."""
    found: dict[UUID, str] = {}
    for holder_id in set(holders):
        try:
            found[holder_id] = people.get(session, holder_id).called(language())
        except people.UnknownPerson:
            continue
    return found


def months_told(item: benefits.ItemView) -> str:
    """The months an item is for: ``2026-11 – 2026-12``."""
    if not item.months:
        return "–"
    return item.months[0] if len(item.months) == 1 else f"{item.months[0]} – {item.months[-1]}"


def day(text: str) -> date | None:
    """A civil date as a form sends it, or nothing."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def is_open(claim: health.ClaimView) -> bool:
    """Whether the bill may still be changed."""
    return claim.state in (ClaimState.REGISTERED, ClaimState.LINES, ClaimState.PRE_SETTLED) and not claim.waiting
