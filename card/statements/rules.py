"""What a statement is, and the sum that it must keep. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from app.kernel.clock import SHANGHAI
from app.kernel.errors import Conflict, msg
from app.kernel.money import CNY

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class DoesNotAddUp(Conflict):
    """The entries of a statement do not lead from its opening balance to its closing balance; nothing is handed out."""

    code = "statement-does-not-add-up"
    sentence = msg("This statement does not add up, so it is not handed out. The city has been told.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line: ``amount_minor`` in fen, positive came in; ``code`` is a transfer code's slug.

    ``id`` names the entry for ever (at most 35 characters in camt.053: a UUID goes in without its hyphens). ``booked_at`` is
    when it was booked, ``valued_at`` when it happened. ``counterparty`` is the other account, ``reference`` the business thing.
    """

    id: str
    booked_at: datetime
    valued_at: datetime
    amount_minor: int
    code: str
    reference: str = ""
    counterparty: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """The head of a statement. Balances are in fen, positive where the account's owner has money.

    ``number`` and ``account`` are identifiers (at most 35 and 34 characters), ``name`` is what people call the account,
    ``owner`` whose it is, ``servicer`` the city that keeps it. The period runs from ``beginning`` to before ``ending``.
    """

    number: str
    account: str
    name: str
    owner: str
    servicer: str
    beginning: datetime
    ending: datetime
    opening_minor: int
    closing_minor: int
    made_at: datetime
    currency: str = CNY


def proven(statement: Statement, entries: Iterable[Entry]) -> Iterator[tuple[int, Entry, int]]:
    """Each entry with its place (from 1) and the balance after it. Raises :class:`DoesNotAddUp` behind the last one."""
    present, place = statement.opening_minor, 0
    for place, entry in enumerate(entries, start=1):
        present += entry.amount_minor
        yield place, entry, present
    if present != statement.closing_minor:
        raise DoesNotAddUp(
            f"{statement.number}: {statement.opening_minor} and {place} entries make {present}, not {statement.closing_minor}"
        )


def day_period(first: date, last: date) -> tuple[datetime, datetime]:
    """The instants at which the civil day ``first`` begins and the civil day ``last`` is over, in Asia/Shanghai."""
    after = last + timedelta(days=1)
    return (
        datetime(first.year, first.month, first.day, tzinfo=SHANGHAI),
        datetime(after.year, after.month, after.day, tzinfo=SHANGHAI),
    )


def inert(text: str) -> str:
    """``text`` so that a spreadsheet does not take it for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text
