"""Sign somebody in without walking through the sign-in page, which has tests of its own."""

from datetime import UTC, date, datetime
from itertools import count
from uuid import UUID

from flask.testing import FlaskClient

from app.kernel.db import Database
from app.web.auth import Role
from services import people

PASSWORD = "correct horse battery"
_sequence = count(1)


def resident(database: Database, *, born: date = date(1958, 3, 15), name: str = "演示·林小满", **facts: str) -> UUID:
    """A registered, plainly fictional resident."""
    number = people.demonstration_number(born, next(_sequence) % 1000)
    with database.transaction() as session:
        return people.register(
            session,
            name=name,
            name_latin=facts.pop("name_latin", "Demo Lin Xiaoman"),
            identity_number=people.parse_identity_number(number, demonstration=True),
            now=datetime(2026, 1, 5, tzinfo=UTC),
            username=facts.pop("username", f"resident{next(_sequence)}"),
            **facts,
        )


def enter(client: FlaskClient, database: Database, person_id: UUID) -> None:
    """Let the browser be signed in as this person."""
    with database.transaction() as session:
        key = people.session_key(session, person_id)
    with client.session_transaction() as cookie:
        cookie.clear()
        cookie["_user_id"] = key
        cookie["_fresh"] = True


def new_person(database: Database, *roles: Role, organisation: str | None = None) -> UUID:
    """A new person with ``roles``; a resident where none is named."""
    now = datetime(2026, 1, 5, tzinfo=UTC)
    staff = [role for role in roles if role is not Role.RESIDENT]
    if not staff:
        return resident(database)
    with database.transaction() as session:
        person_id = people.create_staff(
            session,
            username=f"staff{next(_sequence)}",
            name="演示·职员",
            name_latin="Demo Staff",
            password=None,
            role=staff[0],
            organisation=organisation,
            now=now,
        )
        for role in roles:
            people.give_role(session, person_id=person_id, role=role, now=now)
    return person_id


def sign_in_as(client: FlaskClient, database: Database, *roles: Role, organisation: str | None = None) -> UUID:
    """A new person with ``roles`` (a resident where none is named), signed in; the answer is their id."""
    person_id = new_person(database, *roles, organisation=organisation)
    enter(client, database, person_id)
    return person_id
