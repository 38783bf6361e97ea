"""Two languages, complete: ``zh_Hans_CN`` and ``en`` (the message ids).

Catalogues are ``.po`` files, one per audience under ``portal/translations/<audience>/``, read straight into memory at
start: there is no compiled copy that could be stale.
"""

import tomllib
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final

from babel.core import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from flask import Flask, Response, current_app, g, has_request_context, request
from flask_babel import Babel, Domain, get_locale, gettext

LANGUAGES: Final = ("zh_Hans_CN", "en")
DEFAULT: Final = "zh_Hans_CN"
COOKIE: Final = "language"
TRANSLATIONS: Final = Path(__file__).parents[2] / "portal" / "translations"


@cache
def _read(path: Path, language: str) -> Translations:
    with path.open("rb") as file:
        compiled = BytesIO()
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return Translations(compiled)


def load(language: str, root: Path = TRANSLATIONS, *, first: str = "") -> Translations:
    """All catalogues of one language merged; the words of the catalogue ``first`` win, those of ``domain`` yield."""
    merged = Translations()
    found = {path.parts[-4]: path for path in root.glob(f"*/{language}/LC_MESSAGES/messages.po")}
    for name in sorted(found, key=lambda name: (name == first, name != "domain", name)):
        one = _read(found[name], language)
        merged.merge(one)
        merged.plural = one.plural  # merging keeps the sentences and forgets how they are counted
    return merged


@cache
def _catalogue(language: str, first: str = "") -> Translations:
    return load(language, first=first)


@cache
def rooms() -> dict[str, str]:
    """Whose words win where: the catalogue of each room, by its module (``portal/translations/rooms.toml``)."""
    return {str(room): str(name) for room, name in tomllib.loads((TRANSLATIONS / "rooms.toml").read_text()).items()}


def _room() -> str:
    """The catalogue that is asked first on this page."""
    if not has_request_context():
        return ""
    if "room" not in g:
        module = getattr(current_app.view_functions.get(request.endpoint or ""), "__module__", "")
        g.room = rooms().get(module) or rooms().get(module.rpartition(".")[0], "")
    return str(g.room)


def in_language(language: str, message: str) -> str:
    """A message id in ``language`` wherever there is no request: in mail, in documents."""
    return str(_catalogue(language).gettext(message)) if message else ""


class MemoryDomain(Domain):
    """A gettext domain whose catalogues are read once."""

    def get_translations(self) -> Translations:
        """The catalogue of this request's language, with the words of this page's room first."""
        return _catalogue(language(), _room())


def choose() -> str:
    """``?lang=`` for one request and from then on; the cookie; what the browser prefers; Chinese."""
    asked = request.args.get("lang") or request.cookies.get(COOKIE)
    if asked in LANGUAGES:
        return asked
    best = request.accept_languages.best_match(["zh-CN", "zh", "zh-Hans-CN", "en"], default="zh-CN")
    return "en" if best == "en" else DEFAULT


def language() -> str:
    """The language of this request: one of ``LANGUAGES``. It is chosen once: a page asks for each of its words."""
    if not has_request_context():
        return _spoken()
    if "language" not in g:
        g.language = _spoken()
    return str(g.language)


def _spoken() -> str:
    found = get_locale()
    return "en" if found is not None and found.language == "en" else DEFAULT


def locale() -> Locale:
    """The same as a babel locale, for formatting."""
    return Locale.parse(language())


def translate(message: str, **params: object) -> str:
    """A message id in the request's language with ``%(name)s`` placeholders filled."""
    return str(gettext(message, **params)) if message else ""


def install(app: Flask) -> None:
    """Set babel up and remember a language that was asked for."""
    babel = Babel(app, locale_selector=choose, default_locale=DEFAULT, default_timezone="Asia/Shanghai")
    babel.domain_instance = MemoryDomain()

    @app.after_request
    def remember(response: Response) -> Response:
        asked = request.args.get("lang")
        if asked in LANGUAGES and asked != request.cookies.get(COOKIE):
            response.set_cookie(COOKIE, asked, max_age=31_536_000, samesite="Lax", secure=app.config["SESSION_COOKIE_SECURE"])
        return response
