"""Health in FHIR R4B: pure translations between our values and the resources that travel between cities.

Standard codes where FHIR has them, a local code system beside it for the names of 医保. Amounts are CNY with exact decimals
(JSON numbers of at most 15 significant digits, which survive every reader). Source: hl7.org/fhir/R4B, ``claim.html``,
``claimresponse.html``, ``coverageeligibilityresponse.html``, ``explanationofbenefit.html``.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar
from uuid import UUID

from fhir.resources.R4B.claim import Claim
from fhir.resources.R4B.claimresponse import ClaimResponse
from fhir.resources.R4B.coverageeligibilityrequest import CoverageEligibilityRequest
from fhir.resources.R4B.coverageeligibilityresponse import CoverageEligibilityResponse
from fhir.resources.R4B.explanationofbenefit import ExplanationOfBenefit
from fhir.resources.R4B.task import Task
from pydantic import BaseModel, ValidationError

from app.kernel import money
from app.kernel.db import Json
from app.kernel.errors import Invalid, msg
from card.health.rules import (
    FUNDS,
    ClaimRequest,
    Eligibility,
    FilingKind,
    ItemClass,
    Level,
    LineFacts,
    Payer,
    Scheme,
    Split,
    Status,
    split_from_json,
    split_to_json,
)

CODES: Final = "urn:citizen-card:codes"
IDS: Final = "urn:citizen-card:ids"
EXTENSIONS: Final = "urn:citizen-card:extensions"
ADJUDICATION: Final = "http://terminology.hl7.org/CodeSystem/adjudication"
BENEFIT: Final = "http://terminology.hl7.org/CodeSystem/benefit-type"

PREDETERMINATION: Final = "predetermination"
CLAIM: Final = "claim"

NAMES: Final[Mapping[Payer, str]] = {
    Payer.POOL: "统筹基金 hifp_pay",
    Payer.CATASTROPHIC: "大病保险 hifob_pay",
    Payer.OTHER_FUND: "其他基金 oth_pay",
    Payer.MEDICAL_AID: "医疗救助 maf_pay",
    Payer.OWN_ACCOUNT: "个人账户 acct_pay",
    Payer.FAMILY_ACCOUNT: "家庭共济 acct_mulaid_pay",
    Payer.CASH: "个人现金 psn_cash_pay",
}
PARTS: Final = ("own", "over", "pre", "scope")

R = TypeVar("R", bound=BaseModel)


class NotFhir(Invalid):
    """A resource that is not what was asked for, or lacks what we need."""

    code = "fhir-resource-not-valid"
    sentence = msg("The FHIR resource is not valid here. Each field says what is wrong.")


def read(kind: type[R], document: Json) -> R:
    """``document`` as a resource of ``kind``; raises :class:`NotFhir` naming each field."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        fields = {".".join(str(step) for step in item["loc"]) or "resource": item["msg"] for item in error.errors()}
        raise NotFhir(fields=fields) from error


def _plain(resource: BaseModel) -> Json:
    """A resource as JSON; building it through the models proves that it is FHIR."""
    document: Json = json.loads(resource.model_dump_json(exclude_none=True))
    return document


def _coding(system: str, code: str, display: str | None = None) -> Json:
    coding = {"system": system, "code": code}
    return {"coding": [{**coding, "display": display} if display else coding]}


def _money(amount: Decimal) -> Json:
    return {"value": amount, "currency": money.CNY}


def _identified(kind: str, value: str, display: str | None = None) -> Json:
    reference: Json = {"identifier": {"system": f"{IDS}:{kind}", "value": value}}
    return {**reference, "display": display} if display else reference


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def _amounts(parts: Iterable[tuple[str, Decimal]], url: str) -> Json:
    return {"url": url, "extension": [{"url": name, "valueMoney": _money(amount)} for name, amount in parts]}


# --- eligibility -----------------------------------------------------------------------------------------------------------


