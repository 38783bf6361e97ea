"""What the ledger decides, purely: accounts, transfers, and the one definition of which transfers are right.

Sign convention: an account's balance is its credits minus its debits. Paying out of a purse debits it; over all accounts of one
ledger and currency the balances sum to zero. :func:`decide` is the serial answer to a batch; the fast lane in ``actions.py``
is only ever allowed to give the same answer sooner.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple, NewType, Protocol
from uuid import UUID

from app.kernel import clock
from app.kernel.db import Json
from app.kernel.errors import Conflict, Invalid, NotFound, Refusal, msg
from app.kernel.money import CNY

AccountId = NewType("AccountId", int)

CITY_LEDGER: Final = 1  # the city's own books; further ledgers never mix with it
MAX_AMOUNT_MINOR: Final = 10**15
NIGHT: Final = 3  # o'clock in Asia/Shanghai, when the whole ledger is read
SHARD_BITS: Final = 48  # an account's id: its shard above these bits, its number below
LEAF_BITS: Final = 20  # a transfer's place: its batch above these bits, its leaf below; so a batch has at most 2^20 transfers


def shard_of(account_id: AccountId) -> int:
    """The shard in which an account is kept: 0 in a city of one database."""
    return account_id >> SHARD_BITS


def place_of(batch_no: int, leaf: int) -> int:
    """The place of leaf ``leaf`` of a batch in the books, in one number that sorts as they do."""
    return batch_no << LEAF_BITS | leaf


def batch_of(place: int) -> int:
    """The batch of a place."""
    return place >> LEAF_BITS


def leaf_of(place: int) -> int:
    """The leaf of a place within its batch."""
    return place & (1 << LEAF_BITS) - 1


class AccountKind(StrEnum):
    """What an account stands for. The key of an account is its kind, and whose it is."""

    PURSE = "purse"
    MEDICAL = "medical"
    FAMILY = "family"
    EARMARKED = "earmarked"
    RECEIVABLE = "receivable"
    OPERATOR = "operator"
    HOSPITAL = "hospital"
    MERCHANT = "merchant"
    DUE_TO = "due-to"
    DUE_FROM = "due-from"
    SETTLEMENT = "settlement"
    STRIPE_CLEARING = "stripe-clearing"
    BANK = "bank"
    FEES = "fees"
    POOLED_FUND = "pooled-fund"
    CATASTROPHIC_FUND = "catastrophic-fund"
    PENSION_FUND = "pension-fund"
    ALLOWANCE_FUND = "allowance-fund"
    SUSPENSE = "suspense"
    CLEARING_FEES = "clearing-fees"
    PROVIDER_FEES = "provider-fees"
    LOSSES = "losses"
    SHARD = "shard"


class TransferCode(IntEnum):
    """Why money moved. The number is stored and permanent; ``slug`` is the public name.

    ``docs/reference/ledger.md`` explains each by its two sides; a test holds that none is missing there.
    """

    TOP_UP = 1
    TOP_UP_REFUND = 2
    OPENING = 3
    CORRECTION = 4
    REVERSAL = 5
    FARE = 10
    FARE_CORRECTION = 11
    FOREIGN_FARE = 12
    FOREIGN_FARE_CORRECTION = 13
    DEBT_RECOVERY = 14
    FARE_DEBT = 15
    FARE_SHARE = 16
    WRITE_OFF = 17
    FRAUD_COVER = 18
    SERVICE_FEE = 20
    SERVICE_FEE_REFUND = 21
    PROVIDER_FEE = 22
    PAYOUT = 23
    HEALTH_POOLED = 30
    HEALTH_CATASTROPHIC = 31
    HEALTH_OWN_ACCOUNT = 32
    HEALTH_FAMILY_ACCOUNT = 33
    HEALTH_CASH = 34
    FOREIGN_HEALTH = 35
    HEALTH_CORRECTION = 36
    PENSION = 40
    ALLOWANCE = 41
    CONTRIBUTION = 42
    BENEFIT_RECOVERY = 43
    GRANT = 44
    GRANT_RETURN = 45
    PURCHASE = 50
    REFUND = 51
    BILL = 52
    SETTLEMENT = 60
    CLEARING_FEE = 61
    DISPUTE_CREDIT = 62
    DISPUTE_CHARGEBACK = 63
    CLEARING_CORRECTION = 64
    PROVISIONAL_CREDIT = 65
    SUSPENSE_CLEARED = 66

    @property
    def slug(self) -> str:
        """The permanent public name, such as ``top-up``."""
        return self.name.lower().replace("_", "-")


class UnknownAccount(NotFound):
    """No account has this key or id."""

    code = "unknown-account"
    sentence = msg("There is no such account in the ledger.")


class UnknownTransfer(NotFound):
    """No transfer has this id."""

    code = "unknown-transfer"
    sentence = msg("There is no such transfer in the ledger.")


class UnknownHold(NotFound):
    """No hold has this id."""

    code = "unknown-hold"
    sentence = msg("There is no such hold in the ledger.")


class BadTransfer(Invalid):
    """A transfer that could never be right, whatever the balances."""

    code = "bad-transfer"
    sentence = msg("A transfer needs two different accounts and a whole amount above zero.")


class InsufficientFunds(Conflict):
    """The debit exceeds what the account may spend (its balance, less what is held, down to its floor)."""

    code = "insufficient-funds"
    sentence = msg("There is not enough money in the account.")


class TransferConflict(Conflict):
    """The id already stands for something else."""

    code = "transfer-conflict"
    sentence = msg("This transfer id was already used for something else.")


class AccountsDoNotMix(Conflict):
    """The two accounts belong to different ledgers or currencies."""

    code = "accounts-do-not-mix"
    sentence = msg("The two accounts are kept in different ledgers or currencies.")


class LinkedRefused(Conflict):
    """Another transfer of the same linked group was refused."""

    code = "linked-refused"
    sentence = msg("Another transfer of the same group was refused, so this one was too.")


class HoldResolved(Conflict):
    """The hold was posted, voided or expired before."""

    code = "hold-resolved"
    sentence = msg("This hold was already resolved: its state is “%(state)s”.")


class HoldExceeded(Conflict):
    """More was asked for than the hold reserves."""

    code = "hold-exceeded"
    sentence = msg("The amount exceeds what was held.")


class MonthArchived(Conflict):
    """The id belongs to a month that left the database: nothing can be booked into it any more."""

    code = "month-archived"
    sentence = msg("The month of this transfer is archived. Nothing more can be booked into it.")


class ReversalExceedsOriginal(Conflict):
    """The reversals of a transfer would add up to more than the transfer."""

    code = "reversal-exceeds-original"
    sentence = msg("More would be given back than was taken.")


REFUSALS: Final[dict[str, type[Refusal]]] = {
    kind.code: kind
    for kind in (UnknownAccount, InsufficientFunds, TransferConflict, AccountsDoNotMix, LinkedRefused, MonthArchived)
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountSpec:
    """An account as the chart describes it. ``floor_minor`` (≤ 0) is the lowest a guarded account's spendable balance may be.

    A *guarded* account has a balance row and can never be overdrawn. An *open* account has no floor and no row to fight over.
    An account moves money only with accounts of its ``shard``; the same key may be open in several.
    """

    key: str
    kind: AccountKind
    guarded: bool = False
    floor_minor: int = 0
    currency: str = CNY
    ledger: int = CITY_LEDGER
    shard: int = 0

    def __post_init__(self) -> None:
        assert self.floor_minor <= 0, "a floor is a credit line: zero or below"


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """An opened account."""

    id: AccountId
    key: str
    kind: AccountKind
    guarded: bool
    floor_minor: int
    currency: str
    ledger: int
    opened_at: datetime


def _check(*, debit: AccountId, credit: AccountId, amount_minor: int, event_at: datetime) -> None:
    fields = {}
    if debit == credit:
        fields["credit"] = msg("The two accounts must differ.")
    if isinstance(amount_minor, bool) or not isinstance(amount_minor, int) or not 0 < amount_minor <= MAX_AMOUNT_MINOR:
        fields["amount_minor"] = msg("An amount is a whole number of fen above zero.")
    if fields:
        raise BadTransfer(f"{debit} -> {credit}: {amount_minor}", fields=fields)
    assert event_at.tzinfo is not None, "an instant carries its zone"


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """One movement of ``amount_minor`` fen (> 0) out of ``debit`` into ``credit``.

    ``id`` (UUIDv7) and ``event_at`` come from the cause (``ids.derived_id``), never from the clock of a retry: a repeat with
    the same id and the same content is quiet, with any other content it is a conflict. ``reference`` names the business
    thing (``journey:<id>``) and is searchable; ``reverses`` is the transfer this one gives back, if any.
    """

    id: UUID
    debit: AccountId
    credit: AccountId
    amount_minor: int
    code: TransferCode
    event_at: datetime
    reference: str = ""
    metadata: Json = field(default_factory=dict)
    reverses: UUID | None = None

    def __post_init__(self) -> None:
        if type(self.amount_minor) is not int or not 0 < self.amount_minor <= MAX_AMOUNT_MINOR or self.debit == self.credit:
            _check(debit=self.debit, credit=self.credit, amount_minor=self.amount_minor, event_at=self.event_at)
        assert self.event_at.tzinfo is not None, "an instant carries its zone"


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """A reservation of ``amount_minor`` fen on ``debit`` until ``expires_at``, to be posted (all or part) or voided once."""

    id: UUID
    debit: AccountId
    credit: AccountId
    amount_minor: int
    code: TransferCode
    expires_at: datetime
    reference: str = ""

    def __post_init__(self) -> None:
        _check(debit=self.debit, credit=self.credit, amount_minor=self.amount_minor, event_at=self.expires_at)


class HoldState(StrEnum):
    """Where a hold stands. Every state but ``pending`` is final."""

    PENDING = "pending"
    POSTED = "posted"
    VOIDED = "voided"
    EXPIRED = "expired"


HOLD_MOVES: Final[dict[HoldState, frozenset[HoldState]]] = {
    HoldState.PENDING: frozenset({HoldState.POSTED, HoldState.VOIDED, HoldState.EXPIRED}),
    HoldState.POSTED: frozenset(),
    HoldState.VOIDED: frozenset(),
    HoldState.EXPIRED: frozenset(),
}


class OutcomeStatus(StrEnum):
    """What became of one transfer of a batch."""

    POSTED = "posted"
    REPEATED = "repeated"
    REFUSED = "refused"


class Outcome(NamedTuple):
    """The answer to one transfer; ``code`` is a refusal's permanent code, empty unless refused."""

    id: UUID
    status: OutcomeStatus
    code: str = ""

    @property
    def refused(self) -> bool:
        """Whether no money moved, now or before."""
        return self.status is OutcomeStatus.REFUSED


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """An account's balance: booked, reserved by pending holds, and what may still be spent above the floor."""

    posted_minor: int
    held_minor: int
    available_minor: int


