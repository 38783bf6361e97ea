"""``/staff/ledger``: the chart of accounts, an account with its statement and balance line, a transfer, the trial balance."""

import csv
import io
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from flask import Blueprint, flash, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from app.kernel import clock
from app.kernel.errors import Invalid, msg
from app.kernel.money import major
from app.web.auth import Role, allow, principal
from app.web.db import settings, transaction
from app.web.i18n import DEFAULT, language, translate
from card import ledger, partners
from card.ledger import AccountId, AccountKind, TransferCode
from portal.kit import books
from services import people

blueprint = Blueprint("staff_ledger", __name__, url_prefix="/staff/ledger")
STAFF: Final = (Role.OFFICER, Role.SUPERVISOR, Role.ADMINISTRATOR, Role.AUDITOR)
IN_CHARGE: Final = (Role.SUPERVISOR, Role.ADMINISTRATOR)  # who answers an alarm
PAGE: Final = 50
CHARTED: Final = 120  # transfers in the balance line
EXPORT: Final = 50_000  # lines of a downloaded statement
EXPORT_PAGE: Final = 500
SEARCHED: Final = ("reference", "detail", "value", "code", "since", "until")
WHOLE: Final = 19  # digits from which on a value is text: an identifier, not a number

GROUPS: Final[dict[str, tuple[AccountKind, ...]]] = {
    msg("Residents"): (
        AccountKind.PURSE,
        AccountKind.EARMARKED,
        AccountKind.MEDICAL,
        AccountKind.FAMILY,
        AccountKind.RECEIVABLE,
    ),
    msg("Those who are paid"): (AccountKind.OPERATOR, AccountKind.HOSPITAL, AccountKind.MERCHANT, AccountKind.FEES),
    msg("Funds and budgets"): (
        AccountKind.POOLED_FUND,
        AccountKind.CATASTROPHIC_FUND,
        AccountKind.PENSION_FUND,
        AccountKind.ALLOWANCE_FUND,
    ),
    msg("Other cities"): (AccountKind.DUE_TO, AccountKind.DUE_FROM, AccountKind.SETTLEMENT, AccountKind.CLEARING_FEES),
    msg("Money outside, and unclear"): (
        AccountKind.BANK,
        AccountKind.STRIPE_CLEARING,
        AccountKind.PROVIDER_FEES,
        AccountKind.SUSPENSE,
        AccountKind.LOSSES,
        AccountKind.SHARD,
    ),
}
ORDER: Final = tuple(kind for kinds in GROUPS.values() for kind in kinds)  # in which every page of the books lists the kinds


@dataclass(frozen=True, kw_only=True)
class BalanceLine:
    """A balance over time as an SVG step line: its path, the area under it, the zero line, and what the axes say."""

    path: str
    area: str
    zero: float
    top_minor: int
    bottom_minor: int
    beginning: datetime
    ending: datetime
    last_x: float
    last_y: float
    width: int = 720
    height: int = 180


def balance_line(lines: list[ledger.StatementLine], *, width: int = 720, height: int = 180) -> BalanceLine | None:
    """The balance line of ``lines`` (newest first): one step a transfer, spaced by time, or evenly within one instant."""
    if not lines:
        return None
    forward = lines[::-1]
    before = forward[0].balance_after_minor - forward[0].amount_minor
    values = [before, *(line.balance_after_minor for line in forward)]
    top, bottom = max(*values, 0), min(*values, 0)
    scale = (height - 16) / ((top - bottom) or 1)
    beginning, ending = forward[0].posted_at, forward[-1].posted_at
    span = (ending - beginning).total_seconds()

    def across(index: int) -> float:
        share = (forward[index].posted_at - beginning).total_seconds() / span if span else (index + 1) / len(forward)
        return round(8 + share * (width - 16), 1)

    def down(value: int) -> float:
        return round(8 + (top - value) * scale, 1)

    steps = [f"M8 {down(before)}"]
    for index, line in enumerate(forward):
        steps.append(f"H{across(index)}V{down(line.balance_after_minor)}")
    last_x, last_y = across(len(forward) - 1), down(forward[-1].balance_after_minor)
    path = "".join(steps)
    return BalanceLine(
        path=path,
        area=f"{path}V{down(0)}H8Z",
        zero=down(0),
        top_minor=top,
        bottom_minor=bottom,
        beginning=beginning,
        ending=ending,
        last_x=last_x,
        last_y=last_y,
        width=width,
        height=height,
    )


