"""Trial balances: what the kinds of accounts moved and came to, at any instant or over any time. All sum to zero.

They come from the marks (``marks.py``), so a day ten years ago costs what today costs.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from card.ledger import marks
from card.ledger.models import AccountRow
from card.ledger.rules import AccountKind, DayLine, TrialBalance, TrialLine


def trial_balance(session: Session, *, at: datetime | None = None) -> TrialBalance:
    """What every kind of account was debited and credited, up to the instant ``at`` (inclusive) or all of it."""
    upto = marks.END if at is None else marks.batch_at(session, at)
    lines = [
        TrialLine(
            ledger=ledger,
            currency=currency,
            kind=AccountKind(kind),
            debit_minor=debit,
            credit_minor=credit,
            transfers=transfers,
        )
        for (ledger, currency, kind), (debit, credit, transfers) in marks.by_kind(marks.turnover(session, upto=upto)).items()
    ]
    return TrialBalance(lines=sorted(lines, key=lambda line: (line.ledger, line.currency, line.kind)))


def day_balance(session: Session, *, beginning: datetime, ending: datetime) -> list[DayLine]:
    """The trial balance of the transfers booked from ``beginning`` to before ``ending``, by kind of account."""
    first = marks.batch_at(session, beginning, inclusive=False)
    last = max(first, marks.batch_at(session, ending, inclusive=False))
    before, after = _kinds(marks.turnover(session, upto=first)), _kinds(marks.turnover(session, upto=last))
    found = []
    for kind, (debit, credit) in after.items():
        earlier = before.get(kind, (0, 0))
        found.append(
            DayLine(
                kind=kind,
                opening_minor=earlier[1] - earlier[0],
                debit_minor=debit - earlier[0],
                credit_minor=credit - earlier[1],
            )
        )
    return found


def _kinds(turnover: marks.Turnover) -> dict[AccountKind, tuple[int, int]]:
    found: dict[AccountKind, tuple[int, int]] = {}
    for (_, _, name, _), (debit, credit, _) in turnover.items():
        kind = AccountKind(name)
        before = found.get(kind, (0, 0))
        found[kind] = (before[0] + debit, before[1] + credit)
    return found


def chart_balances(session: Session) -> Mapping[AccountKind, tuple[int, int]]:
    """By kind of account: how many are open, and the sum of their balances in fen."""
    moved = _kinds(marks.turnover(session, upto=marks.END))
    found = {}
    for name, count in session.execute(select(AccountRow.kind, func.count()).group_by(AccountRow.kind)):
        debit, credit = moved.get(AccountKind(name), (0, 0))
        found[AccountKind(name)] = (count, credit - debit)
    return found
