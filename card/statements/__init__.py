"""A statement of an account over a period, as other programs and banks read it: CSV and ISO 20022 camt.053.

Pure: it knows entries, not tables. Both forms are written entry by entry, so a statement of a million lines costs no memory,
and both stop with :class:`DoesNotAddUp` rather than hand out a statement whose entries do not lead from its opening balance to
its closing one.

    statement = statements.Statement(number="320100-1204-20261121", account="320100-1204", name="operator:nj-metro", …)
    body = b"".join(chunk.encode() for chunk in statements.camt053(statement, entries))

An operator's own daily statement uses the same doors with entries of its own making: one an entry, a line or an hour.
"""

from card.statements.camt import NAMESPACE, camt053
from card.statements.rules import DoesNotAddUp, Entry, Statement, day_period, inert
from card.statements.table import COLUMNS, csv_lines

__all__ = [
    "COLUMNS",
    "NAMESPACE",
    "DoesNotAddUp",
    "Entry",
    "Statement",
    "camt053",
    "csv_lines",
    "day_period",
    "inert",
]
