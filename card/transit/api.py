"""Transit for machines: terminals (CBOR, signed), operators' systems (JSON, OAuth 2.0) and partner cities (JSON, signed)."""

import json
from datetime import date, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from flask import Flask, Response, current_app, g, jsonify, request
from flask_openapi3 import APIBlueprint, Tag
from psycopg import OperationalError
from psycopg.errors import DeadlockDetected, UniqueViolation
from pydantic import BaseModel, Field, field_validator
from sqlalchemy.exc import DBAPIError

from app.kernel import clock
from app.kernel.errors import Forbidden
from app.web.auth import Caller, Principal, machine, partner_city, principal, public, register_authenticator, terminal
from app.web.db import city, settings, statements, transaction
from app.web.security import limiter
from card import credentials
from card.credentials import CredentialRefused, Reason, TapKind
from card.fares import card_day
from card.transit import authorisation, ingestion, presentments, queries, terminals
from card.transit.queries import JourneyView, PostingView
from card.transit.rules import Liability, TerminalProofRefused, UnknownTerminal
from card.transit.terminals import Remembered

TAG: Final = Tag(name="transit", description="Terminals, taps, journeys, operators' statements, claims between cities.")
blueprint = APIBlueprint("transit", __name__, abp_tags=[TAG])

KNOWN: Final = "transit.known-terminals"
CBOR: Final = "application/cbor"
REPEATABLE: Final = frozenset({"transit.authorise"})  # the same request gets the same answer
EXPLANATION_MAX: Final = 262_144
CARD_NUMBER: Final = r"^31\d{17}$"


class EnrolBody(BaseModel):
    """A device that wants to become a terminal."""

    token: str = Field(min_length=10, max_length=100, description="The one-time token, good for ten minutes.")
    public_key: str = Field(max_length=100, description="The device's raw Ed25519 public key, base64url without padding.")
    software: str = Field("", max_length=100, description="Name and version of the program.")


class BundleQuery(BaseModel):
    """What the terminal holds already."""

    since: int | None = Field(None, ge=0, description="Sequence of the deny list it holds; nothing: it holds none.")
    held: str = Field(
        "", pattern=r"^(\d{6}:\d{1,18}(,\d{6}:\d{1,18})*)?$", max_length=2000, description="Partner lists it holds: city:seq,…"
    )

    @property
    def partners(self) -> dict[str, int]:
        """The sequence held of each partner city's list."""
        pairs = (pair.split(":") for pair in self.held.split(",") if pair)
        return {city: int(seq) for city, seq in pairs}


class OperatorPath(BaseModel):
    """Whose records."""

    operator_id: str = Field(max_length=64)


class DayQuery(BaseModel):
    """Which day."""

    on: date | None = Field(None, description="Civil date in Asia/Shanghai; nothing: today.")


class PresentmentBody(BaseModel):
    """A partner city's claim for a ride of one of our cards."""

    id: UUID
    issuer: str = Field(pattern=r"^\d{6}$")
    acquirer: str = Field(pattern=r"^\d{6}$")
    amount_minor: int = Field(ge=-10_000_000, le=10_000_000, description="Fen; below zero gives back.")
    kind: Literal["transit"] = "transit"
    card_number: str = Field(pattern=CARD_NUMBER)
    reference: str = Field(max_length=200)
    terminal_id: str = Field("", max_length=64)
    counter: int = Field(0, ge=0)
    event_at: datetime
    accepted_at: datetime
    liability: Liability = Liability.ISSUER
    operator: str = Field("", max_length=64)
    explanation: dict[str, object] | None = Field(
        None, description="Why the card-day costs what it costs now: journeys with taps, steps, tariff version; for the rider."
    )

    @field_validator("explanation")
    @classmethod
    def _is_short(cls, value: dict[str, object] | None) -> dict[str, object] | None:
        if value is not None and len(json.dumps(value)) > EXPLANATION_MAX:
            raise ValueError("an explanation is at most 256 kB")
        return value

    @field_validator("amount_minor")
    @classmethod
    def _moves(cls, value: int) -> int:
        if value == 0:
            raise ValueError("a claim moves money")
        return value


