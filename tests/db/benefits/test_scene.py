"""The demonstration's scene of health and social security is set once, however often it is arranged."""

from app.demo import cities
from app.demo.scene import benefits as pension_scene
from app.demo.scene import health as scene
from app.demo.scene import people
from app.kernel import clock
from app.kernel.db import Database
from card import benefits, health, ledger


def test_the_scene_is_arranged_once(database: Database) -> None:
    for _ in range(2):
        with database.transaction() as session:
            everybody = people.settle_in(session, cities.NANJING, now=clock.now())
            scene.arrange(session, city="320100", everybody=everybody, now=clock.now())
            pension_scene.arrange(session, city="320100", everybody=everybody, now=clock.now())
    with database.transaction() as session:
        run_id = benefits.prepare_run(session, month=pension_scene.NOVEMBER.replace(month=12), by="person:x", now=clock.now())
        found = benefits.run(session, run_id).totals
        assert (found.records, found.file_minor, found.held_minor, found.ended) == (3, 1_897_230, 410_200, 1)
        assert len(health.filings_of(session, everybody["zhou"])) == 1
        assert health.account_minor(session, ledger.chart.medical(everybody["zhou"])) == 300_000
