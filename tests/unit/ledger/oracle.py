"""A second, naive ledger to compare the real one with: plain dictionaries, one step after another, whole copies to undo."""

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import strategies as st

from app.kernel import ids
from card.ledger import AccountId, Hold, Transfer, TransferCode

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
# Places in the chart of the test: three purses (one with a credit line), two open accounts, one in dollars, one not there.
GUARDED, OPEN, DOLLARS, NOWHERE = (0, 1, 2), (3, 4), 5, 6
FLOORS = {0: 0, 1: 0, 2: -3}


@dataclass
class Book:
    """The naive ledger, over places instead of account ids."""

    posted: dict[int, int] = field(default_factory=lambda: dict.fromkeys((*GUARDED, *OPEN, DOLLARS), 0))
    held: dict[int, int] = field(default_factory=lambda: dict.fromkeys(GUARDED, 0))
    memory: dict[UUID, tuple[Transfer, str]] = field(default_factory=dict)
    lines: list[tuple[UUID, int | None, int | None]] = field(default_factory=list)
    holds: dict[UUID, tuple[Hold, str, UUID | None, int | None]] = field(default_factory=dict)

    def copied(self) -> "Book":
        """A book that stands alike; what its parts hold never changes."""
        return Book(**{name: copy.copy(part) for name, part in vars(self).items()})

    def post(self, groups: Sequence[Sequence[Transfer]]) -> list[tuple[str, str]]:
        """(status, code) of each transfer."""
        answers: list[tuple[str, str]] = []
        for group in groups:
            before = self.copied()
            tried = [self.one(transfer) for transfer in group]
            first = next((n for n, (status, _) in enumerate(tried) if status == "refused"), None)
            if first is None:
                answers += tried
                continue
            self.__dict__.update(before.__dict__)
            answers += [
                self.note(transfer, tried[n][1] if n == first else "linked-refused") for n, transfer in enumerate(group)
            ]
        return answers

    def note(self, transfer: Transfer, code: str) -> tuple[str, str]:
        """The answer to a member of a refused group, and what stays in memory."""
        if transfer.id in self.memory:
            first, refusal = self.memory[transfer.id]
            if first != transfer:
                return "refused", "transfer-conflict"
            return ("refused", refusal) if refusal else ("repeated", "")
        if code != "transfer-conflict":
            self.memory[transfer.id] = (transfer, code)
        return "refused", code

    def one(self, transfer: Transfer) -> tuple[str, str]:
        """Book one transfer as if it were alone."""
        if transfer.id in self.memory:
            return self.note(transfer, "")
        debit, credit = int(transfer.debit), int(transfer.credit)
        if NOWHERE in (debit, credit):
            return "refused", "unknown-account"
        if (debit == DOLLARS) != (credit == DOLLARS):
            return "refused", "accounts-do-not-mix"
        if debit in FLOORS and self.posted[debit] - self.held[debit] - transfer.amount_minor < FLOORS[debit]:
            return "refused", "insufficient-funds"
        self.posted[debit] -= transfer.amount_minor
        self.posted[credit] += transfer.amount_minor
        self.memory[transfer.id] = (transfer, "")
        self.lines.append(
            (
                transfer.id,
                self.posted[debit] if debit in FLOORS else None,
                self.posted[credit] if credit in FLOORS else None,
            )
        )
        return "posted", ""

    def hold(self, hold: Hold) -> str:
        """The code of the refusal, or nothing."""
        if hold.id in self.holds:
            return "" if self.holds[hold.id][0] == hold else "transfer-conflict"
        debit, credit = int(hold.debit), int(hold.credit)
        if NOWHERE in (debit, credit):
            return "unknown-account"
        if (debit == DOLLARS) != (credit == DOLLARS):
            return "accounts-do-not-mix"
        if debit in FLOORS:
            if self.posted[debit] - self.held[debit] - hold.amount_minor < FLOORS[debit]:
                return "insufficient-funds"
            self.held[debit] += hold.amount_minor
        self.holds[hold.id] = (hold, "pending", None, None)
        return ""

    def resolve(self, hold_id: UUID, to: str, *, transfer_id: UUID, amount: int | None, now: datetime) -> str:  # noqa: C901, PLR0911
        """Post, void or expire a hold; the code of the refusal, or nothing."""
        if hold_id not in self.holds:
            return "" if to == "expired" else "unknown-hold"
        hold, state, booked_by, booked = self.holds[hold_id]
        wanted = hold.amount_minor if amount is None else amount
        if to == "posted" and (state, booked_by, booked) == ("posted", transfer_id, wanted):
            return ""
        if to == state == "voided" or (to == "expired" and state != "pending"):
            return ""
        if state != "pending" or (to == "posted" and hold.expires_at <= now):
            return "hold-resolved"
        if to == "expired" and hold.expires_at > now:
            return ""
        if to == "posted":
            if wanted > hold.amount_minor:
                return "hold-exceeded"
            if transfer_id in self.memory:
                return "transfer-conflict"
        if int(hold.debit) in FLOORS:
            self.held[int(hold.debit)] -= hold.amount_minor
        self.holds[hold_id] = (hold, to, transfer_id if to == "posted" else None, wanted if to == "posted" else None)
        if to == "posted":
            transfer = Transfer(
                id=transfer_id,
                debit=hold.debit,
                credit=hold.credit,
                amount_minor=wanted,
                code=hold.code,
                event_at=now,
                reference=hold.reference,
                metadata={"hold": str(hold_id)},
            )
            assert self.one(transfer) == ("posted", "")
        return ""


