"""The conversation at a hospital's desk, from eligibility to reversal, for whoever holds the edge: screen, façade or job.

Where the person is insured here, one transaction does it all. Where they are insured elsewhere, the question is written down
first, put to the insured city outside any transaction, and the answer is booked; after a crash anywhere the same question is
put again under the same id and gets the same answer.
"""

from datetime import date, datetime
from uuid import UUID

import structlog

from app.kernel import ids
from app.kernel.city import city_of
from app.kernel.db import Database
from app.kernel.errors import Invalid, Refusal, msg
from card import credentials, partners
from card.health import actions, fhir, gateway, queries
from card.health.queries import ClaimView
from card.health.rules import Eligibility

log = structlog.get_logger()


def check(database: Database, *, card_number: str, on: date, now: datetime) -> tuple[str, Eligibility]:
    """Where the card's holder is insured, and on what terms they are covered here on ``on``."""
    number = _number(card_number)
    insured = credentials.issuing_city(number)
    with database.transaction() as session:
        own = city_of(session).code
        if insured == own:
            return insured, queries.eligibility(session, card_number=number, treating_region=own, on=on)
    return insured, gateway.ask_eligibility(
        database,
        message_id=ids.new_id(),
        card_number=number,
        insured_region=insured,
        treating_region=own,
        on=on,
        now=now,
    )


def _number(text: str) -> str:
    try:
        return credentials.card_number.parse(text)
    except credentials.CredentialRefused as error:
        raise Invalid(fields={"card_number": msg("This is not a card number. It has 19 digits and begins with 31.")}) from error


def pre_settle(database: Database, *, claim_id: UUID, now: datetime) -> ClaimView:
    """Have the split foreseen and keep it. No money moves."""
    with database.transaction() as session:
        found = queries.claim(session, claim_id)
        if found.waiting:
            raise actions.ClaimWaiting
        if not found.away:
            split = actions.foresee(session, found.request(now))
            actions.note_pre_settled(session, claim_id=claim_id, split=split, now=now)
            return queries.claim(session, claim_id)
    split = gateway.ask_split(database, found.request(now), use=fhir.PREDETERMINATION)
    with database.transaction() as session:
        actions.note_pre_settled(session, claim_id=claim_id, split=split, now=now)
        return queries.claim(session, claim_id)


def settle(database: Database, *, claim_id: UUID, by: str, now: datetime) -> ClaimView:
    """Settle the claim: the insured place pays, the hospital is owed, the person pays the rest at the desk."""
    with database.transaction() as session:
        request = actions.ask_settlement(session, claim_id=claim_id, by=by, now=now)
        if request is None:
            return queries.claim(session, claim_id)
        if request.insured_region == request.treating_region:
            split = actions.settle(session, request, now=now)
            actions.note_settled(session, claim_id=claim_id, split=split, now=now)
            return queries.claim(session, claim_id)
    try:
        split = gateway.ask_split(database, request, use=fhir.CLAIM)
    except partners.PartnerRefused:
        with database.transaction() as session:
            actions.withdraw_question(session, claim_id=claim_id)
        raise
    with database.transaction() as session:
        actions.note_settled(session, claim_id=claim_id, split=split, now=now)
        return queries.claim(session, claim_id)


def reverse(database: Database, *, claim_id: UUID, reason: str, by: str, now: datetime) -> ClaimView:
    """Take a settled claim back on both sides; safe to repeat."""
    with database.transaction() as session:
        asked = actions.ask_reversal(session, claim_id=claim_id, reason=reason, by=by, now=now)
        if asked is None:
            return queries.claim(session, claim_id)
        request, reversal_id, asked_at = asked
        if request.insured_region == request.treating_region:
            actions.take_back(
                session,
                settlement_id=claim_id,
                reversal_id=reversal_id,
                treating_region=request.treating_region,
                reason=reason,
                asked_at=asked_at,
                now=now,
            )
            actions.note_reversed(session, claim_id=claim_id, now=now)
            return queries.claim(session, claim_id)
    gateway.ask_reversal(database, request, reversal_id=reversal_id, reason=reason, at=asked_at)
    with database.transaction() as session:
        actions.note_reversed(session, claim_id=claim_id, now=now)
        return queries.claim(session, claim_id)


def resume(database: Database, *, now: datetime) -> int:
    """Put every question again whose answer is not known here; answer how many were settled."""
    with database.transaction() as session:
        waiting = queries.unanswered(session)
    done = 0
    for claim_id in waiting:
        try:
            settle(database, claim_id=claim_id, by="system", now=now)
            done += 1
        except Refusal as error:
            log.warning("health.resume", claim_id=str(claim_id), error=f"{error.code}: {error}")
    return done
