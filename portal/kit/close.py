"""A month's close report to take away: CSV for other programs, PDF for a person."""

import csv
import io
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.orm import Session

from app.kernel import clock
from app.kernel.money import major
from card.ledger import MonthClose
from portal.kit import books
from services import documents
from services.documents import Both, Column, Sheet, SheetTable

COLUMNS: Final = ("section", "ledger", "currency", "what", "opening", "debits", "credits", "closing", "transfers", "amount")
AMOUNTS: Final = (Both(en="Opening", zh="期初"), Both(en="Debits", zh="借方"), Both(en="Credits", zh="贷方"))
KINDS: Final = (
    Column(name=Both(en="Account", zh="账户类别"), wide=True),
    *(Column(name=name, right=True) for name in AMOUNTS),
    Column(name=Both(en="Closing", zh="期末"), right=True),
)
CODES: Final = (
    Column(name=Both(en="What for", zh="事由"), wide=True),
    Column(name=Both(en="Transfers", zh="笔数"), right=True),
    Column(name=Both(en="Amount", zh="金额"), right=True),
)


def csv_text(close: MonthClose) -> str:
    """The report as one table (RFC 4180): a row for each kind of account, code, sum, count and checkpoint; amounts in yuan."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for line in close.lines:
        amounts = (line.opening_minor, line.debit_minor, line.credit_minor, line.closing_minor)
        table.writerow(["account", line.ledger, line.currency, line.kind.value, *map(major, amounts), "", ""])
    for (ledger, currency), found in close.sums.items():
        amounts = (found.opening_minor, found.debit_minor, found.credit_minor, found.closing_minor)
        table.writerow(["sum", ledger, currency, "", *map(major, amounts), "", ""])
    for moved in close.codes:
        table.writerow(
            ["movement", moved.ledger, moved.currency, moved.code.slug, *[""] * 4, moved.transfers, major(moved.amount_minor)]
        )
    for name, counted in (("transfers", close.transfers), ("batches", close.batches), ("refusals", close.refusals)):
        table.writerow(["count", "", "", name, *[""] * 4, counted, ""])
    for name, head in (("first", close.first), ("last", close.last)):
        if head:
            when = head.signed_at.astimezone(UTC).isoformat()
            table.writerow(["checkpoint", "", "", f"{name} {when} {head.root}", *[""] * 4, head.size, ""])
    return text.getvalue()


def pdf(session: Session, close: MonthClose) -> bytes:
    """The report on paper, in both languages."""
    tables = []
    for (ledger, currency), sums in close.sums.items():
        kinds = [
            (
                books.kind_name(line.kind),
                *_money(line.opening_minor, line.debit_minor, line.credit_minor, line.closing_minor),
            )
            for line in close.lines
            if (line.ledger, line.currency) == (ledger, currency)
        ]
        together = _money(sums.opening_minor, sums.debit_minor, sums.credit_minor, sums.closing_minor)
        tables.append(
            SheetTable(
                title=Both(
                    en=f"By kind of account · ledger {ledger}, {currency}", zh=f"按账户类别 · 账簿 {ledger}，{currency}"
                ),
                columns=KINDS,
                rows=[*kinds, ("Σ", *together)],
            )
        )
        tables.append(
            SheetTable(
                title=Both(en="By reason", zh="按事由"),
                columns=CODES,
                rows=[
                    (books.code_name(line.code), f"{line.transfers:,}", *_money(line.amount_minor))
                    for line in close.codes
                    if (line.ledger, line.currency) == (ledger, currency)
                ],
            )
        )
    sheet = Sheet(
        number=f"{close.city}-{close.month.name}",
        title=Both(en="Monthly close of the books", zh="账目月结报告"),
        facts=(
            (Both(en="Month", zh="月份"), close.month.name),
            (Both(en="Made", zh="制表时间"), _moment(close.made_at)),
            (Both(en="Transfers", zh="转账"), f"{close.transfers:,}"),
            (Both(en="Batches", zh="批次"), f"{close.batches:,}"),
            (Both(en="Refusals", zh="拒绝"), f"{close.refusals:,}"),
            *(
                (name, f"{head.size:,} · {_moment(head.signed_at)} · {head.root[:16]}…")
                for name, head in (
                    (Both(en="First checkpoint", zh="首个检查点"), close.first),
                    (Both(en="Last checkpoint", zh="末个检查点"), close.last),
                )
                if head
            ),
        ),
        tables=tuple(tables),
        note=Both(
            en="Amounts in yuan; a civil month and times of Beijing. A balance is what came in less what went out.",
            zh="金额单位：元；按北京时间的自然月。余额为流入减流出。",
        ),
    )
    return documents.set_sheet(session, sheet, at=close.made_at)


def _moment(instant: datetime) -> str:
    return f"{clock.local(instant):%Y-%m-%d %H:%M}"


def _money(*minor: int) -> tuple[str, ...]:
    return tuple(f"{major(one):,}" for one in minor)
