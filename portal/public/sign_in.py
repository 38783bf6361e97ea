"""Signing in and out: ``/sign-in``, ``/sign-in/code``, ``/sign-in/passkey``, ``/sign-out``."""

from datetime import datetime
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from flask import Blueprint, Response, jsonify, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as AnyResponse

from app.kernel import clock
from app.kernel.errors import Invalid
from app.web.auth import principal_or_none, public, signed_in
from app.web.db import settings, transaction
from app.web.i18n import translate
from app.web.security import limiter
from portal.kit import city_name
from portal.public import sessions
from services import people

blueprint = Blueprint("sign_in", __name__)

PENDING: Final = "sign_in_pending"
CHALLENGE: Final = "sign_in_challenge"
PENDING_SECONDS: Final = 600
PER_ADDRESS: Final = "30 per minute"


def site() -> people.Site:
    """The city as a browser's passkey knows it."""
    origin = settings().public_url
    return people.Site(domain=urlsplit(origin).hostname or "", origin=origin, name=city_name())


def safe_next(asked: str | None) -> str | None:
    """``asked`` where it is a path of this site, so that a link cannot send anybody elsewhere after signing in."""
    if not asked or not asked.startswith("/") or asked.startswith(("//", "/\\")) or any(ord(c) < ord(" ") for c in asked):
        return None
    parts = urlsplit(asked)
    return None if parts.scheme or parts.netloc or parts.path.startswith(("/sign-in", "/sign-out")) else asked


def _enter(person_id: UUID, asked: str | None) -> str:
    """Begin the session; where to go."""
    with transaction() as database_session:
        key = people.session_key(database_session, person_id)
        roles = people.get(database_session, person_id).roles
    sessions.begin(key)
    return safe_next(asked) or people.home_of(roles)


def _page(error: str = "", username: str = "", status: int = 200) -> tuple[str, int]:
    page = render_template(
        "public/sign_in/show.html",
        errors={"username": error} if error else {},
        username=username,
        next=safe_next(request.values.get("next")) or "",
    )
    return page, status


def _sentence(attempt: people.Attempt, otherwise: str) -> str:
    if attempt.step is people.Step.LOCKED:
        return translate(people.SignInLocked.sentence, minutes=attempt.minutes)
    return translate(otherwise)


@blueprint.get("/sign-in")
@public
def show() -> tuple[str, int] | AnyResponse:
    """The form; whoever is signed in already goes on."""
    who = principal_or_none()
    if who is not None:
        return redirect(safe_next(request.args.get("next")) or people.home_of(who.roles))
    return _page()


@blueprint.post("/sign-in")
@public
@limiter.limit(PER_ADDRESS)
def submit() -> tuple[str, int] | AnyResponse:
    """A user name and a password."""
    username = request.form.get("username", "").strip()
    asked = request.form.get("next")
    with transaction() as database_session:
        attempt = people.try_password(
            database_session, username=username, password=request.form.get("password", ""), now=clock.now()
        )
    if attempt.step is people.Step.IN and attempt.person_id:
        return redirect(_enter(attempt.person_id, asked), 303)
    if attempt.step is people.Step.CODE:
        session.clear()
        session[PENDING] = {"person": str(attempt.person_id), "at": clock.now().isoformat(), "next": safe_next(asked)}
        return redirect(url_for("sign_in.code"), 303)
    status = people.SignInLocked.status if attempt.step is people.Step.LOCKED else Invalid.status
    return _page(_sentence(attempt, people.SignInFailed.sentence), username, status)


def _pending() -> tuple[UUID, str | None] | None:
    found = session.get(PENDING)
    if not found or (clock.now() - datetime.fromisoformat(found["at"])).total_seconds() > PENDING_SECONDS:
        return None
    return UUID(found["person"]), found["next"]


@blueprint.get("/sign-in/code")
@public
def code() -> str | AnyResponse:
    """The second step for those who turned one-time codes on."""
    if _pending() is None:
        return redirect(url_for("sign_in.show"))
    return render_template("public/sign_in/code.html", errors={})


@blueprint.post("/sign-in/code")
@public
@limiter.limit(PER_ADDRESS)
def submit_code() -> tuple[str, int] | AnyResponse:
    """A one-time code or a recovery code."""
    pending = _pending()
    if pending is None:
        return redirect(url_for("sign_in.show"), 303)
    person_id, asked = pending
    with transaction() as database_session:
        attempt = people.try_code(database_session, person_id=person_id, code=request.form.get("code", ""), now=clock.now())
    if attempt.step is people.Step.IN:
        return redirect(_enter(person_id, asked), 303)
    errors = {"code": _sentence(attempt, people.WrongCode.sentence)}
    status = people.SignInLocked.status if attempt.step is people.Step.LOCKED else Invalid.status
    return render_template("public/sign_in/code.html", errors=errors), status


@blueprint.post("/sign-in/passkey/options")
@public
@limiter.limit(PER_ADDRESS)
def passkey_options() -> Response:
    """What the browser asks its passkeys for."""
    text, session[CHALLENGE] = people.passkey_request(site())
    return Response(text, content_type="application/json")


@blueprint.post("/sign-in/passkey")
@public
@limiter.limit(PER_ADDRESS)
def passkey() -> Response:
    """A passkey's answer."""
    challenge = session.pop(CHALLENGE, "")
    body = request.get_json()
    with transaction() as database_session:
        person_id = people.enter_by_passkey(
            database_session, answer=body.get("answer") or {}, challenge=challenge, site=site(), now=clock.now()
        )
    return jsonify(next=_enter(person_id, body.get("next")))


@blueprint.post("/sign-out")
@signed_in
def sign_out() -> AnyResponse:
    """End this session."""
    sessions.end()
    return redirect("/", 303)
