"""Purchases over HTTP: merchants and utilities present bills, ask what became of them, refund."""

from datetime import date, timedelta
from typing import Final
from uuid import UUID

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from app.kernel import clock
from app.kernel.errors import Forbidden
from app.web.auth import machine, principal
from app.web.db import settings, transaction
from card.purchases import actions, queries

TAG: Final = Tag(name="purchases", description="Merchants and utilities: bills, code payments, refunds.")
blueprint = APIBlueprint("purchases_api", __name__, url_prefix="/api/purchases", abp_tags=[TAG])
SCOPE: Final = "purchases.bills"


class BillBody(BaseModel):
    """A payment asked for. Without ``holder_id`` whoever scans the code pays, within five minutes."""

    reference: str = Field(min_length=1, max_length=64, description="The merchant's own number: the same one is the same bill.")
    amount_minor: int = Field(gt=0, le=10_000_000, description="Fen.")
    description_en: str = Field(min_length=1, max_length=120)
    description_zh: str = Field(min_length=1, max_length=120)
    holder_id: UUID | None = Field(None, description="Whose bill; empty for a code that anybody may scan.")
    due_on: date | None = Field(None)


class BillPath(BaseModel):
    """Which bill."""

    bill_id: UUID


class RefundBody(BaseModel):
    """How much goes back; everything that is left where it is left out."""

    refund_id: UUID = Field(description="Made by the merchant: the same one is the same refund.")
    amount_minor: int | None = Field(None, gt=0, description="Fen.")


def _merchant_id() -> str:
    organisation = principal().organisation
    if organisation is None:
        raise Forbidden("this client belongs to no merchant")
    return organisation


def _bill(bill_id: UUID) -> Response:
    with transaction() as session:
        found = queries.bill(session, bill_id, merchant_id=_merchant_id())
    return jsonify(
        bill_id=str(found.id),
        reference=found.reference,
        state=found.state.value,
        amount_minor=found.amount_minor,
        refunded_minor=found.refunded_minor,
        paid_at=None if found.paid_at is None else found.paid_at.isoformat(),
        pay_url=f"{settings().public_url}/me/bills/{found.id}",
    )


@blueprint.post("/bills", summary="Present a bill")
@machine(SCOPE)
def present(body: BillBody) -> Response:
    """Answers the bill with ``pay_url``: show it as a code, or let the resident find it among their bills."""
    now = clock.now()
    with transaction() as session:
        bill_id = actions.present(
            session,
            merchant_id=_merchant_id(),
            reference=body.reference,
            description={"en": body.description_en, "zh_Hans_CN": body.description_zh},
            amount_minor=body.amount_minor,
            holder_id=body.holder_id,
            due_on=body.due_on,
            expires_at=None if body.holder_id else now + timedelta(minutes=5),
            now=now,
        )
    return _bill(bill_id)


@blueprint.get("/bills/<uuid:bill_id>", summary="What became of a bill")
@machine(SCOPE)
def show(path: BillPath) -> Response:
    """The merchant's own bill."""
    return _bill(path.bill_id)


@blueprint.post("/bills/<uuid:bill_id>/refunds", summary="Give money back")
@machine(SCOPE)
def refund(path: BillPath, body: RefundBody) -> Response:
    """Refunds once per ``refund_id``."""
    with transaction() as session:
        queries.bill(session, path.bill_id, merchant_id=_merchant_id())
        actions.refund(
            session,
            bill_id=path.bill_id,
            refund_id=body.refund_id,
            amount_minor=body.amount_minor,
            by=principal().actor,
            now=clock.now(),
        )
    return _bill(path.bill_id)
