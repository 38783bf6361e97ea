"""Entity statements (OpenID Federation 1.0) and message signatures (RFC 9421), built and judged without input or output."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    VerifyResult,
    algorithms,
)
from http_message_signatures.exceptions import HTTPMessageSignaturesException
from joserfc import jws
from joserfc.errors import JoseError

from app.kernel import signing
from app.kernel.db import Json
from app.kernel.errors import Conflict, Forbidden, IllegalMove, Invalid, NotFound, Refusal, Unauthenticated, Unavailable, msg
from app.kernel.settings import HUB_CODE
from app.kernel.signing import BadSignature, Key

STATEMENT: Final = "entity-statement+jwt"
STATEMENT_LIFE: Final = timedelta(hours=24)
CITY: Final = "citizen_card_city"  # our entity type identifier in ``metadata``
TAG: Final = "citizen-card-federation"
LABEL: Final = "city"
MESSAGE_LIFE: Final = timedelta(minutes=5)
CLOCK_SKEW: Final = timedelta(seconds=30)
REQUEST_COMPONENTS: Final = ("@method", "@authority", "@path", "@query", "content-digest", "idempotency-key")
ANSWER_COMPONENTS: Final = ("@status", "content-digest")
BINDING: Final = ('"@method";req', '"@authority";req', '"@path";req', '"content-digest";req', '"signature";req')


class UnknownCity(Unauthenticated):
    """No admitted city owns the key that signed."""

    code = "unknown-city"
    sentence = msg("The message comes from a city that is not part of the federation.")


class MessageExpired(Unauthenticated):
    """The signature is too old, or from a clock that is ahead."""

    code = "message-expired"
    sentence = msg("The signed message is no longer valid. Send it again with the present time.")


class MessageReplayed(Unauthenticated):
    """The nonce was seen before."""

    code = "message-replayed"
    sentence = msg("The same signed message was received before.")


class WrongAuthority(Unauthenticated):
    """The message was signed for another city's address."""

    code = "wrong-authority"
    sentence = msg("The message was signed for another address.")


class StatementRefused(Invalid):
    """An entity statement breaks a rule of the trust chain."""

    code = "entity-statement-refused"
    sentence = msg("The statement about this city cannot be trusted.")


class PartnerRefused(Refusal):
    """The partner understood the message and refused it; ``answer_code`` is the partner's own permanent code."""

    code = "partner-refused"
    sentence = msg("The other city refused: %(code)s.")
    status = 502

    def __init__(self, detail: str = "", *, code: str = "refused", status: int = 400) -> None:
        super().__init__(detail, code=code)
        self.answer_code = code
        self.answer_status = status


class PartnerUnavailable(Unavailable):
    """The partner does not answer now, or not in a way that can be believed; sending again is safe."""

    code = "partner-unavailable"
    sentence = msg("The other city does not answer. The message is kept and sent again.")


class NoSuchPartner(NotFound):
    """The directory does not hold this city."""

    code = "no-such-partner"
    sentence = msg("This city is not part of the federation.")


class NotTheHub(Forbidden):
    """Only the trust anchor admits cities."""

    code = "not-the-hub"
    sentence = msg("Only the province decides who is part of the federation.")


class CodeTaken(Conflict):
    """Another entity was admitted under this city code."""

    code = "city-code-taken"
    sentence = msg("Another address already speaks for this city code.")


class State(StrEnum):
    """Of a city in the hub's registry; in a city's own directory only ``admitted`` and ``withdrawn`` occur."""

    REQUESTED = "requested"
    ADMITTED = "admitted"
    REFUSED = "refused"
    SUSPENDED = "suspended"
    WITHDRAWN = "withdrawn"


MOVES: Final[dict[State, frozenset[State]]] = {
    State.REQUESTED: frozenset({State.ADMITTED, State.REFUSED}),
    State.REFUSED: frozenset({State.REQUESTED}),
    State.ADMITTED: frozenset({State.SUSPENDED, State.WITHDRAWN}),
    State.SUSPENDED: frozenset({State.ADMITTED, State.WITHDRAWN}),
    State.WITHDRAWN: frozenset({State.REQUESTED, State.ADMITTED}),
}


