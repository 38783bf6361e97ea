"""The hub's registry: who may come back with which keys."""

from pathlib import Path

import pytest

from app.factory import create_app
from app.kernel import clock
from app.kernel.db import Database
from app.kernel.signing import Purpose
from card import partners
from tests.conftest import make_settings


def test_a_city_that_lost_its_key_comes_back_only_after_the_hub_withdrew_it(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    hub = make_settings(database_url, tmp_path / "hub", city_code="320000", public_url="http://localhost:8000")
    create_app(hub, database=database)
    city = make_settings(database_url, tmp_path / "city", hub_url="http://localhost:8000")
    now = clock.now()

    def ask() -> partners.State:
        with database.transaction() as session:
            configuration = partners.own_configuration(partners.of_settings(city), now=now)
            return partners.request_join(session, configuration=configuration, now=now)

    assert ask() is partners.State.REQUESTED
    with database.transaction() as session:
        partners.admit(session, code="320100", by="person:hub", now=now)
    assert ask() is partners.State.ADMITTED

    (city.keys_dir / f"{Purpose.FEDERATION}.pem").unlink()  # a new one is made at the next use
    with pytest.raises(partners.CodeTaken):
        ask()
    with database.transaction() as session:
        partners.withdraw(session, code="320100", by="person:hub", now=now)
    assert ask() is partners.State.REQUESTED, "a person at the hub compares the new key before admitting it"
