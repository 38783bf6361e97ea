"""Tables: papers that residents hand in, who looked at them, and certificates that the city issued."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Json
from app.kernel.ids import new_id


class Document(Base):
    """One paper in a resident's wallet. Its bytes lie in the store under ``digest`` (SHA-256, hexadecimal)."""

    __tablename__ = "document"
    __table_args__ = (
        UniqueConstraint("owner_id", "digest", name="uq_document_owner_id_digest"),
        CheckConstraint("size_bytes > 0", name="size_positive"),
        {"schema": "services"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    owner_id: Mapped[UUID]
    filename: Mapped[str]
    media_type: Mapped[str]
    size_bytes: Mapped[int]
    digest: Mapped[str]
    stored_at: Mapped[datetime]


class DocumentAccess(Base):
    """One look at a paper: who, when and for what. Append-only; the owner may read it."""

    __tablename__ = "document_access"
    __table_args__ = (
        ForeignKeyConstraint(["document_id"], ["services.document.id"], name="fk_document_access_document_id"),
        Index("ix_document_access_document_id", "document_id", "id"),
        {"schema": "services"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    document_id: Mapped[UUID]
    actor: Mapped[str]
    purpose: Mapped[str]
    at: Mapped[datetime]


class Certificate(Base):
    """One document that the city issued: what it says (``content``), its file, its token, and whether it still stands."""

    __tablename__ = "certificate"
    __table_args__ = (
        UniqueConstraint("number", name="uq_certificate_number"),
        UniqueConstraint("subject", name="uq_certificate_subject"),
        Index("ix_certificate_digest", "digest"),
        Index("ix_certificate_holder_id", "holder_id", "id"),
        CheckConstraint("(withdrawn_at IS NULL) = (withdrawn_because IS NULL)", name="withdrawn_with_a_reason"),
        {"schema": "services"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[str]
    subject: Mapped[str]
    holder_id: Mapped[UUID]
    holder_name: Mapped[str]
    title_en: Mapped[str]
    title_zh: Mapped[str]
    content: Mapped[Json]
    token: Mapped[str]
    digest: Mapped[str]
    issued_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]
    withdrawn_because: Mapped[str | None]
    withdrawn_by: Mapped[str | None]
