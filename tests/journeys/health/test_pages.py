"""The pages of health and social security in a real browser: axe, both sizes, both languages, pictures."""

from collections.abc import Callable
from datetime import date, datetime
from uuid import UUID, uuid4

import pytest
from playwright.sync_api import Page

from app.demo.scene import benefits as pension_scene
from app.demo.scene import health as scene
from app.kernel import clock
from app.web.auth import Role
from card import benefits, cards, health
from tests.journeys.conftest import City, assert_accessible, picture
from tests.signing_in import resident

pytestmark = pytest.mark.browser


@pytest.fixture
def insured(city: City) -> tuple[UUID, str, UUID]:
    """Somebody with a settled bill and a pension that has been paid once; their card and the bill."""
    database, now = city.database, clock.now()
    holder_id = resident(database, born=date(1966, 11, 2))
    paid_at = datetime(2026, 12, 1, 1, tzinfo=clock.SHANGHAI)
    with database.transaction() as session:
        scene.hospital_of(session, "320100", now=now)
        card = cards.issue(session, holder_id=holder_id, kind=cards.Kind.PHONE, now=now)
        scene.worked_claimant(session, holder_id=holder_id, now=now)
        claim_id = health.register(
            session, hospital_id="nj-first", card_number=card.number, admitted_on=date(2026, 11, 10), by="person:desk", now=now
        )
        health.set_lines(session, claim_id=claim_id, lines=scene.worked_lines())
        pension_scene.endow_funds(session, now=now)
        people = {"A": holder_id} | {letter: uuid4() for letter in "BCDE"}
        pension_scene.worked_run(session, holders=people, birth_of_a=date(1966, 11, 2), now=paid_at)
        run_id = benefits.prepare_run(session, month=date(2026, 12, 1), by="person:a", now=paid_at)
        benefits.approve_run(session, run_id=run_id, by="person:b", now=paid_at)
        benefits.send_run(session, run_id=run_id, by="person:a", now=paid_at)
    health.pre_settle(database, claim_id=claim_id, now=now)
    health.settle(database, claim_id=claim_id, by="person:desk", now=now)
    return holder_id, card.number, claim_id


@pytest.mark.parametrize(("size", "language"), [("phone", "zh"), ("desktop", "en")])
def test_every_page_of_health_and_social_security_is_accessible(
    visit: Callable[..., Page], city: City, insured: tuple[UUID, str, UUID], size: str, language: str
) -> None:
    holder_id, number, claim_id = insured
    page = visit(size=size, language=language, person_id=holder_id)
    for address in ("/me/health", f"/me/health/claims/{claim_id}", "/me/benefits"):
        page.goto(address)
        assert_accessible(page)
        picture(page, f"{address.replace(str(claim_id), '')}-{size}-{language}")

    desk = visit(size=size, language=language, role=Role.HOSPITAL, organisation="nj-first")
    desk.goto("/hospital")
    assert_accessible(desk)
    picture(desk, f"hospital-{size}-{language}")
    desk.fill("#card_number", number)
    desk.click("main form button[type=submit]")
    assert_accessible(desk)
    picture(desk, f"hospital-claim-open-{size}-{language}")
    desk.click("main form[action$=bill] button[type=submit]")
    assert_accessible(desk)
    picture(desk, f"hospital-claim-pre-settled-{size}-{language}")
    desk.click("main form[action$=settle] button[type=submit]")
    desk.wait_for_selector(".care-due")
    assert_accessible(desk)
    picture(desk, f"hospital-claim-settled-{size}-{language}")

    office = visit(size=size, language=language, role=Role.SUPERVISOR)
    office.goto("/staff/payment-runs")
    assert_accessible(office)
    picture(office, f"payment-runs-{size}-{language}")
    office.click("main table a")
    assert_accessible(office)
    picture(office, f"payment-run-{size}-{language}")
    office.goto("/staff/filings")
    assert_accessible(office)
    picture(office, f"filings-{size}-{language}")
