"""``/me/card/statement/file``: the statement of one's own purse as CSV, camt.053 or PDF."""

from flask import Blueprint, Response, request

from app.kernel import clock
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from card import ledger
from portal.kit import statements
from services import people

blueprint = Blueprint("statements", __name__, url_prefix="/me/card/statement")


@blueprint.get("/file")
@allow(Role.RESIDENT)
def file() -> Response:
    """The statement from one civil day to another, in the form asked for (``csv``, ``camt``, ``pdf``)."""
    holder_id = principal().person_id
    first, last = statements.days(request.args.get("from"), request.args.get("to"))
    with transaction() as session:
        purse = ledger.open_account(session, ledger.chart.purse(holder_id), now=clock.now())
        name = people.get(session, holder_id).name
    return statements.download(
        purse,
        form=request.args.get("form", "pdf"),
        first=first,
        last=last,
        owner=name,
        may_see=lambda session: statements.nobody_else(session, purse, holder_id),
    )
