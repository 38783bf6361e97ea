"""The gate program against running cities: a Nanjing card at a Suzhou gate, with the network off in between."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.kernel import clock
from app.kernel.ids import new_id
from card import cards, transit
from card.transit import jobs
from tests.cities import Running, federate, running
from tests.gates import books_are_right, import_feed, top_up

HUB, NANJING, SUZHOU = "320000", "320100", "320500"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def cities(server_url: str, template: str, worker_id: str, tmp_path: Path) -> Iterator[dict[str, Running]]:
    with running(
        (HUB, NANJING, SUZHOU), server_url=server_url, template=template, worker_id=worker_id, folder=tmp_path
    ) as made:
        federate(made)
        yield made


class Gate:
    """One terminal, driven by its own command line only."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *words: str, said: str = "") -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "card.validator", *words, "--json", "--home", str(self.home)],
            cwd=ROOT,
            input=said,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def enrolled(city: Running, home: Path, *, stop: str, mode: str) -> Gate:
    """A gate of Suzhou's metro with a fresh token."""
    with city.database.transaction() as session:
        token = transit.create_enrolment(
            session, operator_id="sz-metro", stop_id=stop, mode=mode, by="person:test", now=clock.now()
        ).token
    gate = Gate(home)
    (found,) = gate.run("enrol", "--server", city.url, "--token", token)
    assert (found["city"], found["stop_id"]) == (SUZHOU, stop)
    return gate


def test_a_nanjing_card_opens_a_suzhou_gate_until_nanjing_blocks_it(cities: dict[str, Running], tmp_path: Path) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    holder = new_id()
    with nanjing.database.transaction() as session:
        card = cards.issue(session, holder_id=holder, now=clock.now())
        top_up(session, holder, 5000, now=clock.now())
    with suzhou.database.transaction() as session:
        import_feed(session, SUZHOU, now=clock.now())

    def code() -> str:
        with nanjing.database.transaction() as session:
            return cards.show_code(session, card_id=card.id, now=clock.now()).text

    entry = enrolled(suzhou, tmp_path / "entry", stop="sz-mudu", mode="entry")
    exit_ = enrolled(suzhou, tmp_path / "exit", stop="sz-nanshijie", mode="exit")
    first = code()
    came_in, again = entry.run("decide", said=f"{first}\n{first}\n")
    assert (came_in["decision"], came_in["kind"], came_in["issuer"]) == ("accepted", "entry", NANJING)
    assert again["reason"] == "replayed"
    (went_out,) = exit_.run("decide", said=code() + "\n")
    assert (went_out["decision"], went_out["kind"]) == ("accepted", "exit")

    # The exit uploads first, and the entry twice over: the journey is priced once.
    assert exit_.run("upload")[0]["stored"] == 1
    assert entry.run("upload")[0] == {"stored": 2, "repeated": 0, "refused": 0, "waiting": 0}
    with suzhou.database.transaction() as session:
        (journey,) = transit.journeys_of_operator(session, "sz-metro")
        assert (journey.charged_minor, journey.card_number) == (600, card.number)

    blocked_code = code()
    with nanjing.database.transaction() as session:
        cards.block(session, card_id=card.id, reason="lost", by="person:test", now=clock.now())
        cards.publish_deny_list(session, now=clock.now())
    assert entry.run("inspect", said=blocked_code + "\n")[0]["valid"] is True  # it has not heard yet
    jobs.fetch_partner_lists(suzhou.database, suzhou.settings)
    entry.run("sync")
    assert entry.run("decide", said=blocked_code + "\n")[0]["reason"] == "card-blocked"
    (state,) = entry.run("status")
    assert (state["chain_holds"], state["staleness"], state["mode"]) == (True, "fresh", "entry")
    assert abs(state["skew_ms"]) < 2000
    assert books_are_right(suzhou.database)
    assert books_are_right(nanjing.database)
