"""The directory, read."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel import signing
from app.kernel.db import Json
from app.kernel.settings import HUB_CODE
from app.kernel.signing import Purpose
from card.partners import identity
from card.partners.models import Message, Partner
from card.partners.rules import NoSuchPartner, State, keys_of


@dataclass(frozen=True, kw_only=True)
class City:
    """A federated city: its division code, its names and its address."""

    code: str
    name_en: str
    name_zh: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the directory as staff see it, with the ids of its keys."""

    city: City
    state: State
    federation_kids: tuple[str, ...]
    issuer_kids: tuple[str, ...]
    bundle_kids: tuple[str, ...]
    requested_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    resolved_at: datetime
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One signed exchange of the message log, without its bodies."""

    at: datetime
    direction: str
    city: str
    method: str
    path: str
    status: int | None


def _city(row: Partner) -> City:
    return City(code=row.code, name_en=row.name_en, name_zh=row.name_zh, url=row.entity_id)


def own_city(session: Session) -> City:
    """Ourselves."""
    own = identity.of_session(session)
    return City(code=own.code, name_en=own.name_en, name_zh=own.name_zh, url=own.url)


def cities(session: Session) -> list[City]:
    """The admitted cities other than ourselves, by code; never the hub."""
    rows = session.scalars(
        select(Partner)
        .where(Partner.state == State.ADMITTED, Partner.code != HUB_CODE, Partner.code != identity.of_session(session).code)
        .order_by(Partner.code)
    )
    return [_city(row) for row in rows]


def city(session: Session, code: str) -> City:
    """One admitted partner (the hub too, or ourselves); raises :class:`NoSuchPartner`."""
    if code == identity.of_session(session).code:
        return own_city(session)
    return _city(admitted(session, code))


def admitted(session: Session, code: str) -> Partner:
    """The row of an admitted partner."""
    row = session.get(Partner, code)
    if row is None or row.state != State.ADMITTED:
        raise NoSuchPartner(code)
    return row


def directory(session: Session) -> list[Entry]:
    """Every line of the directory, by code."""
    return [
        Entry(
            city=_city(row),
            state=State(row.state),
            federation_kids=tuple(keys_of(row.jwks)),
            issuer_kids=tuple(keys_of(row.issuer_jwks)),
            bundle_kids=tuple(keys_of(row.bundle_jwks)),
            requested_at=row.requested_at,
            decided_at=row.decided_at,
            decided_by=row.decided_by,
            resolved_at=row.resolved_at,
            expires_at=row.expires_at,
        )
        for row in session.scalars(select(Partner).order_by(Partner.code))
    ]


def federation_keys(session: Session, *, now: datetime) -> dict[str, tuple[str, Ed25519PublicKey]]:
    """Key id → (city code, key) of every admitted partner whose chain still holds."""
    rows = session.scalars(select(Partner).where(Partner.state == State.ADMITTED, Partner.expires_at > now))
    return {kid: (row.code, key) for row in rows for kid, key in keys_of(row.jwks).items()}


def _raw(jwks: Json) -> list[tuple[str, bytes]]:
    return [(kid, signing.public_bytes(key)) for kid, key in keys_of(jwks).items()]


_own_keys: dict[Path, tuple[Path, int, tuple[str, bytes]]] = {}  # by folder: the key's file, its last change, the key


def own_issuer_key(keys_dir: Path) -> tuple[str, bytes]:
    """The city's present card-issuer key as (key id, 32 raw bytes); its file is read again when it has changed."""
    known = _own_keys.get(keys_dir)
    if known is not None:  # for every code that is shown: one look at the file, and nothing else
        file, changed, own = known
        try:
            if file.stat().st_mtime_ns == changed:
                return own
        except FileNotFoundError:
            pass
    key, file = signing.load_or_create(keys_dir, Purpose.CARD_ISSUER), keys_dir / f"{Purpose.CARD_ISSUER}.pem"
    own = (key.kid, key.public_bytes)
    _own_keys[keys_dir] = file, file.stat().st_mtime_ns, own
    return own


def issuer_keys(session: Session) -> dict[str, list[tuple[str, bytes]]]:
    """City code → its card-issuer keys as (key id, 32 raw bytes), ours included."""
    own = identity.of_session(session)
    key = own.key(Purpose.CARD_ISSUER)
    found = {own.code: [(key.kid, key.public_bytes)]}
    for row in session.scalars(select(Partner).where(Partner.state == State.ADMITTED, Partner.code != HUB_CODE)):
        if row.code != own.code:
            found[row.code] = _raw(row.issuer_jwks)
    return found


def exchanges(session: Session, *, city: str | None = None, limit: int = 50) -> list[Exchange]:
    """The newest signed exchanges, with one city or with all."""
    query = select(Message).order_by(Message.id.desc()).limit(limit)
    if city is not None:
        query = query.where(Message.city == city)
    return [
        Exchange(at=row.at, direction=row.direction, city=row.city, method=row.method, path=row.path, status=row.status)
        for row in session.scalars(query)
    ]
