"""The inbox."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Json
from app.kernel.ids import new_id


class Message(Base):
    """One message to one person. ``mailed_at`` is when the mail server took it, where it was sent by e-mail too."""

    __tablename__ = "message"
    __table_args__ = (
        Index("ix_message_person_id", "person_id", "id"),
        Index("ix_message_unread", "person_id", postgresql_where="read_at IS NULL"),
        {"schema": "services"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("services.person.id"))
    template: Mapped[str]
    params: Mapped[Json]
    written_at: Mapped[datetime]
    read_at: Mapped[datetime | None]
    mailed_at: Mapped[datetime | None]
