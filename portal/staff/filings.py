"""``/staff/filings``: filings for treatment elsewhere: confirm or cancel."""

from typing import Final
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from app.kernel import clock
from app.kernel.errors import Refusal
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import translate
from card import health
from card.health import FilingState
from portal.kit import care

blueprint = Blueprint("staff_filings", __name__, url_prefix="/staff/filings")
STAFF: Final = (Role.OFFICER, Role.SUPERVISOR)


@blueprint.get("")
@allow(*STAFF)
def show() -> str:
    """Filings that wait, then those in force."""
    with transaction() as session:
        filings = health.filings(session, states=(FilingState.FILED, FilingState.ACTIVE))
        names = care.names_of(session, [filing.holder_id for filing in filings])
        regions = care.region_names(session)
    states = {state.value: words for state, words in care.FILING_STATES.items()}
    rows = [
        (
            filing,
            names.get(filing.holder_id, "–"),
            regions.get(filing.region, filing.region),
            translate(care.KINDS[filing.kind]),
            *care.labelled(states, filing.state.value),
        )
        for filing in sorted(filings, key=lambda filing: (filing.state is FilingState.ACTIVE, filing.id))
    ]
    return render_template("staff/filings/list.html", rows=rows, filed=FilingState.FILED, me=principal().actor)


@blueprint.post("/<uuid:filing_id>/activate")
@allow(*STAFF)
def activate(filing_id: UUID) -> Response:
    """Confirm a filing; never one's own."""
    try:
        with transaction() as session:
            health.activate_filing(session, filing_id=filing_id, by=principal().actor, now=clock.now())
        flash(gettext("The filing is in force."), "success")
    except Refusal as refusal:
        flash(translate(type(refusal).sentence, **refusal.params), "error")
    return redirect(url_for("staff_filings.show"))


@blueprint.post("/<uuid:filing_id>/cancel")
@allow(*STAFF)
def cancel(filing_id: UUID) -> Response:
    """End a filing; what was settled under it stays."""
    try:
        with transaction() as session:
            health.cancel_filing(session, filing_id=filing_id, by=principal().actor, now=clock.now())
        flash(gettext("The filing was cancelled."), "success")
    except Refusal as refusal:
        flash(translate(type(refusal).sentence, **refusal.params), "error")
    return redirect(url_for("staff_filings.show"))
