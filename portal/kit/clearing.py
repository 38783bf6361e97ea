"""What clearing's files, breaks, disputes and cycles are called on a screen, and how they are laid out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from app.kernel import clock
from app.kernel.db import Json
from app.kernel.errors import Invalid, Refusal, msg
from app.web.db import settings
from app.web.i18n import language, translate
from card import clearing, partners
from card.clearing import BreakKind, CycleState, DisputeState, Move, Proposal
from services import people

K = TypeVar("K", bound=str)
MAX_MINOR: Final = 10**12
Tagged = tuple[str, str]  # the word and its tone

FILE_STATES: Final[Mapping[str, Tagged]] = {
    "prepared": (msg("Being sent"), "wait"),
    "delivered": (msg("Delivered"), "info"),
    "refused": (msg("Refused"), "bad"),
    "received": (msg("Received"), "info"),
    "matched": (msg("Matched"), "good"),
}
KINDS: Final[Mapping[BreakKind, str]] = {
    BreakKind.ACQUIRER_ONLY: msg("Only the acquirer has it"),
    BreakKind.ISSUER_ONLY: msg("Only the issuer has it"),
    BreakKind.AMOUNT: msg("The amounts differ"),
    BreakKind.DUPLICATE: msg("Claimed twice"),
    BreakKind.WRONG_PAIR: msg("Belongs to another city"),
    BreakKind.WINDOW: msg("The dates differ"),
    BreakKind.MANIFEST: msg("A file was changed"),
}
PROPOSALS: Final[Mapping[Proposal, str]] = {
    Proposal.ISSUER_PAYS: msg("The card was valid at the gate: the issuing city pays."),
    Proposal.WAIT_THEN_CREDIT: msg("Wait for the claim; after ten days the rider gets the money back."),
    Proposal.AGREE_AMOUNT: msg("Agree on one amount."),
    Proposal.DROP: msg("The copy is dropped. Nothing else is needed."),
    Proposal.RETURN: msg("Return it to the city that claimed it."),
    Proposal.ASK: msg("Ask the other city which file is right."),
}
BREAK_STATES: Final[Mapping[str, Tagged]] = {
    "open": (msg("Open"), "bad"),
    "disputed": (msg("In dispute"), "wait"),
    "resolved": (msg("Resolved"), "good"),
}
DISPUTE_STATES: Final[Mapping[DisputeState, Tagged]] = {
    DisputeState.INQUIRY: (msg("Asked"), "wait"),
    DisputeState.ANSWERED: (msg("Answered"), "info"),
    DisputeState.CHARGEBACK: (msg("Charged back"), "bad"),
    DisputeState.REPRESENTMENT: (msg("Claimed again"), "wait"),
    DisputeState.SECOND_CHARGEBACK: (msg("Charged back again"), "bad"),
    DisputeState.ARBITRATION: (msg("Before the province"), "wait"),
    DisputeState.CLOSED: (msg("Closed"), "good"),
    DisputeState.WITHDRAWN: (msg("Withdrawn"), "neutral"),
}
MOVES: Final[Mapping[Move, str]] = {
    Move.INQUIRE: msg("Ask"),
    Move.ANSWER: msg("Answer"),
    Move.ADJUST: msg("Credit adjustment"),
    Move.CHARGE_BACK: msg("Charge back"),
    Move.REPRESENT: msg("Claim again"),
    Move.CHARGE_BACK_AGAIN: msg("Charge back again"),
    Move.ACCEPT: msg("Accept"),
    Move.ARBITRATE: msg("Ask the province to decide"),
    Move.DECIDE: msg("Decide"),
    Move.WITHDRAW: msg("Withdraw"),
    Move.EXPIRE: msg("The deadline passed"),
}
CYCLE_STATES: Final[Mapping[CycleState, Tagged]] = {
    CycleState.NETTED: (msg("Netted"), "wait"),
    CycleState.FUNDING_CALL: (msg("Funding called"), "bad"),
    CycleState.INSTRUCTED: (msg("Instructed"), "info"),
    CycleState.SETTLED: (msg("Settled"), "good"),
    CycleState.ARCHIVED: (msg("Archived"), "neutral"),
    CycleState.SUSPENDED: (msg("Set aside"), "neutral"),
}
INSTRUCTION_STATES: Final[Mapping[str, Tagged]] = {
    "sent": (msg("Sent to the city"), "wait"),
    "booked": (msg("Booked by the city"), "info"),
    "settled": (msg("Settled"), "good"),
}
PARTNER_STATES: Final[Mapping[str, Tagged]] = {
    "requested": (msg("Asks to join"), "wait"),
    "admitted": (msg("Admitted"), "good"),
    "refused": (msg("Refused"), "bad"),
    "suspended": (msg("Suspended"), "bad"),
    "withdrawn": (msg("Withdrawn"), "neutral"),
}
RESOLUTIONS: Final[Mapping[str, str]] = {
    "arrived-late": msg("The debit arrived late and agrees."),
    "claimed-late": msg("The claim arrived late and agrees."),
    "drop": msg("The copy was dropped."),
}


def tagged(table: Mapping[K, Tagged], state: K) -> Tagged:
    """A state's word in the request's language, and its tone."""
    word, tone = table[state]
    return translate(word), tone


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names of cities and people on one page."""

    session: Session

    def city(self, code: str) -> str:
        """A city's name in the request's language; its code where it is unknown."""
        own = settings()
        if code == own.city_code:
            return own.city_name_en if language() == "en" else own.city_name_zh
        for entry in partners.directory(self.session):
            if entry.city.code == code:
                return entry.city.name_en if language() == "en" else entry.city.name_zh
        return code

    def actor(self, actor: str | None) -> str:
        """Who acted, as the audit trail names them."""
        kind, _, key = (actor or "").partition(":")
        if kind == "person":
            try:
                return people.get(self.session, UUID(key)).called(language())
            except (Refusal, ValueError):
                return translate("An officer")
        if kind == "city":
            return self.city(key)
        return translate("The nightly run") if kind == "system" else ""


