"""Messages: in the reader's language, in the inbox, and by e-mail to a mail server that really listens."""

from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest
from aiosmtpd.controller import Controller

from app import wiring
from app.kernel import clock, outbox
from app.kernel.db import Database
from services import messages
from tests.cities import free_port
from tests.conftest import make_settings
from tests.signing_in import resident

AT = datetime(2026, 11, 22, 16, 30, tzinfo=UTC)  # 00:30 on the 23rd in Shanghai
PARAMS = {"amount_minor": 123456, "settled_at": AT.isoformat()}


@pytest.mark.parametrize(
    ("language", "subject", "text"),
    [
        (
            "en",
            "¥1,234.56 is on your card",
            "Your top-up of ¥1,234.56 arrived on 23 November 2026. You can use it at once.",
        ),
        ("zh_Hans_CN", "¥1,234.56 已到卡", "您充值的 ¥1,234.56 已于2026年11月23日到账，可以立即使用。"),
    ],
)
def test_a_message_is_read_in_the_readers_language(database: Database, language: str, subject: str, text: str) -> None:
    person_id = resident(database)
    with database.transaction() as session:
        messages.send(session, person_id=person_id, template="top-up-received", params=PARAMS, at=AT)
    with database.transaction() as session:
        (message,) = messages.inbox(session, person_id, language=language)
    assert (message.subject, message.text, message.path) == (subject, text, "/me/card")


def test_a_message_counts_as_read_once_opened_and_is_nobody_elses(database: Database) -> None:
    mine, other = resident(database), resident(database)
    with database.transaction() as session:
        first = messages.send(session, person_id=mine, template="top-up-received", params=PARAMS, at=AT)
        messages.send(session, person_id=mine, template="welcome", params={}, at=AT)
    with database.transaction() as session:
        assert messages.unread_count(session, mine) == 2
        with pytest.raises(messages.UnknownMessage):
            messages.read(session, message_id=first, person_id=other, language="en", now=AT)
        assert messages.read(session, message_id=first, person_id=mine, language="en", now=AT).read_at == AT
        assert messages.unread_count(session, mine) == 1
        newest, oldest = messages.inbox(session, mine, language="en")
        assert messages.inbox(session, mine, language="en", before=newest.id) == [oldest]


@pytest.mark.parametrize(("wanted", "params"), [("no-such", {}), ("top-up-received", {"amount_minor": 1})])
def test_a_message_with_a_blank_left_open_fails_where_it_is_written(
    database: Database, wanted: str, params: dict[str, object]
) -> None:
    person_id = resident(database)
    with database.transaction() as session, pytest.raises(KeyError):
        messages.send(session, person_id=person_id, template=wanted, params=params, at=AT)


class Sink:
    """A mail server's memory."""

    def __init__(self) -> None:
        self.letters = []

    async def handle_DATA(self, _server, _session, envelope) -> str:  # noqa: N802  aiosmtpd's name
        self.letters.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 OK"


def deliver(database: Database, *, now: datetime) -> bool:
    return outbox.deliver_one(database, wiring.HANDLERS, wiring.COURIERS, now=now)


def test_a_message_goes_by_mail_once_and_waits_while_the_server_is_down(database: Database, tmp_path) -> None:
    port = free_port()
    messages.equip(database, make_settings("postgresql://unused", tmp_path, smtp_url=f"smtp://127.0.0.1:{port}"))
    person_id = resident(database, email="lin@demo.example", language="en")
    resident_without_address = resident(database)
    now = clock.now()
    with database.transaction() as session:
        written = messages.send(session, person_id=person_id, template="top-up-received", params=PARAMS, at=now)
        messages.send(session, person_id=resident_without_address, template="welcome", params={}, at=now)
    assert deliver(database, now=now), "nobody listens yet"
    assert deliver(database, now=now), "no address, nothing to do"
    assert not deliver(database, now=now), "the first waits"

    sink = Sink()
    server = Controller(sink, hostname="127.0.0.1", port=port)
    server.start()
    try:
        later = now.replace(year=now.year + 1)
        assert deliver(database, now=later)
        assert not deliver(database, now=later)
        messages.mail(database, {"message_id": str(written)})  # a courier may run twice after a crash
    finally:
        server.stop()
    ((recipients, letter),) = sink.letters
    assert recipients == ["lin@demo.example"]
    assert letter["Subject"] == "¥1,234.56 is on your card"
    assert letter["Message-ID"].startswith(f"<{written}@")
    assert "See the card: http://localhost:8001/me/card" in letter.get_content()
