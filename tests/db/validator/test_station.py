"""Gates of one station tell each other which codes were used, through a hub and without the internet."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from card.credentials import Reason, TapKind
from card.validator import Terminal
from card.validator.station import Hub, Link
from tests.db.validator.small_city import SmallCity


@contextmanager
def hub_at(terminal: Terminal, port: int = 0) -> Iterator[Hub]:
    hub = Hub(terminal.home, host="127.0.0.1", port=port)
    thread = threading.Thread(target=hub.serve)
    thread.start()
    try:
        yield hub
    finally:
        hub.stop()
        thread.join()


@contextmanager
def linked(terminal: Terminal, hub: Hub) -> Iterator[Link]:
    link = Link(terminal.home, ("127.0.0.1", hub.port))
    terminal.on_passed = link.tell
    link.start()
    try:
        yield link
    finally:
        link.stop()


def soon(holds: Callable[[], bool], *, within_s: float = 10) -> None:
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.01)


def knows(terminal: Terminal, number: str) -> bool:
    return terminal.journal.memory(number=number, replay_key=b"").known


def test_a_code_that_opened_one_gate_does_not_open_its_neighbour(city: SmallCity, enrolled: Callable[..., Terminal]) -> None:
    east, west, box = (enrolled(name) for name in ("east", "west", "box"))
    with hub_at(box) as hub, linked(east, hub) as one, linked(west, hub) as other:
        assert one.connected.wait(10)
        assert other.connected.wait(10)
        rider = city.phone(1)
        code = rider.show()
        assert east.decide(code).reason is None
        soon(lambda: knows(west, rider.number))
        assert west.decide(code, kind=TapKind.EXIT).reason is Reason.REPLAYED
        assert west.decide(rider.show()).reason is Reason.PASSBACK  # the same card at once, by another code
        assert west.decide(rider.show(), kind=TapKind.EXIT).reason is None
        soon(lambda: east.journal.memory(number=rider.number, replay_key=b"").accepted_kind is TapKind.EXIT)
    assert west.journal.verify_chain() is None


def test_gates_go_on_alone_when_the_hub_is_away_and_reconcile_when_it_is_back(
    city: SmallCity, enrolled: Callable[..., Terminal]
) -> None:
    east, west, box = (enrolled(name) for name in ("east", "west", "box"))
    port = 26_000 + os.getpid() % 900  # not one that the system gives to whoever calls
    with hub_at(box, port) as hub, linked(east, hub) as one, linked(west, hub) as other:
        assert one.connected.wait(10)
        hub.stop()
        soon(lambda: not one.connected.is_set() and not other.connected.is_set(), within_s=20)
        riders = [city.phone(serial) for serial in range(1, 6)]
        codes = [rider.show() for rider in riders]
        assert [east.decide(code).reason for code in codes] == [None] * 5  # nobody waits
        assert not knows(west, riders[0].number)
        soon(lambda: hub._server.fileno() == -1)
        with hub_at(box, port) as again:
            soon(lambda: again.gates == 2, within_s=30)
            soon(lambda: all(knows(west, rider.number) for rider in riders))
            assert west.decide(codes[0], kind=TapKind.EXIT).reason is Reason.REPLAYED


@pytest.mark.parametrize("stranger", ["another station", "another city", "a key that is not the certificate's"])
def test_a_stranger_is_not_heard(
    city: SmallCity, enrolled: Callable[..., Terminal], tmp_path_factory: pytest.TempPathFactory, stranger: str
) -> None:
    east, box = enrolled("east"), enrolled("box")
    if stranger == "another station":
        outsider = enrolled("outsider", stop="S2")
    elif stranger == "another city":
        city.bundle_key = Ed25519PrivateKey.generate()
        outsider = enrolled("outsider")
    else:
        outsider = enrolled("outsider")
    with hub_at(box) as hub:
        link = Link(outsider.home, ("127.0.0.1", hub.port))
        if stranger.startswith("a key"):
            link._identity.key = Ed25519PrivateKey.generate()
        link.start()
        time.sleep(0.4)
        assert hub.gates == 0
        with linked(east, hub) as one:
            assert one.connected.wait(10)
            soon(lambda: hub.gates == 1)
        link.stop()
