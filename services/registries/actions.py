"""Looking at somebody's data, and writing down that one did."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.kernel import ids
from app.kernel.errors import msg
from services import people
from services.registries import rules
from services.registries.models import DataAccess
from services.registries.rules import Purpose

BASIC_FACTS = (msg("Full name"), msg("Birth date"), msg("Masked identity number"), msg("Contact"))


def record_access(
    session: Session,
    *,
    person_id: UUID,
    seen_by: str,
    office: str,
    purpose: Purpose,
    reference: str,
    facts: Sequence[str],
    now: datetime,
) -> None:
    """Write down that ``seen_by`` (``Principal.actor``) of ``office`` saw ``facts`` of this person.

    ``facts`` are message ids of what was shown, never its content; ``reference`` is the case or the few words that explain it.
    """
    session.add(
        DataAccess(
            id=ids.new_id(),
            person_id=person_id,
            at=now,
            seen_by=seen_by,
            office=office,
            purpose=purpose.value,
            reference=reference,
            facts=list(facts),
        )
    )


def look_up(
    session: Session,
    *,
    number: str,
    seen_by: str,
    office: str,
    purpose: str,
    reference: str,
    now: datetime,
    facts: Sequence[str] = BASIC_FACTS,
) -> people.PersonView:
    """The person with this identity number, with the look-up written down in the same transaction.

    Raises ``PurposeMissing`` by field and ``UnknownPerson``.
    """
    why, to = rules.purpose(purpose), rules.reference(reference)
    found = people.find_by_identity_number(session, number)
    record_access(session, person_id=found.id, seen_by=seen_by, office=office, purpose=why, reference=to, facts=facts, now=now)
    return found
