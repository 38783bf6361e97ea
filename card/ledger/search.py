"""Finding transfers by what they are about: a business reference, what their metadata says, why they were made, when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.db import Json
from app.kernel.errors import Invalid, msg
from card.ledger import queries
from card.ledger.models import TransferRow
from card.ledger.rules import Transfer, TransferCode

PAGE_MAX: Final = 200


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is looked for; what is empty does not matter. ``metadata`` is contained in the transfer's own."""

    reference: str = ""
    metadata: Mapping[str, object] | None = None
    code: TransferCode | None = None
    since: datetime | None = None
    before: datetime | None = None


def find_transfers(session: Session, wanted: Wanted, *, after: UUID | None = None, limit: int = 50) -> list[Transfer]:
    """The transfers that fit, newest id first, from after ``after`` on.

    A reference or something in the metadata must be named: these are indexed, and a look through all transfers of a city is the
    work of a report. Raises ``Invalid``.
    """
    if not wanted.reference and not wanted.metadata:
        raise Invalid(fields={"reference": msg("Name a reference, or something that the details say.")})
    query = select(TransferRow).order_by(TransferRow.id.desc()).limit(max(1, min(limit, PAGE_MAX)))
    if wanted.reference:
        query = query.where(TransferRow.reference == wanted.reference, TransferRow.reference != "")
    if wanted.metadata:
        details: Json = dict(wanted.metadata)
        query = query.where(TransferRow.details.is_not(None), TransferRow.details.contains(details))
    if wanted.code is not None:
        query = query.where(TransferRow.code == int(wanted.code))
    if wanted.since is not None:
        query = query.where(TransferRow.event_at >= wanted.since)
    if wanted.before is not None:
        query = query.where(TransferRow.event_at < wanted.before)
    if after is not None:
        query = query.where(TransferRow.id < after)
    return [queries.as_transfer(row) for row in session.scalars(query)]
