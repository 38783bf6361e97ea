"""``python -m benchmarks.ledger``: how fast the books are, beside ``COPY`` of the same rows, in one run.

Batches of guarded transfers go through the ledger's door with guard, idempotency and running balances, from one or more writer
processes, each batch its own commit with fsync on. ``COPY`` writes the same pre-serialised rows with the same commit sizes into
a table that has the same primary key and nothing else: the speed of light of this machine. Medians of ``--rounds``.
"""

import argparse
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from app import migrate
from app.demo import postgres
from app.kernel import ids
from app.kernel.db import Database
from card import ledger
from card.ledger import AccountId, Transfer, TransferCode

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
MONEY = 10_000_000
COLUMNS = (
    "id, place, debit, credit, amount_minor, event_at, debit_after_minor, credit_after_minor, shard, code, reference,"
    " metadata, reverses"
)


def prepare(url: str, *, purses: int, operators: int) -> tuple[int, int]:
    """Open the accounts and fund the purses, as their owner and in bulk; the first purse's id and the first operator's."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """INSERT INTO card.account (key, kind, guarded, floor_minor, currency, ledger, opened_at)
               SELECT 'operator:' || n, 'operator', false, 0, 'CNY', 1, now() FROM generate_series(1, %s) n""",
            [operators],
        )
        connection.execute(
            """INSERT INTO card.account (key, kind, guarded, floor_minor, currency, ledger, opened_at)
               SELECT 'purse:' || n, 'purse', true, 0, 'CNY', 1, now() FROM generate_series(1, %s) n""",
            [purses],
        )
        connection.execute(
            "INSERT INTO card.account_balance SELECT id, %s, 0, 0 FROM card.account WHERE guarded ORDER BY id", [MONEY]
        )
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT min(id) FILTER (WHERE guarded), min(id) FROM card.account").fetchone()
    assert row is not None
    return row[0], row[1]


def batch(chance: random.Random, size: int, *, purse: range, operator: range, hot: bool) -> list[Transfer]:
    """A batch of fares from random purses to random operators; ``hot``: nine of ten to the first two."""
    two = operator[:2]
    return [
        Transfer(
            id=ids.new_id(),
            debit=AccountId(chance.randrange(purse.start, purse.stop)),
            credit=AccountId(chance.choice(two if hot and chance.random() < 0.9 else operator)),
            amount_minor=chance.randint(100, 900),
            code=TransferCode.FARE,
            event_at=NOW,
        )
        for _ in range(size)
    ]


def writer(url: str, number: int, facts: dict, gate: tuple) -> None:
    """One writer process: build its batches, wait for the others, post, say how long it took."""
    ready, go, answers = gate
    chance = random.Random(number)
    purse, operator = range(*facts["purse"]), range(*facts["operator"])
    batches = [batch(chance, facts["size"], purse=purse, operator=operator, hot=facts["hot"]) for _ in range(facts["batches"])]
    for refused in range(int(facts["refusals"] * facts["size"])):
        for made in batches:
            made[refused] = Transfer(
                id=ids.new_id(),
                debit=made[refused].debit,
                credit=made[refused].credit,
                amount_minor=MONEY * 10,
                code=TransferCode.FARE,
                event_at=NOW,
            )
    database = Database(url, pool_size=1)
    with database.transaction() as session:
        ledger.balance(session, AccountId(purse.start))
    ready.release()
    go.wait()
    begun = time.perf_counter()
    for made in batches:
        with database.transaction() as session:
            ledger.post(session, made, now=NOW)
    answers.put((begun, time.perf_counter()))
    database.close()


def posting(url: str, *, writers: int, **facts: object) -> float:
    """Transfers a second with ``writers`` processes."""
    context = multiprocessing.get_context("spawn")
    ready, go, answers = context.Semaphore(0), context.Event(), context.Queue()
    started = [context.Process(target=writer, args=(url, n, facts, (ready, go, answers))) for n in range(writers)]
    for process in started:
        process.start()
    for _ in started:
        ready.acquire()
    go.set()
    spans = [answers.get() for _ in started]
    for process in started:
        process.join()
    took = max(end for _, end in spans) - min(begun for begun, _ in spans)
    return writers * facts["batches"] * facts["size"] / took


def copying(url: str, *, size: int, batches: int) -> float:
    """Rows a second of ``COPY`` of ready text into a table with the same primary key, one commit a batch."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS public.copied")
        connection.execute("CREATE TABLE public.copied (LIKE card.transfer)")
        connection.execute("ALTER TABLE public.copied ADD PRIMARY KEY (id)")
        texts = []
        for number in range(batches):
            rows = (
                f"{ids.new_id()}\t{number << 20 | leaf}\t{leaf % 997}\t{leaf % 20}\t350\t{NOW.isoformat()}\t1"
                "\t\\N\t0\t10\t\t\\N\t\\N"
                for leaf in range(size)
            )
            texts.append("\n".join(rows) + "\n")
        begun = time.perf_counter()
        for text in texts:
            with connection.cursor().copy(f"COPY public.copied ({COLUMNS}) FROM STDIN") as copy:
                copy.write(text)
        took = time.perf_counter() - begun
        connection.execute("DROP TABLE public.copied")
    return batches * size / took


