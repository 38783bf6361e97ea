"""``Idempotency-Key``: a repeated request gets the first answer again; the same key with another body is a conflict."""

import hashlib
from collections.abc import Callable
from datetime import datetime

from flask import Response, request
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.kernel import clock
from app.kernel.db import Base
from app.kernel.errors import Conflict, Invalid, msg
from app.web.auth import principal


class KeyReused(Conflict):
    """The key came before with another request."""

    code = "idempotency-key-reused"
    sentence = msg("This idempotency key was used for another request.")


class IdempotentAnswer(Base):
    """The first answer to one caller's key."""

    __tablename__ = "idempotent_answer"
    __table_args__ = {"schema": "app"}  # noqa: RUF012

    caller: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    status: Mapped[int | None]
    body: Mapped[str | None]
    at: Mapped[datetime]


def once(session: Session, act: Callable[[], tuple[str, int]]) -> Response:
    """Run ``act`` once per caller and ``Idempotency-Key``; answer ``(json text, status)`` now and at every repeat.

    The row is written first in the same transaction, so two simultaneous requests wait for each other.
    """
    key = request.headers.get("Idempotency-Key", "")
    if not 1 <= len(key) <= 128:  # noqa: PLR2004
        raise Invalid("Idempotency-Key", fields={"Idempotency-Key": msg("Send a key of 1 to 128 characters.")})
    caller = principal().actor
    digest = hashlib.sha256(request.method.encode() + request.full_path.encode() + request.get_data()).hexdigest()
    session.execute(
        insert(IdempotentAnswer).values(caller=caller, key=key, digest=digest, at=clock.now()).on_conflict_do_nothing()
    )
    row = session.scalars(
        select(IdempotentAnswer).where(IdempotentAnswer.caller == caller, IdempotentAnswer.key == key).with_for_update()
    ).one()
    if row.digest != digest:
        raise KeyReused
    if row.status is None or row.body is None:
        row.body, row.status = act()
    return Response(row.body, status=row.status, content_type="application/json")