IDS = [ids.derived_id(NOW, "oracle", str(n)) for n in range(24)]
places = st.sampled_from((*GUARDED, *GUARDED, *OPEN, *OPEN, DOLLARS, NOWHERE))
good = st.sampled_from((*GUARDED, *GUARDED, *OPEN))


@st.composite
def transfers(draw: st.DrawFn, *, mostly_good: bool = True) -> Transfer:
    """A transfer over places: usually a good one, often a repeat, sometimes a conflict."""
    id_ = draw(st.sampled_from(IDS))
    if draw(st.integers(0, 9)) < 3:  # the content that belongs to this id: a repeat wherever it comes twice
        number = IDS.index(id_)
        debit, credit, amount = (3, number % 3, 4) if number % 2 else (number % 3, 4, 1 + number % 3)
    else:
        side = good if mostly_good and draw(st.integers(0, 9)) else places
        debit = draw(side)
        credit = draw(side.filter(lambda place: place != debit))
        amount = draw(st.integers(1, 5))
    return Transfer(
        id=id_, debit=AccountId(debit), credit=AccountId(credit), amount_minor=amount, code=TransferCode.FARE, event_at=NOW
    )


alone, linked = st.lists(transfers(), min_size=1, max_size=1), st.lists(transfers(), min_size=1, max_size=4)
groups = st.lists(st.one_of(alone, linked), max_size=8)


@st.composite
def clean_batches(draw: st.DrawFn) -> list[list[Transfer]]:
    """A batch of fresh ids and existing accounts, in which floors are met exactly or by chains, or just missed."""
    count = draw(st.integers(1, 10))
    made = []
    for _ in range(count):
        debit = draw(st.sampled_from((0, 1, 2, 3, 3)))
        credit = draw(st.sampled_from([place for place in (0, 1, 2, 4) if place != debit]))
        made.append(
            Transfer(
                id=ids.new_id(),
                debit=AccountId(debit),
                credit=AccountId(credit),
                amount_minor=draw(st.integers(1, 4)),
                code=TransferCode.FARE,
                event_at=NOW,
            )
        )
    return [[transfer] for transfer in made]


