"""``/operator/inspect``: an inspector's phone scans a rider's code and says whether the card is good, also offline."""

import hashlib
from typing import Final

from flask import Blueprint, Response, jsonify, make_response, render_template, request
from pydantic import BaseModel, Field

from app.kernel import clock
from app.kernel.errors import Forbidden
from app.web.auth import Role, allow, principal, public
from app.web.db import transaction
from app.web.i18n import language, translate
from card import credentials, transit
from card.credentials import SENTENCES
from portal.kit import cards as shown
from portal.kit import display
from portal.kit import journeys as words

blueprint = Blueprint("inspect", __name__, url_prefix="/operator/inspect")

FILES: Final = (
    "vendor/govuk-frontend.css",
    "vendor/govuk-frontend.js",
    "vendor/public-sans.woff2",
    "vendor/jsqr.js",
    "kit/kit.css",
    "kit/kit.js",
    "kit/mark.svg",
    "inspect/inspect.css",
    "inspect/credential.js",
    "inspect/inspect.js",
)


class CodeBody(BaseModel):
    """A code as it was scanned."""

    text: str = Field(max_length=2048)


@blueprint.get("/")
@allow(Role.OPERATOR)
def show() -> str:
    """The page that the phone keeps and opens without a network."""
    with transaction() as session:
        key = transit.inspection_key(session)
    tag = language()
    return render_template(
        "operator/inspect.html",
        key=credentials.to_base64url(key),
        sentences={reason.value: said[tag] for reason, said in SENTENCES.items()},
        entitlements={code: translate(text) for code, text in shown.ENTITLEMENTS.items()},
        cities={code: names[tag] for code, names in words.CITY_NAMES.items()},
    )


@blueprint.get("/bundle")
@allow(Role.OPERATOR)
def bundle() -> Response:
    """The signed keys and deny lists; ``X-Server-Time`` is the city's clock in unix milliseconds."""
    now = clock.now()
    with transaction() as session:
        signed = transit.inspection_bundle(session, now=now)
    headers = {"X-Server-Time": str(int(now.timestamp() * 1000)), "Cache-Control": "no-store"}
    return Response(signed, content_type="application/cose", headers=headers)


@blueprint.post("/check")
@allow(Role.OPERATOR)
def check() -> Response:
    """The city's word on a scanned code: ``{valid, reason, last: {kind, place, at} or null}``; ``at`` in unix milliseconds."""
    operator_id = principal().organisation
    if operator_id is None:
        raise Forbidden("no organisation")
    body = CodeBody.model_validate(request.get_json(silent=True) or {})
    with transaction() as session:
        found = transit.check(session, text=body.text, operator_id=operator_id, by=principal().actor, now=clock.now())
        stops = transit.stops_by_id(session)
        lines = {line.id: line for line in transit.lines_of(session, operator_id)}
    last = found.last_tap
    tap = None
    if last is not None:
        line = words.named(lines[last.line_id].names) if last.line_id in lines else last.line_id
        place = words.stop_name(stops, last.stop_id) if last.stop_id else line
        tap = {"kind": words.tap_kinds()[last.kind], "place": place, "at": int(last.at.timestamp() * 1000)}
    return jsonify(valid=found.reason is None, reason=found.reason or "", last=tap)


@blueprint.get("/sw.js")
@public
def worker() -> Response:
    """The service worker that opens the page without a network. It holds no personal data."""
    files = [display.asset(name) for name in FILES]
    version = hashlib.sha256("\n".join(files).encode()).hexdigest()[:12]
    answer = make_response(render_template("operator/inspect_sw.js", files=files, version=version))
    answer.content_type = "text/javascript; charset=utf-8"
    return answer
