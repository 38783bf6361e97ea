"""``/me/benefits``: when one may retire, what the pension would be and why, what was paid and what comes next."""

from typing import Final

from flask import Blueprint, render_template

from app.kernel import clock
from app.kernel.errors import msg
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import translate
from card import benefits
from card.benefits import AwardState, Category
from portal.kit import care
from services import people

blueprint = Blueprint("resident_benefits", __name__, url_prefix="/me/benefits")

CATEGORIES: Final = {
    Category.MAN: msg("Men"),
    Category.WOMAN_55: msg("Women, earlier age 55"),
    Category.WOMAN_50: msg("Women, earlier age 50"),
}
RUNNING: Final = (AwardState.APPROVED, AwardState.IN_PAYMENT, AwardState.RESUMED, AwardState.SUSPENDED)


@blueprint.get("")
@allow(Role.RESIDENT)
def show() -> str:
    """Forecast, pensions and allowances, payments, contributions."""
    holder_id = principal().person_id
    today = clock.civil_date(clock.now())
    with transaction() as session:
        birth = people.get(session, holder_id).birth_date
        awards = benefits.awards_of(session, holder_id)
        payments = benefits.payments_to(session, holder_id)
        contributions = benefits.contributions(session, holder_id)
        forecast = None if birth is None else benefits.forecast(session, holder_id, birth=birth, on=today)
    has_pension = any(award.kind == "pension" for award in awards)
    return render_template(
        "resident/benefits/show.html",
        awards=[
            (award, care.award_name(award.code), *care.labelled(care.AWARD_STATES, award.state.value),
             [care.told(step) for step in award.steps])
            for award in awards
        ],
        monthly_minor=sum(award.monthly_minor for award in awards if award.state in RUNNING),
        payments=[
            (item, care.award_name(item.award.code), care.months_told(item), *care.labelled(care.ITEM_STATES, item.state.value),
             [care.told(step) for step in item.steps])
            for item in payments
        ],
        contributions=contributions,
        forecast=None if has_pension else forecast,
        category=translate(CATEGORIES[forecast.life.category]) if forecast else "",
        retirement_steps=[care.told(step) for step in forecast.retirement.steps] if forecast else [],
        pension_steps=[care.told(step) for step in forecast.pension.steps] if forecast and forecast.pension else [],
        sources=_sources(forecast) if forecast else [],
    )  # fmt: skip


def _sources(forecast: benefits.Forecast) -> list[str]:
    """Where the rules behind a forecast can be read."""
    steps = [*forecast.retirement.steps, *(forecast.pension.steps if forecast.pension else ())]
    return sorted({step.source for step in steps if step.source})
