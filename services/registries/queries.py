"""Reading who saw whose data."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.registries.models import DataAccess
from services.registries.rules import BASES, Basis, Purpose


@dataclass(frozen=True, kw_only=True)
class AccessView:
    """One use of somebody's data, as that person sees it. ``basis`` and the names of ``facts`` are message ids."""

    id: UUID
    at: datetime
    office: str
    purpose: Purpose
    basis: Basis
    reference: str
    facts: tuple[str, ...]


def accesses_of(session: Session, person_id: UUID, *, before: UUID | None = None, limit: int = 30) -> list[AccessView]:
    """Every use of this person's data by others, newest first, ``limit`` of those older than ``before``."""
    found = select(DataAccess).where(DataAccess.person_id == person_id)
    if before is not None:
        found = found.where(DataAccess.id < before)
    return [
        AccessView(
            id=row.id,
            at=row.at,
            office=row.office,
            purpose=Purpose(row.purpose),
            basis=BASES[Purpose(row.purpose)],
            reference=row.reference,
            facts=tuple(row.facts),
        )
        for row in session.scalars(found.order_by(DataAccess.id.desc()).limit(limit))
    ]
