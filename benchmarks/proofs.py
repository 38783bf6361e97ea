"""``python -m benchmarks.proofs``: does sealing keep up, and how fast does a proof come from 100 million transfers.

The tree holds 50,000 sealed batches. Most are made up: a root each, as if 2,000 transfers were under it, with every node of the
tree above them stored as the sealer stores it. The last are real: 2,000 transfers each, posted through the ledger's door and
sealed by the sealer's own function. A proof is the whole receipt of one of those: it reads the transfer's block of 32, hashes
it, takes the stored hashes above, and the same for the names of both accounts. Sealing is counted in seconds of processor time,
of the sealer and its backend.

Then the sealer runs as a process of its own, every three seconds as the worker does, while two other processes post: at a
city's busy hour, in batches as small as single posts make them, and as fast as they can. How much of a core it takes is what it
used, backend included, by the length of the run; how far it is behind is what was not sealed yet when the last batch was in.
"""

import argparse
import multiprocessing
import os
import random
import secrets
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg

from app import migrate
from app.demo import postgres
from app.kernel import ids, signing
from app.kernel.db import Database, Right
from app.kernel.signing import Purpose
from benchmarks import ledger as books
from benchmarks.city import SETTINGS
from card import ledger
from card.ledger import Transfer, TransferCode, chart, proofs, tree, verification
from card.ledger.notes import Checkpoint, signed_note

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
CITY = "320100"
PLANNED = 12  # receipts after which a connection has all its statements planned
EVERY = 3.0  # seconds from one run of the worker's sealer to the next
CITY_PURSES, CITY_OPERATORS = 100_000, 20
REFERENCE = "card-day:3104{:015d}:2026-11-22:metro"


def made_up(url: str, *, batches: int, size: int, key: signing.Key) -> float:
    """Seal ``batches`` made-up batches in bulk, as their owner; seconds."""
    started = time.perf_counter()
    nodes: dict[tuple[int, int], bytes] = {}
    roots = [secrets.token_bytes(32) for _ in range(batches)]
    for position, root in enumerate(roots):
        leaf = proofs.batch_data(
            batch_no=position + 1, transfers=size, total_minor=size * 500, posted_at=NOW, root=root, records=b"", shard=0
        )
        proofs.append(nodes, position, tree.leaf_hash(leaf), tree.INTERNATIONAL)
    root = tree.subtree(lambda level, index: nodes[level, index], 0, batches)
    note = signed_note(
        Checkpoint(origin=proofs.origin(CITY), size=batches, root=root, time_us=proofs.microseconds(NOW)),
        key=proofs.verifier_key(CITY, key),
        sign=key.sign,
    )
    with psycopg.connect(url) as owner, owner.cursor() as cursor:
        with cursor.copy("COPY card.ledger_batch (batch_no, total_minor, posted_at, transfers, shard) FROM STDIN") as copy:
            for position in range(batches):
                copy.write_row((position + 1, size * 500, NOW, size, 0))
        with cursor.copy(
            "COPY card.ledger_seal (position, batch_no, root, marks, blocks, records, record_blocks, sealed_at) FROM STDIN"
        ) as copy:
            for position, one in enumerate(roots):
                copy.write_row((position, position + 1, one, b"", b"", b"", b"", NOW))
        with cursor.copy("COPY card.ledger_node (level, index, hash) FROM STDIN") as copy:
            for (level, index), one in nodes.items():
                copy.write_row((level, index, one))
        cursor.execute(
            "INSERT INTO card.ledger_checkpoint (size, suite, root, note, signed_at) VALUES (%s, 1, %s, %s, %s)",
            (batches, root, note, NOW),
        )
        cursor.execute("SELECT setval('card.ledger_batch_no', %s)", (batches,))
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("VACUUM ANALYZE")
    return time.perf_counter() - started


