"""Archived months: the columns of their files, and what is asked of them, in Ibis expressions for whatever engine. Pure.

DuckDB runs them inside the process; Spark runs the same where a province's history outgrows a machine. A month is two Parquet
files: ``transfers``, one row a transfer sorted by id, with the keys of both accounts, so that it is whole without the
database; and ``batches``, one row for each batch that has a transfer in the month, with its root, its place in the tree and
the path from there to the signed checkpoint that the manifest names.
"""

from typing import Any, Final

import ibis
import pyarrow as pa
from ibis import Table

from card.ledger.rules import AccountId, place_of

FORMAT: Final = "citizen-card-ledger-month/1"
TRANSFERS: Final = "transfers.parquet"
BATCHES: Final = "batches.parquet"
MANIFEST: Final = "manifest.jws"
TYPE: Final = "ledger-month+jwt"

SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("place", pa.int64()),
        ("shard", pa.int16()),
        ("debit", pa.int64()),
        ("credit", pa.int64()),
        ("debit_key", pa.string()),
        ("credit_key", pa.string()),
        ("amount_minor", pa.int64()),
        ("code", pa.int16()),
        ("event_at", pa.int64()),  # microseconds since 1970, UTC: every engine reads them alike
        ("posted_at", pa.int64()),
        ("debit_after_minor", pa.int64()),
        ("credit_after_minor", pa.int64()),
        ("reference", pa.string()),
        ("metadata", pa.string()),
        ("reverses", pa.string()),
    ]
)
BATCH_SCHEMA: Final = pa.schema(
    [
        ("batch_no", pa.int64()),
        ("shard", pa.int16()),
        ("own", pa.int32()),  # how many of its transfers this month has
        ("transfers", pa.int32()),
        ("total_minor", pa.int64()),
        ("posted_at", pa.int64()),
        ("position", pa.int64()),
        ("root", pa.binary()),
        ("records", pa.binary()),
        ("path", pa.binary()),  # hashes of 32 bytes from the batch to the checkpoint's root, nearest first
        ("leaves", pa.binary()),  # hashes of 32 bytes of all its transfers, only where some of them are in another month
    ]
)


def lines(transfers: Table, account_id: AccountId, *, before: int | None, after: int, limit: int, newest: bool = True) -> Table:
    """The transfers of an account between two places (both exclusive), as a statement wants them; newest or oldest first."""
    paying = transfers.debit == account_id
    found = transfers.filter(paying | (transfers.credit == account_id)).filter(transfers.place > after)
    if before is not None:
        found = found.filter(found.place < before)
    found = found.select(
        "id",
        "place",
        "event_at",
        "posted_at",
        "code",
        "reference",
        "metadata",
        counter_key=ibis.ifelse(found.debit == account_id, found.credit_key, found.debit_key),
        amount=ibis.ifelse(found.debit == account_id, -found.amount_minor, found.amount_minor),
        after_minor=ibis.ifelse(found.debit == account_id, found.debit_after_minor, found.credit_after_minor),
    )
    return found.order_by(found.place.desc() if newest else found.place).limit(limit)


def moved_between(transfers: Table, *, after: int, before: int) -> Table:
    """What moved between two places (both exclusive), by debit, credit and code, in fen."""
    found = transfers.filter((transfers.place > after) & (transfers.place < before))
    return found.group_by("debit", "credit", "code").aggregate(
        transfers=found.count(), total_minor=found.amount_minor.sum().cast("int64")
    )


def by_id(transfers: Table, ids: list[str]) -> Table:
    """Those of ``ids`` that the month has. The file is sorted by id, so little of it is read."""
    return transfers.filter(transfers.id.isin(ids))


def of_batch(transfers: Table, batch_no: int) -> Table:
    """The month's transfers of a batch, in its order."""
    found = transfers.filter(transfers.place.between(place_of(batch_no, 0), place_of(batch_no + 1, 0) - 1))
    return found.order_by(found.place)


def in_process() -> Any:
    """DuckDB inside this process, with nothing on disk."""
    return ibis.duckdb.connect()


def rows(engine: Any, expression: Table) -> list[dict[str, Any]]:
    """Run an expression on an engine (an Ibis backend); its rows."""
    found = engine.to_pyarrow(expression)
    assert isinstance(found, pa.Table)
    return list(found.to_pylist())
