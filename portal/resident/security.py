"""``/me/security``: password, one-time codes, passkeys, other sessions. For everybody who signs in, staff as well."""

import io
from typing import Final
from uuid import UUID

import segno
from flask import Blueprint, Response, flash, jsonify, redirect, render_template, request, session, url_for
from flask_babel import gettext
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from app.kernel import clock
from app.kernel.errors import Invalid
from app.web.auth import principal, signed_in
from app.web.db import transaction
from app.web.i18n import translate
from portal.kit import city_name
from portal.public import sessions
from portal.public.sign_in import site
from services import people

blueprint = Blueprint("security", __name__, url_prefix="/me/security")

CHALLENGE: Final = "passkey_challenge"


def _show(errors: dict[str, str] | None = None, status: int = 200) -> tuple[str, int]:
    with transaction() as database_session:
        view = people.security_of(database_session, principal().person_id)
    page = render_template(
        "resident/security/show.html",
        security=view,
        errors={field: translate(text) for field, text in (errors or {}).items()},
    )
    return page, status


@blueprint.get("")
@signed_in
def show() -> tuple[str, int]:
    """What protects the account, and how to change it."""
    return _show()


@blueprint.post("/password")
@signed_in
def change_password() -> tuple[str, int] | AnyResponse:
    """Another password; every other session ends."""
    try:
        with transaction() as database_session:
            key = people.change_password(
                database_session,
                person_id=principal().person_id,
                current=request.form.get("current", ""),
                new=request.form.get("password", ""),
                now=clock.now(),
            )
    except Invalid as refusal:
        return _show(refusal.fields, refusal.status)
    sessions.begin(key)
    flash(gettext("Your password is changed. You are signed out everywhere else."), "success")
    return redirect(url_for("security.show"), 303)


@blueprint.post("/sessions/end")
@signed_in
def end_sessions() -> AnyResponse:
    """End every other session."""
    with transaction() as database_session:
        key = people.end_sessions(database_session, person_id=principal().person_id, now=clock.now())
    sessions.begin(key)
    flash(gettext("You are signed out everywhere else."), "success")
    return redirect(url_for("security.show"), 303)


def _codes_page(errors: dict[str, str], status: int = 200) -> tuple[str, int]:
    with transaction() as database_session:
        address = people.begin_totp(database_session, person_id=principal().person_id, issuer=city_name())
    drawing = io.BytesIO()
    segno.make(address, error="m").save(drawing, kind="svg", scale=5, border=2, xmldecl=False, svgns=True, nl=False)
    secret = address.split("secret=")[1].split("&")[0]
    page = render_template(
        "resident/security/codes.html",
        drawing=Markup(drawing.getvalue().decode()),  # noqa: S704  drawn here, from our own address
        secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        errors=errors,
    )
    return page, status


@blueprint.get("/codes")
@signed_in
def codes() -> tuple[str, int]:
    """The QR code to scan, and where to type the first one-time code."""
    return _codes_page({})


@blueprint.post("/codes")
@signed_in
def confirm_codes() -> tuple[str, int] | str:
    """The first one-time code; the answer shows the recovery codes, this once."""
    try:
        with transaction() as database_session:
            recovery = people.confirm_totp(
                database_session,
                person_id=principal().person_id,
                code=request.form.get("code", ""),
                now=clock.now(),
            )
    except people.WrongCode as refusal:
        return _codes_page({field: translate(text) for field, text in refusal.fields.items()}, refusal.status)
    return render_template("resident/security/recovery.html", codes=recovery)


@blueprint.post("/codes/remove")
@signed_in
def remove_codes() -> tuple[str, int] | AnyResponse:
    """Turn one-time codes off, against the password."""
    try:
        with transaction() as database_session:
            people.remove_totp(
                database_session,
                person_id=principal().person_id,
                password=request.form.get("current_for_codes", ""),
                now=clock.now(),
            )
    except people.WrongPassword as refusal:
        return _show({"current_for_codes": refusal.sentence}, refusal.status)
    flash(gettext("One-time codes are off."), "success")
    return redirect(url_for("security.show"), 303)


@blueprint.post("/passkeys/options")
@signed_in
def passkey_options() -> Response:
    """What the browser needs to make a passkey."""
    with transaction() as database_session:
        text, session[CHALLENGE] = people.passkey_creation(database_session, person_id=principal().person_id, site=site())
    return Response(text, content_type="application/json")


@blueprint.post("/passkeys")
@signed_in
def add_passkey() -> Response:
    """The passkey that the browser made."""
    body = request.get_json()
    challenge = session.pop(CHALLENGE, "")
    with transaction() as database_session:
        people.add_passkey(
            database_session,
            person_id=principal().person_id,
            answer=body.get("answer") or {},
            challenge=challenge,
            name=str(body.get("name") or gettext("This device")),
            site=site(),
            now=clock.now(),
        )
    flash(gettext("The passkey is added. You can sign in with it from now on."), "success")
    return jsonify(next=url_for("security.show"))


@blueprint.post("/passkeys/<uuid:passkey_id>/remove")
@signed_in
def remove_passkey(passkey_id: UUID) -> AnyResponse:
    """Forget a passkey."""
    with transaction() as database_session:
        people.remove_passkey(database_session, person_id=principal().person_id, passkey_id=passkey_id, now=clock.now())
    flash(gettext("The passkey is removed."), "success")
    return redirect(url_for("security.show"), 303)
