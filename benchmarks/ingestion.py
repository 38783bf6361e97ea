"""``python -m benchmarks.ingestion``: taps a second from upload to posted fare, over HTTP, and an online gate's wait.

Two real web servers (granian, one process each) and a worker on the embedded PostgreSQL with fsync on. Every upload is a
terminal's signed batch, every tap carries a phone's signature over its own code; each is verified again, stored, priced with
what the card did before (caps, month tickets) and posted before the answer goes out. Medians of ``--rounds``; a round is some
card-days of every card, of two kinds:

- *metro*: a gate's batches are small and a card is in each only once, coming in by one and going out by another. So every tap
  prices a card-day and posts a difference, and every journey is written twice: the dearest case there is.
- *depot*: in the evening each bus uploads its day at once, everybody out and back: a card-day is priced and posted for two.
"""

import argparse
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path

import psycopg

from app.kernel import ids
from app.kernel.db import Database
from benchmarks import city
from benchmarks.city import Batch, City, Gate, Phone
from card import credentials, ledger
from card.credentials import TapKind
from card.ledger import AccountId, Transfer, TransferCode

DAYS = {"metro": 2, "depot": 4}  # card-days of a round: long enough that the last batch, alone on its server, hardly counts
DAYS_MAX = 45  # a credential is good for sixty days
AUTHORISE = "/api/transit/authorise"
WARM, WARM_TURNS = 200, 10  # requests before the first that counts, and in how many turns


def writer(url: str, number: int, facts: tuple, gate: tuple) -> None:
    """One writer of the ledger's own rate: ready batches through the door, each its own commit."""
    purses, operator, size, times = facts
    ready, go, answers = gate
    chance = random.Random(number)
    made = [
        [
            Transfer(
                id=ids.new_id(),
                debit=AccountId(chance.choice(purses)),
                credit=AccountId(operator),
                amount_minor=100,
                code=TransferCode.FARE,
                event_at=datetime.now(UTC),
            )
            for _ in range(size)
        ]
        for _ in range(times)
    ]
    database = Database(url, pool_size=1)
    with database.transaction() as session:
        ledger.balance(session, AccountId(operator))
    ready.release()
    go.wait()
    began = time.perf_counter()
    for batch in made:
        with database.transaction() as session:
            ledger.post(session, batch, now=datetime.now(UTC))
    answers.put((began, time.perf_counter()))
    database.close()


def ledger_rate(of: City, *, size: int = 2000, times: int = 8) -> float:
    """Transfers a second of two writers on the same database, purses and machine."""
    with psycopg.connect(of.owner_url) as connection:
        purses = [row[0] for row in connection.execute("SELECT id FROM card.account WHERE kind = 'purse'")]
        key = ledger.chart.operator(of.operators[0]).key
        (operator,) = connection.execute("SELECT id FROM card.account WHERE key = %s", [key]).fetchone() or (0,)
    context = multiprocessing.get_context("spawn")
    ready, go, answers = context.Semaphore(0), context.Event(), context.Queue()
    half = len(purses) // 2
    started = [
        context.Process(
            target=writer,
            args=(of.owner_url, n, (purses[n * half : (n + 1) * half], operator, size, times), (ready, go, answers)),
        )
        for n in range(2)
    ]
    for process in started:
        process.start()
    for _ in started:
        ready.acquire()
    go.set()
    spans = [answers.get() for _ in started]
    for process in started:
        process.join()
    return 2 * size * times / (max(end for _, end in spans) - min(began for began, _ in spans))


def a_day(gates: Sequence[Gate], phones: Sequence[Phone], day: datetime, *, size: int) -> tuple[list[Batch], list[Batch]]:
    """The bodies of one card-day: everybody in, everybody out half an hour later, a share of the riders at each gate."""
    entries = [gate for gate in gates if gate.kind is TapKind.ENTRY]
    exits = [gate for gate in gates if gate.kind is TapKind.EXIT]
    inward, outward = [], []
    for number, (entry, leaving) in enumerate(zip(entries, exits, strict=True)):
        riders = phones[number :: len(entries)]
        inward += city.batches(entry, riders, day, size=size)
        outward += city.batches(leaving, riders, day + timedelta(minutes=30), size=size)
    return inward, outward