class Side(Protocol):
    """What posting must know of an account."""

    @property
    def guarded(self) -> bool:
        """Whether it has a floor."""

    @property
    def ledger(self) -> int:
        """The books that it belongs to."""

    @property
    def currency(self) -> str:
        """What its amounts are in."""


class Position(NamedTuple):
    """A guarded account while a batch is decided: a tuple, as are the next ones, for a batch makes thousands of them."""

    posted_minor: int
    held_minor: int = 0
    floor_minor: int = 0

    def reserved(self, amount_minor: int) -> "Position":
        """After ``amount_minor`` more (negative: less) is held."""
        return Position(self.posted_minor, self.held_minor + amount_minor, self.floor_minor)

    @property
    def available_minor(self) -> int:
        """What may be spent: booked, less held, down to the floor."""
        return self.posted_minor - self.held_minor - self.floor_minor


class Known(NamedTuple):
    """What the ledger remembers of an id: its content, and the code if it was refused."""

    transfer: Transfer
    refusal: str = ""


class Posting(NamedTuple):
    """A transfer that is right, with the booked balance of each guarded side after it (none for an open side)."""

    transfer: Transfer
    debit_after_minor: int | None
    credit_after_minor: int | None


@dataclass(kw_only=True, slots=True)
class Decision:
    """The serial answer to a batch: outcomes in the order asked, what to book, what to remember, and the positions after."""

    outcomes: list[Outcome] = field(default_factory=list)
    postings: list[Posting] = field(default_factory=list)
    refusals: list[Known] = field(default_factory=list)
    positions: dict[AccountId, Position] = field(default_factory=dict)


