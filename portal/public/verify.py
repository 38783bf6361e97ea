"""``/verify``: anybody checks a document of the city, by its number, its QR code or the file itself."""

from flask import Blueprint, Response, jsonify, render_template, request

from app.web.auth import public
from app.web.db import transaction
from app.web.i18n import translate
from app.web.security import limiter
from services import documents
from services.documents import Verification

blueprint = Blueprint("verify", __name__, url_prefix="/verify")

PER_ADDRESS = "60 per minute"
FILE_BYTES_MAX = 5 * 1024 * 1024


@blueprint.get("")
@public
def start() -> str:
    """The form."""
    return render_template("public/verify/start.html", errors={}, text="")


@blueprint.post("")
@public
@limiter.limit(PER_ADDRESS)
def check() -> tuple[str, int]:
    """What the city says of what was shown."""
    file = request.files.get("file")
    text = request.form.get("text", "").strip()
    content = file.read(FILE_BYTES_MAX + 1) if file else b""
    if not text and not content:
        errors = {"text": translate("Enter a number or the text of a QR code, or choose a file.")}
        return render_template("public/verify/start.html", errors=errors, text=""), 422
    if len(content) > FILE_BYTES_MAX:
        errors = {"file": translate(documents.FileTooLarge.sentence)}
        return render_template("public/verify/start.html", errors=errors, text=text), 422
    with transaction() as session:
        found = documents.verify_file(session, content) if content else documents.verify_text(session, text)
    return result(found), 200


@blueprint.get("/<certificate_id>")
@public
@limiter.limit(PER_ADDRESS)
def show(certificate_id: str) -> str:
    """Where the QR code leads. The token behind ``#`` stays in the browser, so only the id is known here."""
    with transaction() as session:
        found = documents.verify_text(session, certificate_id)
    return result(found)


def result(found: Verification) -> str:
    """The answer, plainly."""
    return render_template("public/verify/result.html", found=found, standing=found.standing.value)


@blueprint.get("/keys.json")
@public
def keys() -> Response:
    """The public key of the tokens, for whoever checks without a network."""
    with transaction() as session:
        return jsonify(documents.token_keys(session))


@blueprint.get("/root.pem")
@public
def root() -> Response:
    """The root certificate of the city's seal, for PDF readers."""
    with transaction() as session:
        return Response(documents.root_certificate(session), content_type="application/x-pem-file")