@blueprint.get("")
@allow(*STAFF)
def chart() -> str:
    """The chart of accounts: every kind, how many there are, what they come to."""
    with transaction() as session:
        totals = ledger.chart_balances(session)
    groups = [
        (title, [(kind, books.kind_name(kind), *totals[kind]) for kind in kinds if kind in totals])
        for title, kinds in GROUPS.items()
    ]
    return render_template(
        "staff/ledger/chart.html",
        groups=[(title, rows) for title, rows in groups if rows],
        accounts=sum(count for count, _ in totals.values()),
        total_minor=sum(total for _, total in totals.values()),
        purses_minor=totals.get(AccountKind.PURSE, (0, 0))[1],
    )


@blueprint.get("/accounts/<kind>")
@allow(*STAFF)
def accounts(kind: str) -> str:
    """The accounts of one kind with their balances."""
    if kind not in books.KINDS:
        raise ledger.UnknownAccount(kind)
    after = request.args.get("after", type=int)
    with transaction() as session:
        found = ledger.accounts_of_kind(
            session, AccountKind(kind), after=AccountId(after) if after is not None else None, limit=PAGE + 1
        )
        balances = ledger.balances(session, [account.id for account in found])
        owners = books.owner_names(session, [account.key for account in found])
    return render_template(
        "staff/ledger/accounts.html",
        kind=kind,
        title=books.kind_name(AccountKind(kind)),
        accounts=[(account, owners.get(account.key, ""), balances.get(account.id, 0)) for account in found[:PAGE]],
        more=found[PAGE - 1].id if len(found) > PAGE else None,
    )


@blueprint.get("/account/<int:account_id>")
@allow(*STAFF)
def account(account_id: int) -> str:
    """An account: its balance, its balance line, its statement."""
    before, at = request.args.get("before") or None, _instant("at")
    with transaction() as session:
        found = ledger.account(session, AccountId(account_id))
        balance = ledger.balance(session, found.id)
        then_minor = ledger.balance_at(session, found.id, at) if at else 0
        lines = ledger.statement(session, found.id, before=before, limit=CHARTED)
        holds = ledger.pending_holds(session, found.id)
        owners = books.owner_names(session, [found.key, *(line.counter_key for line in lines)])
    return render_template(
        "staff/ledger/account.html",
        account=found,
        kind=books.kind_name(found.kind),
        owner=owners.get(found.key, ""),
        balance=balance,
        at=at,
        then_minor=then_minor,
        newest=_as_field(clock.now()),
        chosen=_as_field(at) if at else "",
        line=balance_line(lines),
        charted=len(lines),
        lines=[(line, books.code_name(line.code), books.account_name(line.counter_key, owners)) for line in lines[:PAGE]],
        holds=holds,
        before=before,
        older=lines[PAGE - 1].cursor if len(lines) > PAGE else None,
    )


def _instant(name: str) -> datetime | None:
    """The instant in the query, or nothing. A form says it in the city's own time."""
    try:
        found = datetime.fromisoformat(request.args.get(name, ""))
        return clock.local(found if found.tzinfo else found.replace(tzinfo=clock.SHANGHAI))
    except (ValueError, OverflowError):  # no date, or one that the city's calendar does not reach
        return None


def _as_field(instant: datetime) -> str:
    """An instant as a form's field for a date and a time holds it."""
    return f"{clock.local(instant):%Y-%m-%dT%H:%M}"