def singles(post: Callable[[Transfer], None], *, callers: int, each: int, purse: range, operator: range) -> tuple[float, float]:
    """(posts a second, 99th percentile in ms) of ``callers`` threads that each post one transfer at a time."""
    chance = random.Random()
    work = [batch(chance, each, purse=purse, operator=operator, hot=False) for _ in range(callers)]

    def call(mine: list[Transfer]) -> list[float]:
        found = []
        for transfer in mine:
            begun = time.perf_counter()
            post(transfer)
            found.append(time.perf_counter() - begun)
        return found

    begun = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        times = sorted(took for found in pool.map(call, work) for took in found)
    return len(times) / (time.perf_counter() - begun), times[int(len(times) * 0.99)] * 1000


def gathered(url: str, *, callers: int, places: dict) -> dict[str, tuple[float, float]]:
    """The same single posts through one ``Poster``, and by callers that each commit alone."""
    database = Database(url, pool_size=callers)
    poster = ledger.Poster(database)

    def alone(transfer: Transfer) -> None:
        with database.transaction() as session:
            ledger.post(session, [transfer], now=NOW)

    facts = {"callers": callers, "each": 40, "purse": range(*places["purse"]), "operator": range(*places["operator"])}
    singles(lambda transfer: poster.post([transfer], timeout_seconds=60), **facts)  # connections and caches are warm after it
    found = {
        "through the poster": singles(lambda transfer: poster.post([transfer], timeout_seconds=60), **facts),
        "each committing alone": singles(alone, **facts),
    }
    poster.close()
    database.close()
    return found


def bytes_each(url: str) -> float:
    """Bytes a transfer takes on disk, its indexes included."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            """SELECT sum(pg_total_relation_size(inhrelid)), (SELECT count(*) FROM card.transfer)
               FROM pg_inherits WHERE inhparent = 'card.transfer'::regclass"""
        ).fetchone()
    assert row is not None
    return float(row[0]) / row[1]


def main() -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--purses", type=int, default=1_000_000)
    parser.add_argument("--operators", type=int, default=20)
    parser.add_argument("--size", type=int, default=2000, help="transfers a batch")
    parser.add_argument("--batches", type=int, default=25, help="batches a writer and round")
    parser.add_argument("--callers", type=int, default=32, help="callers of single posts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the server keeps its files; a temporary folder if not given"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        server = postgres.start((asked.folder or Path(temporary)) / "pg")
        url = postgres.ensure_database(server, f"bench_{time.time_ns()}")
        migrate.upgrade(url)
        first_purse, first_operator = prepare(url, purses=asked.purses, operators=asked.operators)
        places = {
            "purse": (first_purse, first_purse + asked.purses),
            "operator": (first_operator, first_operator + asked.operators),
        }
        work = {"size": asked.size, "batches": asked.batches, **places}

        def median(measure: Callable[[], float]) -> float:
            return statistics.median(measure() for _ in range(asked.rounds))

        def show(name: str, rate: float) -> None:
            print(f"{name:<58}{rate:>12,.0f}", flush=True)

        print(f"{asked.purses:,} purses, {asked.operators} open accounts, {asked.size:,} a batch, medians of {asked.rounds}\n")
        show("COPY, rows a second", median(lambda: copying(url, size=asked.size, batches=asked.batches)))
        for writers in (1, 2):
            rate = median(lambda: posting(url, writers=writers, hot=False, refusals=0.0, **work))  # noqa: B023
            show(f"guarded batches, {writers} writer(s), transfers a second", rate)
        show(
            "the same, nine of ten on two open accounts, 2 writers",
            median(lambda: posting(url, writers=2, hot=True, refusals=0.0, **work)),
        )
        show(
            "exact lane, one in twenty refused, 2 writers",
            median(lambda: posting(url, writers=2, hot=False, refusals=0.05, **work)),
        )
        show("bytes a transfer, indexes included", bytes_each(url))
        for name, (rate, worst) in gathered(url, callers=asked.callers, places=places).items():
            show(f"{asked.callers} callers, {name}, posts a second", rate)
            show(f"{asked.callers} callers, {name}, 99th percentile in ms", worst)


if __name__ == "__main__":
    main()
