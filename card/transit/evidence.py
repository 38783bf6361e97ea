"""What a credential proves, in this process: verifiers that remember, and a rider as the fare engine takes one."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Final

from sqlalchemy.orm import Session

from app.kernel.city import City, city_of
from card import credentials, fares, partners
from card.credentials import CredentialRefused, KeyRing, Presentation, Verifier
from card.transit import charging

REMEMBERED: Final = 65_536  # static parts whose city's signature held, each about a kilobyte

_known: dict[tuple[object, ...], Verifier] = {}  # of this process: for all cities' keys, and for our own alone
_RINGS: Final = 16


def _verifier(mark: tuple[object, ...], ring: Callable[[], KeyRing]) -> Verifier:
    """The process's verifier for the keys that ``mark`` stands for, with what it remembers of earlier taps."""
    found = _known.get(mark)
    if found is None:
        if len(_known) >= _RINGS:
            _known.clear()  # a key was changed: what was remembered under the old ones has had its time
        found = _known[mark] = Verifier(ring(), remember=REMEMBERED)
    return found


def verifier_of(session: Session) -> Verifier:
    """The verifier for the issuer keys of now."""
    keys = partners.issuer_keys(session)
    mark = tuple(sorted((city, tuple(raw for _, raw in known)) for city, known in keys.items()))
    return _verifier(mark, lambda: KeyRing.of(keys))


def shown_at_home(city: City, qr: bytes, *, now: datetime) -> Presentation:
    """The presentation behind ``qr`` of a card of ``city``, our own: no database is asked. Raises ``CredentialRefused``."""
    key = partners.own_issuer_key(city.keys_dir)
    return _verifier((city.code, *key), lambda: KeyRing.of({city.code: [key]})).verify(qr, now=now)


def shown(session: Session, qr: bytes, *, now: datetime) -> Presentation:
    """The presentation behind ``qr``, of whatever city's card. Raises ``CredentialRefused``."""
    try:
        return shown_at_home(city_of(session), qr, now=now)
    except CredentialRefused:
        return verifier_of(session).verify(qr, now=now)


@lru_cache(maxsize=4096)
def held(entitlements: tuple[credentials.Entitlement, ...]) -> str:
    """What a credential entitles to, as it is stored beside the tap."""
    plain = [{"code": one.code, "scope_city": one.scope_city, "expires_on": one.expires_on.isoformat()} for one in entitlements]
    return json.dumps({"held": plain}, ensure_ascii=False)


@lru_cache(maxsize=4096)
def rider(issuer: str, entitlements: tuple[credentials.Entitlement, ...]) -> fares.Rider:
    """The rider that a credential describes."""
    return charging.rider_of(issuer, json.loads(held(entitlements)))
