"""Documents that outlive a message: signed by a city's federation key, verified with the keys the directory holds."""

import json
from pathlib import Path

from sqlalchemy.orm import Session

from app.kernel import signing
from app.kernel.db import Json
from app.kernel.settings import Settings
from app.kernel.signing import Key, Purpose
from card.partners import identity, queries, rules


def federation_key(session: Session) -> Key:
    """Our own federation key."""
    return identity.of_session(session).key(Purpose.FEDERATION)


def sign_document(session: Session, payload: Json, *, typ: str) -> str:
    """``payload`` as a compact JWS by our federation key, with ``typ`` in its header."""
    return signing.sign_jws(federation_key(session), payload, typ=typ)


def verify_document(session: Session, token: str, *, city: str, typ: str) -> Json:
    """The payload of a JWS that ``city`` signed; raises ``BadSignature`` or ``NoSuchPartner``."""
    own = identity.of_session(session)
    if city == own.code:
        key = own.key(Purpose.FEDERATION)
        return signing.read_jws(token, {key.kid: key.public}, typ=typ)
    return signing.read_jws(token, rules.keys_of(queries.admitted(session, city).jwks), typ=typ)


def install_anchor(settings: Settings, *, hub_keys: Path) -> Path:
    """At install: pin the hub's public key for the city of ``settings``, from the hub's keys folder on the same machine.

    Across machines the same file is what ``flask federation anchor`` prints on the hub, carried by hand.
    """
    key = signing.load_or_create(hub_keys, Purpose.FEDERATION)
    path = identity.of_settings(settings).anchor_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"keys": [key.jwk]}, indent=2), encoding="utf-8")
    return path
