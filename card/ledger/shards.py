"""Past one database: which table is distributed by what, and money that moves between two shards.

A city of one database is shard 0. Where one PostgreSQL is not enough, Citus spreads the same tables over many by their
``shard`` (``docs/scaling.md``): what is booked together stands in one shard, so no statement of the ledger ever joins two. A
transfer from an account of one shard to one of another is two local transfers, each exact in its own shard, through an open
account on either side; the outbox carries the second, so that a crash between them delays it and never loses or doubles it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.kernel import clock, ids, outbox
from app.kernel.db import Json
from app.kernel.errors import Unavailable, msg
from card.ledger import accounts as chart
from card.ledger import actions, posting
from card.ledger.models import (
    AccountBalance,
    AccountDelta,
    AccountMark,
    AccountRow,
    ArchivedBatch,
    ArchivedRun,
    HoldRow,
    LedgerArchive,
    LedgerBatch,
    LedgerCheckpoint,
    LedgerMark,
    LedgerNode,
    LedgerSeal,
    RefusedTransfer,
    TransferRow,
    TurnoverMark,
)
from card.ledger.rules import AccountId, Transfer, TransferCode, shard_of

COLUMN: Final = "shard"

# The accounts first: all others stand beside them, and two of them refer to them.
DISTRIBUTED: Final = (
    AccountRow,
    AccountBalance,
    HoldRow,
    LedgerBatch,
    TransferRow,
    AccountDelta,
    RefusedTransfer,
    AccountMark,
    TurnoverMark,
    ArchivedBatch,
    ArchivedRun,
)
# Small, or one for the whole city: a copy on every node.
REFERENCE: Final = (LedgerMark, LedgerArchive, LedgerSeal, LedgerNode, LedgerCheckpoint)


class CitusMissing(Unavailable):
    """The database server does not have the extension that spreads tables over many machines."""

    code = "citus-missing"
    sentence = msg("This database server has no Citus extension, so its tables stay on one machine. Nothing was changed.")


def plan() -> list[str]:
    """The statements that distribute the ledger, in the order in which they must run."""
    first, *others = (f"card.{model.__tablename__}" for model in DISTRIBUTED)
    return [
        # Our triggers look at nothing but the row itself, which is what Citus cannot know.
        "SET citus.enable_unsafe_triggers TO on",
        *(f"SELECT create_reference_table('card.{model.__tablename__}')" for model in REFERENCE),
        f"SELECT create_distributed_table('{first}', '{COLUMN}')",
        *(f"SELECT create_distributed_table('{table}', '{COLUMN}', colocate_with => '{first}')" for table in others),
    ]


def distribute(session: Session) -> list[str]:
    """Distribute the ledger's tables by their shard; what was run. ``session`` is the owner's.

    Raises :class:`CitusMissing` before anything is changed.
    """
    if session.scalar(text("SELECT 1 FROM pg_available_extensions WHERE name = 'citus'")) is None:
        raise CitusMissing("no extension named citus")
    statements = ["CREATE EXTENSION IF NOT EXISTS citus", *plan()]
    for statement in statements:
        session.execute(text(statement))
    return statements


@dataclass(frozen=True, kw_only=True)
class _Half:
    """The second half of a transfer between shards, as the outbox carries it."""

    id: UUID
    from_shard: int
    credit: AccountId
    amount_minor: int
    code: TransferCode
    event_at: datetime
    reference: str

    def document(self) -> Json:
        return {
            "id": str(self.id),
            "from_shard": self.from_shard,
            "credit": self.credit,
            "amount_minor": self.amount_minor,
            "code": int(self.code),
            "event_at": self.event_at.isoformat(),
            "reference": self.reference,
        }

    @classmethod
    def read(cls, document: Json) -> "_Half":
        return cls(
            id=UUID(document["id"]),
            from_shard=document["from_shard"],
            credit=AccountId(document["credit"]),
            amount_minor=document["amount_minor"],
            code=TransferCode(document["code"]),
            event_at=datetime.fromisoformat(document["event_at"]),
            reference=document["reference"],
        )


def transfer_between_shards(session: Session, transfer: Transfer, *, now: datetime) -> None:
    """Book ``transfer`` from an account of one shard to one of another; within one shard it is an ordinary transfer.

    The payer's half is booked now, in the caller's transaction, into the open account that stands for the other shard; the
    payee's half follows by the outbox. A repeat is quiet. Raises what :func:`post_all` raises, for the payer's half.
    """
    here, there = shard_of(transfer.debit), shard_of(transfer.credit)
    if here == there:
        posting.post_all(session, [transfer], now=now)
        return
    way_out = actions.open_account(session, chart.between_shards(there, kept_in=here), now=now)
    half = Transfer(
        id=transfer.id,
        debit=transfer.debit,
        credit=way_out,
        amount_minor=transfer.amount_minor,
        code=transfer.code,
        event_at=transfer.event_at,
        reference=transfer.reference,
        metadata={**transfer.metadata, "to": transfer.credit},
    )
    posting.post_all(session, [half], now=now)
    arriving = _Half(
        id=transfer.id,
        from_shard=here,
        credit=transfer.credit,
        amount_minor=transfer.amount_minor,
        code=transfer.code,
        event_at=transfer.event_at,
        reference=transfer.reference,
    )
    outbox.emit(session, "transfer.left-shard", arriving.document(), at=now)


def arrive(session: Session, payload: Json) -> None:
    """Book the payee's half of a transfer between shards. However often it is delivered, it is booked once."""
    half, now = _Half.read(payload), clock.now()
    way_in = actions.open_account(session, chart.between_shards(half.from_shard, kept_in=shard_of(half.credit)), now=now)
    arrived = Transfer(
        id=ids.derived_id(half.event_at, "between-shards", str(half.id)),
        debit=way_in,
        credit=half.credit,
        amount_minor=half.amount_minor,
        code=half.code,
        event_at=half.event_at,
        reference=half.reference,
        metadata={"from": str(half.id)},
    )
    posting.post_all(session, [arrived], now=now)
