"""``/me/health``: coverage, filings for treatment elsewhere, settled bills and who paid what of each."""

from typing import Final
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from app.kernel import clock
from app.kernel.errors import Invalid, Refusal, msg
from app.web.auth import Role, allow, principal
from app.web.db import settings, transaction
from app.web.i18n import translate
from card import health, ledger
from card.health import FilingKind
from portal.kit import care

blueprint = Blueprint("resident_health", __name__, url_prefix="/me/health")

KIND_HINTS: Final = {
    FilingKind.LONG_TERM: msg("You live or work there for longer."),
    FilingKind.REFERRAL: msg("A hospital here refers you."),
    FilingKind.EMERGENCY: msg("It could not wait. Takes effect at once."),
    FilingKind.SELF: msg("You choose to be treated there. The fund pays a smaller part."),
}


def _page(errors: dict[str, str] | None = None, status: int = 200) -> tuple[str, int]:
    holder_id = principal().person_id
    today = clock.civil_date(clock.now())
    with transaction() as session:
        coverage = health.coverage(session, holder_id, on=today)
        year = health.year_of(session, holder_id, today.year)
        regions = care.region_names(session)
        filings = health.filings_of(session, holder_id)
        settlements = health.settlements_of(session, holder_id)
        own_minor = health.account_minor(session, ledger.chart.medical(holder_id))
        family_minor = health.account_minor(session, ledger.chart.family(holder_id))
    states = {state.value: words for state, words in care.FILING_STATES.items()}
    page = render_template(
        "resident/health/show.html",
        coverage=coverage,
        scheme=translate(care.SCHEMES[coverage.scheme]) if coverage else "",
        person_status=translate(care.STATUSES[coverage.status]) if coverage else "",
        year=year,
        own_minor=own_minor,
        family_minor=family_minor,
        regions=regions,
        elsewhere=[(code, name) for code, name in regions.items() if code != settings().city_code],
        filings=[
            (filing, translate(care.KINDS[filing.kind]), *care.labelled(states, filing.state.value)) for filing in filings
        ],
        cancellable={health.FilingState.FILED, health.FilingState.ACTIVE},
        kinds=[(kind.value, translate(text), translate(KIND_HINTS[kind])) for kind, text in care.KINDS.items()],
        settlements=settlements,
        today=today,
        entered=request.form,
        errors={field: translate(text) for field, text in (errors or {}).items()},
    )
    return page, status


@blueprint.get("")
@allow(Role.RESIDENT)
def show() -> tuple[str, int]:
    """Coverage, accounts, filings and bills."""
    return _page()


@blueprint.get("/claims/<uuid:settlement_id>")
@allow(Role.RESIDENT)
def claim(settlement_id: UUID) -> str:
    """One bill: who paid what and why, line by line, in words and as a picture."""
    with transaction() as session:
        found = health.settlement(session, settlement_id, holder_id=principal().person_id)
        regions = care.region_names(session)
    return render_template(
        "resident/health/claim.html",
        claim=found,
        place=regions.get(found.treating_region, found.treating_region),
        level=translate(care.LEVELS[found.level]),
        lines=[(line, translate(care.CLASSES[line.item_class]), [care.told(s) for s in line.steps]) for line in found.lines],
        pieces=care.pieces(found.split),
        steps=[care.told(step) for step in found.split.steps],
        sources=sorted({step.source for step in found.split.steps if step.source}),
    )


@blueprint.post("/filings")
@allow(Role.RESIDENT)
def file() -> tuple[str, int] | Response:
    """File for treatment in another city."""
    errors = {}
    kind = next((known for known in FilingKind if known.value == request.form.get("kind")), None)
    valid_from = care.day(request.form.get("valid_from", ""))
    until = request.form.get("valid_to", "").strip()
    valid_to = care.day(until) if until else None
    if kind is None:
        errors["kind"] = msg("Choose why.")
    if valid_from is None:
        errors["valid_from"] = msg("Enter the first day.")
    if until and valid_to is None:
        errors["valid_to"] = msg("Enter a day, or leave it empty.")
    region = request.form.get("region", "")
    with transaction() as session:
        if region not in care.region_names(session):
            errors["region"] = msg("Choose a city.")
    if errors or valid_from is None or kind is None:
        return _page(errors, 422)
    try:
        with transaction() as session:
            health.file(
                session,
                holder_id=principal().person_id,
                kind=kind,
                region=region,
                reason=request.form.get("reason", ""),
                valid_from=valid_from,
                valid_to=valid_to,
                by=principal().actor,
                now=clock.now(),
            )
    except Invalid as refusal:
        return _page(refusal.fields, refusal.status)
    except Refusal as refusal:
        return _page({"region": type(refusal).sentence}, type(refusal).status)
    flash(gettext("Your filing was received."), "success")
    return redirect(url_for("resident_health.show") + "#filings")


@blueprint.post("/filings/<uuid:filing_id>/cancel")
@allow(Role.RESIDENT)
def cancel(filing_id: UUID) -> Response:
    """End one's own filing."""
    with transaction() as session:
        health.cancel_filing(
            session, filing_id=filing_id, by=principal().actor, now=clock.now(), holder_id=principal().person_id
        )
    flash(gettext("The filing was cancelled."), "success")
    return redirect(url_for("resident_health.show") + "#filings")
