"""Who may call a route.

Every view declares it with exactly one decorator, written *below* the route decorator; a view that declares nothing is refused
and a test finds it first. People come from Flask-Login's session, machines from an access token, partner cities and terminals
from a signature over the request: the domain that knows the keys registers an authenticator for its kind.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol, TypeVar, cast
from uuid import UUID

from flask import Flask, current_app, g, request
from flask_login import current_user

from app.kernel.errors import Forbidden, Unauthenticated, msg


class Role(StrEnum):
    """What a signed-in person may be. A person holds any number of them."""

    RESIDENT = "resident"
    OFFICER = "officer"
    SUPERVISOR = "supervisor"
    OPERATOR = "operator"  # staff of a transit operator; organisation = operator id
    HOSPITAL = "hospital"  # staff of a hospital or pharmacy; organisation = hospital id
    PARTNER = "partner"  # staff of a partner city; organisation = city code
    ADMINISTRATOR = "administrator"
    AUDITOR = "auditor"  # sees the books and their proofs, and changes nothing


class Caller(StrEnum):
    """By which door a caller comes."""

    ANYONE = "anyone"
    PERSON = "person"
    MACHINE = "machine"  # OAuth 2.0 access token (client credentials with private_key_jwt)
    CITY = "city"  # HTTP Message Signature (RFC 9421) by a federated city
    TERMINAL = "terminal"  # COSE proof by an enrolled terminal


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who is calling, once authenticated."""

    caller: Caller
    id: str
    name: str = ""
    roles: frozenset[Role] = frozenset()
    organisation: str | None = None
    scopes: frozenset[str] = frozenset()

    @property
    def person_id(self) -> UUID:
        """The person's id; only for people."""
        assert self.caller is Caller.PERSON
        return UUID(self.id)

    @property
    def actor(self) -> str:
        """How the audit trail names this caller."""
        prefix = "client" if self.caller is Caller.MACHINE else self.caller.value
        return f"{prefix}:{self.id}"


class SignedIn(Protocol):
    """What the user object of Flask-Login offers here."""

    @property
    def is_authenticated(self) -> bool:
        """Whether somebody is signed in."""

    @property
    def principal(self) -> Principal:
        """The person as a caller."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """A route's declaration."""

    caller: Caller
    roles: frozenset[Role] = field(default_factory=frozenset)
    scope: str | None = None


V = TypeVar("V", bound=Callable[..., object])
Authenticator = Callable[[], Principal]
AUTHENTICATORS: Final = "authenticators"


class NotDeclared(Forbidden):
    """A view without an access declaration; a bug that fails closed."""

    code = "access-not-declared"
    sentence = msg("This page is not open to anybody yet.")


class MissingScope(Forbidden):
    """The access token does not carry the scope this operation needs."""

    code = "missing-scope"
    sentence = msg("The access token does not carry the scope “%(scope)s”.")


def _declare(access: Access) -> Callable[[V], V]:
    def mark(view: V) -> V:
        view.access = access  # type: ignore[attr-defined]  # functions carry attributes
        return view

    return mark


def public(view: V) -> V:
    """Anybody may call this."""
    return _declare(Access(caller=Caller.ANYONE))(view)


def signed_in(view: V) -> V:
    """Any signed-in person may call this."""
    return _declare(Access(caller=Caller.PERSON))(view)


def allow(*roles: Role) -> Callable[[V], V]:
    """A signed-in person with one of ``roles`` may call this."""
    assert roles, "name at least one role"
    return _declare(Access(caller=Caller.PERSON, roles=frozenset(roles)))


def machine(scope: str) -> Callable[[V], V]:
    """A client with an access token that carries ``scope`` may call this."""
    return _declare(Access(caller=Caller.MACHINE, scope=scope))


def partner_city(view: V) -> V:
    """A federated city may call this, by a signed message."""
    return _declare(Access(caller=Caller.CITY))(view)


def terminal(view: V) -> V:
    """An enrolled terminal may call this, by a signed proof."""
    return _declare(Access(caller=Caller.TERMINAL))(view)


def access_of(view: object) -> Access | None:
    """A view's declaration, if it made one."""
    return cast("Access | None", getattr(view, "access", None))


def register_authenticator(app: Flask, caller: Caller, authenticator: Authenticator) -> None:
    """Let ``authenticator`` answer who is behind a request that comes by ``caller``'s door; it raises when nobody is."""
    app.extensions.setdefault(AUTHENTICATORS, {})[caller] = authenticator


def principal() -> Principal:
    """The authenticated caller of this request."""
    found = g.get("principal")
    if found is None:
        raise Unauthenticated
    return cast("Principal", found)


def principal_or_none() -> Principal | None:
    """The signed-in person on a page that anybody may see."""
    found = cast("SignedIn | None", current_user)
    return found.principal if found and found.is_authenticated else None


def _person() -> Principal:
    found = principal_or_none()
    if found is None:
        raise Unauthenticated
    return found


def enforce() -> None:
    """Before every request: hold the view to its declaration."""
    if request.endpoint is None:
        return  # no such route: the 404 page follows
    view = current_app.view_functions[request.endpoint]
    if request.endpoint == "static" or request.endpoint.endswith(".static"):
        return
    access = access_of(view)
    if access is None:
        raise NotDeclared(request.endpoint)
    if access.caller is Caller.ANYONE:
        return
    if access.caller is Caller.PERSON:
        who = _person()
    else:
        authenticator = current_app.extensions.get(AUTHENTICATORS, {}).get(access.caller)
        if authenticator is None:
            raise Unauthenticated(f"no authenticator for {access.caller}")
        who = authenticator()
    if access.roles and not access.roles & who.roles:
        raise Forbidden
    if access.scope is not None and access.scope not in who.scopes:
        raise MissingScope(scope=access.scope)
    g.principal = who


def install(app: Flask) -> None:
    """Enforce on every request of ``app``."""
    app.before_request(enforce)
