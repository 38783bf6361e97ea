"""The ledger's public proofs: what a city has signed about its books, for auditors, partner cities and anybody who doubts."""

import base64
from typing import Final

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from app.web.auth import public
from app.web.db import settings, transaction
from app.web.security import limiter
from card.ledger import proofs

TAG: Final = Tag(name="ledger", description="Signed checkpoints of the books (RFC 6962, C2SP) and proofs over them.")
blueprint = APIBlueprint("ledger", __name__, url_prefix="/api/ledger", abp_tags=[TAG])

PLAIN: Final = "text/plain; charset=utf-8"


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
