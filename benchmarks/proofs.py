"""``python -m benchmarks.proofs``: does sealing keep up, and how fast does a proof come from 100 million transfers.

The tree holds 50,000 sealed batches. Most are made up: a root each, as if 2,000 transfers were under it, with every node of the
tree above them stored as the sealer stores it. The last are real: 2,000 transfers each, posted through the ledger's door and
sealed by the sealer's own function. A proof is the whole receipt of one of those: it reads the transfer's block of 32, hashes
it, and takes the stored hashes above. Sealing is counted in seconds of processor time, of the sealer and its backend.
"""

import argparse
import os
import secrets
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import psycopg

from app import migrate
from app.demo import postgres
from app.kernel import ids, signing
from app.kernel.db import Database, Right
from app.kernel.signing import Purpose
from card import ledger
from card.ledger import Transfer, TransferCode, chart, proofs, tree, verification
from card.ledger.notes import Checkpoint, signed_note

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
CITY = "320100"


def made_up(url: str, *, batches: int, size: int, key: signing.Key) -> float:
    """Seal ``batches`` made-up batches in bulk, as their owner; seconds."""
    started = time.perf_counter()
    nodes: dict[tuple[int, int], bytes] = {}

    def fetch(level: int, index: int) -> bytes:
        return nodes[level, index]

    roots = [secrets.token_bytes(32) for _ in range(batches)]
    for position, root in enumerate(roots):
        leaf = proofs.batch_data(
            batch_no=position + 1, transfers=size, total_minor=size * 500, posted_at=NOW, root=root, records=b"", shard=0
        )
        proofs.append(nodes, fetch, position, tree.leaf_hash(leaf), tree.INTERNATIONAL)
    root = tree.subtree(fetch, 0, batches)
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
            "COPY card.ledger_seal (position, batch_no, root, marks, blocks, records, sealed_at) FROM STDIN"
        ) as copy:
            for position, one in enumerate(roots):
                copy.write_row((position, position + 1, one, b"", b"", b"", NOW))
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
                reference=f"card-day:3104{n:015d}:2026-11-22:metro",
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


def main() -> None:  # noqa: PLR0915
    asked = argparse.ArgumentParser(prog="python -m benchmarks.proofs")
    asked.add_argument("--batches", type=int, default=50_000)
    asked.add_argument("--size", type=int, default=2_000)
    asked.add_argument("--real", type=int, default=20)
    asked.add_argument("--rounds", type=int, default=5)
    facts = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = postgres.start(Path(folder) / "pg")
        url = postgres.ensure_database(server, "proofs")
        migrate.upgrade(url)
        key = signing.load_or_create(Path(folder) / "keys", Purpose.CHECKPOINT)
        vkey = proofs.verifier_key(CITY, key)
        made = facts.batches - facts.real * facts.rounds
        took = made_up(url, batches=made, size=facts.size, key=key)
        print(f"a tree of {made:,} made-up batches (as of {made * facts.size:,} transfers) stored in {took:.1f} s")
        database, sealer = Database(url), Database(url, right=Right.SEALER)
        with sealer.transaction() as session:
            backend = int(session.connection().exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
        rates, shares, each = [], [], []
        for _ in range(facts.rounds):
            posting, _ = post(database, batches=facts.real, size=facts.size, purses=facts.size)
            before, own = processor_seconds([os.getpid(), backend]), processor_seconds([os.getpid()])
            started, transfers = time.perf_counter(), 0
            while True:
                with sealer.transaction() as session:
                    sealed = proofs.seal(session, key=key, city_code=CITY, now=datetime.now(UTC))
                if not sealed:
                    break
                transfers += sealed
            wall = time.perf_counter() - started
            used = processor_seconds([os.getpid(), backend]) - before
            leaves = facts.real * facts.size + facts.size  # and the openings
            rates.append(leaves / wall)
            each.append(used / leaves * 1e6)
            shares.append((processor_seconds([os.getpid()]) - own) / leaves * 1e6)
            print(f"  posted {facts.real * facts.size / posting:,.0f}/s by one writer; sealed {leaves:,} in {wall:.2f} s")
        cost = statistics.median(each)
        print(f"sealing: {cost:.2f} µs of processor a transfer ({statistics.median(shares):.2f} of it in the sealer itself),")
        print(f"         {statistics.median(rates):,.0f} transfers a second while it runs;")
        print(f"         a tenth of one core seals {0.1 / cost * 1e6:,.0f} transfers a second")
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("ANALYZE")
        with database.transaction() as session:
            picked = session.connection().exec_driver_sql(
                "SELECT id FROM card.transfer WHERE code = 10 ORDER BY random() LIMIT %(n)s", {"n": 200}
            )
            wanted = [row[0] for row in picked]
            backend = int(session.connection().exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
        times, checks, spent = [], [], 0.0
        for transfer_id in wanted:
            with database.transaction() as session:
                before = processor_seconds([os.getpid(), backend])
                started = time.perf_counter()
                document = ledger.receipt(session, transfer_id)
                times.append(time.perf_counter() - started)
                spent += processor_seconds([os.getpid(), backend]) - before
            started = time.perf_counter()
            verification.verify(document, key=vkey.text)
            checks.append(time.perf_counter() - started)
        times.sort()
        median, late = times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3
        print(f"receipts from {facts.batches * facts.size:,} transfers: median {median:.2f} ms, p99 {late:.2f} ms, of 200;")
        print(f"         {spent / len(wanted) * 1e3:.2f} ms of processor each, of this process and its backend;")
        print(f"         verified by a stranger in {statistics.median(checks) * 1e3:.2f} ms")
        database.close()
        sealer.close()


if __name__ == "__main__":
    main()
