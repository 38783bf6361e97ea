"""The federation's endpoints, the proof that a partner calls, and the signature under every answer to one."""

import base64
import secrets
from typing import Final
from urllib.parse import quote, urlsplit

from flask import Flask, Response, current_app, g, jsonify, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from app.kernel import clock
from app.kernel.errors import NotFound
from app.kernel.settings import Settings
from app.kernel.signing import BadSignature, Purpose
from app.web.auth import Caller, Principal, access_of, partner_city, principal, public, register_authenticator
from app.web.db import database, settings, transaction
from app.web.security import limiter
from card import ledger
from card.partners import actions, gateway, identity, queries, rules
from card.partners.models import Message
from card.partners.rules import Answer, Request, UnknownCity, WrongAuthority

TAG: Final = Tag(name="federation", description="Trust between cities: OpenID Federation 1.0 and HTTP Message Signatures.")
blueprint = APIBlueprint("federation", __name__, abp_tags=[TAG])

STATEMENT_TYPE: Final = "application/entity-statement+jwt"
KEPT_HEADERS: Final = ("Signature-Input", "Signature", "Content-Digest", "Idempotency-Key", "Content-Type", "Host")


class FetchQuery(BaseModel):
    """Whom the statement is about."""

    sub: str = Field(description="Entity identifier (address) of the city.")
    iss: str | None = Field(None, description="The hub's own identifier; optional.")


class JoinBody(BaseModel):
    """A city's request to be admitted."""

    entity_configuration: str = Field(max_length=65_536, description="The city's self-signed entity configuration (JWS).")


@blueprint.get("/.well-known/openid-federation", summary="Our entity configuration")
@public
def configuration() -> Response:
    """OpenID Federation 1.0, section 9: the self-signed statement with our keys and names."""
    own = identity.of_database(database())
    return Response(actions.own_configuration(own, now=clock.now()), content_type=STATEMENT_TYPE)


@blueprint.get("/api/federation/fetch", summary="The hub's statement about a city")
@public
def fetch(query: FetchQuery) -> Response:
    """OpenID Federation 1.0, section 8.1. Only the hub answers."""
    with transaction() as session:
        token = actions.statement_about(session, entity_id=query.sub, now=clock.now())
    return Response(token, content_type=STATEMENT_TYPE)


@blueprint.get("/api/federation/list", summary="The admitted cities")
@public
def subordinates() -> Response:
    """OpenID Federation 1.0, section 8.2: identifiers of the hub's immediate subordinates. Only the hub answers."""
    if not identity.of_database(database()).is_hub:
        raise NotFound
    with transaction() as session:
        return jsonify([city.url for city in queries.cities(session)])


@blueprint.post("/api/federation/join", summary="Ask to join")
@public
@limiter.limit("60/minute")
def join(body: JoinBody) -> tuple[Response, int]:
    """A city hands in its entity configuration; a person at the hub decides. Repeating it is safe."""
    with transaction() as session:
        state = actions.request_join(session, configuration=body.entity_configuration, now=clock.now())
    return jsonify(state=state), 202


@blueprint.post("/api/federation/echo", summary="Test the signatures of both sides")
@partner_city
def echo() -> Response:
    """Answers who was recognised. A city that joins calls this first."""
    return jsonify(city=principal().id, digest=request.headers.get("Content-Digest"))


class OldQuery(BaseModel):
    """What the asking city saw last."""

    old: int = Field(0, ge=0, description="Size of the checkpoint it saw last; 0 where it saw none.")


class CosignatureBody(BaseModel):
    """A cosignature of one of our checkpoints (C2SP cosignature/v1)."""

    size: int = Field(ge=1, description="Size of the checkpoint, in batches.")
    key: str = Field(max_length=400, description="The cosigning city's verifier key, type 0x04.")
    line: str = Field(max_length=600, description="The signature line of the note.")


