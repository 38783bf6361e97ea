"""The tables of the ledger. What they promise beyond types (append-only, who may write) is in migrations 0002 and 0019.

Every key carries ``shard``, so that a city that outgrows one database can distribute all of them by it; what is booked together
stands in one shard. The upper bits of an account's id are its shard (``rules.shard_of``).

A transfer carries no foreign key to its accounts: the check would cost two look-ups a row on the hottest path of the city.
Posting joins the accounts anyway and refuses an unknown one, and ``check_books`` proves it again.
"""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Sequence,
    SmallInteger,
    SQLColumnExpression,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Json
from card.ledger.rules import LEAF_BITS, batch_of, leaf_of

SCHEMA = {"schema": "card"}

BATCH_NO = Sequence("ledger_batch_no", schema="card", metadata=Base.metadata)


def batch_in_sql(place: SQLColumnExpression[int]) -> ColumnElement[int]:
    """``rules.batch_of`` in SQL."""
    return place.op(">>", return_type=BigInteger())(literal_column(str(LEAF_BITS)))


class AccountRow(Base):
    """An account. Written once, never changed."""

    __tablename__ = "account"
    __table_args__ = (
        UniqueConstraint("key", "shard"),
        CheckConstraint("floor_minor <= 0", name="floor"),
        CheckConstraint("id >> 48 = shard", name="shard"),
        Index("ix_account_kind", "kind", "id"),
        SCHEMA,
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    floor_minor: Mapped[int] = mapped_column(BigInteger)
    opened_at: Mapped[datetime]
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="0")
    ledger: Mapped[int] = mapped_column(SmallInteger)
    guarded: Mapped[bool]
    currency: Mapped[str]
    kind: Mapped[str]
    key: Mapped[str]


class AccountBalance(Base):
    """The balance of a guarded account: a cache of its transfers and holds, and the row that posting locks.

    The floor is repeated here so that the database itself refuses to go below it; ledger and currency, so that posting need not
    look into ``account`` for the many guarded sides of a batch.
    """

    __tablename__ = "account_balance"
    __table_args__ = (
        ForeignKeyConstraint(["account_id", "shard"], ["card.account.id", "card.account.shard"]),
        CheckConstraint("posted_minor - held_minor >= floor_minor", name="floor"),
        CheckConstraint("held_minor >= 0", name="held"),
        {**SCHEMA, "postgresql_with": {"fillfactor": "70"}},
    )

    account_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    posted_minor: Mapped[int] = mapped_column(BigInteger)
    held_minor: Mapped[int] = mapped_column(BigInteger)
    floor_minor: Mapped[int] = mapped_column(BigInteger)
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="0")
    ledger: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    currency: Mapped[str] = mapped_column(server_default="CNY")


class LedgerBatch(Base):
    """What was booked together, in one shard. ``batch_no`` rises in the order in which any one guarded account was booked."""

    __tablename__ = "ledger_batch"
    __table_args__ = (Index("ix_ledger_batch_posted_at", "posted_at", "batch_no"), SCHEMA)

    batch_no: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    total_minor: Mapped[int] = mapped_column(BigInteger)
    posted_at: Mapped[datetime]
    transfers: Mapped[int] = mapped_column(Integer)
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="0")