def an_evening(buses: Sequence[Gate], phones: Sequence[Phone], day: datetime) -> list[Batch]:
    """The bodies of a depot's evening: a share of the riders on each bus, out in the morning and back nine hours later."""
    found = []
    for number, bus in enumerate(buses):
        riders = phones[number :: len(buses)]
        taps = [
            bus.tap(phone, day + timedelta(hours=hours, milliseconds=step))
            for hours in (0, 9)
            for step, phone in enumerate(riders)
        ]
        found.append(city.batch_of(bus, taps))
    return found


def posted(of: City) -> tuple[int, int]:
    """How many taps are stored, and what the ledger has for the operators, in fen."""
    with psycopg.connect(of.owner_url) as connection:
        taps = connection.execute("SELECT count(*) FROM card.tap").fetchone()
        fares = connection.execute("SELECT sum(amount_minor) FROM card.fare_posting").fetchone()
    return (taps or (0,))[0], int((fares or (0,))[0] or 0)


def asks(gate: Gate, phones: Sequence[Phone]) -> list[Callable[[HTTPConnection], None]]:
    """Requests of an online gate, each for another card; made ready so that only the answer is waited for."""
    found = []
    for phone in phones:
        now = datetime.now(UTC)
        phone.counter += 1
        qr = credentials.present(phone.static, device=phone.key, at=now, counter=phone.counter)
        body = credentials.cbor.write({"qr": qr, "kind": "entry"})
        proof = credentials.prove(gate.key, terminal_id=gate.terminal_id, method="POST", path=AUTHORISE, body=body, at=now)

        def ask(connection: HTTPConnection, body: bytes = body, proof: str = proof) -> None:
            connection.request("POST", AUTHORISE, body, {"Authorization": proof, "Content-Type": "application/cbor"})
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status == 200, said
            assert credentials.cbor.read(said)["approved"], credentials.cbor.read(said)

        found.append(ask)
    return found


def bare(connection: HTTPConnection) -> None:
    """The bare route."""
    connection.request("POST", "/bare", b"")
    said = connection.getresponse().read()
    assert said == b"done", said


def waits(port: int, calls: Sequence[Callable[[HTTPConnection], None]], *, callers: int) -> list[float]:
    """Milliseconds each call took, ``callers`` at a time on kept connections."""

    def turn(mine: Sequence[Callable[[HTTPConnection], None]]) -> list[float]:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        taken = []
        for call in mine:
            began = time.perf_counter()
            call(connection)
            taken.append((time.perf_counter() - began) * 1000)
        connection.close()
        return taken

    with ThreadPoolExecutor(callers) as pool:
        return [one for part in pool.map(turn, [calls[n::callers] for n in range(callers)]) for one in part]


