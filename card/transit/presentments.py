"""Claims between cities for rides: ours towards an issuer, theirs for our cards.

The issuer debits its own holder and answers by the claim's id: the same claim gets the same answer, another one under the same
id is a conflict. Between the cities stands only what each books for itself; the clearing compares the two views.
"""

import hashlib
import json
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.kernel import clock, outbox
from app.kernel.city import city_of
from app.kernel.db import Database, Json
from card import cards, credentials, partners
from card.ledger import TransferCode, chart
from card.transit import charging, debts, explanations
from card.transit.models import PresentmentIn, PresentmentOut
from card.transit.rules import Liability, NotOurCard, PresentmentConflict, Ruling, ruling

PATH = "/api/federation/presentments"


def send(database: Database, payload: Json) -> None:
    """Courier of ``presentment.written``: claim from the issuer and keep its signed answer. Safe to run twice."""
    presentment_id = UUID(payload["id"])
    with database.transaction() as session:
        row = session.get_one(PresentmentOut, presentment_id, with_for_update=True)
        if row.answer is not None:
            return
        if "explanation" not in row.claim:  # once: a claim that is sent again is the same to the byte
            row.claim = {**row.claim, "explanation": explanations.of_reference(session, str(row.claim["reference"]))}
        issuer, claim = row.issuer, row.claim
    answer = partners.send(database, issuer, "POST", PATH, claim)
    with database.transaction() as session:
        row = session.get_one(PresentmentOut, presentment_id)
        row.answer, row.answered_at = answer, clock.now()


def accept(
    session: Session,
    *,
    presentment_id: UUID,
    acquirer: str,
    card_number: str,
    amount_minor: int,
    liability: Liability,
    event_at: datetime,
    claim: Json,
    now: datetime,
) -> Json:
    """Debit our holder for a ride in ``acquirer`` (a negative amount gives back), and answer with which means.

    Raises ``NotOurCard``, ``UnknownCard`` and ``PresentmentConflict``.
    """
    if credentials.issuing_city(card_number) != city_of(session).code:
        raise NotOurCard(card_number[:8])
    facts_of_money = {name: value for name, value in claim.items() if name != "explanation"}
    digest = hashlib.sha256(json.dumps(facts_of_money, sort_keys=True).encode()).hexdigest()
    charging.lock_cards(session, [card_number])
    known = session.get(PresentmentIn, presentment_id)
    if known is not None:
        if (known.digest, known.acquirer) != (digest, acquirer):
            raise PresentmentConflict(str(presentment_id))
        return known.answer
    holder_id = cards.by_number(session, card_number).holder_id
    found = _ruling(session, card_number, tapped_at=event_at)
    if found.bearer is Liability.OPERATOR:  # our list decides over our card, whatever the acquirer thinks
        liability = Liability.OPERATOR
    facts: Json = {
        "posting_id": presentment_id,
        "holder_id": holder_id,
        "creditor": chart.due_to(acquirer),
        "card_number": card_number,
        "event_at": event_at,
        "reference": f"presentment:{presentment_id}",
        "metadata": {"acquirer": acquirer, "operator": str(claim.get("operator", ""))},
        "now": now,
    }
    if amount_minor > 0:
        means = debts.charge_holder(
            session, amount_minor=amount_minor, code=TransferCode.FOREIGN_FARE, liability=liability, **facts
        )
    else:
        means = debts.refund_holder(session, amount_minor=-amount_minor, code=TransferCode.FOREIGN_FARE_CORRECTION, **facts)
    answer: Json = {
        "id": str(presentment_id),
        "outcome": "debited",
        "means": means,
        "liability": liability.value,
        "reason": found.reason.value,
    }
    session.add(PresentmentIn(id=presentment_id, acquirer=acquirer, digest=digest, claim=claim, answer=answer, received_at=now))
    session.flush()
    outbox.emit(session, "debit.foreign", claim, at=now)
    return answer


def _ruling(session: Session, card_number: str, *, tapped_at: datetime) -> Ruling:
    """Who bears a ride on our card in another city: its operators have our list ten minutes after its publication."""
    card = cards.by_number(session, card_number)
    indexes = {card.status_index, *(device.status_index for device in cards.devices_of(session, card.id))}
    denials = [denial for index in sorted(indexes) if (denial := cards.denial_of(session, index))]
    seq, published_at = min(denials, default=(None, None), key=lambda denial: denial[1])
    return ruling(tapped_at=tapped_at, held_seq=0, denied_seq=seq, published_at=published_at)