class TransferRow(Base):
    """One transfer. Partitioned by month of its UUIDv7; append-only for everybody.

    ``place`` is its batch and its leaf there in one number (``rules.place_of``): the order of the books. The indexes by account
    hold guarded sides only; an open account's transfers are found by its deltas, each batch being a range of places.
    """

    __tablename__ = "transfer"
    __table_args__ = (
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("debit <> credit", name="sides"),
        Index("ix_transfer_place", "place"),
        Index("ix_transfer_debit", "debit", "place", postgresql_where=text("debit_after_minor IS NOT NULL")),
        Index("ix_transfer_credit", "credit", "place", postgresql_where=text("credit_after_minor IS NOT NULL")),
        Index("ix_transfer_reference", "reference", postgresql_where=text("reference <> ''")),
        Index("ix_transfer_reverses", "reverses", postgresql_where=text("reverses IS NOT NULL")),
        Index(
            "ix_transfer_metadata",
            "metadata",
            postgresql_using="gin",
            postgresql_ops={"metadata": "jsonb_path_ops"},
            postgresql_where=text("metadata IS NOT NULL"),
        ),
        {**SCHEMA, "postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(BigInteger)
    debit: Mapped[int] = mapped_column(BigInteger)
    credit: Mapped[int] = mapped_column(BigInteger)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    event_at: Mapped[datetime]
    debit_after_minor: Mapped[int | None] = mapped_column(BigInteger)
    credit_after_minor: Mapped[int | None] = mapped_column(BigInteger)
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="0")
    code: Mapped[int] = mapped_column(SmallInteger)
    reference: Mapped[str]
    details: Mapped[Json | None] = mapped_column("metadata")
    reverses: Mapped[UUID | None]

    @hybrid_property
    def batch_no(self) -> int:
        """The batch that it was booked in."""
        return batch_of(self.place)

    @batch_no.inplace.expression
    @classmethod
    def _batch_no(cls) -> ColumnElement[int]:
        return batch_in_sql(cls.place)

    @hybrid_property
    def leaf(self) -> int:
        """Its place within its batch, from 0."""
        return leaf_of(self.place)

    @leaf.inplace.expression
    @classmethod
    def _leaf(cls) -> ColumnElement[int]:
        return cls.place.op("&", return_type=BigInteger())(literal_column(str((1 << LEAF_BITS) - 1)))


class AccountDelta(Base):
    """What one batch moved on one open account, and in how many transfers. Append-only."""

    __tablename__ = "account_delta"
    __table_args__ = (
        Index(
            "ix_account_delta_batch_no",
            "batch_no",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": "16", "autosummarize": "on"},
        ),
        SCHEMA,
    )

    account_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    batch_no: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    debit_minor: Mapped[int] = mapped_column(BigInteger)
    credit_minor: Mapped[int] = mapped_column(BigInteger)
    transfers: Mapped[int] = mapped_column(Integer)
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="0")


class RefusedTransfer(Base):
    """A transfer that was refused, so that the same question gets the same answer. Append-only."""

    __tablename__ = "refused_transfer"
    __table_args__ = (Index("ix_refused_transfer_refused_at", "refused_at"), SCHEMA)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    debit: Mapped[int] = mapped_column(BigInteger)
    credit: Mapped[int] = mapped_column(BigInteger)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    event_at: Mapped[datetime]
    refused_at: Mapped[datetime]
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="0")
    code: Mapped[int] = mapped_column(SmallInteger)
    refusal: Mapped[str]
    reference: Mapped[str]
    details: Mapped[Json | None] = mapped_column("metadata")
    reverses: Mapped[UUID | None]


class HoldRow(Base):
    """A hold. It leaves ``pending`` once; a trigger refuses any second change."""

    __tablename__ = "hold"
    __table_args__ = (
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("state IN ('pending', 'posted', 'voided', 'expired')", name="state"),
        CheckConstraint("(state = 'posted') = (transfer_id IS NOT NULL AND posted_minor IS NOT NULL)", name="posted"),
        CheckConstraint("(state = 'pending') = (resolved_at IS NULL)", name="resolved"),
        CheckConstraint("posted_minor <= amount_minor", name="part"),
        UniqueConstraint("transfer_id", "shard"),
        ForeignKeyConstraint(["debit", "shard"], ["card.account.id", "card.account.shard"]),
        ForeignKeyConstraint(["credit", "shard"], ["card.account.id", "card.account.shard"]),
        Index("ix_hold_pending", "expires_at", "id", postgresql_where=text("state = 'pending'")),
        Index("ix_hold_debit", "debit", postgresql_where=text("state = 'pending'")),
        SCHEMA,
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    debit: Mapped[int] = mapped_column(BigInteger)
    credit: Mapped[int] = mapped_column(BigInteger)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime]
    held_at: Mapped[datetime]
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="0")
    code: Mapped[int] = mapped_column(SmallInteger)
    reference: Mapped[str]
    state: Mapped[str]
    posted_minor: Mapped[int | None] = mapped_column(BigInteger)
    transfer_id: Mapped[UUID | None]
    resolved_at: Mapped[datetime | None]


