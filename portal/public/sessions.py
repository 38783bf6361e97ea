"""The browser's session: who is signed in, from one request to the next."""

from dataclasses import dataclass

from flask import Flask, session
from flask_login import LoginManager, login_user, logout_user

from app.web.auth import Principal
from app.web.db import transaction
from app.web.i18n import DEFAULT, language
from services import people


@dataclass(frozen=True)
class SessionUser:
    """The user object of Flask-Login: a principal and the key it came from."""

    principal: Principal
    key: str
    is_authenticated: bool = True
    is_active: bool = True
    is_anonymous: bool = False

    def get_id(self) -> str:
        """What the session cookie holds."""
        return self.key


def load(key: str) -> SessionUser | None:
    """The person behind the session's key, or none where it no longer counts."""
    with transaction() as database_session:
        principal = people.from_session_key(database_session, key, latin=language() != DEFAULT)
    return SessionUser(principal, key) if principal else None


def begin(key: str) -> None:
    """Sign the person behind ``key`` in, in a session that keeps nothing of what was before (session fixation)."""
    user = load(key)
    assert user is not None, "a key made a moment ago counts"
    session.clear()
    session.permanent = True
    login_user(user)


def end() -> None:
    """Sign out and forget everything the session held."""
    logout_user()
    session.clear()


def install(app: Flask) -> None:
    """Set Flask-Login up."""
    manager = LoginManager(app)
    manager.session_protection = "basic"
    manager.user_loader(load)
