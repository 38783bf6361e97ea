"""What is asked of the insured city over the federation, in FHIR. Outside any transaction."""

from datetime import date, datetime
from typing import Final
from uuid import UUID

from app.kernel.db import Database
from card import partners
from card.health import fhir
from card.health.rules import ClaimRequest, Eligibility, Split

BASE: Final = "/api/federation/fhir"


def ask_eligibility(
    database: Database,
    *,
    message_id: UUID,
    card_number: str,
    insured_region: str,
    treating_region: str,
    on: date,
    now: datetime,
) -> Eligibility:
    """Whether and on what terms the holder of another city's card is covered."""
    request = fhir.eligibility_request(
        message_id=message_id,
        card_number=card_number,
        insured_region=insured_region,
        treating_region=treating_region,
        on=on,
        now=now,
    )
    answer = partners.send(database, insured_region, "POST", f"{BASE}/CoverageEligibilityRequest", request)
    return fhir.read_eligibility_response(answer)


def ask_split(database: Database, request: ClaimRequest, *, use: str) -> Split:
    """What each payer would pay (``predetermination``) or pays (``claim``) of a bill."""
    answer = partners.send(database, request.insured_region, "POST", f"{BASE}/Claim", fhir.claim(request, use=use))
    return fhir.read_claim_response(answer, request)


def ask_reversal(database: Database, request: ClaimRequest, *, reversal_id: UUID, reason: str, at: datetime) -> None:
    """Have the insured city take a settlement back."""
    task = fhir.reversal_task(reversal_id=reversal_id, claim_id=request.id, reason=reason, at=at)
    partners.send(database, request.insured_region, "POST", f"{BASE}/Task", task)
