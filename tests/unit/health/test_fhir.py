"""What travels between cities is FHIR R4B, survives JSON, and is held to its own arithmetic."""

import json
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from card.health import fhir, rules
from card.health.rules import BadLine, ClaimRequest, Eligibility, FilingKind, Level, Payer, Scheme, Status
from tests.unit.health.test_split import WORKED, worked_terms

AT = datetime(2026, 11, 20, 1, 2, 3, 4000, tzinfo=UTC)
LINES = tuple(rules.line_facts(line) for line in WORKED)
SPLIT = rules.split_bill(LINES, worked_terms(), own_account_minor=300_000, family_account_minor=150_000)
REQUEST = ClaimRequest(
    id=UUID(int=1),
    card_number="3132010000000000017",
    insured_region="320100",
    treating_region="320500",
    hospital_id="H1",
    hospital_name={"en": "Demo Hospital", "zh_Hans_CN": "演示医院"},
    level=Level.TERTIARY,
    admitted_on=date(2026, 11, 10),
    accepted_at=AT,
    lines=LINES,
)


def sent(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(document))
    return found


def test_a_claim_comes_out_as_it_went_in() -> None:
    found, use = fhir.read_claim(sent(fhir.claim(REQUEST, use="claim")), treating_region="320500")
    assert (found.digest, use, found.total_minor) == (REQUEST.digest, "claim", 3_200_000)


def test_an_answer_carries_the_split_the_totals_and_the_explanation() -> None:
    answer = sent(fhir.claim_response(REQUEST, SPLIT, use="claim", now=AT))
    assert fhir.read_claim_response(answer, REQUEST) == SPLIT
    totals = {total["category"]["coding"][0]["code"]: total["amount"]["value"] for total in answer["total"]}
    assert totals == {
        "submitted": 32_000,
        "eligible": 25_200,
        "deductible": 1_000,
        "benefit": 20_870.4,
        "own": 4_000,
        "over": 1_000,
        "pre": 1_800,
        "pool": 18_876,
        "catastrophic": 1_994.4,
        "other-fund": 0,
        "medical-aid": 0,
        "own-account": 3_000,
        "family-account": 1_500,
        "cash": 6_629.6,
    }
    assert answer["payment"]["amount"]["value"] == 25_370.4
    assert any("18,876.00" in note["text"] for note in answer["processNote"])


def test_the_national_fields_say_the_same() -> None:
    fields = rules.national_fields(SPLIT)
    assert fields | {"hifp_pay": "18876.00", "hifob_pay": "1994.40", "psn_cash_pay": "6629.60"} == fields
    assert (fields["fund_pay_sumamt"], fields["psn_part_amt"], fields["acct_mulaid_pay"]) == ("20870.40", "11129.60", "1500.00")


def test_an_answer_whose_totals_and_split_disagree_is_not_believed() -> None:
    answer = sent(fhir.claim_response(REQUEST, SPLIT, use="claim", now=AT))
    pool = next(total for total in answer["total"] if total["category"]["coding"][0]["code"] == "pool")
    pool["amount"]["value"] = 18_876.01
    with pytest.raises(fhir.NotFhir):
        fhir.read_claim_response(answer, REQUEST)


@pytest.mark.parametrize("field", ["patient", "insurer", "facility", "supportingInfo", "item", "total", "billablePeriod"])
def test_a_claim_that_lacks_something_is_refused(field: str) -> None:
    document = sent(fhir.claim(REQUEST, use="claim"))
    del document[field]
    with pytest.raises(fhir.NotFhir):
        fhir.read_claim(document, treating_region="320500")


def test_a_city_cannot_claim_for_another() -> None:
    with pytest.raises(fhir.NotFhir) as refused:
        fhir.read_claim(sent(fhir.claim(REQUEST, use="claim")), treating_region="320200")
    assert "facility" in refused.value.fields


def test_facts_that_do_not_add_up_are_refused_by_line() -> None:
    document = sent(fhir.claim(REQUEST, use="claim"))
    document["item"][1]["extension"][0]["extension"][2]["valueMoney"]["value"] = 1
    found, _ = fhir.read_claim(document, treating_region="320500")
    with pytest.raises(BadLine) as refused:
        rules.check_facts(found.lines)
    assert list(refused.value.fields) == ["lines.2"]


def test_eligibility_carries_accumulators_and_filing() -> None:
    asked = fhir.eligibility_request(
        message_id=UUID(int=2),
        card_number="3132010000000000017",
        insured_region="320100",
        treating_region="320500",
        on=date(2026, 11, 10),
        now=AT,
    )
    assert fhir.read_eligibility_request(sent(asked)) == ("3132010000000000017", date(2026, 11, 10))
    found = Eligibility(
        in_force=True,
        scheme=Scheme.EMPLOYEE,
        status=Status.IN_SERVICE,
        filing=FilingKind.REFERRAL,
        filing_needed=True,
        pool_ceiling_minor=36_000_000,
        pool_used_minor=0,
        self_pay_minor=1_200_000,
        own_account_minor=300_000,
        family_account_minor=150_000,
    )
    assert fhir.read_eligibility_response(sent(fhir.eligibility_response(asked, found, now=AT))) == found


def test_a_reversal_is_a_task_that_comes_back_completed() -> None:
    task = sent(fhir.reversal_task(reversal_id=UUID(int=9), claim_id=UUID(int=1), reason="wrong patient", at=AT))
    assert fhir.read_reversal_task(task) == (UUID(int=9), UUID(int=1), "wrong patient", AT)
    assert fhir.completed(task)["status"] == "completed"


def test_the_resident_reads_an_explanation_of_benefit() -> None:
    found = fhir.explanation_of_benefit(REQUEST, SPLIT, active=True, holder_id=UUID(int=7), settled_at=AT)
    assert found["payment"]["amount"] == {"value": 20_870.4, "currency": "CNY"}
    assert [item["sequence"] for item in found["item"]] == [1, 2, 3, 4]
    assert all(split in {payer.value for payer in Payer} | {"own", "over", "pre"} for split in _local(found))


def _local(document: dict[str, Any]) -> list[str]:
    return [
        total["category"]["coding"][0]["code"]
        for total in document["total"]
        if total["category"]["coding"][0]["system"].endswith(":payer")
    ]
