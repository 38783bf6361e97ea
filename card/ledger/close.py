"""A month's close report: what every kind of account opened with, moved and closed with, why, in how many transfers.

A month is a civil month in Asia/Shanghai; what was booked in it belongs to it, whenever it happened. The report comes from the
marks and the batches, which stay when months are archived, so it is the same before and after.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.kernel import signing
from app.kernel.city import city_of
from app.kernel.clock import SHANGHAI
from app.kernel.db import Json
from app.kernel.errors import Conflict, msg
from app.kernel.money import major
from app.kernel.signing import Purpose
from card.ledger import marks
from card.ledger.archive import MonthNotSealed
from card.ledger.models import LedgerCheckpoint
from card.ledger.rules import AccountKind, TransferCode
from card.ledger.shelf import Month, UnknownMonth

FORMAT: Final = "citizen-card-ledger-close/1"
TYPE: Final = "ledger-close+jwt"


class MonthNotOver(Conflict):
    """The month still runs: what a report would say of it changes with the next transfer."""

    code = "month-not-over"
    sentence = msg("This month is not over yet, so it cannot be closed.")


@dataclass(frozen=True, kw_only=True, slots=True)
class CloseLine:
    """One kind of account in a ledger and currency over the month, in minor units; balances are credits minus debits."""

    ledger: int
    currency: str
    kind: AccountKind
    opening_minor: int
    debit_minor: int
    credit_minor: int

    @property
    def closing_minor(self) -> int:
        """The balance when the month ended."""
        return self.opening_minor + self.credit_minor - self.debit_minor


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeLine:
    """Why money moved: how many transfers had this code in the month, and what they come to in minor units."""

    ledger: int
    currency: str
    code: TransferCode
    transfers: int
    amount_minor: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """All lines of a ledger and currency together: right books open and close at zero and debit what they credit."""

    opening_minor: int
    debit_minor: int
    credit_minor: int
    closing_minor: int

    @property
    def balanced(self) -> bool:
        """Whether nothing is missing and nothing is too much."""
        return self.opening_minor == self.closing_minor == 0 and self.debit_minor == self.credit_minor


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """A checkpoint of the month: the tree's size and root, when it was signed, and the signed note itself."""

    size: int
    root: str
    signed_at: datetime
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MonthClose:
    """A month of the books from ``beginning`` to before ``ending``. ``over`` is false while it still runs.

    ``transfers`` were booked in ``batches``; ``refusals`` were remembered. ``sealed`` says whether every
    batch of the month stands in the tree.
    """

    city: str
    month: Month
    beginning: datetime
    ending: datetime
    made_at: datetime
    lines: tuple[CloseLine, ...]
    codes: tuple[CodeLine, ...]
    transfers: int
    batches: int
    refusals: int
    sealed: bool
    first: Head | None
    last: Head | None

    @property
    def over(self) -> bool:
        """Whether the month had ended when this was read."""
        return self.ending <= self.made_at

    @property
    def sums(self) -> dict[tuple[int, str], Sums]:
        """The lines together, by ledger and currency."""
        every: dict[tuple[int, str], list[CloseLine]] = defaultdict(list)
        for line in self.lines:
            every[line.ledger, line.currency].append(line)
        return {
            place: Sums(
                opening_minor=sum(line.opening_minor for line in lines),
                debit_minor=sum(line.debit_minor for line in lines),
                credit_minor=sum(line.credit_minor for line in lines),
                closing_minor=sum(line.closing_minor for line in lines),
            )
            for place, lines in sorted(every.items())
        }

    @property
    def balanced(self) -> bool:
        """Whether every ledger and currency is."""
        return all(found.balanced for found in self.sums.values())


def civil_month(month: Month) -> tuple[datetime, datetime]:
    """The instants at which the civil month begins and the next one does, in Asia/Shanghai."""
    first, after = month.first, month.next.first
    return datetime(first.year, first.month, 1, tzinfo=SHANGHAI), datetime(after.year, after.month, 1, tzinfo=SHANGHAI)


COUNTS: Final = """
SELECT count(*) AS batches, coalesce(sum(b.transfers), 0)::bigint AS transfers,
  count(*) FILTER (WHERE NOT EXISTS (SELECT FROM card.ledger_seal s WHERE s.batch_no = b.batch_no)) AS unsealed
FROM card.ledger_batch b WHERE b.batch_no > :first AND b.batch_no <= :last
"""
REFUSALS: Final = "SELECT count(*) FROM card.refused_transfer WHERE refused_at >= :beginning AND refused_at < :ending"


