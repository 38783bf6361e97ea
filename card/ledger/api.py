"""The ledger for machines: what a city has signed about its books, for anybody who doubts, and what became of one transfer."""

import base64
from typing import Final
from uuid import UUID

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from app.web.auth import machine, public
from app.web.db import settings, transaction
from app.web.security import limiter
from card.ledger import poster, proofs

TAG: Final = Tag(
    name="ledger",
    description="Signed checkpoints of the books (RFC 6962, C2SP), proofs over them, and what became of a transfer.",
)
blueprint = APIBlueprint("ledger", __name__, url_prefix="/api/ledger", abp_tags=[TAG])

PLAIN: Final = "text/plain; charset=utf-8"


class TransferPath(BaseModel):
    """A transfer, in the address."""

    transfer_id: UUID = Field(description="The id under which it was sent.")


class OutcomeBody(BaseModel):
    """What became of a transfer, for ever."""

    id: UUID = Field(description="The transfer.")
    status: str = Field(description="posted or refused", examples=["posted"])
    code: str | None = Field(description="Why it was refused, a permanent code; nothing if it was posted.")


class ConsistencyQuery(BaseModel):
    """Two signed checkpoints, by their sizes in batches."""

    old: int = Field(ge=1, description="Size of the older checkpoint.")
    size: int = Field(ge=1, description="Size of the newer checkpoint.")


@blueprint.get("/key", summary="The key that verifies our checkpoints")
@public
def key() -> Response:
    """The C2SP verifier key, ``origin+hash+key``: what ``python -m card.ledger.verify`` asks for."""
    return Response(proofs.checkpoint_verifier(settings()).text + "\n", content_type=PLAIN)


@blueprint.get("/cosigner", summary="The key with which we cosign the books of other cities")
@public
def cosigner() -> Response:
    """The C2SP verifier key of our cosignatures (cosignature/v1), to compare with what a receipt of another city names."""
    return Response(proofs.cosigner_key(settings()).text + "\n", content_type=PLAIN)


@blueprint.get("/checkpoint", summary="The newest signed checkpoint")
@public
@limiter.limit("120 per minute")
def checkpoint() -> Response:
    """A C2SP signed note: origin, number of batches, root. Refused with ``not-sealed`` before anything was booked."""
    with transaction() as session:
        note = proofs.newest_checkpoint(session)
    if note is None:
        raise proofs.NotSealed("nothing was sealed yet")
    return Response(note, content_type=PLAIN)


@blueprint.get("/consistency", summary="Proof that one checkpoint begins with another")
@public
@limiter.limit("120 per minute")
def consistency(query: ConsistencyQuery) -> Response:
    """The hashes of RFC 6962 section 2.1.2, base64, for two sizes that were signed."""
    with transaction() as session:
        proof = proofs.consistency_proof(session, old=query.old, size=query.size)
    return jsonify({"old": query.old, "size": query.size, "proof": [base64.b64encode(found).decode() for found in proof]})


@blueprint.get("/transfers/<uuid:transfer_id>/outcome", summary="What became of a transfer", responses={200: OutcomeBody})
@machine("ledger.outcomes")
def outcome(path: TransferPath) -> Response:
    """For a sender whose answer did not come: *posted*, or *refused* with its code.

    Refused with ``unknown-transfer`` if nothing with this id was booked or refused; sending the same again is safe then.
    """
    with transaction() as session:
        found = poster.outcome_of(session, path.transfer_id)
    return jsonify(OutcomeBody(id=found.id, status=found.status.value, code=found.code or None).model_dump(mode="json"))