def decide(
    sides: Mapping[AccountId, Side],
    positions: Mapping[AccountId, Position],
    known: Mapping[UUID, Known],
    groups: Sequence[Sequence[Transfer]],
) -> Decision:
    """What becomes of ``groups``, one after another; the transfers of a group are all booked or none is.

    ``sides`` holds every account that exists among those named, ``positions`` the present position of each guarded one,
    ``known`` what is remembered of the ids asked for. A refusal is remembered under its id unless the id is another's.
    """
    decision = Decision(positions=dict(positions))
    memory = dict(known)
    for members in groups:
        answered, booked = len(decision.outcomes), len(decision.postings)
        before: list[tuple[AccountId, Position]] = []  # the positions that this group changed, as they were
        for place, transfer in enumerate(members):
            code = _try(sides, memory, decision, before, transfer)
            if code:
                for posting in decision.postings[booked:]:
                    del memory[posting.transfer.id]
                decision.positions.update(reversed(before))
                del decision.outcomes[answered:], decision.postings[booked:]
                _refuse(decision, memory, members, place, code)
                break
    return decision


def _try(
    sides: Mapping[AccountId, Side],
    memory: dict[UUID, Known],
    decision: Decision,
    before: list[tuple[AccountId, Position]],
    transfer: Transfer,
) -> str:
    """Book one transfer if it is right or a repeat; the code of the refusal, or nothing."""
    remembered = memory.get(transfer.id)
    if remembered is not None:
        if remembered.transfer != transfer:
            return TransferConflict.code
        if not remembered.refusal:
            decision.outcomes.append(Outcome(transfer.id, OutcomeStatus.REPEATED))
        return remembered.refusal
    debit, credit, amount = transfer.debit, transfer.credit, transfer.amount_minor
    payer, payee, positions = sides.get(debit), sides.get(credit), decision.positions
    if payer is None or payee is None:
        return UnknownAccount.code
    if payer.ledger != payee.ledger or payer.currency != payee.currency:
        return AccountsDoNotMix.code
    paid = got = None
    if payer.guarded:
        present = positions[debit]
        if present.available_minor < amount:
            return InsufficientFunds.code
        before.append((debit, present))
        paid = present.posted_minor - amount
        positions[debit] = Position(paid, present.held_minor, present.floor_minor)
    if payee.guarded:
        present = positions[credit]
        before.append((credit, present))
        got = present.posted_minor + amount
        positions[credit] = Position(got, present.held_minor, present.floor_minor)
    decision.postings.append(Posting(transfer, paid, got))
    decision.outcomes.append(Outcome(transfer.id, OutcomeStatus.POSTED))
    memory[transfer.id] = Known(transfer)
    return ""


