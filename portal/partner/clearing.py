"""``/partner``: what staff of a partner city see here of the clearing between their city and ours, and of no other."""

from uuid import UUID

from flask import Blueprint, render_template

from app.kernel.errors import NotFound
from app.web.auth import Role, allow, principal
from app.web.db import settings, transaction
from card import clearing, partners
from portal.kit import clearing as words
from portal.kit.clearing import Names

blueprint = Blueprint("partner_clearing", __name__, url_prefix="/partner")


def _their_city(*pair: str) -> str:
    """The code of the caller's city; ``NotFound`` where a thing is not theirs."""
    code = principal().organisation or ""
    if pair and code not in pair:
        raise NotFound
    return code


@blueprint.get("")
@allow(Role.PARTNER)
def index() -> str:
    """The pair: files in both directions, differences, disputes, the newest signed messages."""
    code = _their_city()
    with transaction() as session:
        names = Names(session=session)
        return render_template(
            "partner/clearing/index.html",
            theirs=names.city(code),
            ours=names.city(settings().city_code),
            files=words.file_rows(names, clearing.files(session, partner=code, limit=30)),
            breaks=[words.break_row(names, item) for item in clearing.breaks(session, partner=code)],
            disputes=[words.dispute_row(names, item) for item in clearing.disputes(session, partner=code)],
            exchanges=partners.exchanges(session, city=code, limit=20),
        )


@blueprint.get("/breaks/<uuid:break_id>")
@allow(Role.PARTNER)
def difference(break_id: UUID) -> str:
    """A difference with both sides' records."""
    with transaction() as session:
        names = Names(session=session)
        found = clearing.break_(session, break_id)
        _their_city(found.acquirer, found.issuer)
        return render_template(
            "partner/clearing/break.html",
            row=words.break_row(names, found),
            claim=words.record_rows(found.claim),
            debit=words.record_rows(found.debit),
        )


@blueprint.get("/disputes/<uuid:dispute_id>")
@allow(Role.PARTNER)
def dispute(dispute_id: UUID) -> str:
    """A dispute and its history."""
    with transaction() as session:
        names = Names(session=session)
        found = clearing.dispute(session, dispute_id)
        _their_city(found.claimant, found.respondent)
        return render_template("partner/clearing/dispute.html", row=words.dispute_row(names, found))
