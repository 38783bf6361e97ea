"""Registering and reading clients."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel import audit
from app.kernel.db import Json
from app.kernel.errors import Invalid, NotFound, msg
from app.web.oauth.models import OAuthClient, UsedAssertion

CLIENT_ID: Final = re.compile(r"^[a-z0-9][a-z0-9._-]{2,63}$")
SCOPE: Final = re.compile(r"^[\x21\x23-\x5B\x5D-\x7E]{1,80}$")  # RFC 6749, appendix A.4
ALGORITHMS: Final = ("Ed25519", "ES256", "PS256")
JTI_LENGTH_MAX: Final = 128
METHOD: Final = "private_key_jwt"
GRANT: Final = "client_credentials"


class UnknownClient(NotFound):
    """No such client."""

    code = "unknown-client"
    sentence = msg("There is no such client.")


@dataclass(frozen=True, kw_only=True)
class Client:
    """A registered client, with what authlib asks of one."""

    client_id: str
    name: str
    organisation: str | None
    scopes: frozenset[str]
    jwks: Json

    def get_client_id(self) -> str:
        """Authlib's name for the id."""
        return self.client_id

    def get_allowed_scope(self, scope: str | None) -> str:
        """What of ``scope`` the client may have; all that it may have where it asks for nothing in particular."""
        asked = set(scope.split()) if scope else set(self.scopes)
        return " ".join(sorted(asked & self.scopes))

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Only a signed assertion (RFC 7523), only at the token endpoint."""
        return method == METHOD and endpoint == "token"

    def check_grant_type(self, grant_type: str) -> bool:
        """Only client credentials."""
        return grant_type == GRANT


def _public_keys(document: Json) -> Json:
    """A JWK set of public keys, parsed and written out again without anything private. Raises ``Invalid``."""
    wrong = Invalid("jwks", fields={"jwks": msg("Send a JSON Web Key Set of public keys, Ed25519 or P-256 or RSA.")})
    try:
        found = list(document["keys"])
        if not {key["kty"] for key in found} <= {"OKP", "EC", "RSA"}:
            raise wrong
        keys = KeySet.import_key_set({"keys": found})
        if not keys.keys or any(key.is_private for key in keys.keys):
            raise wrong
        return {"keys": [key.as_dict(private=False) for key in keys.keys]}
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise wrong from error


def register(
    session: Session,
    *,
    client_id: str,
    name: str,
    scopes: frozenset[str],
    jwks: Json,
    now: datetime,
    organisation: str | None = None,
    by: str = "system",
) -> None:
    """Let a system of ``organisation`` (operator id, hospital id, city code) ask for tokens with any of ``scopes``.

    ``jwks`` holds its public keys; a set with a private key is refused. Raises ``Invalid`` by field and ``ClientTaken`` (as
    the session flushes).
    """
    fields = {}
    if CLIENT_ID.fullmatch(client_id) is None:
        fields["client_id"] = msg("Use 3 to 64 small letters, digits, dots, hyphens or underscores.")
    if not scopes or any(SCOPE.fullmatch(scope) is None for scope in scopes):
        fields["scopes"] = msg("Name at least one scope.")
    if fields:
        raise Invalid("client", fields=fields)
    session.add(
        OAuthClient(
            client_id=client_id,
            name=name.strip(),
            organisation=organisation,
            scopes=sorted(scopes),
            jwks=_public_keys(jwks),
            created_at=now,
        )
    )
    session.flush()
    audit.record(
        session,
        actor=by,
        action="client.register",
        subject=f"client:{client_id}",
        at=now,
        details={"scopes": sorted(scopes), "organisation": organisation or ""},
    )


def replace_keys(session: Session, *, client_id: str, jwks: Json, now: datetime, by: str = "system") -> None:
    """Other public keys for a client; assertions of the earlier ones are refused from now on. Raises ``UnknownClient``."""
    row = session.get(OAuthClient, client_id, with_for_update=True)
    if row is None or row.closed_at is not None:
        raise UnknownClient(client_id)
    row.jwks = _public_keys(jwks)
    audit.record(session, actor=by, action="client.replace-keys", subject=f"client:{client_id}", at=now)


def close(session: Session, *, client_id: str, now: datetime, by: str = "system") -> None:
    """End a client; its tokens stop counting at once. Raises ``UnknownClient``."""
    row = session.get(OAuthClient, client_id, with_for_update=True)
    if row is None or row.closed_at is not None:
        raise UnknownClient(client_id)
    row.closed_at = now
    audit.record(session, actor=by, action="client.close", subject=f"client:{client_id}", at=now)


def _client(row: OAuthClient) -> Client:
    return Client(
        client_id=row.client_id,
        name=row.name,
        organisation=row.organisation,
        scopes=frozenset(row.scopes),
        jwks=row.jwks,
    )


def find(session: Session, client_id: str) -> Client | None:
    """The client, where it is registered and not closed."""
    row = session.get(OAuthClient, client_id)
    return _client(row) if row is not None and row.closed_at is None else None


def listed(session: Session) -> list[Client]:
    """Every client that is not closed, in order of id."""
    found = select(OAuthClient).where(OAuthClient.closed_at.is_(None)).order_by(OAuthClient.client_id)
    return [_client(row) for row in session.scalars(found)]


def use_assertion(session: Session, *, client_id: str, jti: str, expires_at: datetime, now: datetime) -> bool:
    """Whether this assertion is used for the first time; forgets those that have expired."""
    if not jti or len(jti) > JTI_LENGTH_MAX:
        return False
    session.execute(delete(UsedAssertion).where(UsedAssertion.client_id == client_id, UsedAssertion.expires_at < now))
    first = session.execute(
        insert(UsedAssertion)
        .values(client_id=client_id, jti=jti, expires_at=expires_at)
        .on_conflict_do_nothing()
        .returning(UsedAssertion.jti)
    )
    return first.one_or_none() is not None