def eligibility_request(
    *, message_id: UUID, card_number: str, insured_region: str, treating_region: str, on: date, now: datetime
) -> Json:
    """Ask whether a card's holder is covered for treatment in ``treating_region`` on ``on``."""
    return _plain(
        CoverageEligibilityRequest.model_validate(
            {
                "resourceType": "CoverageEligibilityRequest",
                "id": str(message_id),
                "status": "active",
                "purpose": ["benefits", "validation"],
                "patient": _identified("card-number", card_number),
                "servicedDate": on.isoformat(),
                "created": _instant(now),
                "insurer": _identified("region", insured_region),
                "provider": _identified("region", treating_region),
            }
        )
    )


def read_eligibility_request(document: Json) -> tuple[str, date]:
    """The card number and the day asked about."""
    found: Any = read(CoverageEligibilityRequest, document)
    if found.servicedDate is None:
        raise NotFhir(fields={"servicedDate": msg("Say on which day.")})
    return _identifier(found.patient, "patient", "card-number"), found.servicedDate


def eligibility_response(request: Json, found: Eligibility, *, now: datetime) -> Json:
    """The answer: accumulators as allowed and used money, the accounts' balances, the filing."""
    benefits: list[Json] = []
    pool: Json = {"type": _coding(f"{CODES}:payer", Payer.POOL.value, NAMES[Payer.POOL])}
    pool["usedMoney"] = _money(money.major(found.pool_used_minor))
    if found.pool_ceiling_minor is not None:
        pool["allowedMoney"] = _money(money.major(found.pool_ceiling_minor))
    benefits.append(pool)
    benefits.append(
        {
            "type": _coding(f"{CODES}:accumulator", "self-pay-in-scope", "范围内自付累计"),
            "usedMoney": _money(money.major(found.self_pay_minor)),
        }
    )
    for payer, minor in ((Payer.OWN_ACCOUNT, found.own_account_minor), (Payer.FAMILY_ACCOUNT, found.family_account_minor)):
        benefits.append(
            {"type": _coding(f"{CODES}:payer", payer.value, NAMES[payer]), "allowedMoney": _money(money.major(minor))}
        )
    extension = [
        {"url": f"{EXTENSIONS}:{name}", "valueCode": value}
        for name, value in (("scheme", found.scheme), ("status", found.status), ("filing", found.filing))
        if value is not None
    ]
    extension.append({"url": f"{EXTENSIONS}:filing-needed", "valueBoolean": found.filing_needed})  # type: ignore[dict-item]
    return _plain(
        CoverageEligibilityResponse.model_validate(
            {
                "resourceType": "CoverageEligibilityResponse",
                "id": request["id"],
                "extension": extension,
                "status": "active",
                "purpose": request["purpose"],
                "patient": request["patient"],
                "servicedDate": request["servicedDate"],
                "created": _instant(now),
                "request": {"reference": f"CoverageEligibilityRequest/{request['id']}"},
                "outcome": "complete",
                "insurer": request["insurer"],
                "insurance": [
                    {
                        "coverage": _identified("card-number", request["patient"]["identifier"]["value"]),
                        "inforce": found.in_force,
                        "item": [{"category": _coding(BENEFIT, "benefit"), "benefit": benefits}],
                    }
                ],
            }
        )
    )


def read_eligibility_response(document: Json) -> Eligibility:
    """The eligibility that another city answered."""
    found: Any = read(CoverageEligibilityResponse, document)
    extension = {item.url: item for item in found.extension or ()}

    def code(name: str) -> str | None:
        item = extension.get(f"{EXTENSIONS}:{name}")
        return None if item is None else str(item.valueCode)

    used: dict[str, int] = {}
    allowed: dict[str, int] = {}
    insurance = found.insurance[0]
    for benefit in insurance.item[0].benefit:
        kind = str(benefit.type.coding[0].code)
        if benefit.usedMoney is not None:
            used[kind] = money.half_up_minor(benefit.usedMoney.value)
        if benefit.allowedMoney is not None:
            allowed[kind] = money.half_up_minor(benefit.allowedMoney.value)
    scheme, status, filing = code("scheme"), code("status"), code("filing")
    needed = extension.get(f"{EXTENSIONS}:filing-needed")
    return Eligibility(
        in_force=bool(insurance.inforce),
        scheme=None if scheme is None else Scheme(scheme),
        status=None if status is None else Status(status),
        filing=None if filing is None else FilingKind(filing),
        filing_needed=bool(needed is not None and needed.valueBoolean),
        pool_ceiling_minor=allowed.get(Payer.POOL.value),
        pool_used_minor=used.get(Payer.POOL.value, 0),
        self_pay_minor=used.get("self-pay-in-scope", 0),
        own_account_minor=allowed.get(Payer.OWN_ACCOUNT.value, 0),
        family_account_minor=allowed.get(Payer.FAMILY_ACCOUNT.value, 0),
    )


