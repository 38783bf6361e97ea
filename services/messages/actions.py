"""Writing, opening and mailing messages."""

from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, formataddr
from uuid import UUID

from sqlalchemy.orm import Session

from app.kernel import clock, ids, outbox
from app.kernel.db import Database, Json
from services import people
from services.messages import gateway, queries, rules
from services.messages.models import Message
from services.messages.queries import MessageView


def send(session: Session, *, person_id: UUID, template: str, params: Json, at: datetime) -> UUID:
    """Put a message into the person's inbox, and into the post where they have an e-mail address.

    ``template`` is a key of :data:`services.messages.TEMPLATES`; ``params`` fill its blanks (JSON values). An unknown template
    or a missing blank is a bug and fails here, not when somebody reads.
    """
    rules.fill(rules.TEMPLATES[template], params, language="en", translate=str)
    message_id = ids.new_id()
    session.add(Message(id=message_id, person_id=person_id, template=template, params=params, written_at=at))
    outbox.emit(session, "message.written", {"message_id": str(message_id)}, at=at)
    return message_id


def read(session: Session, *, message_id: UUID, person_id: UUID, language: str, now: datetime) -> MessageView:
    """Open a message; it counts as read from now on. Raises ``UnknownMessage``."""
    message = queries.one(session, message_id, person_id=person_id)
    if message.read_at is None:
        message.read_at = now
    return queries.view(message, language)


def mail(database: Database, payload: Json) -> None:
    """The courier of ``message.written``: by e-mail, where the city sends mail and the person has an address.

    The ``Message-ID`` is the message's own id, so that a mail sent twice after a crash is shown once. Raises
    ``MailUnavailable``.
    """
    room = gateway.mail_room(database)
    if room is None or not room.smtp_url:
        return
    message_id = UUID(payload["message_id"])
    with database.transaction() as session:
        message = session.get_one(Message, message_id)
        person = people.get(session, message.person_id)
        view = queries.view(message, person.language)
        if not person.email or message.mailed_at is not None:
            return
    letter = EmailMessage()
    letter["From"] = room.sender
    letter["To"] = formataddr((person.called(person.language), person.email))
    letter["Subject"] = view.subject
    letter["Date"] = format_datetime(view.written_at)
    letter["Message-ID"] = f"<{message_id}@{room.domain}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(f"{view.text}\n\n{view.action}: {room.public_url}{view.path}\n" if view.path else f"{view.text}\n")
    room.deliver(letter)
    with database.transaction() as session:
        session.get_one(Message, message_id).mailed_at = clock.now()