@st.composite
def holdings(draw: st.DrawFn) -> Hold:
    """A hold over places, of a few ids."""
    debit = draw(places)
    return Hold(
        id=draw(st.sampled_from(IDS[:6])),
        debit=AccountId(debit),
        credit=AccountId(draw(places.filter(lambda place: place != debit))),
        amount_minor=draw(st.integers(1, 4)),
        code=TransferCode.FARE,
        expires_at=NOW + timedelta(minutes=draw(st.sampled_from((1, 10)))),
        reference="held",
    )


resolutions = st.tuples(
    st.sampled_from(IDS[:6]),
    st.sampled_from(("posted", "posted", "voided", "expired")),
    st.sampled_from(IDS),
    st.one_of(st.none(), st.integers(1, 5)),
)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("post"), groups),
        st.tuples(st.just("post"), clean_batches()),
        st.tuples(st.just("hold"), holdings()),
        st.tuples(st.just("resolve"), resolutions),
    ),
    max_size=8,
)


class Chance:
    """Long histories from one seed, drawn step by step with an eye on the book, so that floors are met exactly."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def new_id(self) -> UUID:
        """An id of the history's own."""
        return ids.derived_id(NOW, "chance", str(self.random.getrandbits(64)))

    def sides(self, mischief: float) -> tuple[AccountId, AccountId]:
        """Two places, with ``mischief`` also such as do not exist or do not mix."""
        odd = (DOLLARS, NOWHERE) if self.random.random() < mischief else ()
        debit, credit = self.random.sample((*GUARDED, *OPEN, *odd), 2)
        return AccountId(debit), AccountId(credit)

    def transfer(self, book: Book, before: Sequence[Transfer], mischief: float) -> Transfer:
        """A new transfer; with ``mischief`` also a repeat, a conflict, all that is free, or a little more."""
        if before and self.random.random() < mischief:
            again = self.random.choice(before)
            return again if self.random.random() < 0.7 else replace(again, amount_minor=again.amount_minor + 1)
        debit, credit = self.sides(mischief)
        amount = self.random.randint(1, 3)
        if debit in FLOORS and self.random.random() < 0.4:
            free = book.posted[debit] - book.held[debit] - FLOORS[debit]
            amount = max(1, free + (self.random.random() < mischief))
        return Transfer(id=self.new_id(), debit=debit, credit=credit, amount_minor=amount, code=TransferCode.FARE, event_at=NOW)

    def batch(self, book: Book) -> list[list[Transfer]]:
        """One to six groups of one to four transfers."""
        mischief = self.random.choice((0, 0, 0.05, 0.3))
        seen, made = [transfer for transfer, _ in book.memory.values()], []
        for _ in range(self.random.randint(1, 6)):
            group: list[Transfer] = []
            for _ in range(self.random.choice((1, 1, 1, 2, 4))):
                group.append(self.transfer(book, seen, mischief))
                seen.append(group[-1])
            made.append(group)
        return made

    def hold(self, book: Book, *, now: datetime) -> Hold:
        """A new hold, or one that is there."""
        if book.holds and self.random.random() < 0.1:
            return self.random.choice(list(book.holds.values()))[0]
        debit, credit = self.sides(0.1)
        return Hold(
            id=self.new_id(),
            debit=debit,
            credit=credit,
            amount_minor=self.random.randint(1, 4),
            code=TransferCode.FARE,
            expires_at=now + timedelta(minutes=self.random.choice((2, 20))),
            reference="held",
        )

    def resolution(self, book: Book) -> tuple[UUID, str, UUID, int | None]:
        """What is done with a hold: its id, to which state, by which transfer, with how much."""
        known, used = list(book.holds), list(book.memory)
        return (
            self.random.choice(known) if known and self.random.random() < 0.9 else self.new_id(),
            self.random.choice(("posted", "posted", "voided", "expired")),
            self.random.choice(used) if used and self.random.random() < 0.1 else self.new_id(),
            self.random.choice((None, self.random.randint(1, 5))),
        )