def _refuse(decision: Decision, memory: dict[UUID, Known], members: Sequence[Transfer], place: int, code: str) -> None:
    """Answer a refused group: the culprit by its code, what was booked long before as repeated, the rest as linked."""
    for index, transfer in enumerate(members):
        before = memory.get(transfer.id)
        if before is not None and before.transfer != transfer:
            own = TransferConflict.code
        elif before is not None and before.refusal:
            own = before.refusal
        elif before is not None:
            decision.outcomes.append(Outcome(transfer.id, OutcomeStatus.REPEATED))
            continue
        else:
            own = code if index == place else LinkedRefused.code
            if own != TransferConflict.code:
                remembered = Known(transfer, own)
                memory[transfer.id] = remembered
                decision.refusals.append(remembered)
        decision.outcomes.append(Outcome(transfer.id, OutcomeStatus.REFUSED, own))


def decide_hold(position: Position | None, hold: Hold) -> Position | None:
    """The debit side's position with ``hold`` reserved (none for an open account).

    Raises :class:`InsufficientFunds` when less than the amount may be spent.
    """
    if position is None:
        return None
    if position.available_minor < hold.amount_minor:
        raise InsufficientFunds(f"account {hold.debit}: {position.available_minor} available, {hold.amount_minor} to hold")
    return position.reserved(hold.amount_minor)


def hold_move(state: HoldState, to: HoldState) -> None:
    """Allow the move of a hold from ``state``, or raise :class:`HoldResolved`."""
    if to not in HOLD_MOVES[state]:
        raise HoldResolved(state=state.value)


def reversal_amount(*, original_minor: int, reversed_minor: int, asked_minor: int | None) -> int:
    """How much a reversal gives back: what is asked, or all that is left.

    Raises :class:`ReversalExceedsOriginal` when nothing is left or less than what is asked.
    """
    left = original_minor - reversed_minor
    amount = left if asked_minor is None else asked_minor
    if amount > left or left == 0:
        raise ReversalExceedsOriginal(f"{left} left to reverse, {amount} asked")
    return amount


