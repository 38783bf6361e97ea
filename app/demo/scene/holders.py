"""Who holds a card before the day begins. Lin has none yet: she applies for hers."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from card import cards

HAVE_CARDS: Final = ("zhou", "qin", "tingyu")


def hand_out(session: Session, everybody: dict[str, UUID], *, now: datetime) -> None:
    """Issue the cards; whoever has one keeps it."""
    for username in HAVE_CARDS:
        holder_id = everybody.get(username)
        if holder_id is not None and not cards.cards_of(session, holder_id):
            cards.issue(session, holder_id=holder_id, kind=cards.Kind.PHONE, now=now)
