"""``python -m benchmarks.ledger``: how fast the books are, beside ``COPY`` of the same rows, in one run.

Batches of guarded transfers go through the ledger's door with guard, idempotency and running balances, from one or more writer
processes, each batch its own commit with fsync on. ``COPY`` writes the same pre-serialised rows with the same commit sizes into
a table that has the same primary key and nothing else: the speed of light of this machine. Medians of ``--rounds``.

Each writer has a shard of its own, with its share of the purses and with every open account, so writers never wait for each
other. Single posts come from threads, as in a web process. django-hordak does the same work on the same server, in an
environment of its own that is made from PyPI for the run. Beside each figure stands what issue 3 asks for.
"""

import argparse
import multiprocessing
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psycopg

from app import migrate
from app.demo import postgres
from app.kernel import ids
from app.kernel.db import Database
from benchmarks.city import SETTINGS
from card import ledger
from card.ledger import AccountId, Transfer, TransferCode

SHARD_BITS = 48
HORDAK = Path(__file__).with_name("with_hordak.py")
HORDAK_PURSES = 20_000  # fewer than ours: every balance is a sum over rows, and these stay in memory
NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
MONEY = 10_000_000
COLUMNS = (
    "id, place, debit, credit, amount_minor, event_at, debit_after_minor, credit_after_minor, shard, code, reference,"
    " metadata, reverses"
)


