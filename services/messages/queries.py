"""Reading messages."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.web import i18n
from services.messages import rules
from services.messages.models import Message


@dataclass(frozen=True, kw_only=True)
class MessageView:
    """A message in its reader's language."""

    id: UUID
    subject: str
    text: str
    path: str
    action: str
    written_at: datetime
    read_at: datetime | None


def view(message: Message, language: str) -> MessageView:
    """The message as somebody who reads ``language`` sees it."""
    text = rules.fill(
        rules.TEMPLATES[message.template],
        message.params,
        language=language,
        translate=lambda sentence: i18n.in_language(language, sentence),
    )
    return MessageView(
        id=message.id,
        subject=text.subject,
        text=text.text,
        path=text.path,
        action=text.action,
        written_at=message.written_at,
        read_at=message.read_at,
    )


def inbox(
    session: Session, person_id: UUID, *, language: str, before: UUID | None = None, limit: int = 20
) -> list[MessageView]:
    """The person's messages, newest first, ``limit`` of those older than ``before``."""
    found = select(Message).where(Message.person_id == person_id)
    if before is not None:
        found = found.where(Message.id < before)
    return [view(message, language) for message in session.scalars(found.order_by(Message.id.desc()).limit(limit))]


def unread_count(session: Session, person_id: UUID) -> int:
    """How many messages the person has not opened."""
    return session.scalar(select(func.count()).where(Message.person_id == person_id, Message.read_at.is_(None))) or 0


def one(session: Session, message_id: UUID, *, person_id: UUID) -> Message:
    """The message's row where it is this person's. Raises ``UnknownMessage``."""
    found = session.get(Message, message_id)
    if found is None or found.person_id != person_id:
        raise rules.UnknownMessage
    return found