@dataclass(frozen=True, kw_only=True, slots=True)
class StatementLine:
    """One transfer as an account sees it.

    ``amount_minor`` is signed: positive came in. ``balance_after_minor`` is the booked balance after it. ``cursor`` is given
    back as ``before`` to read on.
    """

    transfer_id: UUID
    event_at: datetime
    posted_at: datetime
    code: TransferCode
    reference: str
    counter_key: str
    amount_minor: int
    balance_after_minor: int
    metadata: Json
    cursor: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Booking:
    """A transfer as it stands in the books: its batch, its place there (from 0), and the guarded sides' balances after it."""

    transfer: Transfer
    batch_no: int
    leaf: int
    posted_at: datetime
    debit_after_minor: int | None
    credit_after_minor: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedBooking:
    """A transfer that was refused: nothing moved. ``refusal`` is the public code, ``sentence`` its message id."""

    transfer: Transfer
    refusal: str
    sentence: str
    refused_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class DayLine:
    """One kind of account over one civil day: balance before it, debits, credits, balance after it, all in fen."""

    kind: AccountKind
    opening_minor: int
    debit_minor: int
    credit_minor: int

    @property
    def closing_minor(self) -> int:
        """The balance when the day ended."""
        return self.opening_minor + self.credit_minor - self.debit_minor


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialLine:
    """One kind of account in the trial balance of a ledger and currency; ``transfers`` counts both of its sides."""

    ledger: int
    currency: str
    kind: AccountKind
    debit_minor: int
    credit_minor: int
    transfers: int

    @property
    def balance_minor(self) -> int:
        """Credits minus debits."""
        return self.credit_minor - self.debit_minor


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialBalance:
    """All kinds of accounts that moved, and the sum per ledger and currency, which is zero when the books are right."""

    lines: list[TrialLine]

    @property
    def sums(self) -> dict[tuple[int, str], int]:
        """Σ balances by (ledger, currency)."""
        found: dict[tuple[int, str], int] = {}
        for line in self.lines:
            place = (line.ledger, line.currency)
            found[place] = found.get(place, 0) + line.balance_minor
        return found

    @property
    def balanced(self) -> bool:
        """Whether every sum is zero."""
        return not any(self.sums.values())


class FindingKind(StrEnum):
    """What a check can find wrong."""

    BALANCE = "balance"  # a balance row is not the sum of its transfers
    HELD = "held"  # a held amount is not the sum of its pending holds
    FLOOR = "floor"  # an account is below its floor
    RUNNING_BALANCE = "running-balance"  # a transfer's running balance does not follow from the one before
    DELTA = "delta"  # the deltas of an open account in a batch are not its transfers
    BATCH = "batch"  # a batch does not hold the number and total it was written with
    ACCOUNT = "account"  # a transfer between accounts that do not exist or do not mix
    HOLD = "hold"  # a posted hold without its transfer
    REVERSAL = "reversal"  # more reversed than there was
    SUM = "sum"  # a ledger and currency do not sum to zero
    MARK = "mark"  # a running total is not the sum of what was folded into it
    ARCHIVE = "archive"  # an archived month is not what the city signed
    PROOF = "proof"  # a sealed batch no longer has the root it was sealed with
    CLOCK = "clock"  # a clock was far off: batches are dated ahead, or what ends by the clock would end too soon


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing wrong: ``subject`` is ``account:<key>``, ``transfer:<id>``, ``batch:<no>``, ``hold:<id>`` or ``ledger:…``."""

    kind: FindingKind
    subject: str
    expected: str
    found: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BooksReport:
    """The result of proving the books at one instant.

    What was read begins behind ``after_batch`` (0: all of it). The next one may begin behind ``upto_batch``, below which no
    batch can still come, and behind the seal ``upto_position``.
    """

    at: datetime
    accounts: int
    transfers: int
    batches: int
    findings: list[Finding]
    took: timedelta
    after_batch: int = 0
    upto_batch: int = 0
    upto_position: int = -1

    @property
    def right(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.findings


def whole_check_is_due(last: datetime, *, now: datetime) -> bool:
    """Whether all of the books are to be proven again: once a night, from ``NIGHT`` o'clock on.

    A ``last`` that is still to come was written by a clock that was wrong, and counts as none.
    """
    night = clock.local(now).replace(hour=NIGHT, minute=0, second=0, microsecond=0)
    if night > now:
        night -= timedelta(days=1)
    return not night <= last <= now
