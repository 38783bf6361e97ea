"""``/me/data``: who saw my data, why, and by which law."""

from typing import Final
from uuid import UUID

from flask import Blueprint, render_template, request, url_for

from app.web.auth import Role, allow, principal
from app.web.db import transaction
from services import people, registries

blueprint = Blueprint("data", __name__, url_prefix="/me/data")

PAGE: Final = 30


@blueprint.get("")
@allow(Role.RESIDENT)
def show() -> str:
    """Every use of the resident's data by others, newest first."""
    person_id = principal().person_id
    asked = request.args.get("before", "")
    try:
        before = UUID(asked)
    except ValueError:
        before = None
    with transaction() as session:
        person = people.get(session, person_id)
        found = registries.accesses_of(session, person_id, before=before, limit=PAGE + 1)
    return render_template(
        "resident/data/show.html",
        person=person,
        accesses=found[:PAGE],
        older=url_for("data.show", before=found[PAGE - 1].id) if len(found) > PAGE else None,
        newer=url_for("data.show") if before else None,
    )
