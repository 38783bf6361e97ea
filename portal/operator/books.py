"""``/operator``: revenue as pictures, the day's statement for banks, and what operators share. Only one's own."""

from typing import Final

from flask import Blueprint, Response, render_template
from flask_babel import gettext

from app.kernel import clock
from app.kernel.errors import msg
from app.web.auth import Role, allow
from app.web.db import settings, transaction
from app.web.i18n import DEFAULT, language, translate
from card import ledger, statements, transit
from card.ledger import chart
from portal.kit import books as names
from portal.kit import city_name, yuan
from portal.kit import journeys as words
from portal.kit import statements as files
from portal.operator.asking import asked_card_day, asked_day, civil_day, one_instant, own_operator

blueprint = Blueprint("operator_books", __name__, url_prefix="/operator")

PRODUCTS: Final = {
    "single": msg("Single fare"),
    "incomplete": msg("A tap is missing"),
    "unpriced": msg("Not priced"),
    "product": msg("Ride by product"),
}
CHART_HEIGHT: Final = 160
BAR: Final = 26


def _product(found: transit.ProductRevenue) -> str:
    kind, _, code = found.product.partition(":")
    name = found.name_zh if language() == DEFAULT else found.name_en
    if kind in PRODUCTS:
        return translate(PRODUCTS[kind]) + (f" {code}" if code else "")
    return name or code


@blueprint.get("/revenue")
@allow(Role.OPERATOR)
def revenue() -> str:
    """What the journeys of a card-day brought: by line, by hour, by product; each a picture and a table."""
    operator_id, on = own_operator(), asked_card_day()
    with transaction() as session:
        lines = {line.id: line for line in transit.lines_of(session, operator_id)}
        by_line = transit.revenue_by_line(session, operator_id, on=on)
        hours = transit.revenue_by_hour(session, operator_id, on=on)
        products = transit.revenue_by_product(session, operator_id, on=on)
    most = max(*hours, 1)
    return render_template(
        "operator/revenue.html",
        on=on,
        total_minor=sum(hours),
        journeys=sum(line.journeys for line in by_line),
        lines=[
            (
                words.named(lines[line.line_id].names) if line.line_id in lines else line.line_id or "–",
                line.charged_minor,
                yuan(line.charged_minor),
            )
            for line in by_line
        ],
        products=[(_product(one), one.charged_minor, yuan(one.charged_minor)) for one in products],
        product_rows=[(_product(one), one.journeys, yuan(one.charged_minor)) for one in products],
        hours=[(hour, round(CHART_HEIGHT * max(value, 0) / most, 1), yuan(value)) for hour, value in enumerate(hours)],
        busiest=max(range(24), key=lambda hour: hours[hour]) if any(hours) else None,
        most=yuan(max(hours)),
        chart_height=CHART_HEIGHT,
        bar=BAR,
    )


@blueprint.get("/statement.xml")
@allow(Role.OPERATOR)
def statement_camt() -> Response:
    """The day's account as ISO 20022 camt.053: every booking, from the opening balance to the closing one."""
    operator_id, on = own_operator(), asked_day()
    beginning, ending = civil_day(on)
    with one_instant() as session:
        operator = transit.operator(session, operator_id)
        account = ledger.account_id(session, chart.operator(operator_id))
        found = ledger.period(session, account, beginning=beginning, ending=ending)
        head = statements.Statement(
            number=f"{operator_id}-{on:%Y%m%d}"[:35],
            account=f"{settings().city_code}-{account}"[:34],
            name=chart.operator(operator_id).key,
            owner=operator.names.zh,
            servicer=city_name(),
            beginning=beginning,
            ending=ending,
            opening_minor=found.opening_minor,
            closing_minor=found.closing_minor,
            made_at=clock.now(),
        )
        entries = (
            statements.Entry(
                id=str(line.transfer_id),
                booked_at=line.posted_at,
                valued_at=line.event_at,
                amount_minor=line.amount_minor,
                code=line.code.slug,
                reference=line.reference,
                counterparty=line.counter_key.partition(":")[0],  # whose purse it was is not the operator's to know
            )
            for line in found.lines
        )
        body = "".join(statements.camt053(head, entries))
    headers = {"Content-Disposition": f'attachment; filename="{operator_id}-{on.isoformat()}-camt.053.xml"'}
    return Response(body, content_type="application/xml; charset=utf-8", headers=headers)


@blueprint.get("/statement.pdf")
@allow(Role.OPERATOR)
def statement_pdf() -> Response:
    """The day's account on paper: every booking with the balance after it. Raises ``StatementTooLong`` for a great day."""
    operator_id, on = own_operator(), asked_day()
    with transaction() as session:
        owner = transit.operator(session, operator_id).names.zh
        account = ledger.account_id(session, chart.operator(operator_id))
    return files.download(account, form="pdf", first=on, last=on, owner=owner, may_see=lambda _: None)


@blueprint.get("/shares")
@allow(Role.OPERATOR)
def shares() -> str:
    """What the operator's fares owe others by rule, and what others' owe it, by day; and the account's other movements."""
    operator_id = own_operator()
    with transaction() as session:
        operators = {one.id: words.named(one.names) for one in transit.operators(session)}
        found = transit.shares(session, operator_id)
        rules = [
            (words.named(tariff.names), tariff.id, [(operators.get(other, other), percent) for other, percent in parts])
            for tariff, parts in transit.sharing_rules(session, operator_id)
        ]
        account = ledger.account_id(session, chart.operator(operator_id))
        balance = ledger.balance(session, account).posted_minor
        others = [
            line
            for line in ledger.statement(session, account, limit=200)
            if line.code not in transit.FARE_CODES and line.code is not ledger.TransferCode.FARE_SHARE
        ]
    return render_template(
        "operator/shares.html",
        shares=[
            (
                one,
                operators.get(one.to_operator if one.from_operator == operator_id else one.from_operator, ""),
                -one.total_minor if one.from_operator == operator_id else one.total_minor,
            )
            for one in found
        ],
        rules=rules,
        balance_minor=balance,
        others=[(line.posted_at, names.code_name(line.code), line.amount_minor) for line in others],
        nobody=gettext("Your fares are shared with nobody."),
    )
