"""What screens share: the frame of a page, navigation, formatting, macros (``portal/templates/kit``)."""

from flask import Flask

from app.web.i18n import translate
from portal.kit import dates, display, money
from portal.kit.display import city_name, two_languages
from portal.kit.money import yuan
from portal.kit.navigation import MENU, Audience, Item

__all__ = ["MENU", "Audience", "Item", "city_name", "install", "two_languages", "yuan"]


def install(app: Flask) -> None:
    """Filters and shared values for every template of ``app``."""
    app.jinja_env.filters.update(
        yuan=money.yuan,
        civil_date=dates.civil_date,
        short_date=dates.short_date,
        clock_time=dates.clock_time,
        month=dates.month,
        moment=dates.moment,
        number=dates.number,
        grouped=display.grouped,
        bilingual=two_languages,
        translated=translate,
    )
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    display.install(app)