def month_close(session: Session, month: Month, *, now: datetime) -> MonthClose:
    """The close report of a month, or what there is of it while it runs; one snapshot at REPEATABLE READ.

    It costs what the marks cost, and a count of the month's batches. Raises :class:`UnknownMonth` for a month to come, and
    ``ArchiveUnavailable`` where its edge lies in an archived month whose files are elsewhere.
    """
    beginning, ending = civil_month(month)
    if beginning > now:
        raise UnknownMonth(month.name)
    first = marks.batch_at(session, beginning, inclusive=False)
    last = max(first, marks.batch_at(session, ending, inclusive=False))
    before, after = marks.turnover(session, upto=first), marks.turnover(session, upto=last)
    counted = session.execute(text(COUNTS), {"first": first, "last": last}).one()
    within = select(LedgerCheckpoint).where(LedgerCheckpoint.signed_at >= beginning, LedgerCheckpoint.signed_at < ending)
    return MonthClose(
        city=city_of(session).code,
        month=month,
        beginning=beginning,
        ending=ending,
        made_at=now,
        lines=_lines(before, after),
        codes=_codes(before, after),
        transfers=int(counted.transfers),
        batches=int(counted.batches),
        refusals=int(session.execute(text(REFUSALS), {"beginning": beginning, "ending": ending}).scalar_one()),
        sealed=counted.unsealed == 0,
        first=_head(session.scalars(within.order_by(LedgerCheckpoint.size).limit(1)).one_or_none()),
        last=_head(session.scalars(within.order_by(LedgerCheckpoint.size.desc()).limit(1)).one_or_none()),
    )


def _head(row: LedgerCheckpoint | None) -> Head | None:
    if row is None:
        return None
    return Head(size=row.size, root=row.root.hex(), signed_at=row.signed_at, note=row.note)


def _lines(before: marks.Turnover, after: marks.Turnover) -> tuple[CloseLine, ...]:
    earlier, later = marks.by_kind(before), marks.by_kind(after)
    found = []
    for (ledger, currency, kind), (debit, credit, _) in sorted(later.items()):
        was_debit, was_credit, _ = earlier.get((ledger, currency, kind), (0, 0, 0))
        found.append(
            CloseLine(
                ledger=ledger,
                currency=currency,
                kind=AccountKind(kind),
                opening_minor=was_credit - was_debit,
                debit_minor=debit - was_debit,
                credit_minor=credit - was_credit,
            )
        )
    return tuple(found)


def _codes(before: marks.Turnover, after: marks.Turnover) -> tuple[CodeLine, ...]:
    moved: dict[tuple[int, str, int], tuple[int, int]] = {}
    for sign, turnover in ((-1, before), (1, after)):
        for (ledger, currency, _, code), (debit, _, sides) in turnover.items():
            amount, counted = moved.get((ledger, currency, code), (0, 0))
            moved[ledger, currency, code] = (amount + sign * debit, counted + sign * sides)
    return tuple(
        CodeLine(ledger=ledger, currency=currency, code=TransferCode(code), transfers=sides // 2, amount_minor=amount)
        for (ledger, currency, code), (amount, sides) in sorted(moved.items())
        if sides
    )


# Signed


def document(close: MonthClose) -> Json:
    """The report as data: amounts in yuan as text with two digits, instants in UTC."""
    return {
        "format": FORMAT,
        "city": close.city,
        "month": close.month.name,
        "beginning": _instant(close.beginning),
        "ending": _instant(close.ending),
        "made_at": _instant(close.made_at),
        "accounts": [
            {
                "ledger": line.ledger,
                "currency": line.currency,
                "kind": line.kind.value,
                "opening": _yuan(line.opening_minor),
                "debits": _yuan(line.debit_minor),
                "credits": _yuan(line.credit_minor),
                "closing": _yuan(line.closing_minor),
            }
            for line in close.lines
        ],
        "movements": [
            {
                "ledger": line.ledger,
                "currency": line.currency,
                "code": line.code.slug,
                "transfers": line.transfers,
                "amount": _yuan(line.amount_minor),
            }
            for line in close.codes
        ],
        "sums": [
            {
                "ledger": ledger,
                "currency": currency,
                "opening": _yuan(found.opening_minor),
                "debits": _yuan(found.debit_minor),
                "credits": _yuan(found.credit_minor),
                "closing": _yuan(found.closing_minor),
            }
            for (ledger, currency), found in close.sums.items()
        ],
        "transfers": close.transfers,
        "batches": close.batches,
        "refusals": close.refusals,
        "first_checkpoint": _checkpoint(close.first),
        "last_checkpoint": _checkpoint(close.last),
    }


def _yuan(minor: int) -> str:
    return str(major(minor))


def _instant(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()


def _checkpoint(head: Head | None) -> Json | None:
    if head is None:
        return None
    return {"size": head.size, "root": head.root, "signed_at": _instant(head.signed_at), "note": head.note}


def closed(close: MonthClose) -> MonthClose:
    """The report of a month that is over and sealed. Raises :class:`MonthNotOver`, ``MonthNotSealed``."""
    if not close.over:
        raise MonthNotOver(close.month.name)
    if not close.sealed:
        raise MonthNotSealed(close.month.name)
    return close


def sign_close(session: Session, close: MonthClose) -> Json:
    """The report with the city's word for it: ``{"report": …, "signature": JWS, "key": JWK}``. Raises as :func:`closed`."""
    key = city_of(session).key(Purpose.ARCHIVE)
    report = document(closed(close))
    return {"report": report, "signature": signing.sign_jws(key, report, typ=TYPE), "key": key.jwk}


def verify_close(signed: Json, key: Ed25519PublicKey) -> Json:
    """What the city signed, if it is what the file says, with nothing but the city's archive key. Raises ``BadSignature``."""
    report = signing.read_jws(str(signed.get("signature")), {signing.thumbprint(key): key}, typ=TYPE)
    if report != signed.get("report"):
        raise signing.BadSignature("the report is not the one that was signed")
    return report
