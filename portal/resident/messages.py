"""``/me/messages``: the inbox. For everybody who signs in."""

from uuid import UUID

from flask import Blueprint, render_template, request, url_for

from app.kernel import clock
from app.web.auth import principal, signed_in
from app.web.db import transaction
from app.web.i18n import language
from services import messages

blueprint = Blueprint("messages", __name__, url_prefix="/me/messages")

PAGE = 20


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text or "")
    except ValueError:
        return None


@blueprint.get("")
@signed_in
def index() -> str:
    """The messages, newest first."""
    person_id = principal().person_id
    before = _uuid(request.args.get("before"))
    with transaction() as session:
        found = messages.inbox(session, person_id, language=language(), before=before, limit=PAGE + 1)
        unread = messages.unread_count(session, person_id)
    more = len(found) > PAGE
    return render_template(
        "resident/messages/index.html",
        messages=found[:PAGE],
        unread=unread,
        older=url_for("messages.index", before=found[PAGE - 1].id) if more else None,
        newer=url_for("messages.index") if before else None,
    )


@blueprint.get("/<uuid:message_id>")
@signed_in
def show(message_id: UUID) -> str:
    """One message; it counts as read from now on."""
    with transaction() as session:
        message = messages.read(
            session, message_id=message_id, person_id=principal().person_id, language=language(), now=clock.now()
        )
    return render_template("resident/messages/show.html", message=message)
