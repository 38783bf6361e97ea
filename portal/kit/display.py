"""What every page of a process shares: city, navigation, languages, large text, versions of files."""

import hashlib
import os
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from flask import Flask, Response, current_app, jsonify, request, url_for

from app.web.auth import Principal, principal_or_none
from app.web.db import settings
from app.web.i18n import DEFAULT, language, translate
from portal.kit import navigation

TEXT_COOKIE: Final = "text"
TEXT_SIZES: Final = ("large", "usual")
LANGUAGE_NAMES: Final = {"zh_Hans_CN": "中文", "en": "English"}
LANGUAGE_TAGS: Final = {"zh_Hans_CN": "zh-CN", "en": "en"}


@lru_cache(maxsize=256)
def _digest(path: str, _changed_ns: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


def asset(name: str) -> str:
    """Address of a file under ``portal/static`` that changes when the file does, so a browser may keep it for a year."""
    path = f"{current_app.static_folder}/{name}"
    try:
        changed_ns = os.stat(path).st_mtime_ns  # noqa: PTH116  a page asks for eight of them
    except FileNotFoundError:
        return url_for("static", filename=name)  # the build step has not run yet: the page still works, plainly
    return url_for("static", filename=name, v=_digest(path, changed_ns))


def text_size() -> str:
    """``large`` for those who asked for larger text (长辈版), else ``usual``."""
    asked = request.args.get("text") or request.cookies.get(TEXT_COOKIE)
    return "large" if asked == "large" else "usual"


def same_page(**changes: str) -> str:
    """The present page's address with ``changes`` in its query."""
    kept = {name: value for name, value in request.args.items(multi=True) if name not in {"lang", "text"}}
    return f"{request.path}?{urlencode({**kept, **changes})}"


def city_name() -> str:
    """The city's name in the page's language."""
    return settings().city_name_zh if language() == DEFAULT else settings().city_name_en


def manifest(short_name: str, *, start: str, scope: str = "/") -> Response:
    """A web app manifest (W3C) of this city that opens at ``start``; ``short_name`` is what stands under the icon."""
    answer = jsonify(
        name=translate("%(city)s Citizen Card", city=city_name()),
        short_name=short_name,
        id=start,
        start_url=start,
        scope=scope,
        display="standalone",
        background_color="#f7f5f0",
        theme_color="#0c4a4e",
        icons=[{"src": asset(f"kit/icon-{size}.png"), "sizes": f"{size}x{size}", "type": "image/png"} for size in (192, 512)],
    )
    answer.content_type = "application/manifest+json"
    return answer


def who() -> Principal | None:
    """The signed-in person, or nobody."""
    return principal_or_none()


def two_languages(value: object) -> str:
    """A text that carries both languages (``{"en": …, "zh_Hans_CN": …}``) in the page's; any other value as it is."""
    if isinstance(value, dict):
        return str(value.get(language()) or value.get("en") or "")
    return "" if value is None else str(value)


def grouped(number: str) -> str:
    """A card's number in groups of four, as it is read aloud; anything else as it is."""
    return " ".join(number[at : at + 4] for at in range(0, len(number), 4)) if number.isdigit() else number


def install(app: Flask) -> None:
    """Give every template what it shares and remember the size of text that was asked for."""

    @app.context_processor
    def shared() -> dict[str, object]:
        place = navigation.audience()
        return {
            "asset": asset,
            "city_code": settings().city_code,
            "city_name": city_name(),
            "is_hub": settings().is_hub,
            "demonstration": settings().demonstration,
            "public_url": settings().public_url,
            "page_language": LANGUAGE_TAGS[language()],
            "other_languages": [
                (LANGUAGE_TAGS[code], name, same_page(lang=code)) for code, name in LANGUAGE_NAMES.items() if code != language()
            ],
            "text_size": text_size(),
            "text_switch": same_page(text="usual" if text_size() == "large" else "large"),
            "audience": place.value,
            "audience_name": navigation.NAMES.get(place, ""),
            "menu": navigation.links(place),
            "homes": navigation.homes(),
            "person": who(),
            "exists": navigation.exists,
            "admits": navigation.admits,
            "leads": navigation.leads,
        }

    @app.after_request
    def remember(response: Response) -> Response:
        asked = request.args.get("text")
        if asked in TEXT_SIZES and asked != request.cookies.get(TEXT_COOKIE):
            response.set_cookie(
                TEXT_COOKIE,
                asked,
                max_age=int(timedelta(days=365).total_seconds()),
                samesite="Lax",
                secure=app.config["SESSION_COOKIE_SECURE"],
            )
        if request.endpoint == "static" and "v" in request.args:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
