"""Reading people."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.errors import NotFound, msg
from app.kernel.sealing import sealer_of
from app.web.auth import Caller, Principal, Role
from services.people import rules
from services.people.models import Person, PersonRole

INDEX_PURPOSE = "services.person.identity_index"


class UnknownPerson(NotFound):
    """No such person is known to this city."""

    code = "unknown-person"
    sentence = msg("We know no such person.")


@dataclass(frozen=True, kw_only=True)
class PersonView:
    """What other rooms may know of a person. ``identity_masked`` is empty where no number is recorded."""

    id: UUID
    name: str
    name_latin: str
    identity_masked: str
    birth_date: date | None
    sex: str | None
    username: str | None
    email: str
    phone: str
    language: str
    organisation: str | None
    roles: frozenset[Role]
    created_at: datetime

    def called(self, language: str) -> str:
        """The name as a page in ``language`` shows it."""
        return self.name_latin if language == "en" and self.name_latin else self.name


def identity_context(person_id: UUID) -> str:
    """What an identity number is sealed for."""
    return f"services.person.identity_sealed:{person_id}"


def roles_of(session: Session, person_id: UUID) -> frozenset[Role]:
    """The roles a person holds."""
    found = session.scalars(select(PersonRole.role).where(PersonRole.person_id == person_id))
    return frozenset(Role(role) for role in found)


def row(session: Session, person_id: UUID, *, lock: bool = False) -> Person:
    """The person's row. Raises :class:`UnknownPerson`."""
    found = session.get(Person, person_id, with_for_update={"key_share": True} if lock else None)
    if found is None or found.closed_at is not None:
        raise UnknownPerson(str(person_id))
    return found


def _view(session: Session, person: Person) -> PersonView:
    masked = ""
    if person.identity_sealed is not None:
        number = sealer_of(session).open(person.identity_sealed, context=identity_context(person.id))
        masked = rules.masked(number)
    return PersonView(
        id=person.id,
        name=person.name,
        name_latin=person.name_latin,
        identity_masked=masked,
        birth_date=person.birth_date,
        sex=person.sex,
        username=person.username,
        email=person.email,
        phone=person.phone,
        language=person.language,
        organisation=person.organisation,
        roles=roles_of(session, person.id),
        created_at=person.created_at,
    )


def get(session: Session, person_id: UUID) -> PersonView:
    """The person with this id. Raises :class:`UnknownPerson`."""
    return _view(session, row(session, person_id))


def identity_number(session: Session, person_id: UUID) -> str:
    """The whole identity number; whoever asks records why. Raises :class:`UnknownPerson` where none is recorded."""
    person = row(session, person_id)
    if person.identity_sealed is None:
        raise UnknownPerson(f"no identity number of {person_id}")
    return sealer_of(session).open(person.identity_sealed, context=identity_context(person_id))


def find_by_identity_number(session: Session, number: str) -> PersonView:
    """The person who holds ``number`` (as typed). Raises :class:`UnknownPerson`."""
    index = sealer_of(session).index(rules.compact(number), purpose=INDEX_PURPOSE)
    person = session.scalars(select(Person).where(Person.identity_index == index, Person.closed_at.is_(None))).one_or_none()
    if person is None:
        raise UnknownPerson
    return _view(session, person)


def find_by_username(session: Session, username: str) -> PersonView:
    """The person who signs in under ``username``. Raises :class:`UnknownPerson`."""
    person = session.scalars(
        select(Person).where(Person.username == username.strip().lower(), Person.closed_at.is_(None))
    ).one_or_none()
    if person is None:
        raise UnknownPerson
    return _view(session, person)


def with_role(session: Session, *roles: Role) -> list[UUID]:
    """The people who have any of ``roles`` and whose account is open, by id."""
    found = session.scalars(
        select(Person.id)
        .join(PersonRole, PersonRole.person_id == Person.id)
        .where(PersonRole.role.in_([role.value for role in roles]), Person.closed_at.is_(None))
        .distinct()
        .order_by(Person.id)
    )
    return list(found)


def search_by_name(session: Session, text: str, *, limit: int = 20) -> list[PersonView]:
    """Residents whose name in either script begins with ``text``, in order of name."""
    start = text.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    if not start:
        return []
    found = session.scalars(
        select(Person)
        .join(PersonRole, PersonRole.person_id == Person.id)
        .where(
            PersonRole.role == Role.RESIDENT.value,
            Person.closed_at.is_(None),
            Person.name.like(f"{start}%") | Person.name_latin.ilike(f"{start}%"),
        )
        .order_by(Person.name, Person.id)
        .limit(limit)
    )
    return [_view(session, person) for person in found]


def session_key(session: Session, person_id: UUID) -> str:
    """What a browser's session holds of a signed-in person: it dies when the person's stamp changes."""
    return f"{person_id}:{row(session, person_id).session_stamp}"


def from_session_key(session: Session, key: str, *, latin: bool = False) -> Principal | None:
    """The person behind a session key, named in Latin letters where asked; none where the key no longer counts."""
    try:
        person_text, stamp_text = key.split(":")
        person_id, stamp = UUID(person_text), UUID(stamp_text)
    except ValueError:
        return None
    person = session.get(Person, person_id)
    if person is None or person.closed_at is not None or person.session_stamp != stamp:
        return None
    return Principal(
        caller=Caller.PERSON,
        id=str(person.id),
        name=(person.name_latin if latin else "") or person.name,
        roles=roles_of(session, person.id),
        organisation=person.organisation,
    )
