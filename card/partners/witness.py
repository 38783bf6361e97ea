"""Being a witness: this city looks at the books of others, and lets them look at its own.

Each minute it asks every other city for its newest checkpoint and for the proof that it continues the last one seen. If so,
the city cosigns it and keeps it; if it does not, the city refuses, and raises an alarm that stands until a person answers it. A
city that shows each of two others books of their own is found as soon as one of them sees the other's.
"""

import base64
import binascii
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.kernel import clock
from app.kernel.db import Database, Json
from app.kernel.errors import Conflict, msg
from app.kernel.signing import Purpose
from card import ledger
from card.ledger import BadProof, Checkpoint, Kind, VerifierKey
from card.partners import gateway, identity, queries
from card.partners.models import SeenCheckpoint
from card.partners.rules import PartnerRefused, PartnerUnavailable

log = structlog.get_logger()

PATH: Final = "/api/federation/ledger/checkpoint"
COSIGN: Final = "/api/federation/ledger/cosignatures"


class LedgerForked(Conflict):
    """The other city's books are not the continuation of what it showed before."""

    code = "ledger-forked"
    sentence = msg("The other city's books do not continue what it showed before.")


def last_seen(session: Session, city: str) -> SeenCheckpoint | None:
    """The largest checkpoint of ``city`` that this city cosigned."""
    return session.scalars(
        select(SeenCheckpoint).where(SeenCheckpoint.city == city).order_by(SeenCheckpoint.size.desc()).limit(1)
    ).one_or_none()


def judge(answer: Json, *, origin: str, size: int, root: bytes) -> Checkpoint:
    """The checkpoint in a city's ``answer``, if it continues the tree of ``size`` and ``root`` seen before. Pure.

    Raises :class:`LedgerForked`; ``BadProof`` where nothing can be read from the answer.
    """
    key = VerifierKey.read(str(answer.get("key")))
    if key.name != origin:
        raise BadProof("the key is another ledger's")
    found = ledger.read_note(str(answer.get("note")), key=key)
    try:
        proof = [base64.b64decode(one, validate=True) for one in answer.get("proof", [])]
    except (binascii.Error, TypeError, ValueError) as error:
        raise BadProof("the proof cannot be read") from error
    if found.size < size:
        raise LedgerForked(f"{found.size} batches after {size}")
    if size:
        try:
            ledger.check_consistency(
                old=size, size=found.size, old_root=root, new_root=found.root, proof=proof, suite=key.suite
            )
        except BadProof as error:
            raise LedgerForked(str(error)) from error
    return found


def look(database: Database, city: str) -> int:
    """Look at the books of ``city`` and cosign what continues; the size cosigned.

    Raises :class:`LedgerForked` after the alarm is raised; ``PartnerRefused`` (nothing sealed yet), ``PartnerUnavailable``.
    """
    own = identity.of_database(database)
    with database.transaction() as session:
        before = last_seen(session, city)
        size, root = (before.size, before.root) if before is not None else (0, b"")
    answer = gateway.send(database, city, "GET", f"{PATH}?old={size}")
    now = clock.now()
    try:
        found = judge(answer, origin=ledger.origin(city), size=size, root=root)
    except (LedgerForked, BadProof) as error:
        with database.transaction() as session:
            _alarm(session, city, seen=f"{size} {root.hex()}", shown=f"{answer.get('note')}\n{error}", now=now)
        raise LedgerForked(f"{city}: {error}") from error
    with database.transaction() as session:
        session.execute(
            postgresql.insert(SeenCheckpoint)
            .values(
                city=city,
                size=found.size,
                root=found.root,
                note=str(answer["note"]),
                verifier_key=str(answer["key"]),
                seen_at=now,
            )
            .on_conflict_do_nothing()
        )
    cosigner = own.key(Purpose.COSIGNER)
    key = VerifierKey(name=ledger.witness(own.code), kind=Kind.COSIGNATURE, public=cosigner.public_bytes)
    line = ledger.cosignature(found, key=key, sign=cosigner.sign, at=now)
    gateway.send(database, city, "POST", COSIGN, {"size": found.size, "key": key.text, "line": line})
    return found.size


def _alarm(session: Session, city: str, *, seen: str, shown: str, now: datetime) -> None:
    ledger.raise_alarm(session, kind=ledger.FORK, subject=f"city:{city}", expected=seen, found=shown, now=now)


def look_at_all(database: Database) -> None:
    """Look at the books of every other city; one that does not answer is looked at the next time."""
    with database.transaction() as session:
        codes = [city.code for city in queries.cities(session)]
    for code in codes:
        try:
            look(database, code)
        except (PartnerRefused, PartnerUnavailable, LedgerForked) as error:
            log.info("partners.witness", city=code, error=f"{type(error).__name__}: {error}")