@blueprint.get("/api/federation/ledger/checkpoint", summary="Our newest checkpoint, with the proof that it continues an older")
@partner_city
def ledger_checkpoint(query: OldQuery) -> Response:
    """``{note, key, proof}`` for a witness. Refused with ``not-sealed`` before anything was booked."""
    with transaction() as session:
        note = ledger.newest_checkpoint(session)
        if note is None:
            raise ledger.NotSealed("nothing was sealed yet")
        size = int(note.split("\n")[1])
        proof = ledger.consistency_proof(session, old=query.old, size=size) if 0 < query.old < size else []
    key = ledger.checkpoint_verifier(settings()).text
    return jsonify(note=note, key=key, proof=[base64.b64encode(one).decode() for one in proof])


@blueprint.post("/api/federation/ledger/cosignatures", summary="Hand us a cosignature of our checkpoint")
@partner_city
def ledger_cosignature(body: CosignatureBody) -> Response:
    """We verify it and keep it; our receipts carry it from then on. Repeating it is safe."""
    with transaction() as session:
        ledger.add_cosignature(
            session,
            city=principal().id,
            size=body.size,
            key=body.key,
            line=body.line,
            own=ledger.checkpoint_verifier(settings()),
            now=clock.now(),
        )
    return jsonify(size=body.size)


def authenticate() -> Principal:
    """The city that signed this request, under the profile of ``docs/reference/interop.md``.

    Raises ``BadSignature``, :class:`UnknownCity`, ``MessageExpired``, ``MessageReplayed`` or :class:`WrongAuthority`.
    """
    g.signed_request = message = _message()
    opened = database()
    body = request.get_data()
    proof = None
    for attempt in (1, 2):
        with opened.transaction() as session:
            known = queries.federation_keys(session, now=clock.now())
        try:
            proof = rules.verify_request(message, body=body, keys={kid: key for kid, (_, key) in known.items()})
            break
        except UnknownCity:
            if attempt == 2:  # noqa: PLR2004
                raise
            gateway.look_again(opened)
        except BadSignature:
            if request.host != urlsplit(message.url).netloc:
                raise WrongAuthority(request.host) from None
            raise
    assert proof is not None
    code = known[proof.kid][0]
    with opened.transaction() as session:
        actions.remember_nonce(session, city=code, nonce=proof.nonce, expires_at=proof.expires_at)
        name = queries.city(session, code).name_en
    return Principal(caller=Caller.CITY, id=code, name=name, organisation=code)


def _message() -> Request:
    """The request under the address that is ours, whatever ``Host`` says."""
    own = urlsplit(identity.of_database(database()).url)
    path = quote(request.path, safe="/:@!$&'()*+,;=~")
    query = request.query_string.decode("ascii", "replace")
    url = f"{own.scheme}://{own.netloc}{path}" + (f"?{query}" if query else "")
    return Request(method=request.method, url=url, headers=dict(request.headers))


def sign(response: Response) -> Response:
    """After every request by a partner's door: sign the answer over the request and keep both."""
    view = current_app.view_functions.get(request.endpoint or "")
    access = access_of(view)
    if access is None or access.caller is not Caller.CITY:
        return response
    message: Request = g.get("signed_request") or _message()
    own = identity.of_database(database())
    body = response.get_data()
    answer = Answer(
        status_code=response.status_code,
        request=message,
        headers={"Content-Type": response.content_type or "application/json"},
    )
    now = clock.now()
    rules.sign_answer(answer, body=body, key=own.key(Purpose.FEDERATION), nonce=secrets.token_urlsafe(18), now=now)
    for name, value in answer.headers.items():
        response.headers[name] = value
    caller = g.get("principal")
    if isinstance(caller, Principal):
        with transaction() as session:
            session.add(
                Message(
                    at=now,
                    direction="received",
                    city=caller.id,
                    method=request.method,
                    path=message.url.removeprefix(own.url),
                    idempotency_key=request.headers.get("Idempotency-Key", ""),
                    request_headers={name: request.headers[name] for name in KEPT_HEADERS if name in request.headers},
                    request_body=request.get_data(),
                    status=response.status_code,
                    answer_headers=dict(answer.headers),
                    answer_body=body,
                )
            )
    return response


def install(app: Flask, settings: Settings) -> None:
    """Say who we are, and let partner cities in by their signature."""
    identity.announce(app.extensions["database"], settings)
    register_authenticator(app, Caller.CITY, authenticate)
    app.after_request(sign)