@dataclass(frozen=True, kw_only=True)
class FileRow:
    """A file as a line of a table."""

    file: clearing.File
    acquirer: str
    issuer: str
    state: Tagged


def file_rows(names: Names, files: list[clearing.File]) -> list[FileRow]:
    """Files for a table."""
    return [
        FileRow(
            file=file,
            acquirer=names.city(file.acquirer),
            issuer=names.city(file.issuer),
            state=tagged(FILE_STATES, file.state),
        )
        for file in files
    ]


@dataclass(frozen=True, kw_only=True)
class BreakRow:
    """A break as a line of a table or a page."""

    item: clearing.Break
    acquirer: str
    issuer: str
    kind: str
    state: Tagged
    proposal: str
    resolution: str


def break_row(names: Names, item: clearing.Break) -> BreakRow:
    """A break with its words."""
    resolution = item.resolution or ""
    if resolution.startswith("dispute-"):
        resolution = translate("Agreed in a dispute.")
    elif resolution:
        resolution = translate(RESOLUTIONS.get(resolution, ""))
    return BreakRow(
        item=item,
        acquirer=names.city(item.acquirer),
        issuer=names.city(item.issuer),
        kind=translate(KINDS[item.kind]),
        state=tagged(BREAK_STATES, item.state),
        proposal=translate(PROPOSALS[item.proposal]),
        resolution=resolution,
    )


def record_rows(record: Json | None) -> list[tuple[str, str]]:
    """One side's record as rows of a comparison; empty where that side has none."""
    if not record or "card_number" not in record:
        return []
    return [
        (translate("Card"), record["card_number"]),
        (translate("Terminal"), record["terminal_id"] or "–"),
        (translate("Counter"), "–" if record["counter"] is None else str(record["counter"])),
        (translate("Accepted"), _moment(record["accepted_at"])),
        (translate("Reference"), record["reference"] or "–"),
    ]


def _moment(text: str) -> str:
    return clock.local(datetime.fromisoformat(text)).strftime("%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True, kw_only=True)
class DisputeRow:
    """A dispute as a line of a table or a page."""

    item: clearing.Dispute
    claimant: str
    respondent: str
    state: Tagged
    events: list[dict[str, object]]
    moves: list[tuple[str, str]]
    money_moves: list[tuple[str, str]]
    waiting: str
    waiting_by: str
    ours: bool


def dispute_row(names: Names, item: clearing.Dispute) -> DisputeRow:
    """A dispute with its words and its history as a timeline."""
    events: list[dict[str, object]] = []
    for move in item.history:
        who = names.actor(move.prepared_by)
        by = f"{names.city(move.city)} · {who}" if who and who != names.city(move.city) else names.city(move.city)
        if move.approved_by:
            by = f"{by} · {translate('approved by %(name)s', name=names.actor(move.approved_by))}"
        events.append(
            {
                "title": translate(MOVES[move.move]),
                "at": move.at,
                "by": by,
                "text": move.note,
                "effective_minor": move.effective_minor,
                "state": "now" if move is item.history[-1] and item.moves + item.money_moves else "done",
            }
        )
    waiting = item.waiting
    return DisputeRow(
        item=item,
        claimant=names.city(item.claimant),
        respondent=names.city(item.respondent),
        state=tagged(DISPUTE_STATES, item.state),
        events=events,
        moves=[(move.value, translate(MOVES[move])) for move in item.moves],
        money_moves=[(move.value, translate(MOVES[move])) for move in item.money_moves],
        waiting=translate(MOVES[Move(waiting.payload["move"])]) if waiting else "",
        waiting_by=names.actor(waiting.prepared_by) if waiting else "",
        ours=bool(item.moves or item.money_moves),
    )


def fen(text: str, *, field: str) -> int:
    """What a person typed in yuan as fen; raises ``Invalid`` naming the field."""
    try:
        minor = Decimal(text.strip().replace(",", "").removeprefix("¥")) * 100
    except InvalidOperation:
        minor = Decimal(-1)
    if not minor.is_finite() or minor != minor.to_integral_value() or not 0 <= minor < MAX_MINOR:
        raise Invalid(field, fields={field: msg("Enter an amount in yuan, such as 12.30.")})
    return int(minor)
