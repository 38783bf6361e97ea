"""``/staff/ledger/account/<id>/statement/file``: an account's statement as CSV, camt.053 or PDF."""

from typing import Final

from flask import Blueprint, Response, request

from app.web.auth import Role, allow
from app.web.db import transaction
from card import ledger
from card.ledger import AccountId
from portal.kit import books, statements

blueprint = Blueprint("staff_statements", __name__, url_prefix="/staff/ledger")
STAFF: Final = (Role.OFFICER, Role.SUPERVISOR, Role.ADMINISTRATOR, Role.AUDITOR)


@blueprint.get("/account/<int:account_id>/statement/file")
@allow(*STAFF)
def file(account_id: int) -> Response:
    """The statement from one civil day to another, in the form asked for (``csv``, ``camt``, ``pdf``)."""
    first, last = statements.days(request.args.get("from"), request.args.get("to"))
    with transaction() as session:
        found = ledger.account(session, AccountId(account_id))
        owner = books.account_name(found.key, books.owner_names(session, [found.key]))
    return statements.download(
        found.id,
        form=request.args.get("form", "csv"),
        first=first,
        last=last,
        owner=owner,
        may_see=lambda _: None,
    )
