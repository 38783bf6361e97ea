"""What an inspector needs: a signed bundle to check cards with offline, and the city's own word where there is a network."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel import audit
from app.kernel.city import city_of
from app.kernel.db import Json
from app.kernel.signing import Purpose
from card import cards, credentials, partners
from card.credentials import CredentialRefused, KeyRing, Reason, Use, Verifier, numbers
from card.transit import queries
from card.transit.models import PartnerDenyList
from card.transit.queries import TapView
from card.transit.rules import BUNDLE_LIFE

EVERY_USE: Final = frozenset(Use)
LOOK_BACK: Final = timedelta(hours=6)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What the city says of a code. ``reason`` is none where the card is good; ``last_tap`` is at the inspector's operator."""

    reason: Reason | None
    number: str
    last_tap: TapView | None


def inspection_key(session: Session) -> bytes:
    """The raw public key that signs inspection bundles."""
    return city_of(session).key(Purpose.BUNDLE).public_bytes


def inspection_bundle(session: Session, *, now: datetime) -> bytes:
    """Issuer keys and deny lists of all cities for 72 hours: ``{seq, made_at, not_after, city, issuer_keys, deny}``.

    ``deny`` is ``{city: {seq, base}}`` with the whole list as a portable roaring bitmap. COSE_Sign1 by the bundle key.
    """
    city, own = city_of(session), cards.deny_current(session)
    lists: dict[str, Json] = {
        found.city: {"seq": found.seq, "base": found.denied}
        for found in session.scalars(select(PartnerDenyList).order_by(PartnerDenyList.city))
    }
    lists[city.code] = {"seq": own.seq, "base": own.base()}
    document: Json = {
        "seq": int(now.timestamp() * 1000),
        "made_at": int(now.timestamp()),
        "not_after": int((now + BUNDLE_LIFE).timestamp()),
        "city": city.code,
        "issuer_keys": _keys(session),
        "deny": lists,
    }
    return credentials.sign_inspection(city.key(Purpose.BUNDLE).private, document)


def _keys(session: Session) -> dict[str, list[list[str | bytes]]]:
    return {code: [[kid, raw] for kid, raw in found] for code, found in partners.issuer_keys(session).items()}


def check(session: Session, *, text: str, operator_id: str, by: str, now: datetime) -> Checked:
    """The city's own word on a code that an inspector was shown; looked up only by a code that verifies, and recorded."""
    try:
        shown = Verifier(KeyRing.of(_keys(session)), remember=1).verify_text(text, now=now, uses=EVERY_USE)
    except CredentialRefused as refusal:
        return Checked(reason=refusal.reason, number="", last_tap=None)
    denied = shown.static.status_index in _list_of(session, shown.static.issuer)
    last = queries.last_tap_of(session, shown.number, operator_id=operator_id, since=now - LOOK_BACK)
    subject = f"card:{numbers.masked(shown.number)}"
    audit.record(session, actor=by, action="card.inspect", subject=subject, at=now, details={"operator": operator_id})
    return Checked(reason=Reason.CARD_BLOCKED if denied else None, number=shown.number, last_tap=last)


def _list_of(session: Session, city: str) -> credentials.DenyList:
    if city == city_of(session).code:
        return cards.deny_current(session)
    row = session.get(PartnerDenyList, city)
    if row is None:
        return credentials.DenyList.empty(city)
    return credentials.DenyList(city=city, seq=row.seq, digest=row.digest, denied=credentials.denials.unpack(row.denied))
