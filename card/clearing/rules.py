"""What a claim between two cities is, which breaks there are, and how a dispute moves. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from app.kernel import clock
from app.kernel.db import Json
from app.kernel.errors import Conflict, Forbidden, IllegalMove, Invalid, NotFound, msg

SCHEME: Final = "jiangsu-citizen-card/1"
GRACE_HOUR: Final = 6  # civil time on the day after the window until which charges are expected to arrive
ISSUER_ONLY_DAYS: Final = 10  # after which the rider is credited from suspense


class ManifestBreak(Conflict):
    """The same file number came before with other content."""

    code = "manifest-break"
    sentence = msg("A clearing file with this number was received before with other content.")


class FileOutOfOrder(Conflict):
    """The file names a predecessor that has not arrived."""

    code = "clearing-file-out-of-order"
    sentence = msg("An earlier clearing file has not arrived yet. Send it first.")


class BadClearingFile(Invalid):
    """The records are not what the manifest says."""

    code = "bad-clearing-file"
    sentence = msg("The clearing file does not hold what its manifest says.")


class ResultDisagrees(Conflict):
    """The counterparty's result does not add up with what we sent."""

    code = "clearing-result-disagrees"
    sentence = msg("The matching result does not add up with the file that was sent.")


class InstructionDisagrees(Conflict):
    """The hub's instruction is not the sum of what this city reported."""

    code = "settlement-instruction-disagrees"
    sentence = msg("The settlement instruction does not add up with the positions this city reported.")


class WrongParty(Forbidden):
    """The city is no party to this, or it is not its turn."""

    code = "wrong-party"
    sentence = msg("This step belongs to the other city.")


class NothingToNet(Conflict):
    """No position waits that both sides have reported alike."""

    code = "nothing-to-net"
    sentence = msg("There is nothing to settle yet: no position has been reported by both cities.")


class AmountOutOfRange(Invalid):
    """A dispute may never give back more than the original."""

    code = "dispute-amount-out-of-range"
    sentence = msg("The agreed amount must lie between zero and the original amount.")


class NoSuchBreak(NotFound):
    """There is no such break."""

    code = "no-such-break"
    sentence = msg("There is no such difference.")


class NoSuchDispute(NotFound):
    """There is no such dispute."""

    code = "no-such-dispute"
    sentence = msg("There is no such dispute.")


class NoSuchFile(NotFound):
    """There is no such clearing file."""

    code = "no-such-clearing-file"
    sentence = msg("There is no such clearing file.")


class NoSuchCycle(NotFound):
    """There is no such settlement cycle."""

    code = "no-such-cycle"
    sentence = msg("There is no such settlement cycle.")


class FundingMissing(Conflict):
    """A city is over its cap and the funding call is not met."""

    code = "funding-missing"
    sentence = msg("A city owes more than its cap. It has to fund the difference before anything is instructed.")


class Side(StrEnum):
    """Whose record it is: the acquirer claims, the issuer debits."""

    CLAIM = "claim"
    DEBIT = "debit"


class RecordState(StrEnum):
    """Of a record on its own side."""

    WAITING = "waiting"  # a claim in no file yet; a debit that no claim has met
    FILED = "filed"  # a claim in a file whose result has not come
    MATCHED = "matched"
    BROKEN = "broken"
    RESOLVED = "resolved"


@dataclass(frozen=True, kw_only=True)
class Charge:
    """One foreign charge as either side records it.

    ``amount_minor`` is what the issuer owes the acquirer for it; a negative amount gives back.
    """

    id: UUID
    issuer: str
    acquirer: str
    amount_minor: int
    kind: str
    card_number: str
    reference: str
    terminal_id: str
    counter: int | None
    event_at: datetime
    accepted_at: datetime

    @property
    def window(self) -> date:
        """The civil date on which the acquirer accepted: never that of arrival."""
        return clock.civil_date(self.accepted_at)

    @property
    def document(self) -> Json:
        """As it is shown to the other side."""
        return {
            "id": str(self.id),
            "issuer": self.issuer,
            "acquirer": self.acquirer,
            "amount_minor": self.amount_minor,
            "kind": self.kind,
            "card_number": self.card_number,
            "reference": self.reference,
            "terminal_id": self.terminal_id,
            "counter": self.counter,
            "event_at": self.event_at.astimezone(UTC).isoformat(),
            "accepted_at": self.accepted_at.astimezone(UTC).isoformat(),
        }


