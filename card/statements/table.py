"""A statement as CSV (RFC 4180): amounts in yuan, instants in UTC, oldest first. Pure."""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from app.kernel.money import major
from card.statements.rules import Entry, Statement, inert, proven

COLUMNS: Final = ("booked_at", "event_at", "code", "reference", "other_account", "amount", "balance_after", "transfer")
CHUNK: Final = 500  # entries written at once


def csv_lines(statement: Statement, entries: Iterable[Entry]) -> Iterator[str]:
    """The statement in pieces of text: a head, an opening line, the entries, a closing line.

    Raises :class:`~card.statements.rules.DoesNotAddUp` instead of the closing line.
    """
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    table.writerow([_instant(statement.beginning), "", "opening-balance", "", "", "", major(statement.opening_minor), ""])
    for place, entry, after in proven(statement, entries):
        table.writerow(
            [
                _instant(entry.booked_at),
                _instant(entry.valued_at),
                entry.code,
                inert(entry.reference),
                inert(entry.counterparty),
                major(entry.amount_minor),
                major(after),
                entry.id,
            ]
        )
        if place % CHUNK == 0:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    table.writerow([_instant(statement.ending), "", "closing-balance", "", "", "", major(statement.closing_minor), ""])
    yield text.getvalue()


def _instant(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()
