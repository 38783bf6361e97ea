"""What is said to other cities and to the hub over HTTP, and what of their answers is believed."""

import json
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final
from weakref import WeakKeyDictionary

import httpx
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Engine

from app.kernel import clock, http
from app.kernel.db import Database, Json
from app.kernel.errors import Refusal
from app.kernel.settings import HUB_CODE
from app.kernel.signing import BadSignature, Purpose
from card.partners import actions, identity, queries, rules
from card.partners.identity import Identity
from card.partners.models import Message
from card.partners.rules import Answer, NoSuchPartner, PartnerRefused, PartnerUnavailable, Request, StatementRefused

log = structlog.get_logger()

DOCUMENT_BYTES_MAX: Final = 1024 * 1024
ASK_AGAIN_SECONDS: Final = 5.0  # an unknown key makes us look at the hub at most this often


@dataclass(frozen=True, kw_only=True)
class _Peer:
    """A partner as far as sending needs it."""

    code: str
    url: str
    keys: dict[str, Ed25519PublicKey]


def send(
    database: Database, city: str, method: str, path: str, body: Json | None = None, *, idempotency_key: str | None = None
) -> Json:
    """Send a signed message (RFC 9421) to ``city`` and answer the verified body of its signed answer.

    Only couriers and edges call this, outside any transaction. ``path`` begins with ``/`` and may carry a query. The message
    and its answer are kept as they were signed. Without ``idempotency_key`` the key is derived from the message itself, so a
    repetition carries the same one. Raises :class:`PartnerRefused` with the partner's code, :class:`PartnerUnavailable` where
    nothing believable came back, :class:`NoSuchPartner` where the directory does not hold the city.
    """
    own = identity.of_database(database)
    peer = _peer(database, city)
    content = b"" if body is None else json.dumps(body, ensure_ascii=False, sort_keys=True).encode()
    now = clock.now()
    request = Request(
        method=method,
        url=str(httpx.URL(peer.url + path)),
        headers={
            "Accept": "application/json",
            "Content-Type": "application/json",
            "Idempotency-Key": idempotency_key or rules.idempotency_key(method=method, path=path, body=content),
        },
    )
    rules.sign_request(request, body=content, key=own.key(Purpose.FEDERATION), nonce=secrets.token_urlsafe(18), now=now)
    try:
        with http.client() as client:
            response = client.request(method, request.url, content=content, headers=request.headers)
    except httpx.HTTPError as error:
        _keep(database, peer, request, content, None, now=now)
        raise PartnerUnavailable(f"{city}: {type(error).__name__}: {error}") from error
    _keep(database, peer, request, content, response, now=now)
    answer = Answer(status_code=response.status_code, request=request, headers=dict(response.headers))
    try:
        rules.verify_answer(answer, body=response.content, keys=peer.keys)
    except Refusal as error:
        raise PartnerUnavailable(f"{city}: the answer {response.status_code} is not signed as it must be: {error}") from error
    return _read(city, response)


def _read(city: str, response: httpx.Response) -> Json:
    try:
        document = response.json() if response.content else {}
    except ValueError as error:
        raise PartnerUnavailable(f"{city}: the answer is not JSON") from error
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        raise PartnerUnavailable(f"{city}: {response.status_code}")
    if not isinstance(document, dict):
        raise PartnerUnavailable(f"{city}: the answer is not an object")
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        raise PartnerRefused(
            f"{city}: {document.get('detail') or document.get('title')}",
            code=str(document.get("code", "refused")),
            status=response.status_code,
        )
    return document


def _keep(
    database: Database, peer: _Peer, request: Request, body: bytes, response: httpx.Response | None, *, now: datetime
) -> None:
    with database.transaction() as session:
        session.add(
            Message(
                at=now,
                direction="sent",
                city=peer.code,
                method=request.method,
                path=request.url.removeprefix(peer.url),
                idempotency_key=request.headers["Idempotency-Key"],
                request_headers=dict(request.headers),
                request_body=body,
                status=None if response is None else response.status_code,
                answer_headers={} if response is None else dict(response.headers),
                answer_body=b"" if response is None else response.content,
            )
        )


def _peer(database: Database, city: str) -> _Peer:
    for attempt in (1, 2):
        with database.transaction() as session:
            try:
                row = queries.admitted(session, city)
            except NoSuchPartner:
                row = None
            if row is not None and row.expires_at > clock.now():
                return _Peer(code=row.code, url=row.entity_id, keys=rules.keys_of(row.jwks))
        if attempt == 1:
            look_again(database)
    raise NoSuchPartner(city)


_looked: Final[WeakKeyDictionary[Engine, float]] = WeakKeyDictionary()


