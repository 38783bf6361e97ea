"""A statement to take away: CSV and camt.053 as they are read, line by line; PDF for a person."""

from collections.abc import Callable, Generator, Iterator
from datetime import date, timedelta
from itertools import chain
from typing import Final
from uuid import UUID

from flask import Response
from sqlalchemy.orm import Session

from app.kernel import clock
from app.kernel.errors import Conflict, Invalid, msg
from app.kernel.money import major
from app.web.db import database, settings
from card import ledger, statements
from card.ledger import AccountId
from portal.kit import books
from services import documents
from services.documents import Both, Column, Sheet, SheetTable

DAYS_MAX: Final = 366
PRINTED_MAX: Final = 3_000  # entries of a PDF
FORMS: Final = {
    "csv": (statements.csv_lines, "text/csv; charset=utf-8", "csv"),
    "camt": (statements.camt053, "application/xml; charset=utf-8", "xml"),
}
COLUMNS: Final = (
    Column(name=Both(en="Booked", zh="记账时间")),
    Column(name=Both(en="What for", zh="事由"), wide=True),
    Column(name=Both(en="Amount", zh="金额"), right=True),
    Column(name=Both(en="Balance", zh="余额"), right=True),
)


class BadPeriod(Invalid):
    """The dates of a statement are not two dates in order, at most a year apart."""

    code = "bad-period"
    sentence = msg("Choose a first and a last day, at most a year apart.")


class StatementTooLong(Conflict):
    """A PDF would have more pages than anybody reads."""

    code = "statement-too-long"
    sentence = msg("There are more than %(limit)s entries, too many for a PDF. Choose fewer days, or CSV.")


def days(first: str | None, last: str | None) -> tuple[date, date]:
    """The two days asked for; the last thirty where nothing was. Raises :class:`BadPeriod`."""
    today = clock.civil_date(clock.now())
    try:
        end = date.fromisoformat(last) if last else today
        begin = date.fromisoformat(first) if first else end - timedelta(days=29)
    except ValueError as error:
        raise BadPeriod(f"{first} … {last}") from error
    if not timedelta(0) <= end - begin < timedelta(days=DAYS_MAX):
        raise BadPeriod(f"{begin} … {end}")
    return begin, end


def download(
    account_id: AccountId, *, form: str, first: date, last: date, owner: str, may_see: Callable[[Session], None]
) -> Response:
    """The account's statement of these days as a file. ``may_see`` raises where the caller may not.

    The whole of it is one snapshot. Raises :class:`StatementTooLong`, ``UnknownAccount``.
    """
    name = f"statement-{account_id}-{first:%Y%m%d}-{last:%Y%m%d}"
    if form == "pdf":
        with database().transaction() as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            may_see(session)
            answer, ending = Response(_pdf(session, account_id, first, last, owner), content_type="application/pdf"), "pdf"
    else:
        write, media_type, ending = FORMS.get(form, FORMS["csv"])

        def pieces() -> Generator[bytes]:
            with database().transaction() as session:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
                may_see(session)
                head, lines = _read(session, account_id, first, last, owner)
                yield from (piece.encode() for piece in write(head, map(_entry, lines)))

        found = pieces()
        answer = Response(chain([next(found)], found), content_type=media_type)  # a refusal comes before the answer begins
        answer.call_on_close(found.close)  # also where the reader goes away in the middle
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}.{ending}"'
    return answer


def _read(
    session: Session, account_id: AccountId, first: date, last: date, owner: str
) -> tuple[statements.Statement, Iterator[ledger.StatementLine]]:
    beginning, ending = statements.day_period(first, last)
    read = ledger.period(session, account_id, beginning=beginning, ending=ending)
    head = statements.Statement(
        number=f"{account_id}-{first:%y%m%d}-{last:%y%m%d}",
        account=f"{settings().city_code}-{account_id}",
        name=read.account.key,
        owner=owner,
        servicer=f"City of {settings().city_name_en}",
        beginning=beginning,
        ending=ending,
        opening_minor=read.opening_minor,
        closing_minor=read.closing_minor,
        made_at=clock.now(),
        currency=read.account.currency,
    )
    return head, read.lines


def _entry(line: ledger.StatementLine) -> statements.Entry:
    return statements.Entry(
        id=str(line.transfer_id),
        booked_at=line.posted_at,
        valued_at=line.event_at,
        amount_minor=line.amount_minor,
        code=line.code.slug,
        reference=line.reference,
        counterparty=line.counter_key,
    )


def _pdf(session: Session, account_id: AccountId, first: date, last: date, owner: str) -> bytes:
    head, lines = _read(session, account_id, first, last, owner)
    rows: list[tuple[str, ...]] = []
    for line in lines:
        if len(rows) == PRINTED_MAX:
            raise StatementTooLong(limit=PRINTED_MAX)
        rows.append(
            (
                f"{clock.local(line.posted_at):%Y-%m-%d %H:%M}",
                books.code_name(line.code),
                f"{major(line.amount_minor):+,}",
                f"{major(line.balance_after_minor):,}",
            )
        )
    sheet = Sheet(
        number=head.number,
        title=Both(en="Statement of account", zh="账户对账单"),
        facts=(
            (Both(en="Account", zh="账户"), head.account),
            (Both(en="Holder", zh="户名"), owner),
            (Both(en="From", zh="起始日期"), first.isoformat()),
            (Both(en="To", zh="截止日期"), last.isoformat()),
            (Both(en="Opening balance", zh="期初余额"), f"¥{major(head.opening_minor):,}"),
            (Both(en="Closing balance", zh="期末余额"), f"¥{major(head.closing_minor):,}"),
        ),
        tables=(SheetTable(columns=COLUMNS, rows=rows),),
        note=Both(
            en=f"{len(rows)} entries. Amounts in yuan; days and times of Beijing.",
            zh=f"共 {len(rows)} 笔。金额单位：元；时间为北京时间。",
        ),
    )
    return documents.set_sheet(session, sheet, at=head.made_at)


def nobody_else(session: Session, account_id: AccountId, holder_id: UUID) -> None:
    """Let a holder see the accounts that are theirs. Raises ``UnknownAccount`` for any other."""
    if ledger.account(session, account_id).key.partition(":")[2].split("/")[0] != str(holder_id):
        raise ledger.UnknownAccount(str(account_id))
