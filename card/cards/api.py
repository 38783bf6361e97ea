"""Cards for machines: the deny list as wallets read it."""

from datetime import timedelta
from typing import Final

from flask import Response, request
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
    """A JWT of type ``statuslist+jwt``, or by ``Accept`` a CWT (``application/statuslist+cwt``), by the city's bundle key.

    One bit a status index, 1 where a gate refuses it. It names no card and no person: which index is whose stands only in the
    credential that a holder shows.
    """
    now = clock.now()
    with transaction() as session:
        denied = queries.deny_current(session).denied
        size = queries.status_indexes(session)
        key = city_of(session).key(Purpose.BUNDLE)
    sub = f"{settings().public_url}/api/cards/status-list"
    if request.accept_mimetypes.best_match([MEDIA_TYPE, status_list.CWT_TYPE]) == status_list.CWT_TYPE:
        token = status_list.cwt(key, denied, size=size, sub=sub, now=now, life=LIFE, ttl=TTL)
        answer = Response(token, content_type=status_list.CWT_TYPE)
    else:
        said = status_list.claims(denied, size=size, sub=sub, now=now, life=LIFE, ttl=TTL)
        answer = Response(sign_jws(key, said, typ=status_list.JWT_TYPE), content_type=MEDIA_TYPE)
    answer.headers["Cache-Control"] = f"public, max-age={int(TTL.total_seconds())}"
    answer.headers["Vary"] = "Accept"
    answer.headers["Access-Control-Allow-Origin"] = "*"  # wallets that are web pages ask too (section 8.1)
    return answer
