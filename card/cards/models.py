"""Tables of cards, the phones they are bound to, entitlements and the deny list."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, Sequence, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, refuse_on_constraint
from app.kernel.ids import new_id
from card.cards.rules import AlreadyHasCard, BlockReason, Kind, PhoneBoundElsewhere, Status

STATUS_INDEX = Sequence("status_index", schema="card")


def _one_of(column: str, values: type[Kind | Status | BlockReason]) -> str:
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


class CardRow(Base):
    """One card. ``holder_id`` is all that this side knows of a person."""

    __tablename__ = "card"
    __table_args__ = (
        UniqueConstraint("number"),
        UniqueConstraint("status_index"),
        CheckConstraint(_one_of("kind", Kind), name="kind"),
        CheckConstraint(_one_of("status", Status), name="status"),
        CheckConstraint(_one_of("block_reason", BlockReason), name="block_reason"),
        CheckConstraint("number ~ '^31[0-9]{17}$'", name="number"),
        CheckConstraint("(status <> 'blocked') OR (blocked_at IS NOT NULL AND block_reason IS NOT NULL)", name="blocked_whole"),
        CheckConstraint("(status = 'replaced') = (replaced_by IS NOT NULL)", name="replaced_whole"),
        Index(
            "uq_card_one_live",
            "holder_id",
            "kind",
            unique=True,
            postgresql_where=text("status IN ('issued', 'active', 'blocked')"),
        ),
        Index("ix_card_holder_id", "holder_id", "id"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    holder_id: Mapped[UUID]
    kind: Mapped[str]
    number: Mapped[str]
    status: Mapped[str]
    status_index: Mapped[int] = mapped_column(BigInteger)
    issued_at: Mapped[datetime]
    activated_at: Mapped[datetime | None]
    expires_on: Mapped[date]
    blocked_at: Mapped[datetime | None]
    block_reason: Mapped[str | None]
    replaced_by: Mapped[UUID | None] = mapped_column(ForeignKey("card.card.id", deferrable=True, initially="DEFERRED"))


class CardDevice(Base):
    """A key that may show the card: a phone's own, a chip's own, or one that the city keeps for a phone that cannot.

    ``status_index`` is the device's place on the deny list, so that losing a phone blocks that phone and not the person.
    ``static`` is the credential signed last; it is made anew when entitlements change or its end is near.
    """

    __tablename__ = "card_device"
    __table_args__ = (
        UniqueConstraint("public_key"),
        UniqueConstraint("status_index"),
        CheckConstraint("counter >= 0", name="counter"),
        CheckConstraint("NOT chip OR private_sealed IS NULL", name="chip_keeps_its_key"),
        Index("ix_card_device_card_id", "card_id", "id"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    card_id: Mapped[UUID] = mapped_column(ForeignKey("card.card.id"))
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    private_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    status_index: Mapped[int] = mapped_column(BigInteger)
    chip: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    counter: Mapped[int] = mapped_column(BigInteger, default=0)
    bound_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    static: Mapped[bytes | None] = mapped_column(LargeBinary)
    static_expires_at: Mapped[datetime | None]


class EntitlementRow(Base):
    """A right of a holder, in one scope, until a civil day. Extending it moves the day; ending it sets ``ended_at``."""

    __tablename__ = "entitlement"
    __table_args__ = (
        UniqueConstraint("holder_id", "code", "scope_city"),
        CheckConstraint("scope_city ~ '^[0-9]{6}$'", name="scope_city"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    holder_id: Mapped[UUID]
    code: Mapped[str]
    scope_city: Mapped[str]
    granted_at: Mapped[datetime]
    expires_on: Mapped[date]
    ended_at: Mapped[datetime | None]


class DenyChange(Base):
    """One status index that is to enter or leave the deny list with the next delta."""

    __tablename__ = "deny_change"
    __table_args__ = (
        Index("ix_deny_change_status_index", "status_index"),
        Index("ix_deny_change_waiting", "id", postgresql_where=text("delta_seq IS NULL")),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    status_index: Mapped[int] = mapped_column(BigInteger)
    denied: Mapped[bool]
    at: Mapped[datetime]
    delta_seq: Mapped[int | None] = mapped_column(ForeignKey("card.deny_delta.seq"))


class DenyDeltaRow(Base):
    """One published delta. Append-only."""

    __tablename__ = "deny_delta"
    __table_args__ = (CheckConstraint("seq > 0", name="seq"), {"schema": "card"})

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    made_at: Mapped[datetime]
    prev_digest: Mapped[bytes] = mapped_column(LargeBinary)
    adds: Mapped[bytes] = mapped_column(LargeBinary)
    removes: Mapped[bytes] = mapped_column(LargeBinary)
    digest: Mapped[bytes] = mapped_column(LargeBinary)


class DenyBaseRow(Base):
    """The whole list as of delta ``seq``. Append-only."""

    __tablename__ = "deny_base"
    __table_args__ = {"schema": "card"}  # noqa: RUF012

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    made_at: Mapped[datetime]
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    denied: Mapped[bytes] = mapped_column(LargeBinary)


refuse_on_constraint("uq_card_one_live", AlreadyHasCard)
refuse_on_constraint("uq_card_device_public_key", PhoneBoundElsewhere)
