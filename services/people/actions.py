"""Writing people."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.kernel import audit, ids
from app.kernel.sealing import sealer_of
from app.web.auth import Role
from services.people import queries, rules
from services.people.models import Person, PersonRole
from services.people.rules import IdentityNumber
from services.people.sign_in import hasher


def register(
    session: Session,
    *,
    name: str,
    identity_number: IdentityNumber,
    now: datetime,
    name_latin: str = "",
    username: str | None = None,
    password: str | None = None,
    email: str = "",
    phone: str = "",
    language: str = "zh_Hans_CN",
    by: str = "system",
) -> UUID:
    """Make a resident known to the city; the answer is the person's id, which is the ``holder_id`` of their cards.

    ``username`` and ``password`` let them sign in. Raises ``AlreadyRegistered``, ``UsernameTaken`` (as the transaction ends
    or the session flushes) and ``Invalid``.
    """
    person_id = ids.new_id()
    sealer = sealer_of(session)
    _add(
        session,
        Person(
            id=person_id,
            name=name.strip(),
            name_latin=name_latin.strip(),
            identity_sealed=sealer.seal(identity_number.text, context=queries.identity_context(person_id)),
            identity_index=sealer.index(identity_number.text, purpose=queries.INDEX_PURPOSE),
            birth_date=identity_number.birth_date,
            sex=identity_number.sex.value,
            email=email.strip(),
            phone=phone.strip(),
            language=language,
            created_at=now,
        ),
        username=username,
        password=password,
        roles=(Role.RESIDENT,),
        by=by,
    )
    return person_id


def create_staff(
    session: Session,
    *,
    username: str,
    name: str,
    password: str | None,
    role: Role,
    now: datetime,
    organisation: str | None = None,
    name_latin: str = "",
    email: str = "",
    language: str = "zh_Hans_CN",
    by: str = "system",
) -> UUID:
    """Let somebody work here as ``role``. ``organisation`` is the operator, hospital or city they work for.

    Raises ``UsernameTaken`` (as the transaction ends or the session flushes) and ``Invalid``.
    """
    person = Person(
        id=ids.new_id(),
        name=name.strip(),
        name_latin=name_latin.strip(),
        email=email.strip(),
        language=language,
        organisation=organisation,
        created_at=now,
    )
    _add(session, person, username=username, password=password, roles=(role,), by=by)
    return person.id


def _add(
    session: Session, person: Person, *, username: str | None, password: str | None, roles: tuple[Role, ...], by: str
) -> None:
    if username is not None:
        person.username = rules.username(username)
    if password is not None:
        person.password_hash = hasher.hash(rules.acceptable_password(password, name=person.username or ""))
    session.add(person)
    session.flush()
    for role in roles:
        give_role(session, person_id=person.id, role=role, now=person.created_at, by=by)


def give_role(session: Session, *, person_id: UUID, role: Role, now: datetime, by: str = "system") -> None:
    """Let the person be ``role`` as well; quiet where they are."""
    if role in queries.roles_of(session, person_id):
        return
    session.add(PersonRole(person_id=person_id, role=role.value, given_at=now))
    session.flush()
    audit.record(
        session, actor=by, action="person.give-role", subject=f"person:{person_id}", at=now, details={"role": role.value}
    )
