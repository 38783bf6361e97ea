"""Who saw whose data."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base
from app.kernel.ids import new_id


class DataAccess(Base):
    """One use of a resident's data by somebody else. Append-only: what was seen stays seen.

    ``seen_by`` is the caller (``person:<id>``, ``client:<id>``, ``city:<code>``), ``office`` what the resident is told of
    them: the post, never the officer's private name. ``facts`` names what was shown, never its content.
    """

    __tablename__ = "data_access"
    __table_args__ = (Index("ix_data_access_person_id", "person_id", "id"), {"schema": "services"})

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("services.person.id"))
    at: Mapped[datetime]
    seen_by: Mapped[str]
    office: Mapped[str]
    purpose: Mapped[str]
    reference: Mapped[str]
    facts: Mapped[list[str]]
