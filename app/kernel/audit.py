"""The audit trail: who did what to what, and when. Append-only for the application's role."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.kernel.db import Base, Json
from app.kernel.ids import new_id


class AuditEntry(Base):
    """One act. ``actor`` is ``person:<id>``, ``client:<id>``, ``city:<code>``, ``terminal:<id>`` or ``system``."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_subject", "subject", "id"), {"schema": "app"})

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    details: Mapped[Json]


def record(session: Session, *, actor: str, action: str, subject: str, at: datetime, details: Json | None = None) -> None:
    """Write one act in the caller's transaction. ``action`` is ``noun.verb``; ``subject`` is ``noun:id``."""
    session.add(AuditEntry(at=at, actor=actor, action=action, subject=subject, details=details or {}))