def move(old: State, new: State) -> State:
    """``new`` where the registry may go there from ``old``; raises :class:`IllegalMove`."""
    if new not in MOVES[old]:
        raise IllegalMove(state=old)
    return new


# ---------------------------------------------------------------------------------------------------------------- statements


@dataclass(frozen=True, kw_only=True)
class Entity:
    """A city as its own entity configuration describes it, after verification."""

    entity_id: str
    code: str
    name_en: str
    name_zh: str
    jwks: Json
    issuer_jwks: Json
    bundle_jwks: Json
    expires_at: datetime
    configuration: str
    signed_by: str


def keys_of(jwks: Json) -> dict[str, Ed25519PublicKey]:
    """The public keys of a JWK set by their thumbprint: a ``kid`` that says otherwise is not believed."""
    documents = jwks.get("keys")
    if not isinstance(documents, list):
        raise StatementRefused("keys is not a list")
    found = [signing.key_from_jwk(item) for item in documents if isinstance(item, dict)]
    return {signing.thumbprint(key): key for key in found}


def configuration(
    *,
    entity_id: str,
    code: str,
    names: tuple[str, str],
    hub_url: str,
    federation: Key,
    card_issuer: Key,
    bundle: Key,
    now: datetime,
) -> str:
    """Our self-signed entity configuration (section 6). ``names`` are English and Chinese."""
    metadata: Json = {
        "federation_entity": {"organization_name": names[0], "organization_name#zh": names[1]},
        CITY: {
            "city_code": code,
            "name_en": names[0],
            "name_zh": names[1],
            "card_issuer_jwks": {"keys": [card_issuer.jwk]},
            "bundle_jwks": {"keys": [bundle.jwk]},
            "message_endpoint": f"{entity_id}/api/federation",
        },
    }
    if code == HUB_CODE:
        metadata["federation_entity"] |= {
            "federation_fetch_endpoint": f"{entity_id}/api/federation/fetch",
            "federation_list_endpoint": f"{entity_id}/api/federation/list",
        }
    payload: Json = {
        "iss": entity_id,
        "sub": entity_id,
        "iat": int(now.timestamp()),
        "exp": int((now + STATEMENT_LIFE).timestamp()),
        "jwks": {"keys": [federation.jwk]},
        "metadata": metadata,
    }
    if code != HUB_CODE:
        payload["authority_hints"] = [hub_url]
    return signing.sign_jws(federation, payload, typ=STATEMENT)


def subordinate_statement(*, hub: Key, hub_url: str, entity_id: str, jwks: Json, policy: Json, now: datetime) -> str:
    """What the trust anchor states of a city (section 3.1.3): its keys, and the policy its metadata must satisfy."""
    payload: Json = {
        "iss": hub_url,
        "sub": entity_id,
        "iat": int(now.timestamp()),
        "exp": int((now + STATEMENT_LIFE).timestamp()),
        "jwks": jwks,
        "metadata_policy": policy,
        "constraints": {"max_path_length": 0},
        "source_endpoint": f"{hub_url}/api/federation/fetch",
    }
    return signing.sign_jws(hub, payload, typ=STATEMENT)


def admission_policy(code: str) -> Json:
    """The policy under which the hub admits a city: it may speak for this code and for no other."""
    return {CITY: {"city_code": {"value": code, "essential": True}, "card_issuer_jwks": {"essential": True}}}


def unverified(token: str) -> tuple[str, Json]:
    """The key id and payload that a statement claims, before any signature was checked."""
    try:
        found = jws.extract_compact(token.encode())
        payload = json.loads(found.payload)
    except (JoseError, ValueError) as error:
        raise StatementRefused(str(error)) from error
    if not isinstance(payload, dict):
        raise StatementRefused("the payload is not an object")
    return str(found.headers().get("kid")), payload


