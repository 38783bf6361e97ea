"""``/staff/ledger/close``: a month's close report on screen, as PDF and CSV, and as JSON signed by the city."""

from datetime import datetime
from typing import Final

from flask import Blueprint, Response, jsonify, render_template, request
from sqlalchemy.orm import Session

from app.kernel import clock
from app.web.auth import Role, allow
from app.web.db import database
from card import ledger
from card.ledger import Month, MonthClose
from portal.kit import books, close
from portal.staff.ledger import ORDER

blueprint = Blueprint("staff_close", __name__, url_prefix="/staff/ledger/close")
STAFF: Final = (Role.OFFICER, Role.SUPERVISOR, Role.ADMINISTRATOR, Role.AUDITOR)


def _asked(now: datetime) -> tuple[Month, Month]:
    """The month asked for (the one before this one where none was) and the present one."""
    present = Month(first=clock.civil_date(now).replace(day=1))
    asked = request.args.get("month")
    return Month.parse(asked) if asked else present.previous, present


def _read(session: Session, month: Month, now: datetime) -> MonthClose:
    """The whole report is one snapshot."""
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    return ledger.month_close(session, month, now=now)


@blueprint.get("")
@allow(*STAFF)
def page() -> str:
    """The report of a month that is over, or how far the running month has come."""
    now = clock.now()
    month, present = _asked(now)
    with database().transaction() as session:
        found = _read(session, month, now)
    return render_template(
        "staff/ledger/close.html",
        close=found,
        month=month,
        earlier=month.previous,
        later=month.next if month.first < present.first else None,
        newest=present,
        tables=[
            (
                place,
                sums,
                [
                    (line, books.kind_name(line.kind))
                    for line in sorted(found.lines, key=lambda line: ORDER.index(line.kind))
                    if (line.ledger, line.currency) == place
                ],
                [(line, books.code_name(line.code)) for line in found.codes if (line.ledger, line.currency) == place],
            )
            for place, sums in found.sums.items()
        ],
    )


@blueprint.get("/file")
@allow(*STAFF)
def file() -> Response:
    """The report of a month that is over and sealed, in the form asked for (``pdf``, ``csv``, ``json``)."""
    now = clock.now()
    month, _ = _asked(now)
    form = request.args.get("form", "json")
    with database().transaction() as session:
        found = ledger.closed(_read(session, month, now))
        if form == "pdf":
            answer = Response(close.pdf(session, found), content_type="application/pdf")
        elif form == "csv":
            answer = Response(close.csv_text(found), content_type="text/csv; charset=utf-8")
        else:
            form, answer = "json", jsonify(ledger.sign_close(session, found))
    answer.headers["Content-Disposition"] = f'attachment; filename="close-{found.city}-{month.name}.{form}"'
    return answer
