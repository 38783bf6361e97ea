"""Who saw my data: written with the look-up, and never unwritten."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.kernel import clock
from app.kernel.db import Database
from services import people, registries
from services.registries import Purpose
from tests.signing_in import resident


def test_a_look_up_and_its_line_are_one_transaction(database: Database) -> None:
    lin = resident(database)
    now = clock.now()
    with database.transaction() as session:
        number = people.identity_number(session, lin)
    with pytest.raises(registries.PurposeMissing), database.transaction() as session:  # noqa: PT012  what fails is the second
        look_up(session, number, now)
        look_up(session, number, now, purpose="")
    with database.transaction() as session:
        assert registries.accesses_of(session, lin) == []
        look_up(session, number, now)
        look_up(session, number, now + timedelta(minutes=1))
    with database.transaction() as session:
        newest, oldest = registries.accesses_of(session, lin)
        assert registries.accesses_of(session, lin, before=newest.id) == [oldest]
        assert (oldest.at, oldest.office, oldest.purpose, oldest.reference) == (now, "Officer", Purpose.CARD_SERVICE, "card 7")
        assert oldest.facts == registries.BASIC_FACTS


def look_up(session, number, now, purpose="card-service") -> None:
    registries.look_up(
        session,
        number=number,
        seen_by="person:1",
        office="Officer",
        purpose=purpose,
        reference="  card  7 ",
        now=now,
    )


@pytest.mark.parametrize("statement", ["UPDATE services.data_access SET office = ''", "DELETE FROM services.data_access"])
def test_the_application_cannot_change_a_line(database: Database, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), database.transaction() as session:
        session.execute(text(statement))
