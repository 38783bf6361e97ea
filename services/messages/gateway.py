"""The way out: SMTP (RFC 5321)."""

import smtplib
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formataddr
from typing import Final
from urllib.parse import urlsplit

from app.kernel.db import Database
from app.kernel.errors import Unavailable, msg
from app.kernel.settings import Settings

INFO: Final = "mail"
TIMEOUT_SECONDS: Final = 10


class MailUnavailable(Unavailable):
    """The mail server does not take the message now; the outbox tries again."""

    code = "mail-unavailable"
    sentence = msg("The mail server does not answer.")


@dataclass(frozen=True, kw_only=True)
class MailRoom:
    """Where mail goes and who it is from. An empty ``smtp_url`` keeps messages in the inbox only."""

    smtp_url: str
    public_url: str
    city_name_en: str
    city_name_zh: str

    @property
    def domain(self) -> str:
        """The domain that messages come from."""
        return urlsplit(self.public_url).hostname or "localhost"

    @property
    def sender(self) -> str:
        """The address that messages come from."""
        return formataddr((f"{self.city_name_zh} {self.city_name_en}", f"noreply@{self.domain}"))

    def deliver(self, mail: EmailMessage) -> None:
        """Hand ``mail`` to the server. Raises :class:`MailUnavailable`."""
        server = urlsplit(self.smtp_url)
        kind = smtplib.SMTP_SSL if server.scheme == "smtps" else smtplib.SMTP
        try:
            with kind(server.hostname or "localhost", server.port or 25, timeout=TIMEOUT_SECONDS) as connection:
                if server.username:
                    connection.starttls()
                    connection.login(server.username, server.password or "")
                connection.send_message(mail)
        except (smtplib.SMTPException, OSError) as error:
            raise MailUnavailable(str(error)) from error


def equip(database: Database, settings: Settings) -> None:
    """Let every session of ``database`` know where mail goes."""
    database.info[INFO] = MailRoom(
        smtp_url=settings.smtp_url,
        public_url=settings.public_url,
        city_name_en=settings.city_name_en,
        city_name_zh=settings.city_name_zh,
    )


def mail_room(database: Database) -> MailRoom | None:
    """Where this database's mail goes, or none where it was never told."""
    found = database.info.get(INFO)
    return found if isinstance(found, MailRoom) else None
