"""The catalogue in the database: published once, never changed, newest first."""

from datetime import date

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.kernel import clock
from app.kernel.db import Database
from services import catalogue
from services.catalogue import Certainty


def test_what_the_product_brings_is_published_and_a_repeat_is_quiet(database: Database) -> None:
    for _ in range(2):
        with database.transaction() as session:
            catalogue.load(session, now=clock.now())
    with database.transaction() as session:
        assert [item.code for item in catalogue.items(session)] == ["citizen-card", "older-residents-allowance"]
        known = catalogue.calendar(session)
    assert known.day(date(2026, 10, 10)).works
    assert known.day(date(2026, 10, 1)).name_zh == "国庆节"
    assert known.day(date(2027, 2, 8)).certainty is Certainty.PREDICTED
    assert not known.day(date(2027, 2, 8)).works


def test_a_published_version_never_changes_and_a_newer_one_leaves_it_readable(database: Database) -> None:
    with database.transaction() as session:
        catalogue.load(session, now=clock.now())
        first = catalogue.item(session, "citizen-card")
    changed = first.model_copy(update={"promised_days": 4})
    with pytest.raises(catalogue.ItemChanged), database.transaction() as session:
        catalogue.publish(session, changed, now=clock.now())
    with database.transaction() as session:
        catalogue.publish(session, changed.model_copy(update={"version": 2}), now=clock.now())
    with database.transaction() as session:
        assert catalogue.item(session, "citizen-card").promised_days == 4
        assert catalogue.item(session, "citizen-card", 1).promised_days == 5
        assert len(catalogue.items(session)) == 2
    with pytest.raises(catalogue.NoSuchItem), database.transaction() as session:
        catalogue.item(session, "citizen-card", 3)


def test_the_application_cannot_edit_what_is_published(database: Database) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), database.transaction() as session:
        session.execute(text("UPDATE services.service_item SET version = 9"))