# --- the claim -------------------------------------------------------------------------------------------------------------


def claim(request: ClaimRequest, *, use: str) -> Json:
    """A bill with its catalogue facts. ``use`` is ``predetermination`` (what would be paid) or ``claim`` (settle it)."""
    return _plain(
        Claim.model_validate(
            {
                "resourceType": "Claim",
                "id": str(request.id),
                "identifier": [{"system": f"{IDS}:claim", "value": str(request.id)}],
                "status": "active",
                "type": _coding("http://terminology.hl7.org/CodeSystem/claim-type", "institutional"),
                "use": use,
                "patient": _identified("card-number", request.card_number),
                "billablePeriod": {"start": request.admitted_on.isoformat()},
                "created": _instant(request.accepted_at),
                "insurer": _identified("region", request.insured_region),
                "provider": {
                    "identifier": {"system": f"{IDS}:hospital", "value": request.hospital_id},
                    "display": request.hospital_name["en"],
                    "extension": [
                        {"url": f"{EXTENSIONS}:name-{language}", "valueString": text}
                        for language, text in request.hospital_name.items()
                    ],
                },
                "priority": _coding("http://terminology.hl7.org/CodeSystem/processpriority", "normal"),
                "facility": _identified("region", request.treating_region),
                "supportingInfo": [
                    {
                        "sequence": 1,
                        "category": _coding(f"{CODES}:supporting-info", "hospital-level"),
                        "code": _coding(f"{CODES}:hospital-level", request.level.value),
                    }
                ],
                "insurance": [
                    {"sequence": 1, "focal": True, "coverage": _identified("card-number", request.card_number)},
                ],
                "item": [_item(line) for line in request.lines],
                "total": _money(sum((line.amount for line in request.lines), Decimal(0))),
            }
        )
    )


def _item(line: LineFacts) -> Json:
    return {
        "sequence": line.number,
        "category": _coding(f"{CODES}:item-class", line.item_class.value),
        "productOrService": {
            **_coding(f"{CODES}:catalogue", line.code, line.name["zh_Hans_CN"]),
            "text": line.name["en"],
        },
        "net": _money(line.amount),
        "extension": [_amounts([(name, getattr(line, name)) for name in PARTS], f"{EXTENSIONS}:line-facts")],
    }


def read_claim(document: Json, *, treating_region: str) -> tuple[ClaimRequest, str]:
    """The bill of another city, and its ``use``; ``treating_region`` is the city that signed the message."""
    found: Any = read(Claim, document)
    if found.use not in (PREDETERMINATION, CLAIM):
        raise NotFhir(fields={"use": msg("Use is “predetermination” or “claim”.")})
    if _identifier(found.facility, "facility", "region") != treating_region:
        raise NotFhir(fields={"facility": msg("The place of treatment is the city that sends the claim.")})
    try:
        claim_id = UUID(str(found.id))
        level = Level(found.supportingInfo[0].code.coding[0].code)
        names = {item.url.rsplit("name-", 1)[1]: str(item.valueString) for item in found.provider.extension}
        hospital_name = {"en": names["en"], "zh_Hans_CN": names["zh_Hans_CN"]}
        admitted_on = date.fromisoformat(str(found.billablePeriod.start)[:10])
        lines = tuple(_read_item(item) for item in found.item or ())
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise NotFhir(
            f"claim: {error}", fields={"resource": msg("The claim lacks something that settlement needs.")}
        ) from error
    request = ClaimRequest(
        id=claim_id,
        card_number=_identifier(found.patient, "patient", "card-number"),
        insured_region=_identifier(found.insurer, "insurer", "region"),
        treating_region=treating_region,
        hospital_id=_identifier(found.provider, "provider", "hospital"),
        hospital_name=hospital_name,
        level=level,
        admitted_on=admitted_on,
        accepted_at=found.created.astimezone(UTC),
        lines=lines,
    )
    if found.total is None or money.half_up_minor(found.total.value) != request.total_minor:
        raise NotFhir(fields={"total": msg("The total is not the sum of the lines.")})
    return request, str(found.use)


