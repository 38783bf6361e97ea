"""Tables: cases, their timeline, corrections, decisions and papers."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Json, refuse_on_constraint
from app.kernel.errors import FourEyes
from app.kernel.ids import new_id


class Application(Base):
    """One resident's use of one service, pinned to the version it began with. Days due are civil dates, empty while the
    clocks stand still or before they began.
    """

    __tablename__ = "application"
    __table_args__ = (
        UniqueConstraint("reference", name="uq_application_reference"),
        ForeignKeyConstraint(
            ["item_code", "item_version"],
            ["services.service_item.code", "services.service_item.version"],
            name="fk_application_item_code",
        ),
        CheckConstraint("fee_minor >= 0", name="fee_not_negative"),
        CheckConstraint("(state = 'draft') = (submitted_at IS NULL) OR state = 'withdrawn'", name="submitted_unless_draft"),
        Index("ix_application_person_id", "person_id", "id"),
        Index("ix_application_queue", "state", "promised_due_on", "id"),
        Index("ix_application_payment_id", "payment_id"),
        {"schema": "services"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    reference: Mapped[str]
    person_id: Mapped[UUID]
    item_code: Mapped[str]
    item_version: Mapped[int]
    state: Mapped[str]
    answers: Mapped[Json]
    fee_minor: Mapped[int]
    payment_id: Mapped[UUID | None]
    officer_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
    saved_at: Mapped[datetime]
    submitted_at: Mapped[datetime | None]
    accepted_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    promised_due_on: Mapped[date | None]
    statutory_due_on: Mapped[date | None]


class ApplicationEvent(Base):
    """One thing that happened to a case. Append-only."""

    __tablename__ = "application_event"
    __table_args__ = (
        ForeignKeyConstraint(["application_id"], ["services.application.id"], name="fk_application_event_application_id"),
        Index("ix_application_event_application_id", "application_id", "id"),
        {"schema": "services"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    application_id: Mapped[UUID]
    at: Mapped[datetime]
    kind: Mapped[str]
    actor: Mapped[str]
    note: Mapped[str]


class ApplicationCorrection(Base):
    """What the resident was asked to correct, by question; open until ``answered_at``. One may be open at a time."""

    __tablename__ = "application_correction"
    __table_args__ = (
        ForeignKeyConstraint(["application_id"], ["services.application.id"], name="fk_application_correction_application_id"),
        Index(
            "uq_application_correction_open",
            "application_id",
            unique=True,
            postgresql_where="answered_at IS NULL",
        ),
        {"schema": "services"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    application_id: Mapped[UUID]
    asked_at: Mapped[datetime]
    asked_by: Mapped[UUID]
    message: Mapped[str]
    fields: Mapped[Json]
    answered_at: Mapped[datetime | None]


class ApplicationDecision(Base):
    """A prepared decision, and what a second person made of it. The database holds the four eyes as well."""

    __tablename__ = "application_decision"
    __table_args__ = (
        ForeignKeyConstraint(["application_id"], ["services.application.id"], name="fk_application_decision_application_id"),
        CheckConstraint("outcome IN ('approved', 'refused')", name="outcome_known"),
        CheckConstraint("approved_by IS NULL OR approved_by <> prepared_by", name="four_eyes"),
        CheckConstraint("approved_at IS NULL OR returned_at IS NULL", name="approved_or_returned"),
        Index(
            "uq_application_decision_standing",
            "application_id",
            unique=True,
            postgresql_where="returned_at IS NULL",
        ),
        {"schema": "services"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    application_id: Mapped[UUID]
    outcome: Mapped[str]
    reason: Mapped[str]
    effects: Mapped[Json]
    prepared_by: Mapped[UUID]
    prepared_at: Mapped[datetime]
    approved_by: Mapped[UUID | None]
    approved_at: Mapped[datetime | None]
    returned_by: Mapped[UUID | None]
    returned_at: Mapped[datetime | None]
    returned_because: Mapped[str | None]


class ApplicationPaper(Base):
    """A paper of the resident's wallet that an answer of this case refers to."""

    __tablename__ = "application_paper"
    __table_args__ = (
        PrimaryKeyConstraint("application_id", "document_id", name="pk_application_paper"),
        ForeignKeyConstraint(["application_id"], ["services.application.id"], name="fk_application_paper_application_id"),
        ForeignKeyConstraint(["document_id"], ["services.document.id"], name="fk_application_paper_document_id"),
        {"schema": "services"},
    )

    application_id: Mapped[UUID]
    document_id: Mapped[UUID]


refuse_on_constraint("ck_application_decision_four_eyes", FourEyes)