class EarmarkedPurse(Base):
    """What a purse may be spent on, until when, and which fund its money came from. Only its end is ever written to it."""

    __tablename__ = "earmarked_purse"
    __table_args__ = (
        CheckConstraint("granted_minor > 0", name="granted"),
        CheckConstraint("returned_minor >= 0", name="returned"),
        UniqueConstraint("account_key"),
        Index("ix_earmarked_purse_holder_id", "holder_id", "expires_at", "id"),
        Index("ix_earmarked_purse_open", "expires_at", "id", postgresql_where=text("closed_at IS NULL")),
        SCHEMA,
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID]
    account_key: Mapped[str]
    name: Mapped[Json]
    codes: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    payees: Mapped[list[str]] = mapped_column(ARRAY(Text))
    fund_key: Mapped[str]
    granted_minor: Mapped[int] = mapped_column(BigInteger)
    granted_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    returned_minor: Mapped[int] = mapped_column(BigInteger)
    closed_at: Mapped[datetime | None]


class LedgerSeal(Base):
    """A batch's place in the tree. ``marks`` keeps four bytes of each transfer's hash, to name the one that was changed.

    ``blocks`` are the roots of its blocks of 32 transfers, so that a proof need not read the whole batch. ``records`` is the
    root over the accounts and refusals that were sealed with it, ``record_blocks`` the roots of their blocks; empty where there
    were none.
    """

    __tablename__ = "ledger_seal"
    __table_args__ = (UniqueConstraint("batch_no"), SCHEMA)

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    batch_no: Mapped[int] = mapped_column(BigInteger)
    root: Mapped[bytes]
    marks: Mapped[bytes]
    blocks: Mapped[bytes]
    records: Mapped[bytes]
    record_blocks: Mapped[bytes]
    sealed_at: Mapped[datetime]


class LedgerRecord(Base):
    """An account or a refusal that was sealed: with which batch, its place among what was sealed with it, its hash."""

    __tablename__ = "ledger_record"
    __table_args__ = (
        CheckConstraint("num_nonnulls(account, refusal) = 1", name="one"),
        Index("uq_ledger_record_account", "account", unique=True, postgresql_where=text("account IS NOT NULL")),
        Index("uq_ledger_record_refusal", "refusal", unique=True, postgresql_where=text("refusal IS NOT NULL")),
        Index("ix_ledger_record_refused", "position", "leaf", postgresql_where=text("refusal IS NOT NULL")),
        SCHEMA,
    )

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    leaf: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    account: Mapped[int | None] = mapped_column(BigInteger)
    refusal: Mapped[UUID | None]
    hash: Mapped[bytes]


class LedgerNode(Base):
    """The hash of a full subtree of the tree over batches: 2^level leaves from ``index`` · 2^level on."""

    __tablename__ = "ledger_node"
    __table_args__ = (SCHEMA,)

    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes]


class LedgerCheckpoint(Base):
    """A signed statement of what the tree was (C2SP checkpoint)."""

    __tablename__ = "ledger_checkpoint"
    __table_args__ = (SCHEMA,)

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    suite: Mapped[int] = mapped_column(SmallInteger)
    root: Mapped[bytes]
    note: Mapped[str]
    signed_at: Mapped[datetime]


class LedgerCosignature(Base):
    """Another city's word that this checkpoint continues what it saw before (C2SP cosignature, one note line). Append-only."""

    __tablename__ = "ledger_cosignature"
    __table_args__ = (SCHEMA,)

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    city: Mapped[str] = mapped_column(primary_key=True)
    verifier_key: Mapped[str]
    line: Mapped[str]
    cosigned_at: Mapped[datetime]
    received_at: Mapped[datetime]


