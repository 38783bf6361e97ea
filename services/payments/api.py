"""``/webhooks/stripe``: where Stripe tells us that money moved."""

from flask import Response, jsonify, request
from flask_openapi3 import APIBlueprint, Tag

from app.kernel import clock
from app.web.auth import public
from app.web.db import database
from services.payments import actions

blueprint = APIBlueprint("stripe_webhook", __name__, abp_tags=[Tag(name="payments")])


@blueprint.post("/webhooks/stripe", summary="An event of Stripe, signed in the header Stripe-Signature")
@public
def receive() -> Response:
    """Verify, keep, apply. Repeats are answered like the first; anything but 2xx makes Stripe send it again."""
    outcome = actions.receive(
        database(), body=request.get_data(), signature=request.headers.get("Stripe-Signature", ""), now=clock.now()
    )
    return jsonify(outcome=outcome)