def processor_seconds(pids: list[int]) -> float:
    """Seconds of processor time that these processes have used."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def backend_of(database: Database) -> int:
    """The process of the server that answers this database's one connection."""
    with database.transaction() as session:
        return int(session.connection().exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


def post(database: Database, *, batches: int, size: int, purses: int) -> tuple[float, list[ledger.AccountId]]:
    """Post real batches; seconds, and the purses."""
    with database.transaction() as session:
        bank = ledger.open_account(session, chart.bank(), now=NOW)
        metro = ledger.open_account(session, chart.operator("metro"), now=NOW)
        own = [ledger.open_account(session, chart.purse(str(n)), now=NOW) for n in range(purses)]
        openings = [
            Transfer(id=ids.new_id(), debit=bank, credit=one, amount_minor=10**7, code=TransferCode.OPENING, event_at=NOW)
            for one in own
        ]
        ledger.post_all(session, openings, now=NOW)
    prepared = [
        [
            Transfer(
                id=ids.new_id(),
                debit=own[(turn * size + n) % purses],
                credit=metro,
                amount_minor=200 + n % 700,
                code=TransferCode.FARE,
                event_at=NOW + timedelta(seconds=turn),
                reference=REFERENCE.format(n),
            )
            for n in range(size)
        ]
        for turn in range(batches)
    ]
    started = time.perf_counter()
    for transfers in prepared:
        with database.transaction() as session:
            ledger.post(session, transfers, now=NOW)
    return time.perf_counter() - started, own


def seal_all(sealer: Database, key: signing.Key) -> int:
    """Seal what there is, as the worker does; how many batches."""
    sealed = 0
    while True:
        with sealer.transaction() as session:
            found = proofs.seal(session, key=key, city_code=CITY, now=datetime.now(UTC))
        sealed += found
        if found < proofs.STEP:
            return sealed


# Beside posting


class Beside(NamedTuple):
    """What a sealer did beside posting: transfers a second that came, its share of a core, µs each, how far behind it was."""

    rate: float
    share: float
    each: float
    behind: int
    until_sealed: float


def writer(url: str, number: int, facts: dict[str, Any], gate: tuple[Any, Any, Any]) -> None:
    """Post batches that were made before, one every ``pause`` seconds or as fast as it goes; answer when it began and ended."""
    ready, go, answers = gate
    chance = random.Random()
    own = books.places(facts, number)
    made = [books.batch(chance, facts["size"], hot=False, **own) for _ in range(facts["batches"])]
    database = Database(url, pool_size=1)
    with database.transaction() as session:
        ledger.balance(session, ledger.AccountId(own["purse"].start))
    ready.release()
    go.wait()
    begun = time.time()
    for turn, transfers in enumerate(made):
        if facts["pause"]:
            time.sleep(max(0.0, begun + turn * facts["pause"] - time.time()))
        with database.transaction() as session:
            ledger.post(session, transfers, now=datetime.now(UTC))
    answers.put((begun, time.time()))
    database.close()


def sealer_beside(url: str, keys: Path, gate: tuple[Any, Any, Any], ended: Any) -> None:
    """Seal every three seconds until the posting has ended; answer what it cost and when everything was sealed."""
    ready, go, answers = gate
    key = signing.load_or_create(keys, Purpose.CHECKPOINT)
    sealer = Database(url, right=Right.SEALER, pool_size=1)
    pids = [os.getpid(), backend_of(sealer)]
    ready.release()
    go.wait()
    used = processor_seconds(pids)
    over = False
    while not over:
        begun = time.monotonic()
        over = ended.is_set()
        seal_all(sealer, key)
        if not over:
            ended.wait(max(0.0, begun + EVERY - time.monotonic()))
    answers.put((processor_seconds(pids) - used, time.time()))
    sealer.close()


def beside(url: str, keys: Path, **facts: Any) -> Beside:
    """Two processes post while a third seals."""
    context = multiprocessing.get_context("spawn")
    ready, go, ended = context.Semaphore(0), context.Event(), context.Event()
    spans, costs = context.Queue(), context.Queue()
    writers = [context.Process(target=writer, args=(url, number, facts, (ready, go, spans))) for number in range(2)]
    sealing = context.Process(target=sealer_beside, args=(url, keys, (ready, go, costs), ended))
    for process in (*writers, sealing):
        process.start()
    for _ in range(3):
        ready.acquire()
    go.set()
    times = [spans.get() for _ in writers]
    with psycopg.connect(url) as asking:
        row = asking.execute(
            """SELECT coalesce(sum(b.transfers), 0) FROM card.ledger_batch b
               WHERE b.batch_no > (SELECT coalesce(max(batch_no), 0) FROM card.ledger_seal)"""
        ).fetchone()
    ended.set()
    begun, over = min(begun for begun, _ in times), max(over for _, over in times)
    cost, sealed_at = costs.get()
    for process in (*writers, sealing):
        process.join()
    transfers = 2 * facts["batches"] * facts["size"]
    assert row is not None
    return Beside(transfers / (over - begun), cost / (sealed_at - begun), cost / transfers * 1e6, int(row[0]), sealed_at - over)


def prepare_city(url: str, keys: Path) -> dict[str, Any]:
    """A city's purses and operators, with their names sealed."""
    facts: dict[str, Any] = {"purses": CITY_PURSES, "operators": CITY_OPERATORS, "shards": 2}
    books.prepare(url, **facts)
    database, sealer = Database(url, pool_size=1), Database(url, right=Right.SEALER, pool_size=1)
    own, key = books.places(facts, 0), signing.load_or_create(keys, Purpose.CHECKPOINT)
    for _ in range(-(-(CITY_PURSES + 2 * CITY_OPERATORS) // proofs.RECORDS)):
        with database.transaction() as session:
            ledger.post(session, books.batch(random.Random(), 1, hot=False, **own), now=NOW)
        seal_all(sealer, key)
    database.close()
    sealer.close()
    return facts


def show_beside(server: Any, keys: Path, *, seconds: float) -> None:
    """Print how the sealer does beside two writers, in a busy hour and at full speed."""
    print("two processes post, a third seals every 3 s:")
    for name, size, rate in (("5,000/s in batches of 50", 50, 5_000), ("as fast as they can in batches of 2,000", 2_000, 0)):
        url = postgres.ensure_database(server, f"beside_{size}")
        migrate.upgrade(url)
        facts = prepare_city(url, keys)
        batches = int((rate or 60_000) * seconds / size / 2)
        found = beside(url, keys, size=size, batches=batches, pause=2 * size / rate if rate else 0.0, **facts)
        print(f"  {name}: posted {found.rate:,.0f}/s; the sealer and its backend took {found.share:.1%} of a core")
        print(f"    ({found.each:.2f} µs a transfer) and were {found.behind:,} transfers behind at the end,", end=" ")
        print(f"all of it sealed {found.until_sealed:.2f} s later", flush=True)


# Receipts


def show_receipts(database: Database, key: str, *, transfers: int) -> None:
    """Print how long receipts of the real batches take, and how large they are."""
    with database.transaction() as session:
        picked = session.connection().exec_driver_sql(
            "SELECT id FROM card.transfer WHERE code = 10 ORDER BY random() LIMIT %(n)s", {"n": 200 + PLANNED}
        )
        wanted = [row[0] for row in picked]
    pids = [os.getpid(), backend_of(database)]
    times, checks, lengths, spent = [], [], [], 0.0
    for transfer_id in wanted:
        with database.transaction() as session:
            before = processor_seconds(pids)
            started = time.perf_counter()
            document = ledger.receipt(session, transfer_id)
            times.append(time.perf_counter() - started)
            spent += processor_seconds(pids) - before
        started = time.perf_counter()
        verification.verify(document, key=key)
        checks.append(time.perf_counter() - started)
        lengths.append([len(code) for code in ledger.receipt_codes(document)])
    first, warm = times[0] * 1e3, sorted(times[PLANNED:])
    median, late = warm[len(warm) // 2] * 1e3, warm[int(len(warm) * 0.99)] * 1e3
    print(f"receipts from {transfers:,} transfers: median {median:.2f} ms, p99 {late:.2f} ms, of {len(warm)};")
    print(f"         the first of a connection, whose statements are not planned yet, {first:.2f} ms;")
    print(f"         {spent / len(wanted) * 1e3:.2f} ms of processor each, of this process and its backend;")
    print(f"         verified by a stranger in {statistics.median(checks) * 1e3:.2f} ms;")
    codes, characters = statistics.median(map(len, lengths)), statistics.median(map(sum, lengths))
    print(f"         on paper {codes:.0f} QRs of together {characters:,.0f} characters")


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m benchmarks.proofs")
    asked.add_argument("--batches", type=int, default=50_000)
    asked.add_argument("--size", type=int, default=2_000)
    asked.add_argument("--real", type=int, default=20)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--seconds", type=float, default=9.5, help="how long two processes post beside the sealer")
    facts = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        server = postgres.start(Path(folder) / "pg", SETTINGS)
        url = postgres.ensure_database(server, "proofs")
        migrate.upgrade(url)
        key = signing.load_or_create(keys, Purpose.CHECKPOINT)
        made = facts.batches - facts.real * facts.rounds
        took = made_up(url, batches=made, size=facts.size, key=key)
        print(f"a tree of {made:,} made-up batches (as of {made * facts.size:,} transfers) stored in {took:.1f} s")
        database, sealer = Database(url, pool_size=1), Database(url, right=Right.SEALER, pool_size=1)
        pids = [os.getpid(), backend_of(sealer)]
        rates, shares, each = [], [], []
        for _ in range(facts.rounds):
            posting, _ = post(database, batches=facts.real, size=facts.size, purses=facts.size)
            before, own = processor_seconds(pids), processor_seconds(pids[:1])
            started = time.perf_counter()
            seal_all(sealer, key)
            wall = time.perf_counter() - started
            used = processor_seconds(pids) - before
            count = facts.real * facts.size + facts.size  # and the openings
            print(f"  posted {facts.real * facts.size / posting:,.0f}/s by one writer; sealed {count:,} in {wall:.2f} s")
            rates.append(count / wall)
            each.append(used / count * 1e6)
            shares.append((processor_seconds(pids[:1]) - own) / count * 1e6)
        cost = statistics.median(each)
        print(f"sealing: {cost:.2f} µs of processor a transfer ({statistics.median(shares):.2f} of it in the sealer itself),")
        print(f"         {statistics.median(rates):,.0f} transfers a second while it runs;")
        print(f"         a tenth of one core seals {0.1 / cost * 1e6:,.0f} transfers a second")
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("ANALYZE")
        key_text = proofs.verifier_key(CITY, key).text
        show_receipts(database, key_text, transfers=facts.batches * facts.size)
        database.close()
        sealer.close()
        show_beside(server, keys, seconds=facts.seconds)


if __name__ == "__main__":
    main()