class LedgerAlarm(Base):
    """Something wrong with the books, ours or a partner's. It stands until somebody says what was done about it."""

    __tablename__ = "ledger_alarm"
    __table_args__ = (
        CheckConstraint("(acknowledged_at IS NULL) = (acknowledged_by IS NULL)", name="by"),
        CheckConstraint("(acknowledged_at IS NULL) = (reason IS NULL)", name="reason"),
        Index(
            "uq_ledger_alarm_standing",
            "kind",
            "subject",
            unique=True,
            postgresql_where=text("acknowledged_at IS NULL"),
        ),
        Index("ix_ledger_alarm_raised_at", "raised_at", "id"),
        SCHEMA,
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    raised_at: Mapped[datetime]
    kind: Mapped[str]
    subject: Mapped[str]
    expected: Mapped[str]
    found: Mapped[str]
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[str | None]
    reason: Mapped[str | None]


class LedgerCheck(Base):
    """That the books were proven, when, how much was read and how much was wrong. Append-only.

    It read what is behind ``after_batch`` (0: everything); no batch up to ``upto_batch`` can still come, and the seals up to
    ``upto_position`` were read.
    """

    __tablename__ = "ledger_check"
    __table_args__ = (SCHEMA,)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    accounts: Mapped[int] = mapped_column(BigInteger)
    transfers: Mapped[int] = mapped_column(BigInteger)
    batches: Mapped[int] = mapped_column(BigInteger)
    findings: Mapped[int] = mapped_column(Integer)
    took_ms: Mapped[int] = mapped_column(BigInteger)
    after_batch: Mapped[int] = mapped_column(BigInteger)
    upto_batch: Mapped[int] = mapped_column(BigInteger)
    upto_position: Mapped[int] = mapped_column(BigInteger)


class LedgerMark(Base):
    """A batch up to which everything is folded into marks. What is later is added up from the batches themselves.

    ``reached_at`` is the latest instant at which any batch up to it was posted; it never goes back.
    """

    __tablename__ = "ledger_mark"
    __table_args__ = (Index("ix_ledger_mark_reached_at", "reached_at", "batch_no"), SCHEMA)

    batch_no: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    folded_at: Mapped[datetime]
    reached_at: Mapped[datetime]


class AccountMark(Base):
    """All that an open account was debited and credited up to and with a batch; only at marks before which it moved."""

    __tablename__ = "account_mark"
    __table_args__ = (SCHEMA,)

    account_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    batch_no: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    debit_minor: Mapped[int] = mapped_column(BigInteger)
    credit_minor: Mapped[int] = mapped_column(BigInteger)
    transfers: Mapped[int] = mapped_column(BigInteger)
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="0")


class TurnoverMark(Base):
    """All that the accounts of a kind were debited and credited for one reason up to and with a batch."""

    __tablename__ = "turnover_mark"
    __table_args__ = (SCHEMA,)

    batch_no: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    debit_minor: Mapped[int] = mapped_column(BigInteger)
    credit_minor: Mapped[int] = mapped_column(BigInteger)
    transfers: Mapped[int] = mapped_column(BigInteger)
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="0")
    ledger: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    code: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    currency: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)


class LedgerArchive(Base):
    """A month that left the database: no id of it can be used again. ``manifest`` is what the city signed about its files."""

    __tablename__ = "ledger_archive"
    __table_args__ = (SCHEMA,)

    month: Mapped[date] = mapped_column(primary_key=True)
    id_from: Mapped[UUID]
    id_to: Mapped[UUID]
    place_first: Mapped[int] = mapped_column(BigInteger)
    place_last: Mapped[int] = mapped_column(BigInteger)
    transfers: Mapped[int] = mapped_column(BigInteger)
    total_minor: Mapped[int] = mapped_column(BigInteger)
    manifest: Mapped[str]
    archived_at: Mapped[datetime]


class ArchivedBatch(Base):
    """How much of a batch an archived month holds."""

    __tablename__ = "archived_batch"
    __table_args__ = (SCHEMA,)

    batch_no: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(primary_key=True)
    transfers: Mapped[int] = mapped_column(Integer)
    total_minor: Mapped[int] = mapped_column(BigInteger)
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="0")


class ArchivedRun(Base):
    """Consecutive transfers of an account that were archived together, and a guarded account's balance behind them."""

    __tablename__ = "archived_run"
    __table_args__ = (SCHEMA,)

    account_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    last_place: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    first_place: Mapped[int] = mapped_column(BigInteger)
    debit_minor: Mapped[int] = mapped_column(BigInteger)
    credit_minor: Mapped[int] = mapped_column(BigInteger)
    after_minor: Mapped[int | None] = mapped_column(BigInteger)
    transfers: Mapped[int] = mapped_column(BigInteger)
    month: Mapped[date]
    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="0")
