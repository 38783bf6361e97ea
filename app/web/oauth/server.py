"""The authorization server: client credentials with ``private_key_jwt`` (RFC 6749, 7523), tokens as JWT (RFC 9068).

Authlib speaks the protocol; what it would store or commit is done here, in the one transaction of the request. A token is
checked by its signature and then against the client, so that closing a client or taking a scope away counts at once.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from authlib.integrations.flask_oauth2.authorization_server import AuthorizationServer
from authlib.oauth2.rfc6749 import InvalidClientError, InvalidScopeError
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from flask import Blueprint, Flask, Response, current_app, g, jsonify, request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy.orm import Session

from app.kernel import clock, signing
from app.kernel.city import city_of
from app.kernel.errors import Unauthenticated, msg
from app.kernel.ids import new_id
from app.kernel.signing import BadSignature, Key, Purpose
from app.web.auth import Caller, Principal, access_of, public, register_authenticator
from app.web.db import settings, transaction
from app.web.oauth import clients
from app.web.oauth.clients import ALGORITHMS, GRANT, METHOD, Client
from app.web.security import limiter

TOKEN_LIFE: Final = timedelta(minutes=10)
ASSERTION_LIFE_MAX: Final = timedelta(minutes=10)
TYPE: Final = "at+jwt"
SERVER: Final = "oauth_server"

blueprint = Blueprint("oauth", __name__)


class TokenRefused(Unauthenticated):
    """The access token is missing, expired, not ours, or its client is closed."""

    code = "token-refused"
    sentence = msg("The access token is missing, has expired or is not valid here.")


def _session() -> Session:
    return cast("Session", g.oauth_session)


def _key() -> Key:
    return signing.load_or_create(settings().keys_dir, Purpose.TOKEN)


def _issuer() -> str:
    return settings().public_url


class Assertion(JWTBearerClientAssertion):
    """A client proves itself with a JWT that it signed; each counts once."""

    CLIENT_AUTH_METHOD = METHOD

    def get_audiences(self) -> list[str]:
        """What the assertion's ``aud`` may be: us, or our token endpoint."""
        return [_issuer(), f"{_issuer()}/oauth/token"]

    def resolve_client_public_key(self, client: Client) -> KeySet:
        """The client's registered keys."""
        return KeySet.import_key_set(cast("Any", client.jwks))

    def process_assertion_claims(self, assertion: str, resolve_key: KeySet) -> dict[str, Any]:
        """The claims, once a registered key and one of our algorithms made the signature."""
        try:
            token = jwt.decode(assertion, resolve_key, algorithms=list(ALGORITHMS))
        except (JoseError, ValueError) as error:
            raise InvalidClientError(description="The assertion does not verify.") from error
        self.verify_claims(token.claims)
        return token.claims

    def validate_jti(self, claims: dict[str, Any], jti: object) -> bool:
        """Whether the assertion is new and short-lived; it is remembered until it expires."""
        now = clock.now()
        expires_at = datetime.fromtimestamp(int(claims["exp"]), UTC)
        if expires_at > now + ASSERTION_LIFE_MAX + timedelta(seconds=self.leeway):
            raise InvalidClientError(description="The assertion lives longer than ten minutes.")
        return clients.use_assertion(
            _session(),
            client_id=str(claims["sub"]),
            jti=str(jti),
            expires_at=expires_at + timedelta(seconds=self.leeway),
            now=now,
        )


class Grant(ClientCredentialsGrant):
    """A client acts for itself."""

    TOKEN_ENDPOINT_AUTH_METHODS = [METHOD]  # noqa: RUF012  authlib's own form

    def validate_requested_scope(self) -> None:
        """Every scope that is asked for is one of the client's; none asked for is all of them."""
        client = cast("Client", self.request.client)
        asked = set(request.form.get("scope", "").split())
        if not asked <= client.scopes:
            raise InvalidScopeError


def _token(*, client: Client, scope: str | None = None, **_: object) -> dict[str, object]:
    now = int(clock.now().timestamp())
    allowed = client.get_allowed_scope(scope)
    claims = {
        "iss": _issuer(),
        "aud": _issuer(),
        "sub": client.client_id,
        "client_id": client.client_id,
        "scope": allowed,
        "iat": now,
        "exp": now + int(TOKEN_LIFE.total_seconds()),
        "jti": str(new_id()),
    }
    return {
        "access_token": signing.sign_jws(_key(), claims, typ=TYPE),
        "token_type": "Bearer",
        "expires_in": int(TOKEN_LIFE.total_seconds()),
        "scope": allowed,
    }


def authenticate() -> Principal:
    """The client behind the access token of this request. Raises :class:`TokenRefused`."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenRefused("no bearer token")
    key = _key()
    try:
        claims = signing.read_jws(token.strip(), {key.kid: key.public}, typ=TYPE)
    except BadSignature as error:
        raise TokenRefused(error.detail) from error
    if claims.get("iss") != _issuer() or claims.get("aud") != _issuer():
        raise TokenRefused("another issuer or audience")
    if not isinstance(claims.get("exp"), int) or claims["exp"] <= clock.now().timestamp():
        raise TokenRefused("expired")
    with transaction() as session:
        client = clients.find(session, str(claims.get("client_id")))
    if client is None:
        raise TokenRefused("the client is closed")
    return Principal(
        caller=Caller.MACHINE,
        id=client.client_id,
        name=client.name,
        organisation=client.organisation,
        scopes=frozenset(str(claims.get("scope", "")).split()) & client.scopes,
    )


@blueprint.post("/oauth/token")
@public
@limiter.limit("120 per minute")
def token() -> Response:
    """An access token for a client that proves itself. Errors are those of RFC 6749, section 5.2."""
    with transaction() as session:
        g.oauth_session = session
        server = cast("AuthorizationServer", current_app.extensions[SERVER])
        return cast("Response", server.create_token_response())


@blueprint.get("/.well-known/oauth-authorization-server")
@public
def metadata() -> Response:
    """What this server does (RFC 8414)."""
    declared = (access_of(view) for view in current_app.view_functions.values())
    return jsonify(
        issuer=_issuer(),
        token_endpoint=f"{_issuer()}/oauth/token",
        jwks_uri=f"{_issuer()}/.well-known/jwks.json",
        grant_types_supported=[GRANT],
        response_types_supported=[],
        token_endpoint_auth_methods_supported=[METHOD],
        token_endpoint_auth_signing_alg_values_supported=list(ALGORITHMS),
        scopes_supported=sorted({access.scope for access in declared if access is not None and access.scope}),
        service_documentation=f"{_issuer()}/reference/api",
    )


@blueprint.get("/.well-known/jwks.json")
@public
def jwks() -> Response:
    """The public keys that access tokens are checked with."""
    with transaction() as session:
        key = city_of(session).key(Purpose.TOKEN)
    return jsonify(keys=[key.jwk])


def install(app: Flask) -> None:
    """Set the server up and let machines in by its tokens."""
    server = AuthorizationServer()
    server.init_app(
        app, query_client=lambda client_id: clients.find(_session(), client_id), save_token=lambda _token, _request: None
    )
    server.register_token_generator("default", _token)
    server.register_client_auth_method(METHOD, Assertion())
    server.register_grant(Grant)
    app.extensions[SERVER] = server
    register_authenticator(app, Caller.MACHINE, authenticate)
    app.register_blueprint(blueprint)
