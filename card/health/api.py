"""Health over HTTP: FHIR R4B between cities, national field names for hospitals, the resident's own explanation of benefit."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Final, cast
from uuid import UUID

from flask import Response, jsonify, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from app.kernel import clock
from app.kernel.db import Json
from app.kernel.errors import Forbidden
from app.web.auth import machine, partner_city, principal, public, signed_in
from app.web.db import database, transaction
from app.web.problems import BadRequest
from card.health import actions, desk, fhir, queries, rules
from card.health.actions import LineAsked

FEDERATION: Final = Tag(name="health-federation", description="FHIR R4B between cities: eligibility, claims, reversals.")
HOSPITALS: Final = Tag(name="health", description="Hospitals: claims under the national field names; residents: their own.")

federation = APIBlueprint("health_federation", __name__, url_prefix="/api/federation/fhir", abp_tags=[FEDERATION])
hospitals = APIBlueprint("health_api", __name__, url_prefix="/api/health", abp_tags=[HOSPITALS])

SCOPE: Final = "health.claims"
FHIR_JSON: Final = "application/fhir+json"


def _resource() -> Json:
    document = request.get_json(silent=True)
    if not isinstance(document, dict):
        raise BadRequest("a FHIR resource as JSON")
    return cast("Json", document)


def _fhir(document: Json) -> Response:
    response = jsonify(document)
    response.content_type = FHIR_JSON
    return response


@federation.get("/metadata", summary="What this server can do")
@public
def metadata() -> Response:
    """The FHIR capability statement."""
    kinds = ("CoverageEligibilityRequest", "Claim", "Task")
    return _fhir(
        {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": "2026-11-01",
            "kind": "instance",
            "implementation": {"description": "Direct settlement of medical bills between cities"},
            "fhirVersion": "4.3.0",
            "format": ["json"],
            "rest": [
                {"mode": "server", "resource": [{"type": kind, "interaction": [{"code": "create"}]} for kind in kinds]},
            ],
        }
    )


@federation.post("/CoverageEligibilityRequest", summary="Is this card's holder covered for treatment in your city?")
@partner_city
def eligibility_request() -> Response:
    """Answers a CoverageEligibilityResponse: in force, accumulators as used and allowed money, filing."""
    document = _resource()
    card_number, on = fhir.read_eligibility_request(document)
    with transaction() as session:
        found = queries.eligibility(session, card_number=card_number, treating_region=principal().id, on=on)
    return _fhir(fhir.eligibility_response(document, found, now=clock.now()))


@federation.post("/Claim", summary="Foresee (predetermination) or settle (claim) a bill")
@partner_city
def claim() -> Response:
    """Answers a ClaimResponse. A claim repeated under its id gets the first answer; another bill under it is refused."""
    found, use = fhir.read_claim(_resource(), treating_region=principal().id)
    now = clock.now()
    with transaction() as session:
        split = actions.foresee(session, found) if use == fhir.PREDETERMINATION else actions.settle(session, found, now=now)
    return _fhir(fhir.claim_response(found, split, use=use, now=now))


@federation.post("/Task", summary="Take a settlement back")
@partner_city
def reversal() -> Response:
    """Answers the task as completed; once per id, and once per claim."""
    document = _resource()
    reversal_id, claim_id, reason, asked_at = fhir.read_reversal_task(document)
    with transaction() as session:
        actions.take_back(
            session,
            settlement_id=claim_id,
            reversal_id=reversal_id,
            treating_region=principal().id,
            reason=reason,
            asked_at=asked_at,
            now=clock.now(),
        )
    return _fhir(fhir.completed(document))


# --- hospitals -------------------------------------------------------------------------------------------------------------


class EligibilityBody(BaseModel):
    """Whose coverage, and on which day."""

    card_no: str = Field(description="Card number, 19 digits.")
    begndate: date = Field(description="Day of admission (入院日期).")


class FeeLine(BaseModel):
    """One line of the bill (费用明细)."""

    med_list_codg: str = Field(description="Code in the catalogue of the place of treatment.")
    cnt: Annotated[Decimal, Field(gt=0, le=100_000, decimal_places=3)] = Field(description="Quantity.")
    pric: Annotated[Decimal, Field(ge=0, decimal_places=2)] | None = Field(
        None, description="Unit price in yuan; the catalogue's where it is left out."
    )


class ClaimBody(EligibilityBody):
    """A bill to foresee. ``mdtrt_id`` is the hospital's own message id: the same one is the same claim."""

    mdtrt_id: UUID = Field(description="Id of the visit, made by the hospital (UUID).")
    feedetail: list[FeeLine] = Field(min_length=1, max_length=500)


class ClaimPath(BaseModel):
    """Which claim."""

    mdtrt_id: UUID = Field(description="The id the hospital gave.")


class ReversalBody(BaseModel):
    """Why a settlement is taken back."""

    reason: str = Field(min_length=1, max_length=200)


