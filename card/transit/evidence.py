"""What a credential proves, in this process: verifiers that remember, and a rider as the fare engine takes one."""

import json
import threading
from datetime import datetime
from functools import lru_cache
from typing import Final

from sqlalchemy.orm import Session

from app.kernel.city import city_of
from card import credentials, fares, partners
from card.credentials import CredentialRefused, KeyRing, Presentation, Verifier
from card.transit import charging

REMEMBERED: Final = 16_384  # static parts whose city's signature held, each under a kilobyte, for each thread that verifies

_own = threading.local()


def verifier_of(session: Session) -> Verifier:
    """The verifier of this thread for the issuer keys of now, with what it remembers of earlier batches."""
    keys = partners.issuer_keys(session)
    mark = tuple(sorted((city, tuple(raw for _, raw in known)) for city, known in keys.items()))
    if getattr(_own, "mark", None) != mark:
        _own.mark, _own.verifier = mark, Verifier(KeyRing.of(keys), remember=REMEMBERED)
    found = _own.verifier
    assert isinstance(found, Verifier)
    return found


def shown(session: Session, qr: bytes, *, now: datetime) -> Presentation:
    """The presentation behind ``qr``. For a card of this city no statement is asked; raises ``CredentialRefused``."""
    city = city_of(session)
    key = partners.own_issuer_key(city.keys_dir)
    if getattr(_own, "home_mark", None) != (city.code, *key):
        _own.home_mark, _own.home = (city.code, *key), Verifier(KeyRing.of({city.code: [key]}), remember=REMEMBERED)
    home = _own.home
    assert isinstance(home, Verifier)
    try:
        return home.verify(qr, now=now)
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