def prepare(url: str, *, purses: int, operators: int, shards: int) -> None:
    """Open the accounts and fund the purses, as their owner and in bulk: in each shard operators from 1 on, then purses."""
    with psycopg.connect(url, autocommit=True) as connection:
        for shard in range(shards):
            for kind, first, count in (("operator", 1, operators), ("purse", operators + 1, purses // shards)):
                connection.execute(
                    """INSERT INTO card.account (id, shard, key, kind, guarded, floor_minor, currency, ledger, opened_at)
                       SELECT (%(shard)s::bigint << 48) + %(first)s + n, %(shard)s, %(kind)s || ':' || n, %(kind)s,
                         %(kind)s = 'purse', 0, 'CNY', 1, now() FROM generate_series(0, %(count)s - 1) n""",
                    {"shard": shard, "kind": kind, "first": first, "count": count},
                )
        connection.execute(
            """INSERT INTO card.account_balance (account_id, shard, posted_minor, held_minor, floor_minor)
               SELECT id, shard, %s, 0, 0 FROM card.account WHERE guarded ORDER BY id""",
            [MONEY],
        )
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def places(facts: dict, shard: int) -> dict[str, range]:
    """The ids of the purses and of the operators of a shard."""
    base = shard << SHARD_BITS
    purse = base + facts["operators"] + 1
    return {"purse": range(purse, purse + facts["purses"] // facts["shards"]), "operator": range(base + 1, purse)}


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
    own = places(facts, number)
    batches = [batch(chance, facts["size"], hot=facts["hot"], **own) for _ in range(facts["batches"])]
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
        ledger.balance(session, AccountId(own["purse"].start))
    ready.release()
    go.wait()
    begun = time.perf_counter()
    for made in batches:
        with database.transaction() as session:
            ledger.post(session, made, now=NOW)
    answers.put((begun, time.perf_counter()))
    database.close()


def posting(url: str, *, writers: int, work: Callable[..., None] = writer, **facts: object) -> float:
    """Transfers a second with ``writers`` processes."""
    context = multiprocessing.get_context("spawn")
    ready, go, answers = context.Semaphore(0), context.Event(), context.Queue()
    started = [context.Process(target=work, args=(url, n, facts, (ready, go, answers))) for n in range(writers)]
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


def copier(url: str, number: int, facts: dict, gate: tuple) -> None:
    """One process that copies ready text, one commit a batch."""
    ready, go, answers = gate
    shift = 20
    texts = []
    for step in range(facts["batches"]):
        rows = (
            f"{ids.new_id()}\t{step << shift | leaf}\t{leaf % 997}\t{leaf % 20}\t350\t{NOW.isoformat()}\t1"
            f"\t\\N\t{number}\t10\t\t\\N\t\\N"
            for leaf in range(facts["size"])
        )
        texts.append("\n".join(rows) + "\n")
    with psycopg.connect(url, autocommit=True) as connection:
        ready.release()
        go.wait()
        begun = time.perf_counter()
        for text in texts:
            with connection.cursor().copy(f"COPY public.copied ({COLUMNS}) FROM STDIN") as copy:
                copy.write(text)
        answers.put((begun, time.perf_counter()))


def copying(url: str, *, writers: int, **facts: object) -> float:
    """Rows a second of ``COPY`` of ready text into a table with the same primary key, by ``writers`` processes."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS public.copied")
        connection.execute("CREATE TABLE public.copied (LIKE card.transfer)")
        connection.execute("ALTER TABLE public.copied ADD PRIMARY KEY (id, shard)")
    return posting(url, writers=writers, work=copier, **facts)


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


def gathered(url: str, *, callers: int, own: dict[str, range]) -> dict[str, tuple[float, float]]:
    """The same single posts through one ``Poster``, and by callers that each commit alone."""
    database = Database(url, pool_size=callers)
    poster = ledger.Poster(database)

    def alone(transfer: Transfer) -> None:
        with database.transaction() as session:
            ledger.post(session, [transfer], now=NOW)

    facts = {"callers": callers, "each": 40, **own}
    singles(lambda transfer: poster.post([transfer], timeout_seconds=60), **facts)  # connections and caches are warm after it
    found = {
        "through the poster": singles(lambda transfer: poster.post([transfer], timeout_seconds=60), **facts),
        "each committing alone": singles(alone, **facts),
    }
    poster.close()
    database.close()
    return found


class Hordak(NamedTuple):
    """A Python that has django-hordak, and a database that it has made its own."""

    python: Path
    url: str
    version: str

    def start(self, act: str, **options: int) -> subprocess.Popen[str]:
        """One process of ``with_hordak.py``."""
        given = [f"--{name}={value}" for name, value in options.items()]
        command = [str(self.python), "-P", str(HORDAK), act, self.url, *given]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rate(self, *, writers: int, size: int) -> float:
        """Transfers a second of ``writers`` processes, each posting ``size`` in one commit."""
        started = [self.start("write", number=number, writers=writers, size=size) for number in range(writers)]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        spans = [[float(moment) for moment in process.communicate()[0].split()] for process in started]
        return writers * size / (max(end for _, end in spans) - min(begun for begun, _ in spans))


def install_hordak(folder: Path, url: str, *, operators: int) -> Hordak | None:
    """django-hordak in an environment in ``folder`` and its tables at ``url``; none if PyPI does not answer."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "-q"]
    if subprocess.run([*pip, "install", "django-hordak", "psycopg[binary]"], stderr=subprocess.DEVNULL, check=False).returncode:
        return None
    asked = "from importlib.metadata import version; print(version('django-hordak'))"
    version = subprocess.run([str(python), "-c", asked], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    made = Hordak(python, url, version)
    assert made.start("prepare", purses=HORDAK_PURSES, operators=operators).wait() == 0
    return made


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
    parser.add_argument("--hordak-size", type=int, default=400, help="transfers a batch of django-hordak, one batch a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the server keeps its files; a temporary folder if not given"
    )
    asked = parser.parse_args()
    shards = 2
    with tempfile.TemporaryDirectory() as temporary:
        folder = (asked.folder or Path(temporary)) / "pg"
        server = postgres.start(folder, SETTINGS)
        url = postgres.ensure_database(server, f"bench_{time.time_ns()}")
        migrate.upgrade(url)
        facts = {"purses": asked.purses, "operators": asked.operators, "shards": shards}
        prepare(url, **facts)
        work = {"size": asked.size, "batches": asked.batches, **facts}

        def median(measure: Callable[[], float]) -> float:
            return statistics.median(measure() for _ in range(asked.rounds))

        def show(name: str, found: float, asks: str = "") -> None:
            print(f"{name:<58}{found:>12,.2f}   {asks}".rstrip(), flush=True)

        print(f"{asked.purses:,} purses, {asked.operators} open accounts, {asked.size:,} a batch, medians of {asked.rounds}\n")
        copied = {writers: median(lambda: copying(url, writers=writers, **work)) for writers in (1, 2)}  # noqa: B023
        for writers, rate in copied.items():
            show(f"COPY, {writers} writer(s), rows a second", rate)
        rates = {
            writers: median(lambda: posting(url, writers=writers, hot=False, refusals=0.0, **work))  # noqa: B023
            for writers in (1, 2)
        }
        show("guarded batches, 1 writer, transfers a second", rates[1])
        show("guarded batches, 2 writers, transfers a second", rates[2], "at least 50,000")
        show("  of COPY by 2 writers", rates[2] / copied[2], "at least 0.12")
        hot = median(lambda: posting(url, writers=2, hot=True, refusals=0.0, **work))
        show("nine of ten on two open accounts, 2 writers", hot)
        show("  of the same without", hot / rates[2], "at least 0.9")
        show("bytes a transfer, indexes included", bytes_each(url), "at most 260")
        show(
            "exact lane, one in twenty refused, 2 writers",
            median(lambda: posting(url, writers=2, hot=False, refusals=0.05, **work)),
            "at least 15,000",
        )
        for name, (rate, worst) in gathered(url, callers=asked.callers, own=places(facts, 0)).items():
            ours = name.startswith("through")
            show(f"{asked.callers} threads, {name}, posts a second", rate, "at least 5,000" if ours else "")
            show(f"{asked.callers} threads, {name}, 99th percentile in ms", worst, "under 25" if ours else "")
        other = postgres.ensure_database(server, f"hordak_{time.time_ns()}")
        hordak = install_hordak(Path(temporary) / "hordak", other, operators=asked.operators)
        if hordak is None:
            print("django-hordak cannot be installed: PyPI does not answer here, so there is no figure to compare with.")
            return
        theirs = median(lambda: hordak.rate(writers=2, size=asked.hordak_size))
        show(f"django-hordak {hordak.version}, {HORDAK_PURSES:,} purses, 2 writers, transfers a second", theirs)
        show("  guarded batches by 2 writers, times as many", rates[2] / theirs, "at least 40")


if __name__ == "__main__":
    main()
