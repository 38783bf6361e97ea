"""A small fleet over HTTP: dead networks, wrong clocks, repeats, restarts and power cuts, and every tap in the ledger once."""

from pathlib import Path

from app.demo.fleet import Size, planned
from app.demo.fleet.play import Place, line, play, report
from app.factory import create_app
from app.kernel import clock
from app.kernel.db import Database
from tests.cities import free_port, serve
from tests.conftest import make_settings
from tests.gates import import_feed


def test_every_tap_of_a_fleet_is_in_the_ledger_once_at_the_oracles_price(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    app = create_app(make_settings(database_url, tmp_path), database=database)
    app.config.update(RATELIMIT_ENABLED=False)
    with database.transaction() as session:
        import_feed(session, "320100", now=clock.now())
    port = free_port()
    size = Size(gates=20, riders=24, waves=3, crews=2, foreign=False)
    with serve(app, port):
        place = Place(server=f"http://localhost:{port}", database=database, abroad=None, folder=tmp_path / "fleet")
        found = play(planned(4, size, stops=tuple(line())), place, print)
    assert found.right, report(found, 0)
    assert found.kills > 0
    assert found.accepted > 0.5 * size.riders * size.waves
    assert found.total_minor == found.oracle_minor > 0