@blueprint.after_request
def tell_the_time(response: Response) -> Response:
    """Say our clock to the millisecond, so that a terminal can tell its own error from the network's delay."""
    response.headers["X-Server-Time"] = str(int(clock.now().timestamp() * 1000))
    return response


def install(app: Flask) -> None:
    """Let terminals in by their signature."""
    app.extensions[KNOWN] = {}
    register_authenticator(app, Caller.TERMINAL, authenticate)


def authenticate() -> Principal:
    """The terminal that signed this request; raises ``UnknownTerminal``, ``ProofReplayed`` or ``TerminalProofRefused``."""
    repeatable = request.endpoint in REPEATABLE
    return (_remembered() if repeatable else None) or _proved(once=not repeatable)


def _proved(*, once: bool) -> Principal:
    now, path = clock.now(), request.full_path.rstrip("?")
    with transaction() as session:
        try:
            row = terminals.prove(
                session,
                request.headers.get("Authorization", ""),
                method=request.method,
                path=path,
                body=request.get_data(),
                now=now,
                once=once,
            )
        except CredentialRefused as refusal:
            raise TerminalProofRefused(refusal.detail, reason=refusal.reason.value) from refusal
        if not once:
            public = credentials.public_from_raw(row.public_key)
            _known()[str(row.id)] = Remembered(key=row.public_key, public=public, operator_id=row.operator_id)
        return Principal(caller=Caller.TERMINAL, id=str(row.id), organisation=row.operator_id)


def _remembered() -> Principal | None:
    """The terminal, by the key that it had when it last asked; ``g.remembered`` is what the view has to make sure of."""
    try:
        terminal_id, g.remembered = terminals.verify_remembered(
            request.headers.get("Authorization", ""),
            _known(),
            method=request.method,
            path=request.full_path.rstrip("?"),
            body=request.get_data(),
            now=clock.now(),
        )
    except (CredentialRefused, UnknownTerminal):
        return None
    return Principal(caller=Caller.TERMINAL, id=terminal_id, organisation=g.remembered.operator_id)


def _known() -> dict[str, Remembered]:
    """The terminals that have asked this process; one city's gates are few enough to keep."""
    found: dict[str, Remembered] = current_app.extensions[KNOWN]
    return found


@blueprint.post("/api/transit/terminals/enrol", summary="Enrol a terminal with a one-time token")
@public
@limiter.limit(lambda: f"{settings().enrolments_per_minute}/minute")
def enrol(body: EnrolBody) -> tuple[Response, int]:
    """The certificate (COSE, 90 days) binds the device's key to operator, stop and line."""
    now = clock.now()
    with transaction() as session:
        done = terminals.enrol(
            session,
            token=body.token,
            public_key=credentials.from_base64url(body.public_key),
            software=body.software,
            now=now,
        )
    answer = jsonify(
        terminal_id=str(done.terminal_id),
        operator_id=done.operator_id,
        stop_id=done.stop_id,
        line=done.line_id,
        certificate=credentials.to_base64url(done.certificate),
        city=done.city,
        server_time=int(now.timestamp() * 1000),
    )
    return answer, 201


@blueprint.post("/api/transit/terminals/renew", summary="Renew a terminal's certificate")
@terminal
@limiter.limit("10/minute", key_func=lambda: principal().id)  # not by address: a station's gates share one
def renew() -> Response:
    """CBOR ``{public_key, proof, software}``, proved by the old key; the answer is CBOR ``{certificate}``, good for 90 days.

    ``proof`` is made by ``public_key`` over the terminal's id and its present key (``docs/reference/credential.md``).
    """
    asked = credentials.cbor.read(request.get_data())
    with transaction() as session:
        certificate = terminals.renew(
            session,
            terminal_id=UUID(principal().id),
            public_key=credentials.cbor.field(asked, "public_key", bytes),
            proof=credentials.cbor.field(asked, "proof", bytes),
            software=credentials.cbor.field(asked, "software", str),
            now=clock.now(),
        )
    return Response(credentials.cbor.write({"certificate": certificate}), content_type=CBOR)


