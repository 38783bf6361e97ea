"""``/me/card/phone``: the phone becomes the card. Its key is made in the browser, stays there, and signs every code."""

import hashlib
from typing import Final

from flask import Blueprint, Response, jsonify, make_response, render_template, request, url_for
from pydantic import BaseModel, Field

from app.kernel import clock
from app.web.auth import Role, allow, principal, public
from app.web.db import transaction
from app.web.i18n import translate
from card import cards
from card.credentials import from_base64url, key_id, to_base64url
from portal.kit import display

blueprint = Blueprint("phone", __name__, url_prefix="/me/card")

FILES: Final = (
    "vendor/govuk-frontend.css",
    "vendor/govuk-frontend.js",
    "vendor/public-sans.woff2",
    "vendor/qrcode.js",
    "kit/kit.css",
    "kit/kit.js",
    "kit/mark.svg",
    "card/card.css",
    "card/phone.js",
)


class KeyBody(BaseModel):
    """A phone's public key."""

    public_key: str = Field(
        max_length=120, description="Raw Ed25519 (32 bytes) or P-256 point as WebCrypto exports it (65 bytes), base64url."
    )


def _key() -> bytes:
    return from_base64url(KeyBody.model_validate(request.get_json(silent=True) or {}).public_key)


@blueprint.get("/phone")
@allow(Role.RESIDENT)
def show() -> str:
    """The page that the phone keeps and opens without a network."""
    with transaction() as session:
        card = cards.live_card(session, principal().person_id)
    return render_template("resident/card/phone.html", has_card=card is not None and card.status is cards.Status.ACTIVE)


@blueprint.post("/phone")
@allow(Role.RESIDENT)
def bind() -> Response:
    """Sign the phone's key into the credential, or renew it: ``{static, number, good_until, server_time}``.

    ``static`` is a COSE_Sign1 (base64url); ``good_until`` and ``server_time`` are unix milliseconds. A new phone ends the one
    before. Raises ``UnknownCard``, ``CardNotActive``, ``PhoneBoundElsewhere``, ``CredentialRefused``.
    """
    public_key, now = _key(), clock.now()
    with transaction() as session:
        card = cards.live_card(session, principal().person_id)
        if card is None:
            raise cards.UnknownCard
        static = cards.bind_device(session, card.id, public_key, now)
        kid = key_id(public_key)
        (device,) = [one for one in cards.devices_of(session, card.id) if one.kid == kid]
        assert device.good_until is not None, "a bound phone has a credential"
    return jsonify(
        static=to_base64url(static),
        number=card.number,
        good_until=int(device.good_until.timestamp() * 1000),
        server_time=int(now.timestamp() * 1000),
    )


@blueprint.post("/phone/end")
@allow(Role.RESIDENT)
def end() -> Response:
    """The phone is no card any more: its codes are denied, the card itself stays good."""
    kid = key_id(_key())
    with transaction() as session:
        for card in cards.cards_of(session, principal().person_id):
            for device in cards.devices_of(session, card.id):
                if device.kid == kid:
                    cards.block_device(session, device_id=device.id, by=principal().actor, now=clock.now())
    return jsonify(ended=True)


@blueprint.get("/sw.js")
@public
def worker() -> Response:
    """The service worker that opens the page without a network. It holds no personal data."""
    files = [display.asset(name) for name in FILES]
    version = hashlib.sha256("\n".join(files).encode()).hexdigest()[:12]
    answer = make_response(render_template("resident/card/sw.js", files=files, version=version))
    answer.content_type = "text/javascript; charset=utf-8"
    return answer


@blueprint.get("/app.webmanifest")
@public
def manifest() -> Response:
    """What a phone needs to install the card: it opens where the service worker answers, so without a network too."""
    return display.manifest(translate("My card"), start=url_for("phone.show"), scope=f"{url_for('card.show')}/")
