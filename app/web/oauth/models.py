"""Clients of the token endpoint, and the assertions they have used."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Json, refuse_on_constraint
from app.kernel.errors import Conflict, msg


class ClientTaken(Conflict):
    """A client with this id is registered."""

    code = "client-taken"
    sentence = msg("A client with this id is registered already.")


class OAuthClient(Base):
    """The system of an operator, a hospital or another organisation. It shares no secret with us: ``jwks`` are public keys."""

    __tablename__ = "oauth_client"
    __table_args__ = (
        CheckConstraint("client_id ~ '^[a-z0-9][a-z0-9._-]{2,63}$'", name="client_id"),
        {"schema": "app"},
    )

    client_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    organisation: Mapped[str | None]
    scopes: Mapped[list[str]]
    jwks: Mapped[Json]
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class UsedAssertion(Base):
    """The ``jti`` of an assertion that was accepted, so that it is not accepted again before it expires."""

    __tablename__ = "oauth_assertion"
    __table_args__ = (Index("ix_oauth_assertion_expires_at", "expires_at"), {"schema": "app"})

    client_id: Mapped[str] = mapped_column(primary_key=True)
    jti: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]


refuse_on_constraint("pk_oauth_client", ClientTaken)
