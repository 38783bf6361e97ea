"""``python -m benchmarks.statements``: what reading the books costs when their history is long, and what archiving costs.

The same questions are put to a short history and to one of three million entries on one account, side by side, each round at
another instant. Medians of ``--rounds`` runs; the books are proven once, and the archive is written and verified once.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app import migrate
from app.demo import postgres
from app.kernel import city
from app.kernel.city import City
from app.kernel.db import Database, Right, psycopg_url
from app.kernel.signing import Purpose
from card import ledger
from card.ledger import AccountId, Month, archive, chart, history, jobs, marks, proofs, recent, shelf, tree

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
EPOCH = int(BEGIN.timestamp())
PURSE, METRO, OTHER = AccountId(1), AccountId(2), AccountId(3)


def lived(url: str, *, first: int, batches: int, size: int, share: int) -> None:
    """Batches as posting writes them: one transfer in ``share`` goes to the first operator, all come from one purse."""
    asked = {
        "first": first,
        "last": first + batches - 1,
        "size": size,
        "share": share,
        "epoch": EPOCH,
        "ms": EPOCH * 1000,
        "batches": batches,
    }
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute(
            """INSERT INTO card.transfer (id, place, debit, credit, amount_minor, event_at, debit_after_minor, code, reference)
               SELECT (lpad(to_hex(%(ms)s + b * 500), 12, '0') || '7' || substr(md5(b || '.' || leaf), 1, 3)
                   || '8' || substr(md5(b || '.' || leaf), 4, 15))::uuid,
                 b::bigint << 20 | leaf, 1, CASE WHEN leaf %% %(share)s = 0 THEN 2 ELSE 3 END, 1,
                 to_timestamp(%(epoch)s + b * 0.5), -((b - 1)::bigint * %(size)s + leaf + 1), 10, ''
               FROM generate_series(%(first)s::int, %(last)s::int) b CROSS JOIN generate_series(0, %(size)s - 1) leaf""",
            asked,
        )
        connection.execute(
            """INSERT INTO card.account_delta (account_id, batch_no, debit_minor, credit_minor, transfers)
               SELECT a, b, 0, n, n FROM generate_series(%(first)s::int, %(last)s::int) b
               CROSS JOIN (VALUES (2, (%(size)s + %(share)s - 1) / %(share)s),
                 (3, %(size)s - (%(size)s + %(share)s - 1) / %(share)s)) v(a, n) WHERE n > 0""",
            asked,
        )
        connection.execute(
            """INSERT INTO card.ledger_batch (batch_no, transfers, total_minor, posted_at)
               SELECT b, %(size)s, %(size)s, to_timestamp(%(epoch)s + b * 0.5)
               FROM generate_series(%(first)s::int, %(last)s::int) b""",
            asked,
        )
        connection.execute("SELECT setval('card.ledger_batch_no', %(last)s)", asked)
        connection.execute(
            """UPDATE card.account_balance SET posted_minor = posted_minor - %(size)s::bigint * %(batches)s::bigint
               WHERE account_id = 1""",
            asked,
        )
        connection.execute("VACUUM ANALYZE")


def median_ms(database: Database, ask: Callable[[Session], object], *, rounds: int) -> float:
    """Milliseconds of one question in a transaction of its own, warm."""
    took = []
    for _ in range(rounds + 1):
        with database.transaction() as session:
            begun = time.perf_counter()
            ask(session)
            took.append((time.perf_counter() - begun) * 1000)
    return statistics.median(took[1:])


def questions(instants: Iterator[datetime]) -> dict[str, Callable[[Session], object]]:
    """What is asked of both histories."""
    return {
        "balance of an operator at any instant": lambda s: ledger.balance_at(s, METRO, next(instants)),
        "balance of a purse at any instant": lambda s: ledger.balance_at(s, PURSE, next(instants)),
        "statement, newest 50, operator": lambda s: ledger.statement(s, METRO),
        "statement, 50 before any instant, operator": lambda s: ledger.statement(s, METRO, until=next(instants)),
        "statement, oldest 50, operator": lambda s: ledger.statement(s, METRO, after="0.0"),
        "statement, newest 50, purse": lambda s: ledger.statement(s, PURSE),
        "statement, 50 before any instant, purse": lambda s: ledger.statement(s, PURSE, until=next(instants)),
        "trial balance at any instant": lambda s: ledger.trial_balance(s, at=next(instants)),
    }


def instants(batches: int) -> Iterator[datetime]:
    """Instants of a history without end, spread over all of it."""
    for number in itertools.count(1):
        yield datetime.fromtimestamp(EPOCH + batches / 2 * (number * 0.618 % 1), UTC)


def proven(database: Database, *, batches: int, new: int) -> tuple[float, float]:
    """Seconds in which all of the books are proven, and the newest ``new`` batches of them."""
    with database.transaction() as session:
        whole = ledger.check_books(session)
        recently = recent.check_recent(session, after_batch=batches - new, after_position=-1, suite=tree.INTERNATIONAL)
    assert whole.right, whole.findings[:3]
    assert recently.right, recently.findings[:3]
    assert recently.batches == new
    return whole.took.total_seconds(), recently.took.total_seconds()


def archived(url: str, folder: Path, *, transfers: int) -> None:
    """Seal, archive, read back; rates of each."""
    here = City(code="320100", keys_dir=folder / "keys")
    sealer = Database(url, right=Right.SEALER, pool_size=1)
    begun = time.perf_counter()
    with sealer.transaction() as session:
        while proofs.seal(session, key=here.key(Purpose.CHECKPOINT), city_code=here.code, now=BEGIN) == proofs.STEP:
            pass
    print(f"{'sealed, transfers a second':<58}{transfers / (time.perf_counter() - begun):>12,.0f}", flush=True)
    sealer.close()
    month = Month.parse("2026-01")
    with Session(create_engine(psycopg_url(url), poolclass=NullPool)) as session, session.begin():
        session.info[city.INFO] = here
        begun = time.perf_counter()
        archive.write(session, here, month, now=datetime(2026, 7, 1, tzinfo=UTC))
        took = time.perf_counter() - begun
        print(f"{'archived and verified, transfers a second':<58}{transfers / took:>12,.0f}")
        archive.detach(session, here, month, now=datetime(2026, 7, 1, tzinfo=UTC))
        kept = sum(path.stat().st_size for path in shelf.folder_of(here, month).iterdir())
        print(f"{'bytes a transfer in the archive':<58}{kept / transfers:>12,.0f}")
        begun = time.perf_counter()
        rows = shelf.lines(session, METRO, before=None, after=-1, limit=50)
        print(f"{'statement page from the archive (DuckDB), ms':<58}{(time.perf_counter() - begun) * 1000:>12,.1f}")
        assert len(rows) == 50
        begun = time.perf_counter()
        engine = history.in_process()
        table = engine.read_parquet(str(shelf.folder_of(here, month) / history.TRANSFERS))
        history.rows(engine, history.moved_between(table, after=-1, before=2**62))
        print(f"{'the month summed by account and code, rows a second':<58}{transfers / (time.perf_counter() - begun):>12,.0f}")


def main() -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=3_000_000, help="entries of the long history")
    parser.add_argument("--archive", type=int, default=200_000, help="transfers of the archived month; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        server = postgres.start(Path(temporary) / "pg")
        found: dict[str, list[float]] = {}
        checks: list[tuple[float, float]] = []
        for entries in (asked.entries // 100, asked.entries):
            url = postgres.ensure_database(server, f"bench_{time.time_ns()}")
            migrate.upgrade(url)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SELECT card.make_ledger_months('2026-01-01', 2)")
            database, sealer = Database(url), Database(url, right=Right.SEALER, pool_size=1)
            with database.transaction() as session:
                for spec in (replace(chart.purse("p"), floor_minor=-(10**12)), chart.operator("m"), chart.operator("n")):
                    ledger.open_account(session, spec, now=BEGIN)
            batches = entries // 1_000
            lived(url, first=1, batches=batches, size=1_000, share=1)  # all of them go to one operator: the longest history
            begun = time.perf_counter()
            with sealer.transaction() as session:
                marks.fold(session, upto=batches, now=BEGIN)
            took = time.perf_counter() - begun
            for name, ask in questions(instants(batches)).items():
                found.setdefault(name, []).append(median_ms(database, ask, rounds=asked.rounds))
            checks.append(proven(database, batches=batches, new=min(20, batches)))
            database.close()
            sealer.close()
        print(f"medians of {asked.rounds}, milliseconds{asked.entries // 100:>43,}{asked.entries:>14,} entries\n")
        for name, (short, long) in found.items():
            print(f"{name:<58}{short:>12,.2f}{long:>14,.2f}{'   under 20' if name.startswith('statement') else ''}")
        for place, name in enumerate(("all of the books proven, seconds", "the newest 20,000 transfers proven, seconds")):
            print(f"{name:<58}{checks[0][place]:>12,.2f}{checks[1][place]:>14,.2f}")
        print(f"\n{'folded into marks, microseconds a transfer':<58}{took / asked.entries * 1e6:>12,.2f}", flush=True)
        if not asked.archive:
            return
        url = postgres.ensure_database(server, f"bench_{time.time_ns()}")
        migrate.upgrade(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT card.make_ledger_months('2026-01-01', 2)")
        database = Database(url)
        with database.transaction() as session:
            for spec in (replace(chart.purse("p"), floor_minor=-(10**12)), chart.operator("m"), chart.operator("n")):
                ledger.open_account(session, spec, now=BEGIN)
        database.close()
        lived(url, first=1, batches=asked.archive // 1_000, size=1_000, share=10)
        sealer = Database(url, right=Right.SEALER, pool_size=1)
        jobs.fold_settled(sealer, all_of_it=True)
        sealer.close()
        archived(url, Path(temporary), transfers=asked.archive)


if __name__ == "__main__":
    main()