def read_configuration(token: str, *, now: datetime, signers: dict[str, Ed25519PublicKey] | None = None) -> Entity:
    """A verified entity configuration: signed by a key it lists itself and, where given, by one of ``signers``."""
    signed_by, claimed = unverified(token)
    own_keys = keys_of(_object(claimed, "jwks"))
    payload = signing.read_jws(token, own_keys, typ=STATEMENT)
    if signers is not None:
        signing.read_jws(token, signers, typ=STATEMENT)
    entity_id = str(payload.get("iss"))
    if entity_id != payload.get("sub"):
        raise StatementRefused("iss and sub differ")
    expires_at = _in_force(payload, now)
    city = _object(_object(payload, "metadata"), CITY)
    code = str(city.get("city_code"))
    if not (code.isdigit() and len(code) == 6):  # noqa: PLR2004
        raise StatementRefused("city_code is not a division code of six digits")
    issuer_jwks, bundle_jwks = _object(city, "card_issuer_jwks"), _object(city, "bundle_jwks")
    keys_of(issuer_jwks), keys_of(bundle_jwks)
    return Entity(
        entity_id=entity_id,
        code=code,
        name_en=str(city.get("name_en")),
        name_zh=str(city.get("name_zh")),
        jwks=_object(payload, "jwks"),
        issuer_jwks=issuer_jwks,
        bundle_jwks=bundle_jwks,
        expires_at=expires_at,
        configuration=token,
        signed_by=signed_by,
    )


def resolve(
    *, statement: str, configuration: str, anchor_keys: dict[str, Ed25519PublicKey], hub_url: str, now: datetime
) -> tuple[Entity, datetime]:
    """The chain of two (section 10): the anchor's statement about a city, then what the city says under those keys.

    Answers the entity and until when the chain holds. Raises :class:`StatementRefused` or ``BadSignature``.
    """
    stated = signing.read_jws(statement, anchor_keys, typ=STATEMENT)
    expires_at = _in_force(stated, now)
    if stated.get("iss") != hub_url:
        raise StatementRefused("the statement is not the trust anchor's")
    entity = read_configuration(configuration, now=now, signers=keys_of(_object(stated, "jwks")))
    if stated.get("sub") != entity.entity_id:
        raise StatementRefused("the statement is about another entity")
    apply_policy(_object(unverified(configuration)[1], "metadata"), stated.get("metadata_policy") or {})
    return entity, min(expires_at, entity.expires_at)


def apply_policy(metadata: Json, policy: Json) -> None:
    """Hold ``metadata`` to the operators ``value``, ``one_of`` and ``essential`` (section 6.1.3)."""
    for kind, parameters in policy.items():
        claimed = metadata.get(kind) or {}
        for name, operators in parameters.items():
            value = claimed.get(name)
            if "value" in operators and value != operators["value"]:
                raise StatementRefused(f"{kind}.{name} must be {operators['value']!r}")
            if "one_of" in operators and value is not None and value not in operators["one_of"]:
                raise StatementRefused(f"{kind}.{name} is not allowed to be {value!r}")
            if operators.get("essential") and value is None:
                raise StatementRefused(f"{kind}.{name} is missing")


def _object(document: Json, name: str) -> Json:
    found = document.get(name)
    if not isinstance(found, dict):
        raise StatementRefused(f"{name} is missing")
    return found


def _in_force(payload: Json, now: datetime) -> datetime:
    issued, expires = payload.get("iat"), payload.get("exp")
    if not isinstance(issued, int) or not isinstance(expires, int):
        raise StatementRefused("iat or exp is missing")
    if now < datetime.fromtimestamp(issued, UTC) - CLOCK_SKEW or now >= datetime.fromtimestamp(expires, UTC):
        raise StatementRefused("the statement is not in force")
    return datetime.fromtimestamp(expires, UTC)


# ------------------------------------------------------------------------------------------------------------------ messages


