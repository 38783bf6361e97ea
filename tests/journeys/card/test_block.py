"""A resident blocks a card on the portal; a gate that polls refuses it from its next poll on. All over HTTP."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

from app import wiring
from app.kernel import clock, outbox
from app.web.auth import Role
from card import cards, transit
from card.credentials import Reason
from card.validator import Terminal
from tests.gates import import_feed
from tests.journeys.conftest import City
from tests.signing_in import new_person


def test_a_block_on_the_portal_reaches_a_polling_gate_with_the_next_poll(serve: Callable[..., City], tmp_path: Path) -> None:
    city = serve()
    city.app.config.update(WTF_CSRF_ENABLED=False)
    resident = new_person(city.database, Role.RESIDENT)
    now = clock.now()
    with city.database.transaction() as session:
        import_feed(session, "320100", now=now)
        card = cards.issue(session, holder_id=resident, now=now)
        token = transit.create_enrolment(
            session, operator_id="nj-metro", stop_id="nj-gulou", mode="both", by="person:test", now=now
        ).token
    gate = Terminal(tmp_path / "gate")
    gate.enrol(city.url, token)
    first = gate.sync()

    def code() -> str:
        with city.database.transaction() as session:
            return cards.show_code(session, card_id=card.id, now=clock.now()).text

    assert gate.decide(code()).reason is None
    shown = code()  # made before the block: a photograph of it must not work either
    cookie = city.cookie_of(resident)
    form = urlencode({"reason": "stolen"}).encode()
    headers = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    opener = build_opener(HTTPRedirectHandler())
    with opener.open(Request(f"{city.url}/me/card/{card.id}/block", data=form, headers=headers)) as answer:
        assert answer.status == 200
    with city.database.transaction() as session:
        assert cards.get(session, card.id).status is cards.Status.BLOCKED
    while outbox.deliver_one(city.database, wiring.HANDLERS, wiring.COURIERS, now=clock.now()):
        pass  # what the worker does within the second
    then = gate.sync()
    assert then.list_seq == first.list_seq + 1
    assert gate.decide(shown).reason is Reason.CARD_BLOCKED
    assert gate.upload().stored == 2
    gate.close()
