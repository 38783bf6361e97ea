"""A tariff in the making: versions, four eyes, what it changes, what it would have cost, and nothing before it is published."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import ProgrammingError

from app.kernel.db import Database
from app.kernel.errors import FourEyes, IllegalMove, Invalid
from card import fares, transit
from card.fares import FeedRefused
from card.transit import jobs, repricing
from card.transit.models import FeedImport, TariffDraftVersion, WhatIfPart
from tests.conftest import make_settings
from tests.gates import gate, minutes, phone, travelling

NOW = datetime(2026, 3, 2, 0, 0, tzinfo=UTC)  # 08:00 in Suzhou
METRO, BUS = "sz-metro", "sz-bus"


@pytest.fixture
def suzhou(database: Database, database_url: str, tmp_path: Path) -> Database:
    """Suzhou with its feed."""
    return travelling(database, database_url, tmp_path, code="320500", now=NOW)


def opened(database: Database, operator_id: str = METRO) -> UUID:
    with database.transaction() as session:
        return transit.open_draft(session, operator_id=operator_id, by="maker", now=NOW)


def saved(database: Database, draft_id: UUID, *, operator_id: str = METRO, by: str = "maker", **cells: str) -> int:
    """Save with other cells: ``file__row__column=text``."""
    with database.transaction() as session:
        found = transit.draft(session, draft_id, operator_id=operator_id)
        sheets = {file: [dict(row) for row in rows] for file, rows in found.sheets.items()}
        for place, text in cells.items():
            file, row, column = place.split("__")
            sheets[f"{file}.txt"][int(row)][column] = text
        return transit.save_draft(
            session,
            draft_id,
            operator_id=operator_id,
            version=found.view.version,
            sheets=sheets,
            note="cheaper",
            by=by,
            now=NOW,
        )


def submitted(database: Database, draft_id: UUID, operator_id: str = METRO) -> None:
    with database.transaction() as session:
        transit.submit_draft(session, draft_id, operator_id=operator_id, by="maker", now=NOW)


def published(
    database: Database, draft_id: UUID, *, by: str = "checker", operator_id: str = METRO, now: datetime = NOW
) -> None:
    with database.transaction() as session:
        transit.publish_draft(session, draft_id, operator_id=operator_id, by=by, now=now)


def test_a_draft_begins_as_the_version_in_force_under_a_name_of_its_own(suzhou: Database) -> None:
    draft_id = opened(suzhou)
    with suzhou.transaction() as session:
        found = transit.draft(session, draft_id, operator_id=METRO)
        assert (found.view.base_tariff, found.view.tariff_id) == ("sz-metro-2026", "sz-metro-20260401")
        assert found.view.effective_from == date(2026, 4, 1)
        assert {change.column for change in found.changes} == {"tariff_id", "effective_from"}
        with pytest.raises(transit.NoSuchDraft):
            transit.draft(session, draft_id, operator_id=BUS)


def test_every_save_is_a_version_and_what_changed_is_listed(suzhou: Database) -> None:
    draft_id = opened(suzhou)
    assert saved(suzhou, draft_id, distance_bands__0__step_amount="3.00", tariffs__0__max_fare="12.00") == 2
    assert saved(suzhou, draft_id) == 2, "nothing changed, nothing is saved"
    assert saved(suzhou, draft_id, concessions__0__payable_percent="90", by="second") == 3
    with suzhou.transaction() as session:
        found = transit.draft(session, draft_id, operator_id=METRO)
        told = {(one.file, one.row, one.column, one.before, one.after) for one in found.changes}
        assert told >= {
            ("distance_bands.txt", "6", "step_amount", "2.00", "3.00"),
            ("tariffs.txt", "", "max_fare", "10.00", "12.00"),
            ("concessions.txt", "local-card", "payable_percent", "95", "90"),
        }
        assert [(one.version, one.made_by) for one in found.versions] == [(3, "second"), (2, "maker"), (1, "maker")]
        earlier = transit.draft(session, draft_id, operator_id=METRO, version=2)
        assert earlier.sheets["concessions.txt"][0]["payable_percent"] == "95"
        with pytest.raises(transit.StaleDraft):
            transit.save_draft(
                session, draft_id, operator_id=METRO, version=2, sheets=found.sheets, note="", by="maker", now=NOW
            )


@pytest.mark.parametrize(
    ("cells", "place"),
    [
        ({"distance_bands__1__step_amount": "cheap"}, ("distance_bands.txt", 2, "step_amount")),
        ({"concessions__2__payable_percent": "101"}, ("concessions.txt", 3, "payable_percent")),
        ({"tariffs__0__max_fare": ""}, ("tariffs.txt", 1, "max_fare")),
        ({"distance_bands__1__up_to_km": "5"}, ("distance_bands.txt", 1, "up_to_km")),
        ({"cap_rules__0__window_minutes": "99999"}, ("cap_rules.txt", 1, "window_minutes")),
    ],
)
def test_rows_that_make_no_tariff_are_refused_at_their_place_and_nothing_is_saved(
    suzhou: Database, cells: dict[str, str], place: tuple[str, int, str]
) -> None:
    draft_id = opened(suzhou)
    with pytest.raises(FeedRefused) as refused:
        saved(suzhou, draft_id, **cells)
    problem = refused.value.problems[0]
    assert (problem.file, problem.line, problem.field) == place
    with suzhou.transaction() as session:
        assert transit.draft(session, draft_id, operator_id=METRO).view.version == 1


def test_who_made_any_version_does_not_publish_it(suzhou: Database) -> None:
    draft_id = opened(suzhou)
    saved(suzhou, draft_id, tariffs__0__max_fare="12.00", by="second")
    with pytest.raises(IllegalMove):
        published(suzhou, draft_id)
    submitted(suzhou, draft_id)
    with pytest.raises(IllegalMove):
        saved(suzhou, draft_id, tariffs__0__max_fare="13.00")
    for maker in ("maker", "second"):
        with pytest.raises(FourEyes):
            published(suzhou, draft_id, by=maker)
    with suzhou.transaction() as session, pytest.raises(Invalid):
        transit.send_back_draft(session, draft_id, operator_id=METRO, answer=" ", by="checker", now=NOW)
    with suzhou.transaction() as session:
        transit.send_back_draft(session, draft_id, operator_id=METRO, answer="Too dear.", by="checker", now=NOW)
    saved(suzhou, draft_id, tariffs__0__max_fare="11.00")
    submitted(suzhou, draft_id)
    published(suzhou, draft_id)
    with pytest.raises(IllegalMove):
        published(suzhou, draft_id)


def test_a_published_draft_is_in_force_from_its_first_day_and_the_export_gives_all_of_it_back(suzhou: Database) -> None:
    with suzhou.transaction() as session:
        before = transit.export_feed(session, "320500").files
    draft_id = opened(suzhou)
    saved(suzhou, draft_id, distance_bands__0__step_amount="3.00", tariffs__0__join_minutes="20")
    submitted(suzhou, draft_id)
    published(suzhou, draft_id)
    with suzhou.transaction() as session:
        tariffs = transit.tariffs_of(session, [METRO, BUS])
        assert tariffs.at(METRO, date(2026, 3, 31)).id == "sz-metro-2026"
        assert tariffs.at(METRO, date(2026, 4, 1)).distance_fare("sz-mudu", "sz-nanshijie")[1] == 700
        assert tariffs.at(METRO, date(2026, 4, 1)).join_minutes == 20
        after = transit.export_feed(session, "320500").files
        assert {name for name in after if after[name] != before.get(name)} <= set(fares.OURS)
        assert after["distance_bands.txt"].startswith(before["distance_bands.txt"])
        assert b"sz-bus-2026" in after["tariffs.txt"]


def test_a_bus_changes_its_product_and_the_version_in_force_keeps_its_own(suzhou: Database) -> None:
    draft_id = opened(suzhou, BUS)
    with suzhou.transaction() as session:
        found = transit.draft(session, draft_id, operator_id=BUS)
        products = fares.shared_sheet(found.feed, "fare_products.txt")
        products[0]["amount"] = "3.00"
        transit.save_draft(
            session,
            draft_id,
            operator_id=BUS,
            version=1,
            sheets={**found.sheets, "fare_products.txt": products},
            note="",
            by="maker",
            now=NOW,
        )
        changes = transit.draft(session, draft_id, operator_id=BUS).changes
        assert ("amount", "2.00", "3.00") in {(one.column, one.before, one.after) for one in changes}
    submitted(suzhou, draft_id, BUS)
    published(suzhou, draft_id, operator_id=BUS)
    with suzhou.transaction() as session:
        tariffs = transit.tariffs_of(session, [BUS])
    ride = [fares.Tap(key="1", at=NOW, kind="ride", operator=BUS, stop_id="sz-bus-nanmen", line="sz-bus-you1")]
    later = [fares.Tap(key="1", at=NOW + timedelta(days=40), kind="ride", operator=BUS, stop_id="", line="sz-bus-you1")]
    rider = fares.Rider(issuer="320100")
    assert [fares.charge(taps, tariffs, rider).total_minor for taps in (ride, later)] == [200, 300]


@pytest.mark.parametrize("begins", ["20260302", "20260101"])
def test_new_fares_begin_tomorrow_at_the_earliest(suzhou: Database, begins: str) -> None:
    draft_id = opened(suzhou)
    saved(suzhou, draft_id, tariffs__0__effective_from=begins)
    with pytest.raises(transit.TariffBeginsTooEarly):
        submitted(suzhou, draft_id)
    saved(suzhou, draft_id, tariffs__0__effective_from="20260303")
    submitted(suzhou, draft_id)
    with pytest.raises(transit.TariffBeginsTooEarly):
        published(suzhou, draft_id, now=NOW + timedelta(days=1))
    published(suzhou, draft_id)


def test_a_name_that_was_used_and_a_draft_given_up_stay_as_they_are(suzhou: Database) -> None:
    draft_id = opened(suzhou)
    with pytest.raises(Invalid):
        saved(suzhou, draft_id, tariffs__0__tariff_id="sz-metro-2026")
    with suzhou.transaction() as session:
        transit.withdraw_draft(session, draft_id, operator_id=METRO, by="maker", now=NOW)
    with pytest.raises(IllegalMove):
        saved(suzhou, draft_id, tariffs__0__max_fare="9.00")
    with suzhou.transaction() as session, pytest.raises(ProgrammingError, match="permission denied"):
        session.execute(update(TariffDraftVersion).values(note="other"))


def travelled(database: Database, riders: int) -> None:
    with database.transaction() as session:
        a, b = (gate(session, METRO, stop=stop, now=NOW) for stop in ("sz-mudu", "sz-nanshijie"))
        for one in [phone(session, now=NOW, money_minor=10_000) for _ in range(riders)]:
            a.send(session, [a.tap(one, "entry", NOW)], now=NOW)
            b.send(session, [b.tap(one, "exit", NOW + minutes(40))], now=NOW + minutes(41))


def test_a_what_if_is_priced_part_by_part_and_goes_on_where_it_was_left(
    suzhou: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repricing, "PART_CARDS", 2)
    travelled(suzhou, 5)
    draft_id = opened(suzhou)
    saved(suzhou, draft_id, concessions__0__payable_percent="90")
    with suzhou.transaction() as session:
        ask = {"operator_id": METRO, "by": "maker", "now": NOW}
        with pytest.raises(Invalid):
            transit.ask_what_if(session, draft_id, first=NOW.date(), last=date(2026, 3, 1), **ask)
        run_id = transit.ask_what_if(session, draft_id, first=NOW.date(), last=NOW.date(), **ask)
    with suzhou.transaction() as session:
        made = transit.begin_run(session, run_id, now=NOW)
        imports = session.scalar(select(func.count()).select_from(FeedImport))
    transit.price_one_part(suzhou, run_id, made, 1, now=NOW)
    transit.price_one_part(suzhou, run_id, made, 1, now=NOW)  # a process that was killed did it already
    with suzhou.transaction() as session:
        view = transit.what_if_run(session, run_id, operator_id=METRO)
        assert (view.state, view.parts, view.done, view.cards, view.taps) == (transit.RunState.RUNNING, 3, 1, 5, 4)
    jobs.price_what_ifs(suzhou, make_settings(database_url, tmp_path, city_code="320500"))
    with suzhou.transaction() as session:
        view = transit.what_if_run(session, run_id, operator_id=METRO)
        assert (view.state, view.done, view.taps) == (transit.RunState.DONE, 3, 10)
        group = view.found.groups["local-card"]
        assert (group.cards, group.journeys, group.now_minor, group.draft_minor) == (5, 5, 2850, 2700)
        assert (group.cheaper, group.dearer) == (5, 0)
        assert session.scalar(select(func.count()).select_from(WhatIfPart)) == 3
        assert session.scalar(select(func.count()).select_from(FeedImport)) == imports, "nothing was published"
        with pytest.raises(transit.NoSuchDraft):
            transit.what_if_run(session, run_id, operator_id=BUS)


def test_processes_of_their_own_find_the_same(suzhou: Database, database_url: str) -> None:
    travelled(suzhou, 3)
    draft_id = opened(suzhou)
    saved(suzhou, draft_id, distance_bands__0__step_amount="3.00")
    with suzhou.transaction() as session:
        contents = transit.draft(session, draft_id, operator_id=METRO)
        drafted = transit.tariff_of(contents.feed, contents.sheets, city="320500")
        alone = transit.what_if(session, drafted=drafted, first=NOW.date(), last=NOW.date())
        made = repricing.plan(session, drafted=drafted, first=NOW.date(), last=NOW.date())
        ends, _ = repricing.bounds(session, operator_id=METRO, first=NOW.date(), last=NOW.date())
    together = transit.WhatIf(operator_id=METRO, first=NOW.date(), last=NOW.date())
    for _, groups, _ in repricing.each_part(made, ends, range(len(ends)), url=database_url, processes=1):
        together.count(groups)
    assert together == alone
    assert (alone.total.now_minor, alone.total.draft_minor) == (1710, 1995)
