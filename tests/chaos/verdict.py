"""The judgement after a run: what was answered against what is in the books."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy import text

from app.kernel.db import Database
from card import ledger
from card.ledger import Transfer
from tests.chaos.work import Work


@dataclass(kw_only=True)
class Verdict:
    """What was found wrong, in sentences, and how much was looked at."""

    wrong: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def claim(self, held: bool, otherwise: str) -> None:
        """Note ``otherwise`` unless ``held``."""
        if not held:
            self.wrong.append(otherwise)


def judge(database: Database, answered: Mapping[Work, Mapping[int, tuple[str, ...]]], *, asked: Mapping[Work, int]) -> Verdict:
    """Compare answers with the books. ``asked`` is one more than the highest number that a work may have sent.

    Every transfer that was answered as posted is there once and as it was sent; none is there that was refused; what was never
    answered is there as it was sent, or not at all, and a linked group never in part; the books balance.
    """
    verdict = Verdict()
    with database.transaction() as session:
        booked = {
            row.id: row
            for row in session.execute(
                text(
                    "SELECT id, debit, credit, amount_minor, code, reference FROM card.transfer WHERE reference LIKE 'chaos:%'"
                )
            )
        }
        verdict.seen["rows"] = len(booked)
        rows = session.execute(text("SELECT count(*) FROM card.transfer WHERE reference LIKE 'chaos:%'")).scalar_one()
        verdict.claim(rows == len(booked), f"{rows} rows, but {len(booked)} ids")
        report = ledger.check_books(session)
    verdict.wrong.extend(f"{found.kind.value} {found.subject}: {found.expected} ≠ {found.found}" for found in report.findings)
    expected = {transfer.id for work, last in asked.items() for number in range(last) for transfer in work.group(number)}
    for id_, row in booked.items():
        verdict.claim(id_ in expected or row.reference == "chaos:opening", f"{id_} ({row.reference}) was never asked for")
    for work, last in asked.items():
        for number in range(last):
            group = work.group(number)
            there = [transfer.id in booked for transfer in group]
            name = f"{work.name}:{number}"
            verdict.claim(all(there) or not any(there), f"{name} is there in part")
            for transfer in group:
                if transfer.id in booked:
                    verdict.claim(_same(booked[transfer.id], transfer), f"{name} is there, but not as it was sent")
            answer = answered[work].get(number)
            if answer is None:
                verdict.seen["unanswered"] += 1
            elif "refused" in answer:
                verdict.seen["refused"] += 1
                verdict.claim(not any(there), f"{name} was refused and is there")
            else:
                verdict.seen["posted"] += 1
                verdict.claim(all(there), f"{name} was acknowledged and is not there")
    return verdict


def _same(row: object, transfer: Transfer) -> bool:
    found = [getattr(row, name) for name in ("debit", "credit", "amount_minor", "code", "reference")]
    return found == [transfer.debit, transfer.credit, transfer.amount_minor, int(transfer.code), transfer.reference]


def lines(verdict: Verdict) -> Iterator[str]:
    """The verdict for a reader."""
    yield ", ".join(f"{count:,} {name}" for name, count in sorted(verdict.seen.items()))
    yield from (f"WRONG: {sentence}" for sentence in verdict.wrong[:20])
    yield "the books are right" if not verdict.wrong else f"{len(verdict.wrong)} findings"
