"""The start page, a page for each audience, and what the city says about itself."""

from flask import Blueprint, Response, jsonify, render_template

from app.web.auth import public
from app.web.i18n import translate
from portal.kit.display import asset, city_name

blueprint = Blueprint("public", __name__)


@blueprint.get("/")
@public
def start() -> str:
    """What can be done here, in five seconds."""
    return render_template("public/start/page.html")


@blueprint.get("/manifest.webmanifest")
@public
def manifest() -> Response:
    """What a phone needs to put the portal on its home screen."""
    answer = jsonify(
        name=translate("%(city)s Citizen Card", city=city_name()),
        short_name=translate("Citizen Card"),
        start_url="/",
        display="standalone",
        background_color="#f7f5f0",
        theme_color="#0c4a4e",
        icons=[{"src": asset(f"kit/icon-{size}.png"), "sizes": f"{size}x{size}", "type": "image/png"} for size in (192, 512)],
    )
    answer.content_type = "application/manifest+json"
    return answer