@dataclass(kw_only=True)
class Request:
    """A request as RFC 9421 sees it: ``url`` is absolute."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Answer:
    """A response and the request it answers."""

    status_code: int
    request: Request
    headers: dict[str, str] = field(default_factory=dict)


class _Keys(HTTPSignatureKeyResolver):  # type: ignore[misc, unused-ignore]
    def __init__(
        self, *, private: Ed25519PrivateKey | None = None, public: Mapping[str, Ed25519PublicKey] | None = None
    ) -> None:
        self._private, self._public = private, public or {}

    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey:
        found = self._public.get(key_id)
        if found is None:
            raise UnknownCity(f"no city owns the key {key_id}")
        return found

    def resolve_private_key(self, key_id: str) -> Ed25519PrivateKey:
        assert self._private is not None, key_id
        return self._private


class _Verifier(HTTPMessageVerifier):  # type: ignore[misc, unused-ignore]
    max_clock_skew = CLOCK_SKEW

    def validate_created_and_expires(self, sig_input: Any, max_age: timedelta | None = None) -> None:
        try:
            super().validate_created_and_expires(sig_input, max_age=max_age)
        except InvalidSignature as error:
            raise MessageExpired(str(error)) from error


def sign_request(request: Request, *, body: bytes, key: Key, nonce: str, now: datetime) -> None:
    """Add ``Content-Digest``, ``Signature-Input`` and ``Signature``; ``Idempotency-Key`` must be there already."""
    _sign(request, body=body, key=key, nonce=nonce, now=now, components=REQUEST_COMPONENTS)


def sign_answer(answer: Answer, *, body: bytes, key: Key, nonce: str, now: datetime) -> None:
    """Sign an answer over the request's own signature and digest (section 2.4), so that neither side can deny the exchange."""
    bound = BINDING if {"signature", "content-digest"} <= {name.lower() for name in answer.request.headers} else ()
    _sign(answer, body=body, key=key, nonce=nonce, now=now, components=(*ANSWER_COMPONENTS, *bound))


def _sign(message: Request | Answer, *, body: bytes, key: Key, nonce: str, now: datetime, components: tuple[str, ...]) -> None:
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=_Keys(private=key.private))
    signer.sign(
        message,
        key_id=key.kid,
        created=now,
        expires=now + MESSAGE_LIFE,
        nonce=nonce,
        tag=TAG,
        label=LABEL,
        include_alg=False,
        covered_component_ids=components,
        body=body,
    )


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a verified signature proves."""

    kid: str
    nonce: str
    expires_at: datetime


def verify_request(request: Request, *, body: bytes, keys: Mapping[str, Ed25519PublicKey]) -> Proof:
    """Hold a request to the interoperability profile; raises the refusal that names what is wrong."""
    return _verify(request, body=body, keys=keys, components=REQUEST_COMPONENTS)


def verify_answer(answer: Answer, *, body: bytes, keys: Mapping[str, Ed25519PublicKey]) -> Proof:
    """Hold an answer to the profile: signed by one of ``keys`` over exactly the request that was sent."""
    return _verify(answer, body=body, keys=keys, components=(*ANSWER_COMPONENTS, *BINDING))


def _verify(
    message: Request | Answer, *, body: bytes, keys: Mapping[str, Ed25519PublicKey], components: tuple[str, ...]
) -> Proof:
    verifier = _Verifier(signature_algorithm=algorithms.ED25519, key_resolver=_Keys(public=keys))
    try:
        found: list[VerifyResult] = verifier.verify(
            message, max_age=MESSAGE_LIFE, expect_tag=TAG, expect_label=LABEL, require_components=components, body=body
        )
    except InvalidSignature as error:
        if isinstance(error.args[0] if error.args else None, UnknownCity):
            raise error.args[0] from error
        raise BadSignature(str(error)) from error
    except HTTPMessageSignaturesException as error:
        raise BadSignature(str(error)) from error
    parameters = found[0].parameters
    nonce, expires = parameters.get("nonce"), parameters.get("expires")
    if not isinstance(nonce, str) or not isinstance(expires, int):
        raise BadSignature("nonce and expires are required")
    return Proof(kid=str(parameters["keyid"]), nonce=nonce, expires_at=datetime.fromtimestamp(expires, UTC))


def idempotency_key(*, method: str, path: str, body: bytes) -> str:
    """The key of a message that gave none: the same message repeated has the same key."""
    return hashlib.sha256(b"\x1f".join((method.encode(), path.encode(), body))).hexdigest()
