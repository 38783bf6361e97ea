"""Headers, form tokens, rate limits and cookies."""

import secrets
from datetime import timedelta
from typing import Final

import structlog
from flask import Flask, Request, Response, g, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

from app.kernel.errors import Invalid, msg
from app.kernel.ids import new_id
from app.kernel.settings import Settings
from app.web.auth import Caller, access_of
from app.web.problems import answer


class Limits(Limiter):
    """Limits of single views, which their own decorator checks when the view is called.

    There are none of the whole application or of a blueprint, so there is nothing to look for before every request: the look
    took longer than Flask's whole way to a view.
    """

    def _check_request_limit(self, callable_name: str | None = None, in_middleware: bool = True) -> None:
        if not in_middleware:
            super()._check_request_limit(callable_name=callable_name, in_middleware=False)


csrf: Final = CSRFProtect()
limiter: Final = Limits(
    get_remote_address, default_limits=[], storage_uri="memory://", strategy="moving-window", headers_enabled=True
)

UPLOAD_BYTES_MAX: Final = 16 * 1024 * 1024
NOTHING: Final = "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
FOR_MACHINES: Final = frozenset({"application/cbor", "application/json", "application/problem+json"})  # these load nothing


class Sessions(SecureCookieSessionInterface):
    """Flask's sessions, without the work of looking for one where no cookie came: a terminal's request brings none."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """The browser's session, or an empty one."""
        return super().open_session(app, request) if request.cookies else self.session_class()


class FormExpired(Invalid):
    """The form's token is missing or too old."""

    code = "form-expired"
    sentence = msg("This form was open for too long. Go back, reload the page and send it again; what you saved is kept.")
    status = 400


def csp_nonce() -> str:
    """The nonce that inline scripts and styles of this response carry."""
    if "csp_nonce" not in g:
        g.csp_nonce = secrets.token_urlsafe(16)
    return str(g.csp_nonce)


def _policy(settings: Settings) -> str:
    """What a page (or a worker's script) may load."""
    stripe = settings.stripe_public_base
    policy = {
        "default-src": "'none'",
        "script-src": f"'self' 'nonce-{csp_nonce()}' {stripe}",
        "style-src": f"'self' 'nonce-{csp_nonce()}'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": f"'self' {stripe} {settings.stripe_api_base}",
        "frame-src": stripe,
        "manifest-src": "'self'",
        "worker-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in policy.items())


def _headers(settings: Settings) -> dict[str, str]:
    """What every answer carries beside its policy."""
    headers = {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Permissions-Policy": "camera=(self), geolocation=(self), microphone=(), payment=(self)",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    if settings.cookie_secure:
        headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    return headers


def install(app: Flask, settings: Settings) -> None:
    """Configure cookies, form tokens, limits, proxies, request ids and headers."""
    app.config.update(
        SECRET_KEY=settings.secret_key.get_secret_value(),
        SESSION_COOKIE_NAME=f"session_{settings.city_code}",  # several cities on one host must not share a session
        SESSION_COOKIE_SECURE=settings.cookie_secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        REMEMBER_COOKIE_NAME=f"remember_{settings.city_code}",
        PERMANENT_SESSION_LIFETIME=timedelta(hours=12),
        MAX_CONTENT_LENGTH=UPLOAD_BYTES_MAX,
        MAX_FORM_MEMORY_SIZE=2 * 1024 * 1024,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_CHECK_DEFAULT=False,
        RATELIMIT_ENABLED=True,
    )
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    app.session_interface = Sessions()
    csrf.init_app(app)
    limiter.init_app(app)

    @app.before_request
    def identify() -> None:
        g.request_id = str(new_id())
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id, city=settings.city_code)

    @app.before_request
    def protect_forms() -> None:
        # Machines carry their own proof; only a browser's session can be borrowed by a foreign page.
        access = access_of(app.view_functions.get(request.endpoint or ""))
        if (
            app.config["WTF_CSRF_ENABLED"]
            and access is not None
            and access.caller in (Caller.ANYONE, Caller.PERSON)
            and not request.path.startswith(("/api/", "/oauth/token", "/.well-known/", "/webhooks/"))
        ):
            csrf.protect()

    @app.errorhandler(CSRFError)
    def expired(error: CSRFError) -> Response:
        return answer(FormExpired(error.description or ""))

    always = _headers(settings)

    @app.after_request
    def harden(response: Response) -> Response:
        policy = NOTHING if response.mimetype in FOR_MACHINES else _policy(settings)
        wanted = {"Content-Security-Policy": policy, **always}
        if request.endpoint != "static":
            wanted["Cache-Control"] = "no-store"
        there = {name.lower() for name, _ in response.headers}  # asked once: each ``setdefault`` looks through all of them
        for name, value in wanted.items():
            if name.lower() not in there:
                response.headers.add(name, value)
        response.headers["X-Request-Id"] = g.get("request_id", "")
        return response

    app.jinja_env.globals["csp_nonce"] = csp_nonce