@blueprint.get("/account/<int:account_id>/statement.csv")
@allow(*STAFF)
def statement_csv(account_id: int) -> Response:
    """The account's newest transfers as a table for other programs: amounts in yuan, instants in UTC, newest first."""
    with transaction() as session:
        found = ledger.account(session, AccountId(account_id))
        lines: list[ledger.StatementLine] = []
        while len(lines) < EXPORT:
            before = lines[-1].cursor if lines else None
            page = ledger.statement(session, found.id, before=before, limit=EXPORT_PAGE)
            lines += page
            if len(page) < EXPORT_PAGE:
                break
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["booked_at", "event_at", "code", "reference", "other_account", "amount", "balance_after", "transfer"])
    table.writerows(
        [
            line.posted_at.isoformat(),
            line.event_at.isoformat(),
            line.code.slug,
            _inert(line.reference),
            line.counter_key,
            major(line.amount_minor),
            major(line.balance_after_minor),
            line.transfer_id,
        ]
        for line in lines
    )
    answer = Response(text.getvalue(), content_type="text/csv; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="statement-{account_id}.csv"'
    return answer


def _inert(text: str) -> str:
    """``text`` so that a spreadsheet does not take it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


@blueprint.get("/transfer/<uuid:transfer_id>")
@allow(*STAFF)
def transfer(transfer_id: UUID) -> str:
    """A transfer with both of its sides; one that was refused with the reason."""
    with transaction() as session:
        try:
            booking = ledger.booking(session, transfer_id)
        except ledger.UnknownTransfer:
            return _refused(session, ledger.refused_booking(session, transfer_id))
        sides = [ledger.account(session, id_) for id_ in (booking.transfer.debit, booking.transfer.credit)]
        reversals = ledger.reversals_of(session, transfer_id)
        parts = ledger.parts_of(session, UUID(str(booking.transfer.metadata.get("payment", transfer_id))))
        proof = _proof(session, transfer_id)
        related = ledger.transfers_by_reference(session, booking.transfer.reference)
        names = _cities(session)
        owners = books.owner_names(session, [side.key for side in sides])
    return render_template(
        "staff/ledger/transfer.html",
        booking=booking,
        transfer=booking.transfer,
        code=books.code_name(booking.transfer.code),
        debit=sides[0],
        credit=sides[1],
        debit_name=books.account_name(sides[0].key, owners),
        credit_name=books.account_name(sides[1].key, owners),
        reversals=reversals,
        parts=parts if len(parts) > 1 else [],
        proof=proof,
        cosigned=[(names.get(code, code), at) for code, at in books.cosigners(proof or {})],
        related=[(other, books.code_name(other.code)) for other in related if other.id != transfer_id],
    )


def _refused(session: Session, found: ledger.RefusedBooking) -> str:
    sides: list[ledger.Account | None] = []
    for id_ in (found.transfer.debit, found.transfer.credit):
        try:
            sides.append(ledger.account(session, id_))
        except ledger.UnknownAccount:
            sides.append(None)
    owners = books.owner_names(session, [side.key for side in sides if side])
    return render_template(
        "staff/ledger/refused.html",
        found=found,
        transfer=found.transfer,
        code=books.code_name(found.transfer.code),
        why=translate(found.sentence),
        sides=[(side, books.account_name(side.key, owners) if side else "") for side in sides],
    )


def _cities(session: Session) -> dict[str, str]:
    """The cities we know by code, in the page's language."""
    return {city.code: city.name_zh if language() == DEFAULT else city.name_en for city in partners.cities(session)}


def _proof(session: Session, transfer_id: UUID) -> dict[str, str] | None:
    """What the receipt of a transfer proves, as the verifier itself says it; nothing while the seal is being made."""
    try:
        document = ledger.receipt(session, transfer_id)
    except ledger.NotSealed:
        return None
    return ledger.verify_receipt(document, key=ledger.checkpoint_verifier(settings()).text)


@blueprint.get("/transfer/<uuid:transfer_id>/receipt.json")
@allow(*STAFF)
def receipt(transfer_id: UUID) -> Response:
    """The transfer's receipt with its proof, for ``python -m card.ledger.verify``."""
    with transaction() as session:
        document = ledger.receipt(session, transfer_id)
    answer = jsonify(document)
    answer.headers["Content-Disposition"] = f'attachment; filename="receipt-{transfer_id}.json"'
    return answer


def _transfer_id(session: Session, asked: str) -> UUID | None:
    """``asked`` as the number of a transfer that was booked or refused; none where it is none."""
    for read in (ledger.booking, ledger.refused_booking):
        try:
            return read(session, UUID(asked)).transfer.id
        except (ValueError, ledger.UnknownTransfer):
            pass
    return None


@blueprint.get("/find")
@allow(*STAFF)
def find() -> str | Response:
    """Find an account by its key, a transfer by its id, or the transfers of a business reference."""
    asked = request.args.get("q", "").strip()[:200]
    with transaction() as session:
        if found_id := _transfer_id(session, asked):
            return redirect(url_for("staff_ledger.transfer", transfer_id=found_id))
        try:
            return redirect(url_for("staff_ledger.account", account_id=ledger.account_id(session, asked)))
        except ledger.UnknownAccount:
            found = ledger.transfers_by_reference(session, asked)
    return render_template(
        "staff/ledger/find.html", asked=asked, transfers=[(other, books.code_name(other.code)) for other in found]
    )


def _day(name: str) -> datetime | None:
    """The beginning of the civil day in the query, or nothing."""
    try:
        day = date.fromisoformat(request.args.get(name, ""))
    except ValueError:
        return None
    return datetime(day.year, day.month, day.day, tzinfo=clock.SHANGHAI)


@blueprint.get("/search")
@allow(*STAFF)
def search() -> str:
    """Transfers by business reference, by what their details say, why they were made, and when."""
    asked = {
        name: request.args.get(name, "").strip()[:200] for name in ("reference", "detail", "value", "code", "since", "until")
    }
    code = next((one for one in TransferCode if one.slug == asked["code"]), None)
    until = _day("until")
    wanted = ledger.Wanted(
        reference=asked["reference"],
        metadata=_said(asked["detail"], asked["value"]),
        code=code,
        since=_day("since"),
        before=until + timedelta(days=1) if until else None,
    )
    after = request.args.get("after", type=UUID)
    found: list[ledger.Transfer] = []
    if wanted.reference or wanted.metadata:
        with transaction() as session:
            found = ledger.find_transfers(session, wanted, after=after, limit=PAGE + 1)
    again: dict[str, Any] = {name: value for name, value in asked.items() if value}
    return render_template(
        "staff/ledger/search.html",
        asked=asked,
        codes=[(one.slug, books.code_name(one)) for one in TransferCode],
        looked=bool(wanted.reference or wanted.metadata),
        transfers=[(one, books.code_name(one.code)) for one in found[:PAGE]],
        newer=url_for("staff_ledger.search", **again) if after else None,
        older=url_for("staff_ledger.search", **again, after=found[PAGE - 1].id) if len(found) > PAGE else None,
    )


def _said(detail: str, value: str) -> dict[str, object] | None:
    """What a form's two fields ask of the metadata: a number is looked for as a number too where it is written as one."""
    if not detail or not value:
        return None
    return {detail: int(value) if value.isdecimal() and len(value) < WHOLE else value}


@blueprint.get("/alarms")
@allow(*STAFF)
def alarms() -> str:
    """What a check found wrong: those that stand, then those that were answered; and the checks themselves."""
    before = request.args.get("before", type=UUID)
    with transaction() as session:
        found = ledger.alarms(session, before=before, limit=PAGE + 1)
        checks = ledger.last_checks(session)
        cosigned = ledger.newest_cosignatures(session)
        names = _cities(session)
    return render_template(
        "staff/ledger/alarms.html",
        alarms=[(one, books.finding_name(one.kind), books.subject_link(one.subject)) for one in found[:PAGE]],
        standing=sum(one.acknowledged_at is None for one in found),
        checks=checks,
        cosigned=[(one, names.get(one.city, one.city)) for one in cosigned],
        answers=bool(principal().roles & set(IN_CHARGE)),
        newer=url_for("staff_ledger.alarms") if before else None,
        older=url_for("staff_ledger.alarms", before=found[PAGE - 1].id) if len(found) > PAGE else None,
    )


@blueprint.get("/alarms/<uuid:alarm_id>")
@allow(*STAFF)
def alarm(alarm_id: UUID) -> tuple[str, int]:
    """One alarm: what should stand there, what was found, and the answer."""
    return _alarm_page(alarm_id)


def _alarm_page(alarm_id: UUID, errors: dict[str, str] | None = None, status: int = 200) -> tuple[str, int]:
    with transaction() as session:
        found = ledger.alarm(session, alarm_id)
        by = UUID(found.acknowledged_by.partition(":")[2]) if found.acknowledged_by else None
        name = people.get(session, by).called(language()) if by else ""
        what, _, key = found.subject.partition(":")
        owners = books.owner_names(session, [key]) if what == "account" else {}
    page = render_template(
        "staff/ledger/alarm.html",
        alarm=found,
        kind=books.finding_name(found.kind),
        link=books.subject_link(found.subject),
        about=books.account_name(key, owners) if what == "account" else "",
        expected=books.finding_said(found.kind, found.expected),
        found=books.finding_said(found.kind, found.found),
        by=name,
        answers=bool(principal().roles & set(IN_CHARGE)),
        errors={field: translate(text) for field, text in (errors or {}).items()},
        reason=request.form.get("reason", ""),
    )
    return page, status


@blueprint.post("/alarms/<uuid:alarm_id>/answer")
@allow(*IN_CHARGE)
def answer(alarm_id: UUID) -> Response | tuple[str, int]:
    """Say what was found out and done."""
    try:
        with transaction() as session:
            ledger.acknowledge(
                session, alarm_id=alarm_id, reason=request.form.get("reason", ""), by=principal().actor, now=clock.now()
            )
    except Invalid as error:
        return _alarm_page(alarm_id, error.fields, Invalid.status)
    flash(gettext("The alarm is answered. It stays in the list with what you wrote."), "success")
    return redirect(url_for("staff_ledger.alarms"), 303)


@blueprint.get("/trial-balance")
@allow(*STAFF)
def trial_balance() -> str:
    """What moved on a civil day, by kind of account; opening, turnover and closing all sum to zero."""
    today = clock.civil_date(clock.now())
    try:
        day = date.fromisoformat(request.args.get("day", ""))
    except ValueError:
        day = today
    beginning = datetime(day.year, day.month, day.day, tzinfo=clock.SHANGHAI)
    with transaction() as session:
        lines = ledger.day_balance(session, beginning=beginning, ending=beginning + timedelta(days=1))
    lines.sort(key=lambda line: ORDER.index(line.kind))
    sums = [
        sum(line.opening_minor for line in lines),
        sum(line.debit_minor for line in lines),
        sum(line.credit_minor for line in lines),
        sum(line.closing_minor for line in lines),
    ]
    return render_template(
        "staff/ledger/trial_balance.html",
        day=day,
        today=today,
        earlier=day - timedelta(days=1),
        later=day + timedelta(days=1) if day < today else None,
        lines=[(line, books.kind_name(line.kind)) for line in lines],
        sums=sums,
        balanced=sums[0] == sums[3] == 0 and sums[1] == sums[2],
    )
