"""Cards for machines: the deny list as wallets read it."""

from datetime import timedelta
from typing import Final

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from app.kernel import clock
from app.kernel.city import city_of
from app.kernel.signing import Purpose, sign_jws
from app.web.auth import public
from app.web.db import settings, transaction
from app.web.security import limiter
from card.cards import queries, status_list

TAG: Final = Tag(name="cards", description="The deny list in public form.")
blueprint = APIBlueprint("cards", __name__, abp_tags=[TAG])

MEDIA_TYPE: Final = "application/statuslist+jwt"
TTL: Final = timedelta(minutes=5)
LIFE: Final = timedelta(days=1)


@blueprint.get("/api/cards/status-list", summary="The deny list as an IETF Token Status List")
@public
@limiter.limit("60/minute")
def token_status_list() -> Response:
    """A JWT of type ``statuslist+jwt`` by the city's bundle key: one bit a status index, 1 where a gate refuses it.

    It names no card and no person: which index is whose stands only in the credential that a holder shows.
    """
    now = clock.now()
    with transaction() as session:
        denied = queries.deny_current(session)
        size = queries.status_indexes(session)
        key = city_of(session).key(Purpose.BUNDLE)
    claims = {
        "sub": f"{settings().public_url}/api/cards/status-list",
        "iat": int(now.timestamp()),
        "exp": int((now + LIFE).timestamp()),
        "ttl": int(TTL.total_seconds()),
        "status_list": {"bits": status_list.BITS, "lst": status_list.encode(denied.denied, size=size)},
    }
    answer = Response(sign_jws(key, claims, typ="statuslist+jwt"), content_type=MEDIA_TYPE)
    answer.headers["Cache-Control"] = f"public, max-age={int(TTL.total_seconds())}"
    return answer
