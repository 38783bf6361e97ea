"""Whether the process lives, whether it can serve, and what it counts."""

from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text

from app.web.auth import public
from app.web.db import transaction

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@public
def live() -> Response:
    """The process answers."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
@public
def ready() -> Response:
    """The process answers and so does its database."""
    with transaction() as session:
        session.execute(text("SELECT 1"))
    return jsonify(status="ready")


@blueprint.get("/metrics")
@public
def metrics() -> Response:
    """Prometheus text format; the reverse proxy keeps it inside (``docs/runbooks/start.md``)."""
    return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)
