"""``/me/documents``: papers handed in once and used again, who looked at them, and what the city issued."""

from uuid import UUID

from flask import Blueprint, Response, render_template

from app.web.auth import Role, allow, principal
from app.web.db import transaction
from services import documents

blueprint = Blueprint("wallet", __name__, url_prefix="/me/documents")


@blueprint.get("")
@allow(Role.RESIDENT)
def show() -> str:
    """The wallet."""
    with transaction() as session:
        person = principal().person_id
        papers = documents.wallet(session, person)
        looks = {paper.id: documents.looks(session, paper.id, owner_id=person) for paper in papers}
        issued = documents.certificates_of(session, person)
    return render_template("resident/documents/show.html", papers=papers, looks=looks, issued=issued)


@blueprint.get("/<uuid:document_id>")
@allow(Role.RESIDENT)
def file(document_id: UUID) -> Response:
    """One's own paper."""
    with transaction() as session:
        paper, content = documents.own(session, document_id, owner_id=principal().person_id)
    disposition = "inline" if paper.is_picture else "attachment"
    return Response(content, content_type=paper.media_type, headers={"Content-Disposition": disposition})
