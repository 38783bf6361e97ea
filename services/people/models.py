"""Tables of people and of what they sign in with."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, refuse_on_constraint
from app.kernel.ids import new_id
from app.web.auth import Role
from services.people.rules import AlreadyRegistered, UsernameTaken

_ROLES = ", ".join(f"'{role}'" for role in Role)


class Person(Base):
    """A human being known to the city. ``id`` is the ``holder_id`` of the card's side."""

    __tablename__ = "person"
    __table_args__ = (
        UniqueConstraint("identity_index"),
        UniqueConstraint("username"),
        CheckConstraint("(identity_sealed IS NULL) = (identity_index IS NULL)", name="identity_whole"),
        CheckConstraint("sex IN ('female', 'male')", name="sex"),
        CheckConstraint("username = lower(username)", name="username_lower"),
        CheckConstraint("language IN ('zh_Hans_CN', 'en')", name="language"),
        Index("ix_person_name", "name", "id"),
        {"schema": "services"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    name_latin: Mapped[str] = mapped_column(default="")
    identity_sealed: Mapped[bytes | None]
    identity_index: Mapped[bytes | None]
    birth_date: Mapped[date | None]
    sex: Mapped[str | None]
    username: Mapped[str | None]
    email: Mapped[str] = mapped_column(default="")
    phone: Mapped[str] = mapped_column(default="")
    language: Mapped[str] = mapped_column(default="zh_Hans_CN")
    organisation: Mapped[str | None]
    password_hash: Mapped[str | None]
    totp_sealed: Mapped[bytes | None]
    totp_confirmed_at: Mapped[datetime | None]
    totp_last_step: Mapped[int] = mapped_column(default=0)  # a code counts once (RFC 6238, 5.2)
    session_stamp: Mapped[UUID] = mapped_column(default=new_id)  # a new one ends every session
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class PersonRole(Base):
    """One role of one person."""

    __tablename__ = "person_role"
    __table_args__ = (CheckConstraint(f"role IN ({_ROLES})", name="role"), {"schema": "services"})

    person_id: Mapped[UUID] = mapped_column(ForeignKey("services.person.id"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    given_at: Mapped[datetime]


class RecoveryCode(Base):
    """A code that stands in once for a lost authenticator; only its digest is kept."""

    __tablename__ = "recovery_code"
    __table_args__ = {"schema": "services"}  # noqa: RUF012

    person_id: Mapped[UUID] = mapped_column(ForeignKey("services.person.id"), primary_key=True)
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    used_at: Mapped[datetime | None]


class Passkey(Base):
    """A WebAuthn credential (public key in COSE form) of a person."""

    __tablename__ = "passkey"
    __table_args__ = (
        UniqueConstraint("credential_id"),
        Index("ix_passkey_person_id", "person_id"),
        {"schema": "services"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    person_id: Mapped[UUID] = mapped_column(ForeignKey("services.person.id"))
    credential_id: Mapped[bytes]
    public_key: Mapped[bytes]
    sign_count: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class SignInFailure(Base):
    """Wrong answers in a row under one user name, known or not, so that the pause tells nobody which names exist."""

    __tablename__ = "sign_in_failure"
    __table_args__ = {"schema": "services"}  # noqa: RUF012

    username_digest: Mapped[bytes] = mapped_column(primary_key=True)
    failures: Mapped[int]
    last_at: Mapped[datetime]


refuse_on_constraint("uq_person_identity_index", AlreadyRegistered)
refuse_on_constraint("uq_person_username", UsernameTaken)