def _read_item(item: Any) -> LineFacts:
    facts = next(extension for extension in item.extension if extension.url == f"{EXTENSIONS}:line-facts")
    parts = {part.url: Decimal(part.valueMoney.value) for part in facts.extension}
    coding = item.productOrService.coding[0]
    return LineFacts(
        number=int(item.sequence),
        code=str(coding.code),
        name={"en": str(item.productOrService.text), "zh_Hans_CN": str(coding.display)},
        item_class=ItemClass(item.category.coding[0].code),
        amount=Decimal(item.net.value),
        own=parts["own"],
        over=parts["over"],
        pre=parts["pre"],
        scope=parts["scope"],
    )


def _identifier(reference: Any, field: str, kind: str) -> str:
    identifier = getattr(reference, "identifier", None)
    if identifier is None or identifier.system != f"{IDS}:{kind}" or not identifier.value:
        raise NotFhir(fields={field: msg("A reference by identifier is missing.")})
    return str(identifier.value)


def _totals(split: Split) -> list[Json]:
    standard = (
        ("submitted", money.major(split.total_minor)),
        ("eligible", split.scope),
        ("deductible", split.deductible),
        ("benefit", money.major(split.funds_minor)),
    )
    local = [("own", "全自费 fulamt_ownpay_amt", split.own), ("over", "超限价 overlmt_selfpay", split.over)]
    local.append(("pre", "先行自付 preselfpay_amt", split.pre))
    local.extend((share.payer.value, NAMES[share.payer], money.major(share.amount_minor)) for share in split.shares)
    return [{"category": _coding(ADJUDICATION, code), "amount": _money(amount)} for code, amount in standard] + [
        {"category": _coding(f"{CODES}:payer", code, display), "amount": _money(amount)} for code, display, amount in local
    ]


def _notes(split: Split) -> list[Json]:
    return [
        {"number": number, "type": "display", "text": step.sentence % step.params} for number, step in enumerate(split.steps, 1)
    ]


def _adjudications(line: LineFacts) -> list[Json]:
    return [{"category": _coding(ADJUDICATION, "submitted"), "amount": _money(line.amount)}] + [
        {"category": _coding(f"{CODES}:line", part), "amount": _money(getattr(line, part))} for part in PARTS
    ]


def claim_response(request: ClaimRequest, split: Split, *, use: str, now: datetime) -> Json:
    """The split of a bill, with totals in standard and national codes and the explanation as notes."""
    return _plain(
        ClaimResponse.model_validate(
            {
                "resourceType": "ClaimResponse",
                "id": str(request.id),
                "extension": [
                    {
                        "url": f"{EXTENSIONS}:split",
                        "valueString": json.dumps(split_to_json(split), ensure_ascii=False, sort_keys=True),
                    }
                ],
                "status": "active",
                "type": _coding("http://terminology.hl7.org/CodeSystem/claim-type", "institutional"),
                "use": use,
                "patient": _identified("card-number", request.card_number),
                "created": _instant(now),
                "insurer": _identified("region", request.insured_region),
                "request": {"reference": f"Claim/{request.id}"},
                "outcome": "complete",
                "item": [{"itemSequence": line.number, "adjudication": _adjudications(line)} for line in request.lines],
                "total": _totals(split),
                "payment": {
                    "type": _coding("http://terminology.hl7.org/CodeSystem/ex-paymenttype", "complete"),
                    "amount": _money(money.major(split.owed_minor)),
                },
                "processNote": _notes(split),
            }
        )
    )