def charge_from(document: Json) -> Charge:
    """A charge from its document (an event's payload, a partner's record); raises :class:`BadClearingFile`."""
    try:
        counter = document.get("counter")
        return Charge(
            id=UUID(str(document["id"])),
            issuer=str(document["issuer"]),
            acquirer=str(document["acquirer"]),
            amount_minor=int(document["amount_minor"]),
            kind=str(document["kind"]),
            card_number=str(document["card_number"]),
            reference=str(document.get("reference") or ""),
            terminal_id=str(document.get("terminal_id") or ""),
            counter=None if counter is None else int(counter),
            event_at=_instant(document["event_at"]),
            accepted_at=_instant(document["accepted_at"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise BadClearingFile(f"not a charge: {error}") from error


def _instant(value: object) -> datetime:
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    if found.tzinfo is None:
        raise ValueError(f"{value} has no zone")
    return found.astimezone(UTC)


# -------------------------------------------------------------------------------------------------------------------- breaks


class BreakKind(StrEnum):
    """How two views differ."""

    ACQUIRER_ONLY = "acquirer-only"
    ISSUER_ONLY = "issuer-only"
    AMOUNT = "amount"
    DUPLICATE = "duplicate"
    WRONG_PAIR = "wrong-pair"
    WINDOW = "window"
    MANIFEST = "manifest"


class Proposal(StrEnum):
    """What ought to be done about a break."""

    ISSUER_PAYS = "issuer-pays"
    WAIT_THEN_CREDIT = "wait-then-credit-rider"
    AGREE_AMOUNT = "agree-amount"
    DROP = "drop"
    RETURN = "return-to-acquirer"
    ASK = "ask"


PROPOSALS: Final[Mapping[BreakKind, Proposal]] = {
    BreakKind.ACQUIRER_ONLY: Proposal.ISSUER_PAYS,
    BreakKind.ISSUER_ONLY: Proposal.WAIT_THEN_CREDIT,
    BreakKind.AMOUNT: Proposal.AGREE_AMOUNT,
    BreakKind.DUPLICATE: Proposal.DROP,
    BreakKind.WRONG_PAIR: Proposal.RETURN,
    BreakKind.WINDOW: Proposal.RETURN,
    BreakKind.MANIFEST: Proposal.ASK,
}

SELF_CLOSING: Final = frozenset({BreakKind.DUPLICATE})  # the proposed action needs nobody: the copy is dropped


class BreakState(StrEnum):
    """Of a break."""

    OPEN = "open"
    DISPUTED = "disputed"
    RESOLVED = "resolved"


# ------------------------------------------------------------------------------------------------------------------ disputes


class DisputeState(StrEnum):
    """查询 → 查复 → 贷记调整 | 退单 → 再请款 → 二次退单 → 仲裁 → 结案."""

    INQUIRY = "inquiry"
    ANSWERED = "answered"
    CHARGEBACK = "chargeback"
    REPRESENTMENT = "representment"
    SECOND_CHARGEBACK = "second-chargeback"
    ARBITRATION = "arbitration"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"


class Move(StrEnum):
    """What a party does."""

    INQUIRE = "inquire"
    ANSWER = "answer"
    ADJUST = "credit-adjustment"
    CHARGE_BACK = "charge-back"
    REPRESENT = "represent"
    CHARGE_BACK_AGAIN = "charge-back-again"
    ACCEPT = "accept"
    ARBITRATE = "ask-for-arbitration"
    DECIDE = "decide"
    WITHDRAW = "withdraw"
    EXPIRE = "expire"


class Party(StrEnum):
    """Who moves."""

    CLAIMANT = "claimant"
    RESPONDENT = "respondent"
    HUB = "hub"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One line of the table: who may make the move, where it leads, whether money moves, and how long the next party has."""

    by: Party
    to: DisputeState
    money: bool = False
    working_days: int | None = None
    days: int | None = None


MOVES: Final[Mapping[DisputeState, Mapping[Move, tuple[Step, ...]]]] = {
    DisputeState.INQUIRY: {
        Move.ANSWER: (Step(by=Party.RESPONDENT, to=DisputeState.ANSWERED, days=120),),
        Move.ADJUST: (Step(by=Party.RESPONDENT, to=DisputeState.CLOSED, money=True),),
        Move.WITHDRAW: (Step(by=Party.CLAIMANT, to=DisputeState.WITHDRAWN),),
        Move.EXPIRE: (Step(by=Party.CLAIMANT, to=DisputeState.ANSWERED, days=120),),  # silence is an answer: charge back
    },
    DisputeState.ANSWERED: {
        Move.ADJUST: (Step(by=Party.RESPONDENT, to=DisputeState.CLOSED, money=True),),
        Move.CHARGE_BACK: (Step(by=Party.CLAIMANT, to=DisputeState.CHARGEBACK, money=True, days=20),),
        Move.WITHDRAW: (Step(by=Party.CLAIMANT, to=DisputeState.WITHDRAWN),),
        Move.EXPIRE: (Step(by=Party.RESPONDENT, to=DisputeState.WITHDRAWN),),
    },
    DisputeState.CHARGEBACK: {
        Move.ACCEPT: (Step(by=Party.RESPONDENT, to=DisputeState.CLOSED),),
        Move.REPRESENT: (Step(by=Party.RESPONDENT, to=DisputeState.REPRESENTMENT, money=True, days=20),),
        Move.EXPIRE: (Step(by=Party.CLAIMANT, to=DisputeState.CLOSED),),
    },
    DisputeState.REPRESENTMENT: {
        Move.ACCEPT: (Step(by=Party.CLAIMANT, to=DisputeState.CLOSED),),
        Move.CHARGE_BACK_AGAIN: (Step(by=Party.CLAIMANT, to=DisputeState.SECOND_CHARGEBACK, money=True, days=10),),
        Move.EXPIRE: (Step(by=Party.RESPONDENT, to=DisputeState.CLOSED),),
    },
    DisputeState.SECOND_CHARGEBACK: {
        Move.ACCEPT: (Step(by=Party.RESPONDENT, to=DisputeState.CLOSED),),
        Move.ARBITRATE: (Step(by=Party.RESPONDENT, to=DisputeState.ARBITRATION, days=30),),
        Move.EXPIRE: (Step(by=Party.CLAIMANT, to=DisputeState.CLOSED),),
    },
    DisputeState.ARBITRATION: {
        Move.DECIDE: (Step(by=Party.HUB, to=DisputeState.CLOSED, money=True),),
    },
    DisputeState.CLOSED: {},
    DisputeState.WITHDRAWN: {},
}

INQUIRY_WORKING_DAYS: Final = 5
FINAL: Final = frozenset({DisputeState.CLOSED, DisputeState.WITHDRAWN})


def step(state: DisputeState, move: Move, *, by: Party) -> Step:
    """The line of the table for this move; raises ``IllegalMove`` or :class:`WrongParty`."""
    lines = MOVES[state].get(move, ())
    if not lines:
        raise IllegalMove(state=state)
    for line in lines:
        if line.by is by:
            return line
    raise WrongParty(f"{move} belongs to the {lines[0].by}")


def open_moves(state: DisputeState, *, by: Party) -> list[Move]:
    """The moves a party may make now, in the order of the table; expiry is the clock's."""
    return [move for move, lines in MOVES[state].items() if move is not Move.EXPIRE and any(line.by is by for line in lines)]


def deadline(line: Step, *, at: datetime) -> datetime | None:
    """Until when the next party has; none where nothing is awaited."""
    if line.working_days is not None:
        return after_working_days(at, line.working_days)
    return None if line.days is None else at + timedelta(days=line.days)


def after_working_days(at: datetime, days: int) -> datetime:
    """``at`` and ``days`` Mondays to Fridays later. Public holidays only lengthen a clock and are not deducted here."""
    found = clock.local(at)
    while days:
        found += timedelta(days=1)
        days -= found.weekday() < 5  # noqa: PLR2004
    return found.astimezone(UTC)


def effective_after(move: Move, *, present_minor: int, asked_minor: int, given_minor: int | None, before_minor: int) -> int:
    """What the issuer owes for the record after a move of money.

    An adjustment or decision sets the amount that was given; a chargeback sets what the claimant asks for; a representment
    restores what stood before the chargeback.
    """
    if move in (Move.ADJUST, Move.DECIDE):
        return present_minor if given_minor is None else given_minor
    if move in (Move.CHARGE_BACK, Move.CHARGE_BACK_AGAIN):
        return asked_minor
    assert move is Move.REPRESENT, move
    return before_minor


def in_range(amount_minor: int, *, original_minor: int) -> int:
    """``amount_minor`` where it lies between zero and the original (of either sign); raises :class:`AmountOutOfRange`."""
    low, high = min(0, original_minor), max(0, original_minor)
    if not low <= amount_minor <= high:
        raise AmountOutOfRange(f"{amount_minor} is not between {low} and {high}")
    return amount_minor


# ------------------------------------------------------------------------------------------------------------ hub's cycles


class CycleState(StrEnum):
    """Of a settlement cycle at the hub."""

    NETTED = "netted"
    FUNDING_CALL = "funding-call"
    INSTRUCTED = "instructed"
    SETTLED = "settled"
    ARCHIVED = "archived"
    SUSPENDED = "suspended"


CYCLE_MOVES: Final[Mapping[CycleState, frozenset[CycleState]]] = {
    CycleState.NETTED: frozenset({CycleState.FUNDING_CALL, CycleState.INSTRUCTED, CycleState.SUSPENDED}),
    CycleState.FUNDING_CALL: frozenset({CycleState.INSTRUCTED, CycleState.SUSPENDED}),
    CycleState.INSTRUCTED: frozenset({CycleState.SETTLED}),
    CycleState.SETTLED: frozenset({CycleState.ARCHIVED}),
    CycleState.SUSPENDED: frozenset({CycleState.NETTED}),
    CycleState.ARCHIVED: frozenset(),
}


def cycle_move(old: CycleState, new: CycleState) -> CycleState:
    """``new`` where a cycle may go there from ``old``; raises ``IllegalMove``. After settled, only new linked transfers."""
    if new not in CYCLE_MOVES[old]:
        raise IllegalMove(state=old)
    return new
