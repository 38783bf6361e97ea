"""Many residents pay at the same moment, over HTTP: each bill once, whoever else fails, is turned away, or is killed."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import httpx
import pytest
from flask import Flask
from sqlalchemy import text

from app.demo.cities import environment_of
from app.demo.visitor import HttpVisitor, Lost
from app.kernel import clock, ids
from app.kernel.db import Database
from app.kernel.settings import Settings
from card import ledger, purchases
from card.ledger import poster as posters
from card.ledger import queries
from services import people
from tests.cities import free_port, serve
from tests.signing_in import resident

MONEY = 10_000
PRICE = 100
TEA = {"en": "Tea", "zh_Hans_CN": "茶"}


class Payer(NamedTuple):
    """A resident with money on the card, and the cookie of a browser that is signed in."""

    id: UUID
    session: tuple[str, str]  # name and value of the cookie

    def browser(self) -> httpx.Client:
        """A browser in which they are signed in."""
        made = httpx.Client(trust_env=False, timeout=60, follow_redirects=True)
        made.cookies.set(*self.session, domain="127.0.0.1")
        return made


class Till:
    """A shop in a city that listens, and residents who pay there."""

    def __init__(self, app: Flask, database: Database, url: str, *, residents: int) -> None:
        self.database = database
        self.url = url
        self._cookie = str(app.config["SESSION_COOKIE_NAME"])
        self._signer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
        with database.transaction() as session:
            purchases.open_merchant(session, merchant_id="tea", name=TEA, kind=purchases.MerchantKind.SHOP, now=clock.now())
        self.payers = [self._payer() for _ in range(residents)]

    def _payer(self) -> Payer:
        holder_id, now = resident(self.database), clock.now()
        with self.database.transaction() as session:
            opening = ledger.Transfer(
                id=ids.new_id(),
                debit=ledger.open_account(session, ledger.chart.bank(), now=now),
                credit=ledger.open_account(session, ledger.chart.purse(holder_id), now=now),
                amount_minor=MONEY,
                code=ledger.TransferCode.OPENING,
                event_at=now,
            )
            ledger.post_all(session, [opening], now=now)
            key = people.session_key(session, holder_id)
        return Payer(holder_id, (self._cookie, self._signer.dumps({"_user_id": key, "_fresh": True})))

    def bill(self, payer: Payer, reference: str, amount_minor: int = PRICE) -> UUID:
        """A bill for ``payer``."""
        with self.database.transaction() as session:
            return purchases.present(
                session,
                merchant_id="tea",
                reference=reference,
                description=TEA,
                amount_minor=amount_minor,
                holder_id=payer.id,
                now=clock.now(),
            )

    def bills(self, each: int) -> list[tuple[Payer, UUID]]:
        """So many bills for each resident, in turns."""
        return [(payer, self.bill(payer, f"{turn}-{payer.id}")) for turn in range(each) for payer in self.payers]

    def pay(self, payer: Payer, bill_id: UUID) -> httpx.Response:
        """Press the button; the page that follows."""
        with payer.browser() as browser:
            return browser.post(f"{self.url}/me/bills/{bill_id}/pay", headers={"Accept-Language": "en"})

    def judge(self, bills: list[tuple[Payer, UUID]], *, paid: set[UUID]) -> None:
        """Exactly the ``paid`` bills are paid, each by one transfer and from its own purse; the books balance."""
        with self.database.transaction() as session:
            booked = Counter(session.scalars(text("SELECT reference FROM card.transfer WHERE reference LIKE 'bill:%'")))
            states = {bill_id: purchases.bill(session, bill_id).state.value for _, bill_id in bills}
            audited = Counter(session.scalars(text("SELECT subject FROM app.audit WHERE action = 'bill.pay'")))
            left = {payer.id: balance(self.database, payer) for payer in self.payers}
            findings = ledger.check_books(session).findings
        assert {bill_id for bill_id, state in states.items() if state == "paid"} == paid
        assert booked == {f"bill:{bill_id}": 1 for bill_id in paid}
        assert audited == booked
        for payer in self.payers:
            assert left[payer.id] == MONEY - PRICE * sum(bill_id in paid for owner, bill_id in bills if owner == payer)
        assert findings == []

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Everybody's purse is locked: posts wait in the database, and behind them in the queue."""
        with self.database.transaction() as session:
            purses = [ledger.account_id(session, ledger.chart.purse(payer.id)) for payer in self.payers]
            queries.lock_positions(session, purses)
            yield


def balance(database: Database, payer: Payer) -> int:
    with database.transaction() as session:
        return ledger.balance(session, ledger.account_id(session, ledger.chart.purse(payer.id))).posted_minor


@pytest.fixture
def till(app: Flask, database: Database) -> Iterator[Till]:
    port = free_port()
    with serve(app, port):
        yield Till(app, database, f"http://127.0.0.1:{port}", residents=8)


def test_everybody_pays_once_however_often_they_press_and_commits_are_shared(till: Till) -> None:
    bills = till.bills(each=3)
    with ThreadPoolExecutor(16) as pool:  # each bill twice, side by side
        answers = list(pool.map(lambda bill: till.pay(*bill), [bill for bill in bills for _ in range(2)]))
    wrong = [answer.text for answer in answers if "Paid from your card." not in answer.text]
    assert not wrong
    till.judge(bills, paid={bill_id for _, bill_id in bills})
    again = till.pay(*bills[0])
    assert "Paid from your card." in again.text
    till.judge(bills, paid={bill_id for _, bill_id in bills})
    with till.database.transaction() as session:
        batches = session.scalar(text("SELECT count(DISTINCT place >> 20) FROM card.transfer WHERE reference LIKE 'bill:%'"))
    assert batches < len(bills)


