"""The only room that knows both refusals and HTTP: problem details (RFC 9457) for machines, a plain page for people."""

from http import HTTPStatus
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import structlog
from flask import Flask, Response, g, json, make_response, redirect, render_template, request
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import HTTPException

from app.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Refusal, TooMany, Unauthenticated, msg
from app.web.i18n import translate

log = structlog.get_logger()


class FieldProblem(BaseModel):
    """One field that breaks a rule."""

    field: str = Field(description="Where in the body: lines.0.amount_minor")
    message: str = Field(description="What is wrong, in the caller's language.")


class Problem(BaseModel):
    """A refusal as a machine reads it (RFC 9457, application/problem+json)."""

    type: str = Field(description="Address of the code's documentation.")
    title: str = Field(description="The sentence for people, in the caller's language.")
    status: int = Field(description="The HTTP status once more.")
    code: str = Field(description="Permanent: match on it.")
    instance: str = Field(description="The address that was asked.")
    request_id: str = Field(description="Leads to the log.")
    detail: str | None = Field(None, description="More, for engineers; not translated.")
    params: dict[str, str | int] | None = Field(None, description="What fills the sentence.")
    errors: list[FieldProblem] | None = Field(None, description="Every field that is wrong.")


MEDIA_TYPE = "application/problem+json"
SIGN_IN = "/sign-in"


class TooLarge(Invalid):
    """The body is larger than the server takes."""

    code = "too-large"
    sentence = msg("What was sent is too large.")
    status = 413


class MethodNotAllowed(Conflict):
    """The address exists and does not take this method."""

    code = "method-not-allowed"
    sentence = msg("This address does not take that method.")
    status = 405


class UnsupportedMedia(Invalid):
    """The body is not of a kind this address reads."""

    code = "unsupported-media-type"
    sentence = msg("This address does not read that kind of content.")
    status = 415


class BadRequest(Invalid):
    """The request cannot be read."""

    code = "bad-request"
    sentence = msg("The request could not be read.")
    status = 400


class Fault(Refusal):
    """A bug of ours. The reference leads to the log."""

    code = "fault"
    sentence = msg("Something went wrong on our side. Nothing you entered was lost. Reference: %(reference)s")
    status = 500


_BY_STATUS: dict[int, type[Refusal]] = {
    400: BadRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    409: Conflict,
    413: TooLarge,
    415: UnsupportedMedia,
    422: Invalid,
    429: TooMany,
}


def wants_json() -> bool:
    """Machines get problem details: every address under ``/api`` or ``/.well-known``, or a caller that asks for JSON first."""
    if request.path.startswith(("/api/", "/.well-known/", "/oauth/token")):
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json", MEDIA_TYPE], default="text/html")
    return best != "text/html"


def invalid_from(error: ValidationError) -> Invalid:
    """A pydantic error as a refusal that names each field by its path (``lines.0.amount_minor``)."""
    fields = {".".join(str(step) for step in item["loc"]) or "body": item["msg"] for item in error.errors()}
    return Invalid("validation failed", fields=fields)


def problem(refusal: Refusal) -> Response:
    """The RFC 9457 document of a refusal."""
    kind = type(refusal)
    body: dict[str, object] = {
        "type": f"/reference/errors#{kind.code}",
        "title": translate(kind.sentence, **refusal.params),
        "status": kind.status,
        "code": kind.code,
        "instance": request.path,
        "request_id": g.get("request_id", ""),
    }
    if refusal.detail:
        body["detail"] = refusal.detail
    if refusal.params:
        body["params"] = refusal.params
    if isinstance(refusal, Invalid) and refusal.fields:
        body["errors"] = [{"field": field, "message": translate(text)} for field, text in refusal.fields.items()]
    response = make_response(json.dumps(body), kind.status)
    response.content_type = MEDIA_TYPE
    if kind.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="city"'
    return _when_to_return(response, kind)


def _when_to_return(response: Response, kind: type[Refusal]) -> Response:
    """``response`` with the seconds after which to try again (RFC 9110, 10.2.3), where the refusal knows them."""
    if kind.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(kind.retry_after_seconds)
    return response


def answer(refusal: Refusal) -> Response:
    """A refusal as the caller can read it."""
    if wants_json():
        return problem(refusal)
    kind = type(refusal)
    if kind is Unauthenticated:
        return _to_sign_in()
    page = render_template(
        "kit/problem.html",
        code=kind.code,
        sentence=translate(kind.sentence, **refusal.params),
        status=kind.status,
        fields=[translate(text) for text in refusal.fields.values()] if isinstance(refusal, Invalid) else [],
    )
    return _when_to_return(make_response(page, kind.status), kind)


def _to_sign_in() -> Response:
    """A person who is not signed in goes to sign in, and from there to where they were going (or came from, by a form)."""
    came_from = urlsplit(request.referrer or "")
    here = request.full_path if request.method == "GET" else came_from.path if came_from.netloc == request.host else ""
    query = urlencode({"next": here.rstrip("?")}) if here else ""
    return make_response(redirect(f"{SIGN_IN}?{query}" if query else SIGN_IN, HTTPStatus.SEE_OTHER))


def from_http(error: HTTPException) -> Response:
    """Flask's and werkzeug's own errors in the same form."""
    if error.code is not None and error.code < HTTPStatus.BAD_REQUEST:
        return error.get_response()  # type: ignore[return-value]  # a redirect
    kind = _BY_STATUS.get(error.code or 500)
    return answer(kind(error.description or "") if kind else Fault(reference=g.get("request_id", "")))


def from_fault(error: Exception) -> Response:
    """A bug: logged with its trace, answered without it."""
    reference = g.get("request_id", "") or uuid4().hex
    log.error("fault", reference=reference, path=request.path, exc_info=error)
    return answer(Fault(reference=reference))


def install(app: Flask) -> None:
    """Handle refusals, pydantic's errors, HTTP errors and bugs."""
    app.register_error_handler(Refusal, answer)
    app.register_error_handler(ValidationError, lambda error: answer(invalid_from(error)))
    app.register_error_handler(HTTPException, from_http)
    app.register_error_handler(Exception, from_fault)
