"""An archived month is read by DuckDB in this process and by Spark through the same expressions, with the same answers."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from card.ledger import history
from card.ledger.rules import AccountId, place_of

ROWS = [
    {
        "id": f"019b9d2e-0000-7000-8000-{number:012x}",
        "place": place_of(number // 5 + 1, number % 5),
        "shard": 0,
        "debit": 1 + number % 3,
        "credit": 7 + number % 2,
        "debit_key": f"purse:{1 + number % 3}",
        "credit_key": f"operator:{7 + number % 2}",
        "amount_minor": 100 + number,
        "code": 10 + number % 2,
        "event_at": 1_767_225_600_000_000 + number,
        "posted_at": 1_767_225_600_000_000 + number,
        "debit_after_minor": -number,
        "credit_after_minor": None,
        "reference": "",
        "metadata": '{"n": 1}' if number % 4 else None,
        "reverses": None,
    }
    for number in range(60)
]


def answers(engine: Any, file: Path) -> list[list[dict[str, Any]]]:
    transfers = engine.read_parquet(str(file))
    asked = [
        history.lines(transfers, AccountId(1), before=place_of(9, 2), after=place_of(2, 0), limit=6),
        history.lines(transfers, AccountId(7), before=None, after=-1, limit=50, newest=False),
        history.by_id(transfers, [ROWS[7]["id"], ROWS[8]["id"], "none"]).order_by("id"),
        history.of_batch(transfers, 3),
        history.moved_between(transfers, after=place_of(2, 0), before=place_of(6, 0)).order_by("debit", "credit", "code"),
    ]
    return [history.rows(engine, expression) for expression in asked]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS, schema=history.SCHEMA), tmp_path / history.TRANSFERS)
    return tmp_path / history.TRANSFERS


def test_duckdb_reads_an_archived_month(file: Path) -> None:
    newest, all_of_it, by_id, batch, moved = answers(history.in_process(), file)
    assert [row["amount"] for row in newest] == [-(100 + number) for number in (39, 36, 33, 30, 27, 24)]
    assert [row["amount"] for row in all_of_it] == [100 + number for number in range(0, 60, 2)]
    assert [row["amount_minor"] for row in by_id] == [107, 108]
    assert [row["amount_minor"] for row in batch] == [110, 111, 112, 113, 114]
    assert sum(row["total_minor"] for row in moved) == sum(range(106, 125))


@pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None or shutil.which("java") is None,
    reason="left out: Spark is not installed here; `make big` installs it (the extra `big`, and Java 17) and runs this",
)
def test_spark_gives_the_same_answers(file: Path) -> None:
    from pyspark.sql import SparkSession  # noqa: PLC0415  only where it is installed

    session = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "1")
        .getOrCreate()
    )
    try:
        assert answers(ibis.pyspark.connect(session), file) == answers(history.in_process(), file)
    finally:
        session.stop()