def test_one_whose_bill_is_taken_back_meanwhile_hurts_nobody_else(till: Till) -> None:
    first, *others = bills = till.bills(each=1)
    _, gone = bills[3]
    poster = posters.poster_of(till.database)
    with ThreadPoolExecutor(8) as pool:
        with till.held_up():
            waiting = [pool.submit(till.pay, *first)]
            while not waits_for_a_lock(till.database):
                time.sleep(0.01)
            waiting += [pool.submit(till.pay, *bill) for bill in others]
            while poster._queue.qsize() < len(others):
                time.sleep(0.01)
            with till.database.transaction() as session:
                purchases.cancel(session, bill_id=gone, by="client:tea", now=clock.now())
        pages = [found.result().text for found in waiting]
    assert ["Paid from your card." in page for page in pages] == [bill_id != gone for _, bill_id in bills]
    till.judge(bills, paid={bill_id for _, bill_id in bills} - {gone})


def test_a_full_queue_turns_away_at_once_and_a_late_answer_is_told_by_the_bill(till: Till) -> None:
    till.database.info[posters.INFO] = small = posters.Poster(till.database, waiting=1)
    till.database.closing.append(small.close)
    (first, second, third), bills = till.bills(each=1)[:3], till.bills(each=1)
    with ThreadPoolExecutor(2) as pool:
        with till.held_up():
            late = [pool.submit(till.pay, *first)]
            while small._thread is None or not small._queue.empty() or not waits_for_a_lock(till.database):
                time.sleep(0.01)
            late.append(pool.submit(till.pay, *second))
            while small._queue.empty():
                time.sleep(0.01)
            begun = time.monotonic()
            busy = till.pay(*third)
            assert time.monotonic() - begun < posters.TIMEOUT_SECONDS, "told at once"
            assert (busy.status_code, busy.headers["Retry-After"]) == (503, "1")
            assert "The ledger is busy. Nothing was booked" in busy.text
            for answer in late:
                assert (answer.result().status_code, answer.result().headers["Retry-After"]) == (503, "1")
                assert "The answer did not come in time." in answer.result().text
        while balance(till.database, first[0]) == MONEY:  # the first was under way when its caller went
            time.sleep(0.01)
    till.judge(bills, paid={first[1]})  # the second had not begun, and will not: its caller was not told that it was
    for bill in (first, second, third):
        assert "Paid from your card." in till.pay(*bill).text
    till.judge(bills, paid={first[1], second[1], third[1]})


def waits_for_a_lock(database: Database) -> bool:
    with database.transaction() as session:
        return bool(session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


@contextmanager
def web(folder: Path, settings: Settings, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The city's web server in a process of its own, which listens."""
    command = [sys.executable, "-m", "tests.chaos.programs", "web", str(folder), str(port)]
    with (folder / "web.log").open("ab") as log:
        process = subprocess.Popen(command, env={**os.environ, **environment_of(settings)}, stdout=log, stderr=log)
    until = time.monotonic() + 60
    try:
        while time.monotonic() < until:
            try:
                httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False)
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_process_that_is_killed_loses_no_acknowledged_purchase(
    app: Flask, settings: Settings, database: Database, tmp_path: Path
) -> None:
    port = free_port()
    till = Till(app, database, f"http://127.0.0.1:{port}", residents=4)
    bills = till.bills(each=12)
    acknowledged: set[UUID] = set()
    ends = threading.Event()

    def pay_all(payer: Payer) -> None:
        """Pay one bill after another, and each again until the page says that it is paid."""
        visitor = HttpVisitor(till.url, client=payer.browser())
        waiting = [bill_id for owner, bill_id in bills if owner == payer]
        while waiting and not ends.is_set():
            try:
                visitor.open(f"/me/bills/{waiting[0]}?lang=en")
                if "To be paid" in visitor.text():
                    visitor.send(form="/pay")
                if "Paid from your card." in visitor.text() or "To be paid" not in visitor.text():
                    acknowledged.add(waiting.pop(0))
            except (httpx.HTTPError, Lost):
                time.sleep(0.05)

    with ThreadPoolExecutor(len(till.payers)) as pool:
        paying = [pool.submit(pay_all, payer) for payer in till.payers]
        try:
            for moment in (9, 21):
                with web(tmp_path, settings, port) as process:
                    while len(acknowledged) < moment:
                        assert process.poll() is None, (tmp_path / "web.log").read_text()[-2000:]
                        time.sleep(0.003)
                    process.kill()
                    process.wait()
                    told = set(acknowledged)
                with database.transaction() as session:
                    paid = set(session.scalars(text("SELECT id FROM card.purchases_bill WHERE state = 'paid'")))
                    booked = set(session.scalars(text("SELECT reference FROM card.transfer WHERE reference LIKE 'bill:%'")))
                assert told <= paid
                assert booked == {f"bill:{bill_id}" for bill_id in paid}
            with web(tmp_path, settings, port):
                for payer in paying:
                    payer.result(120)
        finally:
            ends.set()
    till.judge(bills, paid={bill_id for _, bill_id in bills})