@blueprint.get("/api/transit/bundle", summary="The signed bundle of a terminal")
@terminal
def bundle(query: BundleQuery) -> Response:
    """Issuer keys of all cities, deny list or what changed of it, risk rules, stops: CBOR in a COSE_Sign1."""
    with transaction() as session:
        signed = terminals.bundle(
            session, terminal_id=UUID(principal().id), since=query.since, held=query.partners, now=clock.now()
        )
    return Response(signed, content_type=CBOR)


@blueprint.post("/api/transit/taps", summary="Upload taps")
@terminal
def taps() -> Response:
    """Up to 5,000 records; the answer gives the highest contiguous seq a boot, the gaps, and a result a record."""
    for last in (False, False, True):
        try:
            return Response(_receive().encoded(), content_type=CBOR)
        except (DBAPIError, DeadlockDetected) as error:  # two batches met in the middle: one was ended, and begins again
            if last or not isinstance(getattr(error, "orig", error), DeadlockDetected):
                raise
    raise AssertionError("the loop returns or raises")


@blueprint.post("/api/transit/authorise", summary="Ask before opening")
@terminal
def authorise() -> Response:
    """For a gate that is online. CBOR ``{qr, kind}``; the answer ``{approved, code, held_minor, until}`` (unix seconds)."""
    asked = credentials.cbor.read(request.get_data())
    qr, kind = credentials.cbor.field(asked, "qr", bytes), credentials.cbor.field(asked, "kind", str)
    if kind not in set(TapKind):
        raise CredentialRefused(Reason.MALFORMED, "kind")
    found = _authorise(TapKind(kind), qr)
    until = int(found.until.timestamp()) if found.until else 0
    answer = {"approved": found.approved, "code": found.code, "held_minor": found.held_minor, "until": until}
    return Response(credentials.cbor.write(answer), content_type=CBOR)


def _authorise(kind: TapKind, qr: bytes) -> authorisation.Authorised:
    """Mostly one statement reserves the fare; where it does not, a transaction finds out why."""
    terminal_id = UUID(principal().id)
    remembered: Remembered | None = g.get("remembered")
    if remembered is not None and (found := _at_once(terminal_id, remembered, kind, qr)):
        return found
    now = clock.now()
    with transaction() as session:
        standing = terminals.standing(session, terminal_id, proved_by=remembered.key if remembered else None, now=now)
        known = _known()
        known[str(terminal_id)] = known[str(terminal_id)]._replace(standing=standing)
        return authorisation.authorise(session, standing, kind=kind, qr=qr, now=now)


def _at_once(terminal_id: UUID, remembered: Remembered, kind: TapKind, qr: bytes) -> authorisation.Authorised | None:
    try:
        with statements() as connection:
            return authorisation.at_once(
                connection, city(), terminal_id=terminal_id, remembered=remembered, kind=kind, qr=qr, now=clock.now()
            )
    except (UniqueViolation, OperationalError):  # the same was asked before; the connection had died, or a lock was in the way
        return None


def _receive() -> credentials.Receipt:
    with transaction() as session:
        return ingestion.receive(
            session,
            terminal_id=UUID(principal().id),
            body=request.get_data(),
            proof=request.headers["Authorization"],
            now=clock.now(),
        )


def _own_operator(operator_id: str) -> str:
    """A machine reads the records of its own organisation only."""
    if principal().organisation != operator_id:
        raise Forbidden(operator_id)
    return operator_id


