"""For real: pcscd, a virtual reader, the card at the other end of it, and the gate's own program."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from flask import Flask
from werkzeug.serving import make_server

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.ids import new_id
from card import cards, transit
from card.chip import CardGone, FileMemory, KeyUse, Memory, NoReader, PowerLost, Reader, readers
from card.credentials import Decision, Reason
from card.validator import Outcome, Terminal
from card.validator.contactless import Contactless
from tests.build import reader as build
from tests.db.validator.small_city import SmallCity, serving
from tests.db.validator.test_contactless import Chip, accepted, enrolled
from tests.gates import books_are_right, import_feed, purse, top_up
from tests.unit.chip.cards import MASTER
from tests.virtual_reader import Slot, daemon

ROOT = Path(__file__).parents[3]
COMMANDS = 7


@pytest.fixture(scope="module")
def slots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Slot, Slot]]:
    lacking = build.missing()
    if lacking:
        assert not os.environ.get("CI"), f"CI has {lacking}"
        pytest.skip(f"left out: {', '.join(lacking)} is not here")
    with daemon(tmp_path_factory.mktemp("pcscd")) as made:
        yield made
    with pytest.raises(NoReader):
        readers()


@pytest.fixture
def slot(slots: tuple[Slot, Slot]) -> Slot:
    """The first of the two."""
    return slots[0]


@pytest.fixture
def city() -> Iterator[SmallCity]:
    made = SmallCity(tokens={"one"})
    with serving(made):
        yield made


@pytest.fixture
def gate(city: SmallCity, tmp_path: Path) -> Iterator[Terminal]:
    yield from enrolled(city, tmp_path / "gate", "one")


def torn_at(place: int) -> Callable[[bytes], None]:
    """Takes the card away at the ``place``-th command, or at its answer."""
    seen = [0]

    def check(_: bytes) -> None:
        seen[0] += 1
        if seen[0] > place:
            raise PowerLost

    return check


def hold(slot: Slot, reader: Reader, memory: Memory, **torn: Callable[[bytes], None]) -> None:
    """Take away what is there, and hold this card to the reader."""
    slot.put(memory, **torn)
    assert reader.wait(timeout_s=10)


def tap(reader: Reader, contactless: Contactless) -> Outcome | None:
    """One presentation, as the program does it; none where the card left too early."""
    try:
        with reader.field() as field:
            return contactless.tap(field.transmit)
    except CardGone:
        return None


def test_a_card_torn_out_of_a_real_readers_field_at_every_command_makes_one_tap(
    slots: tuple[Slot, Slot], city: SmallCity, gate: Terminal
) -> None:
    """Torn at one slot of the reader, held again at the other."""
    contactless = Contactless(gate, {"320100": MASTER})
    with Reader("Virtual PCD 00 00") as here, Reader("Virtual PCD 00 01") as there:
        for side in ("before", "after"):
            for place in range(COMMANDS):
                chip = Chip(city)
                slots[1].take()
                hold(slots[0], here, chip.memory, **{side: torn_at(place)})
                hold(slots[1], there, chip.memory)
                first = tap(here, contactless)
                assert (first is None) is (place < COMMANDS - 1), (side, place)
                assert len(accepted(city, gate, chip)) == (first is not None)
                second = tap(there, contactless)
                assert second is not None
                (seen,) = accepted(city, gate, chip)
                last = chip.last()
                assert last is not None
                assert (last.counter, last.record) == (seen.counter, seen.record)
                assert second.reason is (None if first is None else Reason.PASSBACK)
    assert gate.upload().waiting == 0
    kept = [seen for seen in city.taps.values() if seen.decision is Decision.ACCEPTED]
    assert len(kept) == 2 * COMMANDS


def test_an_empty_reader_and_a_missing_one_say_so(slot: Slot) -> None:
    slot.take()
    with Reader() as reader:
        assert reader.name.startswith("Virtual PCD")
        assert reader.wait(present=False, timeout_s=10)
        assert not reader.wait(present=True, timeout_s=0.3)
        with pytest.raises(CardGone), reader.field():
            pass
    with pytest.raises(NoReader, match="no reader 'Acme'"):
        Reader("Acme")


def test_a_card_is_personalised_carried_to_a_gate_priced_and_blocked(
    slot: Slot, app: Flask, database: Database, tmp_path: Path
) -> None:
    """The whole way: the bureau's command, the post, the gate's program, the journey's price, the lost card."""
    holder, now = new_id(), clock.now()
    with database.transaction() as session:
        import_feed(session, "320100", now=now)
        card = cards.issue(session, holder_id=holder, kind="physical", now=now)
        top_up(session, holder, 5000, now=now)
    plastic = FileMemory(tmp_path / "plastic.chip")
    run = app.test_cli_runner()
    with Reader() as reader:
        hold(slot, reader, plastic)
    done = run.invoke(args=["cards", "personalise", card.number])
    assert done.exit_code == 0, done.output
    assert card.number in done.output
    again = run.invoke(args=["cards", "personalise", card.number])
    assert "6982" in again.output, "a card is personalised once"
    masters = json.loads(run.invoke(args=["cards", "secure-module"]).output)
    assert bytes.fromhex(masters["320100"]) == cards.master(app.extensions["database"].info["city"], KeyUse.JOURNEY)
    with database.transaction() as session:
        (device,) = cards.devices_of(session, card.id)
        assert device.chip
        assert device.status_index in cards.deny_current(session), "not yet in the holder's hands"
        cards.activate(session, card_id=card.id, now=clock.now())
        cards.publish_deny_list(session, now=clock.now())
    renewed = run.invoke(args=["cards", "renew"])
    assert renewed.exit_code == 0, renewed.output

    with serving_app(app) as address:
        gates = {}
        for stop, mode in (("nj-gulou", "entry"), ("nj-xianlin", "exit")):
            with database.transaction() as session:
                token = transit.create_enrolment(
                    session, operator_id="nj-metro", stop_id=stop, mode=mode, by="person:test", now=clock.now()
                ).token
            home = tmp_path / mode
            validator(home, "enrol", "--server", address, "--token", token)
            (home / "secure-module.json").write_text(json.dumps(masters))
            gates[mode] = home
        (came_in,) = validator(gates["entry"], "decide", "--chip", "--once")
        assert (came_in["decision"], came_in["kind"], came_in["card_number"]) == ("accepted", "entry", card.number)
        (went_out,) = validator(gates["exit"], "decide", "--chip", "--once")
        assert (went_out["decision"], went_out["counter"]) == ("accepted", came_in["counter"] + 1)
        for home in gates.values():
            assert validator(home, "upload")[0]["stored"] == 1
        with database.transaction() as session:
            (journey,) = transit.journeys_of_operator(session, "nj-metro")
            assert journey.card_number == card.number
            assert journey.charged_minor > 0
            assert purse(session, holder) == 5000 - journey.charged_minor
            cards.block(session, card_id=card.id, reason="lost", by="person:test", now=clock.now())
            cards.publish_deny_list(session, now=clock.now())
        validator(gates["entry"], "sync")
        (refused,) = validator(gates["entry"], "decide", "--chip", "--once")
        assert refused["reason"] == "card-blocked"
    assert books_are_right(database)


def test_without_pcscd_the_program_says_what_is_missing(city: SmallCity, gate: Terminal, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "card.validator", "decide", "--chip", "--home", str(tmp_path / "gate")],
        cwd=ROOT,
        env={**os.environ, "PCSCLITE_CSOCK_NAME": str(tmp_path / "nowhere")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "没有读卡器" in done.stderr


def test_a_blank_card_is_no_tap_at_a_real_reader(slot: Slot, gate: Terminal) -> None:
    with Reader() as reader:
        hold(slot, reader, Memory())
        found = tap(reader, Contactless(gate))
    assert found is not None
    assert (found.reason, found.seq) == (Reason.NOT_A_CREDENTIAL, 0)


def validator(home: Path, *words: str) -> list[dict]:
    """The gate's program, on its own."""
    done = subprocess.run(
        [sys.executable, "-m", "card.validator", *words, "--json", "--home", str(home)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def serving_app(app: Flask) -> Iterator[str]:
    """The city over HTTP on loopback."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
