"""The directory of cities, the nonces seen, and the log of signed messages."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Json, refuse_on_constraint
from app.kernel.ids import new_id
from card.partners.rules import CodeTaken, State


class Partner(Base):
    """A city (or the hub) as this side knows it: the registry on the hub, a verified copy in a city.

    ``configuration`` is the entity's own signed word, ``statement`` the anchor's; both are kept as they were verified.
    """

    __tablename__ = "partner"
    __table_args__ = (
        CheckConstraint(f"state IN ({', '.join(repr(str(state)) for state in State)})", name="state"),
        Index("uq_partner_entity_id", "entity_id", unique=True),
        {"schema": "card"},
    )

    code: Mapped[str] = mapped_column(primary_key=True)
    entity_id: Mapped[str]
    name_en: Mapped[str]
    name_zh: Mapped[str]
    jwks: Mapped[Json]
    issuer_jwks: Mapped[Json]
    bundle_jwks: Mapped[Json]
    policy: Mapped[Json]
    state: Mapped[str]
    configuration: Mapped[str]
    statement: Mapped[str | None]
    requested_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    resolved_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class Nonce(Base):
    """A nonce of a city, until its signature expires."""

    __tablename__ = "partner_nonce"
    __table_args__ = (Index("ix_partner_nonce_expires_at", "expires_at"), {"schema": "card"})

    city: Mapped[str] = mapped_column(primary_key=True)
    nonce: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]


class Message(Base):
    """One exchange with a partner, as it was signed by both. Append-only. ``status`` is empty where no answer came."""

    __tablename__ = "partner_message"
    __table_args__ = (
        CheckConstraint("direction IN ('sent', 'received')", name="direction"),
        Index("ix_partner_message_city_id", "city", "id"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime]
    direction: Mapped[str]
    city: Mapped[str]
    method: Mapped[str]
    path: Mapped[str]
    idempotency_key: Mapped[str]
    request_headers: Mapped[Json]
    request_body: Mapped[bytes]
    status: Mapped[int | None]
    answer_headers: Mapped[Json]
    answer_body: Mapped[bytes]


class SeenCheckpoint(Base):
    """A checkpoint of another city's ledger that this one checked and cosigned. Append-only; the largest is the last seen."""

    __tablename__ = "partner_checkpoint"
    __table_args__ = ({"schema": "card"},)

    city: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes]
    note: Mapped[str]
    verifier_key: Mapped[str]
    seen_at: Mapped[datetime]


refuse_on_constraint("uq_partner_entity_id", CodeTaken)
