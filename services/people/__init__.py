"""Residents, staff, roles, mandates, sign-in.

A person's id is the ``holder_id`` of the card's side. Identity numbers are sealed at rest and found by a blind index.
"""

from services.people.actions import create_staff, give_role, register
from services.people.queries import (
    PersonView,
    UnknownPerson,
    find_by_identity_number,
    find_by_username,
    from_session_key,
    get,
    identity_number,
    search_by_name,
    session_key,
)
from services.people.rules import (
    AlreadyRegistered,
    IdentityNumber,
    InvalidIdentityNumber,
    Sex,
    SignInFailed,
    SignInLocked,
    UsernameTaken,
    demonstration_number,
    home_of,
    parse_identity_number,
)

__all__ = [
    "AlreadyRegistered",
    "IdentityNumber",
    "InvalidIdentityNumber",
    "PersonView",
    "Sex",
    "SignInFailed",
    "SignInLocked",
    "UnknownPerson",
    "UsernameTaken",
    "create_staff",
    "demonstration_number",
    "find_by_identity_number",
    "find_by_username",
    "from_session_key",
    "get",
    "give_role",
    "home_of",
    "identity_number",
    "parse_identity_number",
    "register",
    "search_by_name",
    "session_key",
]