def _hospital_id() -> str:
    organisation = principal().organisation
    if organisation is None:
        raise Forbidden("this client belongs to no hospital")
    return organisation


def _own_claim(claim_id: UUID) -> None:
    with transaction() as session:
        queries.claim(session, claim_id, hospital_id=_hospital_id())


def _national(found: queries.ClaimView) -> Response:
    answer: Json = {
        "mdtrt_id": str(found.id),
        "mdtrtarea_admvs": found.treating_region,
        "insuplc_admdvs": found.insured_region,
        "state": found.state.value,
    }
    if found.split is not None:
        answer |= rules.national_fields(found.split)
    return jsonify(answer)


@hospitals.post("/eligibility", summary="Coverage of a card's holder")
@machine(SCOPE)
def check(body: EligibilityBody) -> Response:
    """Where the person is insured and on what terms; also for a card of another city."""
    insured, found = desk.check(database(), card_number=body.card_no, on=body.begndate, now=clock.now())
    return jsonify(
        insuplc_admdvs=insured,
        in_force=found.in_force,
        insutype=None if found.scheme is None else found.scheme.value,
        psn_type=None if found.status is None else found.status.value,
        filing=None if found.filing is None else found.filing.value,
        filing_needed=found.filing_needed,
        self_pay_in_scope_minor=found.self_pay_minor,
        pool_used_minor=found.pool_used_minor,
        acct_balance_minor=found.own_account_minor,
    )


@hospitals.post("/claims", summary="Pre-settle a bill")
@machine(SCOPE)
def pre_settle(body: ClaimBody) -> Response:
    """Registers the bill under the hospital's id (or replaces its lines) and answers the split. No money moves."""
    now = clock.now()
    hospital_id = _hospital_id()
    with transaction() as session:
        try:
            queries.claim(session, body.mdtrt_id, hospital_id=hospital_id)
        except queries.NoSuchClaim:
            actions.register(
                session,
                hospital_id=hospital_id,
                card_number=body.card_no,
                admitted_on=body.begndate,
                by=principal().actor,
                now=now,
                claim_id=body.mdtrt_id,
            )
        lines = [
            LineAsked(
                code=line.med_list_codg,
                quantity=line.cnt,
                unit_price_minor=None if line.pric is None else int(line.pric * 100),
            )
            for line in body.feedetail
        ]
        actions.set_lines(session, claim_id=body.mdtrt_id, lines=lines)
    return _national(desk.pre_settle(database(), claim_id=body.mdtrt_id, now=now))


@hospitals.post("/claims/<uuid:mdtrt_id>/settlement", summary="Settle a bill")
@machine(SCOPE)
def settle(path: ClaimPath) -> Response:
    """Settles once; a repetition gets the first answer."""
    _own_claim(path.mdtrt_id)
    return _national(desk.settle(database(), claim_id=path.mdtrt_id, by=principal().actor, now=clock.now()))


@hospitals.post("/claims/<uuid:mdtrt_id>/reversal", summary="Take a settlement back")
@machine(SCOPE)
def reverse(path: ClaimPath, body: ReversalBody) -> Response:
    """Reverses once; a repetition is quiet."""
    _own_claim(path.mdtrt_id)
    now = clock.now()
    return _national(desk.reverse(database(), claim_id=path.mdtrt_id, reason=body.reason, by=principal().actor, now=now))


@hospitals.get("/claims/<uuid:mdtrt_id>", summary="One claim of the hospital")
@machine(SCOPE)
def show(path: ClaimPath) -> Response:
    """The claim's state and split."""
    with transaction() as session:
        return _national(queries.claim(session, path.mdtrt_id, hospital_id=_hospital_id()))


# --- residents -------------------------------------------------------------------------------------------------------------


class BenefitPath(BaseModel):
    """Which settled claim."""

    settlement_id: UUID


@hospitals.get("/me/ExplanationOfBenefit", summary="The signed-in resident's settled claims (FHIR R4B)")
@signed_in
def my_benefits() -> Response:
    """A searchset bundle, newest first."""
    holder_id = principal().person_id
    with transaction() as session:
        found = queries.settlements_of(session, holder_id)
    entries = [{"resource": _explanation(item), "fullUrl": f"urn:uuid:{item.id}"} for item in found]
    return _fhir({"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries})


@hospitals.get("/me/ExplanationOfBenefit/<uuid:settlement_id>", summary="One of them")
@signed_in
def my_benefit(path: BenefitPath) -> Response:
    """One settled claim of the signed-in resident."""
    with transaction() as session:
        return _fhir(_explanation(queries.settlement(session, path.settlement_id, holder_id=principal().person_id)))


def _explanation(found: queries.SettlementView) -> Json:
    return fhir.explanation_of_benefit(
        found.request, found.split, active=not found.reversed, holder_id=found.holder_id, settled_at=found.settled_at
    )
