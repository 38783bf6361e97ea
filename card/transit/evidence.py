"""What a credential proves, in this process: verifiers that remember, and a rider as the fare engine takes one."""

import json
import threading
from functools import lru_cache
from typing import Final

from sqlalchemy.orm import Session

from card import credentials, fares, partners
from card.credentials import KeyRing, Verifier
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


@lru_cache(maxsize=4096)
def held(entitlements: tuple[credentials.Entitlement, ...]) -> str:
    """What a credential entitles to, as it is stored beside the tap."""
    plain = [{"code": one.code, "scope_city": one.scope_city, "expires_on": one.expires_on.isoformat()} for one in entitlements]
    return json.dumps({"held": plain}, ensure_ascii=False)


@lru_cache(maxsize=4096)
def rider(issuer: str, entitlements: tuple[credentials.Entitlement, ...]) -> fares.Rider:
    """The rider that a credential describes."""
    return charging.rider_of(issuer, json.loads(held(entitlements)))