def journey_json(found: JourneyView) -> dict[str, object]:
    """A journey as machines read it."""
    return {
        "id": str(found.id),
        "card_number": found.card_number,
        "card_day": found.card_day.isoformat(),
        "line": found.line_id,
        "state": found.state.value,
        "from_stop": found.from_stop,
        "to_stop": found.to_stop,
        "started_at": found.started_at.isoformat(),
        "ended_at": found.ended_at.isoformat() if found.ended_at else None,
        "km": None if found.km is None else str(found.km.normalize()),
        "tariff": found.tariff_id,
        "charged_minor": found.charged_minor,
        "steps": [{"code": step.code.value, "amount_minor": step.amount_minor, "params": step.params} for step in found.steps],
        "taps": list(found.taps),
    }


def posting_json(found: PostingView) -> dict[str, object]:
    """A posted difference as machines read it."""
    return {
        "id": str(found.id),
        "posted_at": found.posted_at.isoformat(),
        "card_number": found.card_number,
        "issuer": found.issuer,
        "card_day": found.card_day.isoformat(),
        "amount_minor": found.amount_minor,
        "total_minor": found.total_minor,
        "means": found.means,
        "liability": found.liability,
    }


def civil_day(on: date) -> tuple[datetime, datetime]:
    """The instants at which the civil day ``on`` begins and ends in Asia/Shanghai."""
    begin = datetime(on.year, on.month, on.day, tzinfo=clock.SHANGHAI)
    return begin, begin + timedelta(days=1)


@blueprint.get("/api/transit/operators/<operator_id>/journeys", summary="An operator's journeys of a card-day")
@machine("transit.journeys")
def journeys(path: OperatorPath, query: DayQuery) -> Response:
    """Every journey with the steps that made its price; amounts are fen."""
    day = query.on or card_day(clock.now())
    with transaction() as session:
        found = queries.journeys_of_operator(session, _own_operator(path.operator_id), on=day, limit=10_000)
    return jsonify(operator=path.operator_id, card_day=day.isoformat(), journeys=[journey_json(one) for one in found])


@blueprint.get("/api/transit/operators/<operator_id>/statement", summary="An operator's statement of a day")
@machine("transit.statement")
def statement(path: OperatorPath, query: DayQuery) -> Response:
    """Every posting of a civil day, their sum, and the ledger's own sum of the same time. The two agree."""
    day = query.on or clock.civil_date(clock.now())
    begin, end = civil_day(day)
    with transaction() as session:
        operator_id = _own_operator(path.operator_id)
        found = queries.day_statement(session, operator_id, begin=begin, end=end, shown=0)
        postings = [posting_json(one) for one in queries.each_posting(session, operator_id, begin=begin, end=end)]
    return jsonify(
        operator=path.operator_id,
        on=day.isoformat(),
        total_minor=found.total_minor,
        ledger_minor=found.ledger_minor,
        difference_minor=found.difference_minor,
        at_operators_risk_minor=found.at_risk_minor,
        postings=postings,
    )


@blueprint.post("/api/federation/presentments", summary="A partner city claims a ride of our card")
@partner_city
def present(body: PresentmentBody) -> tuple[Response, int]:
    """Idempotent by the claim's id: the same claim gets the same answer, another under the same id is a conflict."""
    if body.acquirer != principal().id:
        raise Forbidden("a city claims for itself")
    with transaction() as session:
        answer = presentments.accept(
            session,
            presentment_id=body.id,
            acquirer=body.acquirer,
            card_number=body.card_number,
            amount_minor=body.amount_minor,
            liability=body.liability,
            event_at=body.event_at,
            claim=body.model_dump(mode="json"),
            now=clock.now(),
        )
    return jsonify(answer), 200


@blueprint.get("/api/federation/deny-list", summary="Our deny list for partner cities")
@partner_city
def deny_list() -> Response:
    """The whole list as a roaring bitmap (base64) with its chain's digest."""
    with transaction() as session:
        return jsonify(terminals.deny_list_document(session))
