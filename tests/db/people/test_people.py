"""People in the database: found by their number, unreadable in a dump."""

from datetime import date

import pytest
from sqlalchemy import text

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.errors import Invalid
from app.kernel.sealing import Sealer, Tampered
from app.web.auth import Role
from services import people
from tests.signing_in import resident

BORN = date(1958, 3, 15)


def register(database: Database, number: str, username: str | None = None) -> None:
    with database.transaction() as session:
        people.register(
            session,
            name="演示·林小满",
            identity_number=people.parse_identity_number(number, demonstration=True),
            username=username,
            now=clock.now(),
        )


def test_a_resident_is_found_by_the_number_as_typed(database: Database) -> None:
    number = people.demonstration_number(BORN, 1)
    register(database, number)
    with database.transaction() as session:
        found = people.find_by_identity_number(session, f" {number[:6]} {number[6:]} ")
        assert (found.name, found.birth_date, found.roles) == ("演示·林小满", BORN, frozenset({Role.RESIDENT}))
        assert found.identity_masked == f"990000**********{number[-2:]}"
        assert people.identity_number(session, found.id) == number
        with pytest.raises(people.UnknownPerson):
            people.find_by_identity_number(session, people.demonstration_number(BORN, 2))


def test_one_number_is_one_person_and_one_user_name_too(database: Database) -> None:
    number = people.demonstration_number(BORN, 1)
    register(database, number, "lin")
    with pytest.raises(people.AlreadyRegistered):
        register(database, number)
    with pytest.raises(people.UsernameTaken):
        register(database, people.demonstration_number(BORN, 2), "LIN")


def test_a_dump_does_not_show_a_number(database: Database) -> None:
    number = people.demonstration_number(BORN, 1)
    register(database, number)
    with database.transaction() as session:
        dump = session.execute(text("SELECT person::text FROM services.person")).scalar_one()
    assert number not in dump
    assert number.encode().hex() not in dump


def test_a_sealed_field_opens_only_where_it_was_sealed() -> None:
    sealer = Sealer(b"k" * 32)
    sealed = sealer.seal("990000", context="row 1")
    assert sealer.open(sealed, context="row 1") == "990000"
    for wrong, context in (
        (sealed, "row 2"),
        (sealed[:-1] + bytes([sealed[-1] ^ 1]), "row 1"),
        (b"\x02" + sealed[1:], "row 1"),
    ):
        with pytest.raises(Tampered):
            sealer.open(wrong, context=context)
    with pytest.raises(Tampered):
        Sealer(b"j" * 32).open(sealed, context="row 1")
    assert sealer.index("a", purpose="x") != sealer.index("a", purpose="y")


@pytest.mark.parametrize(
    ("username", "password", "field"),
    [
        ("ab", "long enough words", "username"),
        ("a b c", "long enough words", "username"),
        ("officer", "short", "password"),
        ("officer", "aaaaaaaaaaaa", "password"),
        ("officer.chen", "Officer.Chen", "password"),
    ],
)
def test_a_weak_password_or_an_odd_name_is_refused_by_field(
    database: Database, username: str, password: str, field: str
) -> None:
    with database.transaction() as session, pytest.raises(Invalid) as refused:
        people.create_staff(session, username=username, name="演示·陈", password=password, role=Role.OFFICER, now=clock.now())
    assert list(refused.value.fields) == [field]


def test_a_session_key_dies_with_its_stamp(database: Database) -> None:
    person_id = resident(database)
    with database.transaction() as session:
        key = people.session_key(session, person_id)
        found = people.from_session_key(session, key)
        assert found is not None
        assert found.person_id == person_id
        assert found.name == "演示·林小满"
        latin = people.from_session_key(session, key, latin=True)
        assert latin is not None
        assert latin.name == "Demo Lin Xiaoman"
        for wrong in ("", "x:y", f"{person_id}:{person_id}", key + ":1"):
            assert people.from_session_key(session, wrong) is None


def test_names_are_searched_by_their_beginning_and_wildcards_are_letters(database: Database) -> None:
    resident(database, name="演示·林小满")
    resident(database, name="演示·王大海", name_latin="Demo Wang Dahai")
    with database.transaction() as session:
        assert [p.name for p in people.search_by_name(session, "demo w")] == ["演示·王大海"]
        assert len(people.search_by_name(session, "演示")) == 2
        assert people.search_by_name(session, "%") == []