def online(of: City, gate: Gate, phones: Sequence[Phone], *, rounds: int, each: int) -> list[str]:
    """Authorisation and the bare route by turns, on servers of the same make: a process a core, one thread each."""
    with psycopg.connect(of.owner_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.bare (id int PRIMARY KEY, n int NOT NULL)")
        connection.execute("GRANT ALL ON public.bare TO PUBLIC")
        connection.execute("INSERT INTO public.bare SELECT n, 0 FROM generate_series(0, 999) n")
    beside = city.free_port()
    lines = ["", "online tap authorisation beside a bare Flask route with one UPDATE and one commit"]
    waiting = iter(phones)
    with (
        city.serving(of, workers=2, threads=1),
        city.program(of, "benchmarks.bare:application", port=beside, workers=2, threads=1),
    ):
        for _ in range(WARM_TURNS):  # on new connections, which go to whichever process takes them: both must have worked
            waits(of.port, asks(gate, list(islice(waiting, WARM // WARM_TURNS))), callers=4)
            waits(beside, [bare] * (WARM // WARM_TURNS), callers=4)
        for callers in (1, 2):
            found: dict[str, list[tuple[float, float]]] = {"bare": [], "authorise": []}
            for _ in range(rounds):
                for name, taken in (
                    ("bare", waits(beside, [bare] * each, callers=callers)),
                    ("authorise", waits(of.port, asks(gate, list(islice(waiting, each))), callers=callers)),
                ):
                    found[name].append((statistics.median(taken), statistics.quantiles(taken, n=100)[98]))
            for name, taken_by in found.items():
                median, p99 = statistics.median(one for one, _ in taken_by), statistics.median(one for _, one in taken_by)
                lines.append(f"  {callers} at a time, {name:10} median {median:6.2f} ms   p99 {p99:6.2f} ms")
            ratio = statistics.median(a[1] / b[1] for a, b in zip(found["authorise"], found["bare"], strict=True))
            lines.append(f"  {callers} at a time, p99 / p99 of the bare route: {ratio:.2f} (at most 2)")
    return [
        *lines,
        "  the rest: three signatures (the proof, the code, the city's for a card not seen before: 0.06 ms each); the price;",
        "  the checks, headers and records of every request. There: ping, begin, UPDATE, commit; here: one statement that",
        "  compares terminal, tariffs, card and deny list, holds the fare and commits by itself",
    ]


def taps(kind: str, given: argparse.Namespace, *, now: datetime) -> list[str]:
    """Whole days over HTTP in a new city, and the ledger's own batches after each round."""
    first = (now - timedelta(days=DAYS_MAX)).replace(hour=1, minute=0, second=0, microsecond=0)
    rates: list[float] = []
    own: list[float] = []
    spent: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, city.city(Path(folder)) as of:
        phones = city.phones(of, given.cards, now=first - timedelta(days=1))
        gates = city.gates(of, [TapKind.ENTRY, TapKind.EXIT] * max(1, given.cards // given.size), now=now)
        buses = city.buses(of, max(1, given.cards // given.riders), now=now)

        def bodies(day: datetime) -> list[Batch]:
            if kind == "depot":
                return an_evening(buses, phones, day)
            inward, outward = a_day(gates, phones, day, size=given.size)
            return inward + outward

        with city.serving(of, servers=2, workers=1, threads=given.threads):
            for turn in range(given.rounds + 1):
                waiting = [one for later in range(DAYS[kind]) for one in bodies(first + timedelta(turn * DAYS[kind] + later))]
                sent = sum(batch.taps for batch in waiting)
                before = city.cpu_seconds(of)
                took = city.send_all(of, waiting, connections=given.connections)
                after = city.cpu_seconds(of)
                if turn == 0:
                    continue  # now both processes know the cards' keys
                rates.append(sent / took)
                own.append(ledger_rate(of))
                for part in after:
                    spent.setdefault(part, []).append((after[part] - before[part]) / sent * 1e6)
        stored, fares = posted(of)
        assert stored == 2 * given.cards * DAYS[kind] * (given.rounds + 1), stored
    ratio = statistics.median(a / b for a, b in zip(rates, own, strict=True))
    costs = ", ".join(f"{part} {statistics.median(each):.0f}" for part, each in spent.items())
    return [
        f"{kind}: batches of {waiting[0].taps:,}; {stored:,} taps, fares posted: ¥{fares / 100:,.2f}",
        f"  taps verified, stored, priced and posted: {statistics.median(rates):8,.0f} a second   at least 5,000",
        f"  the ledger's own batches:                 {statistics.median(own):8,.0f} a second   two writers, 2,000 each",
        f"  taps / ledger: {ratio:.3f}   at least 0.1",
        f"  CPU a tap, microseconds: {costs}",
    ]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cards", type=int, default=15_000)
    parser.add_argument("--size", type=int, default=1000, help="taps in a gate's batch")
    parser.add_argument("--riders", type=int, default=2500, help="of a bus: its batch has two taps of each")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1, help="of each of the two web servers")
    parser.add_argument("--asked", type=int, default=1000, help="questions of an online gate in a round")
    parser.add_argument("--only", choices=("taps", "authorise"), help="measure this part alone")
    given = parser.parse_args()
    now = datetime.now(UTC)
    if given.only != "authorise":
        print(f"{given.cards:,} cards, {given.connections} connections; each kind of day in a city of its own", flush=True)
        for kind in DAYS:
            print("\n".join(taps(kind, given, now=now)), flush=True)
    if given.only != "taps":  # again in a new one, where nothing is left to be sealed and swept up
        with tempfile.TemporaryDirectory() as folder, city.city(Path(folder)) as of:
            phones = city.phones(of, WARM + 2 * given.rounds * given.asked, now=now)
            (gate,) = city.gates(of, [TapKind.ENTRY], now=now)
            print("\n".join(online(of, gate, phones, rounds=given.rounds, each=given.asked)), flush=True)


if __name__ == "__main__":
    main()