def look_again(database: Database) -> None:
    """Refresh the directory because somebody unknown was met; at most every few seconds, and quietly where it fails."""
    before = _looked.get(database.engine)
    if before is not None and time.monotonic() - before < ASK_AGAIN_SECONDS:
        return
    _looked[database.engine] = time.monotonic()
    try:
        refresh(database, now=clock.now())
    except Refusal as error:
        log.warning("partners.refresh", error=str(error))


def refresh(database: Database, *, now: datetime) -> int:
    """Resolve every partner along the chain from the pinned key of the trust anchor; answer how many hold.

    A partner whose address does not answer keeps its last verified entry until that expires; one that the hub no longer lists
    is withdrawn at once. Raises :class:`PartnerUnavailable` where the hub itself does not answer.
    """
    own = identity.of_database(database)
    if own.is_hub:
        return _refresh_registry(database, now=now)
    anchor = own.anchor_keys()
    with http.client() as client:
        hub = rules.read_configuration(
            _document(client, f"{own.hub_url}/.well-known/openid-federation"), now=now, signers=anchor
        )
        if hub.entity_id != own.hub_url or hub.code != HUB_CODE:
            raise StatementRefused("the trust anchor answers for somebody else")
        hub_keys = {**anchor, **rules.keys_of(hub.jwks)}
        listed = _list(client, f"{own.hub_url}/api/federation/list")
        resolved: list[tuple[rules.Entity, str | None, datetime]] = [(hub, None, hub.expires_at)]
        for entity_id in listed:
            if entity_id == own.url:
                continue
            try:
                resolved.append(_resolve(client, own, entity_id, hub_keys, now=now))
            except Refusal as error:
                log.warning("partners.resolve", entity_id=entity_id, error=f"{type(error).__name__}: {error}")
    with database.transaction() as session:
        actions.store_resolved(session, resolved, listed=[own.hub_url, *listed], now=now)
    return len(resolved)


def _resolve(
    client: httpx.Client, own: Identity, entity_id: str, hub_keys: dict[str, Ed25519PublicKey], *, now: datetime
) -> tuple[rules.Entity, str, datetime]:
    statement = _document(client, f"{own.hub_url}/api/federation/fetch", sub=entity_id)
    configuration = _document(client, f"{entity_id}/.well-known/openid-federation")
    entity, until = rules.resolve(
        statement=statement, configuration=configuration, anchor_keys=hub_keys, hub_url=own.hub_url, now=now
    )
    return entity, statement, until


def _refresh_registry(database: Database, *, now: datetime) -> int:
    with database.transaction() as session:
        known = [
            (entry.city.url, entry.city.code) for entry in queries.directory(session) if entry.state == rules.State.ADMITTED
        ]
    held = 0
    with http.client() as client:
        for entity_id, code in known:
            try:
                token = _document(client, f"{entity_id}/.well-known/openid-federation")
                with database.transaction() as session:
                    actions.renew(session, code=code, configuration=token, now=now)
                held += 1
            except Refusal as error:
                log.warning("partners.renew", city=code, error=f"{type(error).__name__}: {error}")
    return held


def ask_to_join(database: Database, *, now: datetime) -> str:
    """Hand our entity configuration to the hub; answer the state of our request. Safe to repeat."""
    own = identity.of_database(database)
    try:
        with http.client() as client:
            response = client.post(
                f"{own.hub_url}/api/federation/join", json={"entity_configuration": actions.own_configuration(own, now=now)}
            )
    except httpx.HTTPError as error:
        raise PartnerUnavailable(f"the hub: {error}") from error
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        document = response.json() if "json" in response.headers.get("Content-Type", "") else {}
        raise PartnerRefused(
            f"the hub: {document.get('detail')}", code=str(document.get("code", "refused")), status=response.status_code
        )
    return str(response.json()["state"])


def _get(client: httpx.Client, url: str, **query: str) -> httpx.Response:
    try:
        response = client.get(url, params=query or None)
    except httpx.HTTPError as error:
        raise PartnerUnavailable(f"{url}: {type(error).__name__}: {error}") from error
    if response.status_code != HTTPStatus.OK or len(response.content) > DOCUMENT_BYTES_MAX:
        raise PartnerUnavailable(f"{url}: {response.status_code}")
    return response


def _document(client: httpx.Client, url: str, **query: str) -> str:
    return _get(client, url, **query).text.strip()


def _list(client: httpx.Client, url: str) -> list[str]:
    try:
        listed = _get(client, url).json()
    except ValueError as error:
        raise BadSignature("the list is not JSON") from error
    return [str(item) for item in listed] if isinstance(listed, list) else []
