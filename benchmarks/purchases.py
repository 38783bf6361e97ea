"""``python -m benchmarks.purchases``: bills paid over HTTP by many residents at once, and by one who is alone.

The same web application, one process behind granian, twice: purchases go through its poster, and each commits alone. Every
request is a signed-in browser's: session, form token, rules, audit, headers. Medians of ``--rounds``, by turns.
"""

import argparse
import re
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode
from uuid import UUID

import psutil
from sqlalchemy import text

from app.factory import create_app
from app.kernel import clock
from benchmarks import city
from card import ledger, purchases
from services import people

TEA = {"en": "Tea", "zh_Hans_CN": "茶"}
SERVERS = {"through the poster": "wsgi:application", "each committing alone": "benchmarks.alone:application"}


class Payer(NamedTuple):
    """A resident, and what their browser sends."""

    id: UUID
    headers: dict[str, str]
    body: bytes


def payers(of: city.City, count: int) -> list[Payer]:
    """Residents with money on the card, signed in at every server of the city."""
    app, made = create_app(of.settings, database=of.database), []
    cookie, signer = app.config["SESSION_COOKIE_NAME"], app.session_interface.get_signing_serializer(app)
    tokens = re.compile(r'name="csrf_token" value="([^"]+)"')
    for number in range(count):
        with of.database.transaction() as session:
            identity = people.parse_identity_number(people.demonstration_number(date(1958, 3, 15), number), demonstration=True)
            facts = {"name": "演示·林小满", "name_latin": "Demo Lin", "identity_number": identity, "username": f"payer{number}"}
            holder = people.register(session, now=clock.now(), **facts)
            key = people.session_key(session, holder)
        city.fund(of, [holder], now=clock.now())
        bill = bills(of, holder, 1, turn="token")[0]
        browser = app.test_client()
        browser.set_cookie(cookie, signer.dumps({"_user_id": key, "_fresh": True}))
        page = browser.get(f"/me/bills/{bill}").text
        value = browser.get_cookie(cookie)
        found = tokens.search(page)
        assert found is not None, page
        assert value is not None
        headers = {"Cookie": f"{cookie}={value.value}", "Content-Type": "application/x-www-form-urlencoded"}
        made.append(Payer(holder, headers, urlencode({"csrf_token": found[1]}).encode()))
    return made


def bills(of: city.City, holder: UUID, count: int, *, turn: str) -> list[UUID]:
    """Bills for one resident."""
    with of.database.transaction() as session:
        return [
            purchases.present(
                session, merchant_id="tea", reference=f"{holder}-{turn}-{number}", description=TEA, amount_minor=1,
                holder_id=holder, now=clock.now(),
            )
            for number in range(count)
        ]  # fmt: skip


def pay(port: int, payer: Payer, waiting: list[UUID]) -> list[float]:
    """Pay one bill after another on a kept connection; milliseconds of each."""
    connection, took = HTTPConnection("127.0.0.1", port, timeout=60), []
    for bill in waiting:
        begun = time.perf_counter()
        connection.request("POST", f"/me/bills/{bill}/pay", payer.body, payer.headers)
        answer = connection.getresponse()
        answer.read()
        took.append((time.perf_counter() - begun) * 1000)
        assert answer.status == 302, answer.status
    connection.close()
    return took


def spent(of: city.City, web: psutil.Process) -> tuple[float, float]:
    """CPU seconds so far of the web server and of PostgreSQL's backends."""
    of.processes = {"web": [web]}
    found = city.cpu_seconds(of)
    return found["web"], found["postgres"]


def main() -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--each", type=int, default=15, help="bills of a caller and round")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, city.city(Path(folder)) as of:
        with of.database.transaction() as session:
            purchases.open_merchant(
                session, merchant_id="tea", name=TEA, kind=purchases.MerchantKind.SHOP, now=datetime.now(UTC)
            )
        people_ = payers(of, asked.callers)
        found: dict[str, list[tuple[float, ...]]] = {name: [] for name in SERVERS}
        ports = dict(zip(SERVERS, (of.port, of.port + 1), strict=True))
        first, second = SERVERS.items()
        with (
            city.program(of, first[1], port=ports[first[0]], workers=1, threads=asked.callers) as one,
            city.program(of, second[1], port=ports[second[0]], workers=1, threads=asked.callers) as other,
            ThreadPoolExecutor(asked.callers) as pool,
        ):
            for turn in range(asked.rounds + 1):
                for name, web in zip(SERVERS, (one, other), strict=True):
                    waiting = [bills(of, payer.id, asked.each, turn=f"{name}-{turn}") for payer in people_]
                    before, begun = spent(of, web), time.perf_counter()
                    times = sorted(ms for part in pool.map(pay, [ports[name]] * asked.callers, people_, waiting) for ms in part)
                    took, after = time.perf_counter() - begun, spent(of, web)
                    cpu = [(late - early) / len(times) * 1e6 for early, late in zip(before, after, strict=True)]
                    single = pay(ports[name], people_[0], bills(of, people_[0].id, 40, turn=f"{name}-{turn}-alone"))
                    if turn:  # the first warms connections and caches
                        found[name].append((len(times) / took, times[int(len(times) * 0.99)], *cpu, statistics.median(single)))
        with of.database.transaction() as session:
            unpaid = session.scalar(
                text("SELECT count(*) FROM card.purchases_bill WHERE state <> 'paid' AND reference NOT LIKE '%token-0'")
            )
            assert unpaid == 0, unpaid
            assert ledger.check_books(session).right
        print(f"{asked.callers} callers, {asked.each} bills each and round, medians of {asked.rounds}\n")
        rows = (
            "purchases a second",
            "99th percentile, ms",
            "CPU of the web server, µs each",
            "CPU of PostgreSQL, µs each",
            "one who is alone, median ms",
        )
        for place, row in enumerate(rows):
            values = ",  ".join(
                f"{name} {statistics.median(facts[place] for facts in taken):8,.1f}" for name, taken in found.items()
            )
            print(f"{row:<34}{values}")


if __name__ == "__main__":
    main()