def read_claim_response(document: Json, request: ClaimRequest) -> Split:
    """The split that the insured place answered, held against the question: same claim, same total, parts that add up."""
    found: Any = read(ClaimResponse, document)
    if str(found.id) != str(request.id) or found.outcome != "complete":
        raise NotFhir(fields={"id": msg("This is not the answer to the claim.")})
    carried = next((item for item in found.extension or () if item.url == f"{EXTENSIONS}:split"), None)
    if carried is None:
        raise NotFhir(fields={"extension": msg("The answer does not carry the split.")})
    try:
        split = split_from_json(json.loads(carried.valueString))
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise NotFhir(f"split: {error}", fields={"extension": msg("The split cannot be read.")}) from error
    told = {
        str(total.category.coding[0].code): money.half_up_minor(total.amount.value)
        for total in found.total
        if total.category.coding[0].system == f"{CODES}:payer"
    }
    if split.total_minor != request.total_minor or any(told.get(s.payer.value) != s.amount_minor for s in split.shares):
        raise NotFhir(fields={"total": msg("The totals and the split do not agree with the claim.")})
    return split


# --- reversal --------------------------------------------------------------------------------------------------------------


def reversal_task(*, reversal_id: UUID, claim_id: UUID, reason: str, at: datetime) -> Json:
    """Ask the insured place to take a settlement back."""
    return _plain(
        Task.model_validate(
            {
                "resourceType": "Task",
                "id": str(reversal_id),
                "status": "requested",
                "intent": "order",
                "code": _coding("http://hl7.org/fhir/CodeSystem/task-code", "abort"),
                "focus": {"reference": f"Claim/{claim_id}"},
                "authoredOn": _instant(at),
                "reasonCode": {"text": reason},
            }
        )
    )


def read_reversal_task(document: Json) -> tuple[UUID, UUID, str, datetime]:
    """The reversal's id, the claim's id, the reason, and when it was asked for."""
    found: Any = read(Task, document)
    try:
        return (
            UUID(str(found.id)),
            UUID(str(found.focus.reference).removeprefix("Claim/")),
            str(found.reasonCode.text),
            found.authoredOn.astimezone(UTC),
        )
    except (ValueError, AttributeError) as error:
        raise NotFhir(f"task: {error}", fields={"resource": msg("The reversal lacks what it needs.")}) from error


def completed(task: Json) -> Json:
    """The same task, done."""
    return _plain(Task.model_validate({**task, "status": "completed"}))


# --- the resident's own ----------------------------------------------------------------------------------------------------


def explanation_of_benefit(request: ClaimRequest, split: Split, *, active: bool, holder_id: UUID, settled_at: datetime) -> Json:
    """What the resident is told of a settled claim."""
    return _plain(
        ExplanationOfBenefit.model_validate(
            {
                "resourceType": "ExplanationOfBenefit",
                "id": str(request.id),
                "status": "active" if active else "cancelled",
                "type": _coding("http://terminology.hl7.org/CodeSystem/claim-type", "institutional"),
                "use": CLAIM,
                "patient": _identified("holder", str(holder_id)),
                "billablePeriod": {"start": request.admitted_on.isoformat()},
                "created": _instant(settled_at),
                "insurer": _identified("region", request.insured_region),
                "provider": _identified("hospital", request.hospital_id, request.hospital_name["zh_Hans_CN"]),
                "claim": {"reference": f"Claim/{request.id}"},
                "outcome": "complete",
                "insurance": [{"focal": True, "coverage": _identified("card-number", request.card_number)}],
                "item": [
                    {
                        "sequence": line.number,
                        "productOrService": _coding(f"{CODES}:catalogue", line.code, line.name["zh_Hans_CN"]),
                        "net": _money(line.amount),
                        "adjudication": _adjudications(line),
                    }
                    for line in request.lines
                ],
                "total": _totals(split),
                "payment": {"amount": _money(sum_of_funds(split))},
                "processNote": _notes(split),
            }
        )
    )


def sum_of_funds(split: Split) -> Decimal:
    """What all funds paid, in yuan."""
    return money.major(split.paid_by(*FUNDS))
