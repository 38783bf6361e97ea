"""What partner cities and the hub say to this city about clearing. Every body is verified before it is read further."""

import base64
import binascii
from datetime import datetime
from typing import Any, Final

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from app.kernel import clock
from app.web.auth import Role, allow, partner_city, principal
from app.web.db import transaction
from card.clearing import actions, dispute_moves, queries, settlement
from card.clearing.rules import BadClearingFile, ManifestBreak

TAG: Final = Tag(name="clearing", description="Files, results, disputes, positions and settlement between cities.")
blueprint = APIBlueprint("clearing_api", __name__, url_prefix="/api", abp_tags=[TAG])


class FileBody(BaseModel):
    """A clearing file."""

    manifest: str = Field(description="Signed manifest, JWS of type clearing-manifest+jwt.")
    records: str = Field(description="The Parquet file, base64.")


class ResultBody(BaseModel):
    """What the issuer matched of a file."""

    window: str
    number: int
    digest: str
    matched_count: int
    matched_minor: int
    breaks: list[dict[str, Any]]
    resolved: list[str]
    matched_at: datetime | None = None


class ResolutionBody(BaseModel):
    """A break whose debit arrived late."""

    break_id: str
    agreed_minor: int
    debit: dict[str, Any]


class DocumentBody(BaseModel):
    """A signed document (JWS)."""

    document: str


class PositionBody(BaseModel):
    """What the issuer owes the acquirer under a reference."""

    issuer: str
    acquirer: str
    reference: str
    window: str
    count: int
    amount_minor: int


class SettlementBody(BaseModel):
    """The settlement bank's confirmation of a cycle."""

    cycle: int
    settled_at: datetime


@blueprint.post("/federation/clearing/files", summary="Receive a clearing file")
@partner_city
def receive_file(body: FileBody) -> Response:
    """The issuer's door. A repeat gets the same answer; other content under the same number is 409 ``manifest-break``."""
    sender, now = principal().id, clock.now()
    try:
        records = base64.b64decode(body.records, validate=True)
    except binascii.Error as error:
        raise BadClearingFile(f"records: {error}") from error
    try:
        with transaction() as session:
            file = actions.receive_file(session, sender=sender, token=body.manifest, records=records, now=now)
            answer = {"window": file.window.isoformat(), "number": file.number, "digest": file.digest, "count": file.count}
    except ManifestBreak:
        with transaction() as session:
            actions.note_manifest_break(session, sender=sender, token=body.manifest, now=now)
        raise
    return jsonify(answer)


@blueprint.post("/federation/clearing/results", summary="Receive the result of matching")
@partner_city
def receive_result(body: ResultBody) -> Response:
    """The acquirer's door: answers where the result adds up with the file."""
    with transaction() as session:
        actions.receive_result(session, sender=principal().id, body=body.model_dump(), now=clock.now())
    return jsonify(agreed=True)


@blueprint.post("/federation/clearing/resolutions", summary="Receive a break that resolved itself")
@partner_city
def receive_resolution(body: ResolutionBody) -> Response:
    """The acquirer's door: the issuer's debit came after the file."""
    with transaction() as session:
        actions.receive_resolution(session, sender=principal().id, body=body.model_dump(), now=clock.now())
    return jsonify(agreed=True)


@blueprint.post("/federation/clearing/disputes", summary="Receive a move of a dispute")
@partner_city
def receive_move(body: DocumentBody) -> Response:
    """The other party's door: a signed move (JWS of type clearing-dispute+jwt)."""
    with transaction() as session:
        state = dispute_moves.receive_move(session, sender=principal().id, token=body.document, now=clock.now())
    return jsonify(state=state)


@blueprint.post("/federation/clearing/positions", summary="Report a position to the hub")
@partner_city
def receive_position(body: PositionBody) -> Response:
    """The hub's door: both cities of a pair report every item; only what they report alike is netted."""
    with transaction() as session:
        settlement.receive_position(session, sender=principal().id, body=body.model_dump(), now=clock.now())
    return jsonify(noted=True)


@blueprint.post("/federation/clearing/instructions", summary="Receive a settlement instruction")
@partner_city
def receive_instruction(body: DocumentBody) -> Response:
    """A city's door for the hub: the instruction is held to the city's own reports and booked."""
    with transaction() as session:
        net_minor = settlement.receive_instruction(session, sender=principal().id, token=body.document, now=clock.now())
    return jsonify(net_minor=net_minor)


@blueprint.post("/federation/clearing/settlements", summary="Receive the bank's confirmation")
@partner_city
def receive_settlement(body: SettlementBody) -> Response:
    """A city's door for the hub: the cycle is paid."""
    with transaction() as session:
        settlement.receive_settlement(
            session,
            sender=principal().id,
            body={"cycle": body.cycle, "settled_at": body.settled_at.isoformat()},
            now=clock.now(),
        )
    return jsonify(booked=True)


@blueprint.get("/clearing/status", summary="The state of clearing in this city")
@allow(Role.OFFICER, Role.SUPERVISOR, Role.ADMINISTRATOR)
def status() -> Response:
    """Counts for screens that wait and for scripts: claims, files, breaks, disputes, proposals, instructions, cycles."""
    with transaction() as session:
        return jsonify(queries.status(session))
